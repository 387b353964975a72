"""The files that names of sources stand for: paths, folders, globs and URLs."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from lstmgan_dist.addresses import SYNTHETIC, path_of, scheme_of
from lstmgan_dist.corpus.made import MADE
from lstmgan_dist.corpus.settings import Corpus, Role
from lstmgan_dist.errors import UserError
from lstmgan_dist.settings import either
from lstmgan_dist.storage import BY_ENVIRONMENT, Folder, file_size, matching_files
from lstmgan_dist.storage_settings import Storage

PYTHON_DOCS = "builtin:python-docs"
BUILTIN = (PYTHON_DOCS, *MADE)

# The folder of the corpora that were made for runs, beside them.
CACHE = ".corpora"

# builtin: sentences of the interpreter's documentation; made: rows of a text that is made here.
Format = Literal["text", "json", "csv", "tsv", "parquet", "arrow", "builtin", "made"]
_WITHOUT_COLUMNS: tuple[Format, ...] = ("text", "builtin")

_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
_FORMATS: dict[str, Format] = {
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
}

# Files that hold no plain text, whatever is in them.
_BINARY = re.compile(
    r"\.(7z|avi|bin|bmp|ckpt|class|db|dll|docx?|epub|exe|gif|h5|ico|jar|jpe?g|mov|mp[34]|np[yz]|odt|onnx|pdf|pickle|pkl|"
    r"png|pptx?|pth?|pyc|rar|rtf|safetensors|so|sqlite|tar|tgz|tiff?|ttf|wav|webp|woff|xlsx?|zip)"
)
# What lies beside text and tells of it.
_ABOUT = frozenset(["authors", "changelog", "contributing", "copying", "licence", "license", "notice", "readme"])
_ABOUT_SUFFIXES = ("", ".md", ".rst", ".txt")


# How a person names the column of a role.
OPTIONS: dict[Role, str] = {
    "text": "corpus.column (--column)",
    "source": "corpus.source_column (--source-column)",
    "label": "corpus.label_column (--label-column)",
}


@dataclass(frozen=True)
class Source:
    """One file of text.

    size: stored bytes, for progress. storage: how it is reached, on whichever machine reads it. name: how whoever named
    it would write it, for messages; its address is absolute, for machines with other folders.
    """

    url: str
    size: int
    format: Format
    compression: str | None
    storage: Storage = BY_ENVIRONMENT
    name: str | None = None

    def __str__(self) -> str:
        return self.name or self.url

    @property
    def called(self) -> str:
        """Its name without folders, and without what follows a full stop."""
        return posixpath.basename(self.url).partition(".")[0]

    @property
    def folder(self) -> str:
        """The name of the folder that it is in."""
        return posixpath.basename(posixpath.dirname(self.url))

    def location(self, number: int) -> str:
        """Where in it the text of this number stands, for messages."""
        return f"{'line' if self.format in ('text', 'json', 'builtin') else 'row'} {number}"


@dataclass(frozen=True)
class Sources:
    """What names stand for. left_out: files of folders that are no text to go by their names."""

    files: list[Source]
    left_out: list[str]

    @property
    def size(self) -> int:
        """Stored bytes of all files."""
        return sum(source.size for source in self.files)


def find_sources(names: Iterable[str], storage: Storage = BY_ENVIRONMENT, *, known_as: str = "source") -> Sources:
    """The files that the names stand for, in order; a file that several names match is taken once.

    known_as: what a person knows them as.

    Raises:
        UserError: if a name matches nothing that is text, or text of a source that others cannot stand beside.
    """
    found: dict[str, Source] = {}
    left_out: dict[str, None] = {}
    for name in names:
        scheme = scheme_of(name)
        if scheme in SYNTHETIC:
            raise UserError(
                f"{name}: synthetic text is the only source of its corpus, held-out text included: leave others out."
            )
        if scheme == "builtin":
            if name not in BUILTIN:
                raise UserError(f"{name}: there is no such built-in corpus: try {either(BUILTIN)}.")
            found[name] = Source(name, 0, "made" if name in MADE else "builtin", None)
            continue
        folder = Folder(name, storage)
        if folder.name == CACHE:
            raise UserError(f"{name} holds corpora that runs were trained on, and no text: give the text.")
        if folder.exists("manifest.json") and folder.exists("tokenizer.json"):
            raise UserError(f"{name} is a corpus that prepare made already: name it in a job as corpus.source.")
        urls = matching_files(name, storage)
        if not urls:
            raise UserError(f"The {known_as} {name} matches no file: check the path.")
        is_named = len(urls) == 1 and posixpath.basename(urls[0]) == posixpath.basename(name.rstrip("/"))
        text = [url for url in urls if not _is_binary(url) and (is_named or not _is_about(url))]
        if not text:
            raise UserError(_no_text_in(name, urls))
        left_out |= dict.fromkeys(url for url in urls if url not in text)
        for url in text:
            found[url] = _source(url, name, storage)
    return Sources(list(found.values()), [url for url in left_out if url not in found])


def check_columns(settings: Corpus, sources: Iterable[Source]) -> None:
    """See that columns that are named can be in one of the sources, or in all where each text needs them.

    Raises:
        UserError: if they cannot.
    """
    sources = list(sources)
    plain = [source for source in sources if source.format in _WITHOUT_COLUMNS]
    named: dict[Role, str | None] = {**settings.columns, "text": settings.column}
    for role, name in named.items():
        if name is not None and plain and (role != "text" or len(plain) == len(sources)):
            raise UserError(
                f"{plain[0]} is plain text and has no column {name!r}: leave out {OPTIONS[role]}, which "
                "is for CSV, TSV, JSON lines, Parquet and Arrow files."
            )


def _no_text_in(name: str, urls: list[str]) -> str:
    if all(map(_is_binary, urls)):
        kinds = " and ".join(sorted({_suffix(url) for url in urls}))
        return f"The source {name} holds no plain text ({kinds}): save it as text first, and give that."
    return f"The source {name} holds only files about text, such as {urls[0]}: name the file itself to have it read."


def _is_binary(url: str) -> bool:
    return _BINARY.fullmatch(_suffix(url)) is not None


def _is_about(url: str) -> bool:
    stem, suffix = posixpath.splitext(posixpath.basename(url).lower())
    return stem in _ABOUT and suffix in _ABOUT_SUFFIXES


def _suffix(url: str) -> str:
    """What the name ends with, that of a compression left out."""
    stem, suffix = posixpath.splitext(url.lower())
    return posixpath.splitext(stem)[1] if suffix in _COMPRESSIONS else suffix


def _source(url: str, given: str, storage: Storage) -> Source:
    is_relative = scheme_of(given) == "file" and not posixpath.isabs(path_of(given))
    name = posixpath.relpath(url) if is_relative else None
    compression = _COMPRESSIONS.get(posixpath.splitext(url.lower())[1])
    return Source(url, file_size(url, storage), _FORMATS.get(_suffix(url), "text"), compression, storage, name)
