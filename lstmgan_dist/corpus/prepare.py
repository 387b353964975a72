"""Text to token shards: one pass over the sources to make the vocabulary, and one to encode.

Every pass maps pure functions over chunks of text, on all cores or on a cluster, and gathers the results in order, so
the bytes that come out depend neither on who does the work nor on how fast. Memory is bounded by the chunks under way.
"""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from itertools import accumulate
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from lstmgan_dist import __version__
from lstmgan_dist.corpus.bulk import character_counts, gather_index
from lstmgan_dist.corpus.chunks import Chunk, read_chunks
from lstmgan_dist.corpus.cleaning import Rows, clean
from lstmgan_dist.corpus.findings import Case, Findings
from lstmgan_dist.corpus.manifest import (
    FORMAT,
    MANIFEST,
    SPLITS,
    TOKENIZER,
    PreparedCorpus,
    Split,
    fingerprint_of,
    is_prepared,
    open_corpus,
    write_manifest,
)
from lstmgan_dist.corpus.settings import Corpus
from lstmgan_dist.corpus.shards import SplitWriter
from lstmgan_dist.corpus.sources import Source, Sources, check_columns, find_sources
from lstmgan_dist.corpus.splits import Cut, Purpose, SplitRows, heldout_fraction, split
from lstmgan_dist.corpus.tokenizer import Counted, Encoded, Tokenizer
from lstmgan_dist.corpus.tokenizers import TOKENIZERS
from lstmgan_dist.errors import UserError
from lstmgan_dist.runtime.tasks import LOCAL_THREADS, ReadingWorkers
from lstmgan_dist.storage import BY_ENVIRONMENT, Folder, content_mark, file_size
from lstmgan_dist.storage_settings import Storage
from lstmgan_dist.tokens import END_ID

__all__ = [
    "PreparationProgress",
    "PreparedCorpus",
    "content_key",
    "is_corpus_file",
    "is_prepared",
    "open_corpus",
    "prepare",
]

_PROBE = ".lstmgan-may-write"
# What evaluation keeps beside the shards: where synthetic text is from, and the folder of those who judge texts.
ORACLE, ORACLE_WEIGHTS, JUDGES = "oracle.json", "oracle.safetensors", "judges"
_FILES = "|".join([*map(re.escape, (TOKENIZER, ORACLE, ORACLE_WEIGHTS)), rf"(?:{'|'.join(SPLITS)})-\d+\.arrow"])
# What a preparation leaves behind, finished or torn from its work; the manifest goes first, by itself.
_OUR_FILES = re.compile(rf"{_FILES}|{JUDGES}|\.(?:{_FILES}|{re.escape(MANIFEST)})\.\d+\.part")

Result = TypeVar("Result")


@dataclass(frozen=True)
class PreparationProgress:
    """How far a preparation is. stage: what is being done. bytes_done, bytes_total: over all passes, as stored."""

    stage: str
    bytes_done: int
    bytes_total: int


def prepare(
    settings: Corpus,
    out: Folder,
    *,
    report: Callable[[PreparationProgress], None],
    workers: ReadingWorkers = LOCAL_THREADS,
) -> PreparedCorpus:
    """Tokenize the sources into shards in `out`, its manifest last; an older corpus there is replaced.

    out: its storage is how the sources are reached, too. workers: who reads, counts and encodes; the vocabulary and the
    shards are put together here.

    Raises:
        UserError: if a source cannot be read, holds text that the settings call an error, or holds none at all.
    """
    work = _Preparation(settings, out.storage, report, workers)
    # A folder that cannot be written to is found out now, not after the first pass over all the text.
    out.write(_PROBE, b"")
    out.delete(_PROBE)
    tokenizer = work.make_tokenizer()
    with replacing(out):
        return work.write(tokenizer, out)


@contextmanager
def replacing(out: Folder) -> Iterator[None]:
    """Clear a folder of an older corpus, and again if writing the new one fails."""
    out.delete(MANIFEST)  # before anything else changes
    _clear(out)
    try:
        yield
    except BaseException:
        _clear(out)
        raise


def is_corpus_file(name: str) -> bool:
    """Whether a file or folder of this name belongs to a corpus, finished or not."""
    return name == MANIFEST or _OUR_FILES.fullmatch(name) is not None


def content_key(settings: Corpus, storage: Storage = BY_ENVIRONMENT) -> str:
    """A key for a cache of prepared corpora: equal text under equal settings has an equal key.

    Local files are hashed; of remote ones the key knows their address and what the storage says of their version.

    Raises:
        UserError: if a source matches nothing.
    """
    shaping = settings.model_dump(exclude={"source", "heldout_source", "shuffle_window"})
    parts: list[Any] = [FORMAT, sorted(shaping.items())]
    for names in (settings.sources, settings.heldout_sources):
        parts.append([_mark(source) for source in find_sources(names, storage).files])
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _mark(source: Source) -> tuple[Any, ...]:
    mark = platform.python_version() if source.format == "builtin" else content_mark(source.url, source.storage)
    return source.format, source.compression, mark


def _clear(out: Folder) -> None:
    for name in out.list():
        if _OUR_FILES.fullmatch(name):
            out.delete(name)


class _Preparation:
    """The passes over the sources of one corpus."""

    def __init__(
        self,
        settings: Corpus,
        storage: Storage,
        report: Callable[[PreparationProgress], None],
        workers: ReadingWorkers,
    ) -> None:
        self._report = report
        self._workers = workers
        self._sources = find_sources(settings.sources, storage)
        self._share = heldout_fraction(settings, self._sources.size)
        self._settings = settings.model_copy(update={"heldout_fraction": self._share})
        self._heldout_sources = find_sources(settings.heldout_sources, storage)
        check_columns(settings.column, [*self._sources.files, *self._heldout_sources.files])
        is_shared = not settings.heldout_sources and self._share > 0
        self._purpose: Purpose = "both" if is_shared else "train"
        self._kind = TOKENIZERS[settings.tokenizer.kind]
        # A long text is cut at a share of its characters, so these are counted first.
        passes = 1 + (is_shared and settings.layout == "continuous") + self._kind.is_counted
        self._bytes_total = passes * self._sources.size + self._heldout_sources.size
        self._bytes_done = 0

    def make_tokenizer(self) -> Tokenizer:
        """Read the training text for its vocabulary, unless none is chosen."""
        return self._kind.open().choose(self._settings.tokenizer, self._counted() if self._kind.is_counted else ())

    def _counted(self) -> Iterator[Counted]:
        """What the vocabulary is chosen by; nothing is read before it is asked for."""
        function = partial(_count, self._settings, self._purpose, self._cut)
        for _, counted in self._over_chunks("counting", self._sources, function):
            yield counted

    def write(self, tokenizer: Tokenizer, out: Folder) -> PreparedCorpus:
        """Encode all text into shards, then declare the corpus finished."""
        settings = self._settings
        out.write(TOKENIZER, tokenizer.to_json())
        writers = {name: SplitWriter(out, name, settings.layout, tokenizer.token_type) for name in SPLITS}
        unknown = dict.fromkeys(writers, 0)
        findings = Findings()
        inputs: tuple[tuple[Sources, Purpose], ...] = (
            (self._sources, self._purpose),
            (self._heldout_sources, "heldout"),
        )
        for sources, purpose in inputs:
            function = partial(_encode, settings, purpose, self._cut, tokenizer)
            for _, encoded_chunk in self._over_chunks("encoding", sources, function):
                findings.add(encoded_chunk.findings)
                for name, part in encoded_chunk.parts.items():
                    writers[name].add(part.encoded, part.characters)
                    unknown[name] += part.unknown
        splits = {name: writer.close() for name, writer in writers.items()}
        self._refuse_empty(splits, findings)
        corpus = PreparedCorpus(
            folder=out,
            layout=settings.layout,
            max_length=settings.max_length,
            token_type="uint16" if tokenizer.token_type == np.uint16 else "uint32",
            tokenizer=tokenizer,
            splits=splits,
            fingerprint="",
            made=self._made(findings, unknown),
        )
        corpus = replace(corpus, fingerprint=fingerprint_of(corpus))
        write_manifest(corpus)
        return corpus

    @cached_property
    def _cut(self) -> Cut | None:
        """Where a continuous text is cut in two; finding it is a pass of its own."""
        if self._settings.layout != "continuous" or self._purpose != "both":
            return None
        starts: dict[str, list[int]] = {}
        total = 0
        for source, characters in self._over_chunks("measuring", self._sources, partial(_measure, self._settings)):
            starts.setdefault(source, []).append(total)
            total += characters
        return Cut(starts, int(total * (1 - self._share)))

    def _over_chunks(
        self, stage: str, sources: Sources, function: Callable[[int, Chunk], Result]
    ) -> Iterator[tuple[str, Result]]:
        """Apply a pure function to every chunk, and report progress: the source's address and the result of each."""
        starts = dict(
            zip(
                (source.url for source in sources.files),
                accumulate((source.size for source in sources.files), initial=0),
                strict=False,
            )
        )
        done = self._workers.map_parts_in_order(
            partial(_numbered_chunks, self._settings), partial(_with_location, function), sources.files
        )
        for source, bytes_read, result in done:
            self._report(PreparationProgress(stage, self._bytes_done + starts[source] + bytes_read, self._bytes_total))
            yield source, result
        self._bytes_done += sources.size
        self._report(PreparationProgress(stage, self._bytes_done, self._bytes_total))

    def _refuse_empty(self, splits: dict[str, Split], findings: Findings) -> None:
        train, heldout = splits["train"], splits["heldout"]
        if not train.rows:
            left_out = findings.bad_skipped + findings.long_skipped
            why = (
                f"all its {left_out} texts were left out (see on_bad_text, on_long_text)" if left_out else "it is empty"
            )
            raise UserError(f"The source {', '.join(self._settings.sources)} gives no text to train on: {why}.")
        if not heldout.rows and self._settings.heldout_sources:
            raise UserError(
                f"The held-out source {', '.join(self._settings.heldout_sources)} gives no text: it is empty."
            )
        if not heldout.rows and self._purpose == "both":
            raise UserError(
                f"The source {', '.join(self._settings.sources)} gives no held-out text, for it has only {train.rows} "
                "texts: raise corpus.heldout_fraction, or give a corpus.heldout_source."
            )

    def _made(self, findings: Findings, unknown: dict[str, int]) -> dict[str, Any]:
        return {
            "by": f"lstmgan-dist {__version__}",
            "settings": self._settings.model_dump(mode="json"),
            "sources": [{"url": source.url, "size": source.size} for source in self._sources.files],
            "heldout_sources": [{"url": source.url, "size": source.size} for source in self._heldout_sources.files],
            "files_left_out": [*self._sources.left_out, *self._heldout_sources.left_out],
            "encodings": findings.encodings,
            "empty_lines": findings.empty,
            "bad_text": {
                "skipped": findings.bad_skipped,
                "replaced": findings.bad_replaced,
                "cases": [asdict(case) for case in findings.bad_cases],
            },
            "long_text": {
                "skipped": findings.long_skipped,
                "truncated": findings.long_truncated,
                "cases": [asdict(case) for case in findings.long_cases],
            },
            "unknown_tokens": unknown,
        }


# --- what is done to each source and chunk: pure functions -----------------------------------------------------------


def _numbered_chunks(settings: Corpus, source: Source) -> Iterator[tuple[int, Chunk]]:
    """The chunks of a source, from 0: read where this runs, which may be another machine than the one that found it.

    Raises:
        UserError: if it is another file here, or none.
    """
    if source.format != "builtin":
        try:
            size = file_size(source.url, source.storage)
        except FileNotFoundError:
            size = None
        if size != source.size:
            found = "is not there" if size is None else f"has {size:,} bytes instead of {source.size:,}"
            raise UserError(
                f"{source.url} {found} on {platform.node()}: text that several machines prepare has to lie where each "
                "of them reads the same, on a shared file system or behind a URL, and must not change meanwhile."
            )
    yield from enumerate(read_chunks(source, settings))


def _with_location(function: Callable[[int, Chunk], Result], numbered: tuple[int, Chunk]) -> tuple[str, int, Result]:
    """The result for a chunk, with the address of its source and how far that is read."""
    number, chunk = numbered
    return chunk.source.url, chunk.bytes_read, function(number, chunk)


def _measure(settings: Corpus, number: int, chunk: Chunk) -> int:
    """Characters of a chunk."""
    texts = split(clean(chunk, settings), number, settings, "train", None)["train"].texts
    return int(character_counts(texts).sum())


def _count(settings: Corpus, purpose: Purpose, cut: Cut | None, number: int, chunk: Chunk) -> Counted:
    """What the vocabulary is made from: the training text of a chunk."""
    parts = split(clean(chunk, settings), number, settings, purpose, cut)
    texts = parts["train"].texts if "train" in parts else pa.array([], pa.string())
    return TOKENIZERS[settings.tokenizer.kind].open().count(texts)


@dataclass(frozen=True)
class _Part:
    """The tokens of one split from one chunk. characters: of the text, and one for every end mark."""

    encoded: Encoded
    characters: int
    unknown: int


@dataclass(frozen=True)
class _EncodedChunk:
    parts: Mapping[str, _Part]
    findings: Findings


def _encode(
    settings: Corpus, purpose: Purpose, cut: Cut | None, tokenizer: Tokenizer, number: int, chunk: Chunk
) -> _EncodedChunk:
    """The tokens of a chunk by split, none longer than allowed."""
    rows = clean(chunk, settings)
    parts: dict[str, _Part] = {}
    for name, part in split(rows, number, settings, purpose, cut).items():
        encoded = tokenizer.encode_rows(part.texts, last_ends=part.ends)
        characters_N = character_counts(part.texts)
        if settings.layout == "sentences":
            encoded, characters_N = _limited(encoded, characters_N, part, rows, settings)
        ends = len(characters_N) - (not part.ends)
        unknown = 0 if tokenizer.unknown_id is None else np.count_nonzero(encoded.tokens_T == tokenizer.unknown_id)
        parts[name] = _Part(encoded, int(characters_N.sum()) + ends, int(unknown))
    return _EncodedChunk(parts, rows.findings)


def _limited(
    encoded: Encoded, characters_N: np.ndarray, part: SplitRows, rows: Rows, settings: Corpus
) -> tuple[Encoded, np.ndarray]:
    """Sentences of at most max_length tokens; one that is cut short keeps its share of the characters."""
    lengths_N, limit = encoded.lengths_N, settings.max_length
    long = np.flatnonzero(lengths_N > limit)
    if not len(long):
        return encoded, characters_N
    counted = [index for index in long if int(part.numbers[index]) not in rows.cut] if rows.cut else long.tolist()
    cases = (
        Case(
            rows.source.url,
            rows.source.location(int(part.numbers[index])),
            f"this sentence has {lengths_N[index]} tokens with its end mark, more than max_length {limit}",
        )
        for index in counted
    )
    if counted:
        rows.findings.long(cases, len(counted), settings.on_long_text)
    starts_N = np.cumsum(lengths_N) - lengths_N
    if settings.on_long_text == "skip":
        kept = lengths_N <= limit
        tokens_T = encoded.tokens_T[gather_index(starts_N[kept], lengths_N[kept])]
        return Encoded(tokens_T, lengths_N[kept]), characters_N[kept]
    shortened_N = np.minimum(lengths_N, limit)
    tokens_T = encoded.tokens_T[gather_index(starts_N, shortened_N)]
    tokens_T[np.cumsum(shortened_N) - 1] = END_ID
    return Encoded(tokens_T, shortened_N), characters_N * (shortened_N - 1) // np.maximum(lengths_N - 1, 1)
