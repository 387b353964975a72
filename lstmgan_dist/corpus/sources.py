"""Raw text from files, folders, globs and URLs: found, and read in order, in chunks of bounded size.

Reading is one pass over the files (`read_chunks`). What it gives is cleaned chunk by chunk: see `cleaning`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lstmgan_dist.addresses import SYNTHETIC, scheme_of
from lstmgan_dist.corpus import python_docs
from lstmgan_dist.corpus.bulk import byte_counts
from lstmgan_dist.corpus.settings import Corpus
from lstmgan_dist.errors import UserError
from lstmgan_dist.storage import BY_ENVIRONMENT, Folder, file_size, matching_files, open_file
from lstmgan_dist.storage_settings import Storage

BUILTIN = "builtin:python-docs"

CHUNK_BYTES = 2 * 2**20
# A sentence of more bytes is "long text" whatever the tokens, and is never held in memory as a whole.
LONGEST_SENTENCE_BYTES = 2**20
# A JSON line has to be parsed in one piece, and a document in a table comes in one piece.
LONGEST_DOCUMENT_BYTES = 16 * 2**20
_ROWS_AT_A_TIME = 4096

# Where long text may be cut between two chunks: see tokenizer.piece_borders. A single line end is a token by itself, so
# that there is a cut behind it too, which keeps lines whole; a carriage return stays with its line feed.
_SOLID = rb"(?=[!-~\xc3-\xe0\xe4-\xf4])"
_AFTER_LINE = re.compile(rb"[!-~]\r?\n" + _SOLID)
_BEFORE_SPACE = re.compile(rb"(?:(?<!\r)\n| )" + _SOLID)

Format = Literal["text", "json", "parquet", "arrow", "builtin"]

_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
_FORMATS: dict[str, Format] = {
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
}


@dataclass(frozen=True)
class Source:
    """One file of text. size: stored bytes, for progress. storage: how it is reached, on whichever machine reads it."""

    url: str
    size: int
    format: Format
    compression: str | None
    storage: Storage = BY_ENVIRONMENT

    def location(self, number: int) -> str:
        """Where in it the text of this number stands, for messages."""
        return f"{'row' if self.format in ('parquet', 'arrow') else 'line'} {number}"


@dataclass(frozen=True)
class Chunk:
    """Consecutive text of one source, as it was read.

    content: whole lines, part of one long text, or rows of a column (binary).
    first: number of the first line or row, from 1. ends: the last text ends with the chunk.
    bytes_read: stored bytes of this source up to here.
    """

    source: Source
    content: bytes | pa.Array
    first: int
    ends: bool
    bytes_read: int


# --- finding ---------------------------------------------------------------------------------------------------------


def find_sources(names: Iterable[str], storage: Storage = BY_ENVIRONMENT) -> list[Source]:
    """The files that the names stand for, in order; a file that several names match is taken once.

    Raises:
        UserError: if a name matches nothing, or text of a source that others cannot stand beside.
    """
    found: dict[str, Source] = {}
    for name in names:
        scheme = scheme_of(name)
        if scheme in SYNTHETIC:
            raise UserError(
                f"{name}: synthetic text is the only source of its corpus, held-out text included: leave others out."
            )
        if scheme == "builtin":
            if name != BUILTIN:
                raise UserError(f"{name}: there is no such built-in corpus: try {BUILTIN}.")
            found[name] = Source(name, 0, "builtin", None)
            continue
        folder = Folder(name, storage)
        if folder.exists("manifest.json") and folder.exists("tokenizer.json"):
            raise UserError(f"{name} is a corpus that prepare made already: name it in a job as corpus.source.")
        urls = matching_files(name, storage)
        if not urls:
            raise UserError(f"The source {name} matches no file: check the path.")
        # Hidden files are no text: .DS_Store, .gitignore, parts of unfinished downloads.
        visible = [url for url in urls if not posixpath.basename(url).startswith(".")] if len(urls) > 1 else urls
        for url in visible:
            found[url] = _source(url, storage)
    return list(found.values())


def _source(url: str, storage: Storage) -> Source:
    stem, suffix = posixpath.splitext(url.lower())
    compression = _COMPRESSIONS.get(suffix)
    if compression:
        suffix = posixpath.splitext(stem)[1]
    return Source(url, file_size(url, storage), _FORMATS.get(suffix, "text"), compression, storage)


# --- reading ---------------------------------------------------------------------------------------------------------


def read_chunks(source: Source, settings: Corpus) -> Iterator[Chunk]:
    """The text of a source from beginning to end.

    Raises:
        UserError: if the file is not what its name says, cannot be read, or lacks the column.
    """
    continuous = settings.layout == "continuous"
    if source.format == "builtin":
        yield from _builtin_chunks(source, continuous)
        return
    try:
        with open_file(source.url, source.storage) as raw:
            if source.format in ("parquet", "arrow"):
                if source.compression:
                    raise UserError(f"{source.url}: decompress it first; its columns are compressed already.")
                yield from _table_chunks(source, raw, settings)
                return
            with _decompressed(source, raw) as stream:
                if source.format == "json":
                    blocks = _line_blocks(stream, LONGEST_DOCUMENT_BYTES)
                elif continuous:
                    blocks = _text_blocks(stream)
                else:
                    blocks = _line_blocks(stream, LONGEST_SENTENCE_BYTES)
                yield from _text_chunks(source, raw, blocks)
    except (EOFError, OSError, pa.ArrowException) as error:
        if source.compression and not isinstance(error, PermissionError | FileNotFoundError):
            raise UserError(f"{source.url}: the {source.compression} data is damaged or cut off: {error}.") from error
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UserError(f"{source.url} cannot be read: {reason}.") from error


def _builtin_chunks(source: Source, continuous: bool) -> Iterator[Chunk]:
    sentences = python_docs.sentences()
    for start in range(0, len(sentences), _ROWS_AT_A_TIME):
        part = sentences[start : start + _ROWS_AT_A_TIME]
        last = start + _ROWS_AT_A_TIME >= len(sentences)
        content = "".join(sentence + "\n" for sentence in part).encode()
        yield Chunk(source, content, start + 1, last or not continuous, 0)


@contextmanager
def _decompressed(source: Source, raw: IO[bytes]) -> Iterator[Any]:
    if source.compression is None:
        yield raw
        return
    with pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), source.compression) as stream:
        yield stream


def _line_blocks(stream: Any, longest: int) -> Iterator[bytes]:
    """Blocks of whole lines; of a line longer than `longest` bytes only a beginning and an end that show that it is."""
    pending = b""
    while block := stream.read(CHUNK_BYTES):
        cut = block.rfind(b"\n") + 1
        if cut:
            yield pending + block[:cut]
            pending = block[cut:]
        else:
            pending = (pending + block)[: longest + 1]
    if pending:
        yield pending


def _text_blocks(stream: Any) -> Iterator[bytes]:
    """Blocks of one long text, cut where no token crosses: before a line end if there is one, else before a space."""
    pending = b""
    while block := stream.read(CHUNK_BYTES):
        block = pending + block
        cut = _safe_cut(block)
        if cut:
            yield block[:cut]
        pending = block[cut:]
    if pending:
        yield pending


def _safe_cut(block: bytes) -> int:
    tail_start = max(0, len(block) - 2**16)
    tail = block[tail_start:]
    for cut in (_AFTER_LINE, _BEFORE_SPACE):
        ends = [match.end() for match in cut.finditer(tail)]
        if ends:
            return tail_start + ends[-1] - (cut is _BEFORE_SPACE)
    if len(block) < 4 * CHUNK_BYTES:
        return 0
    # Text without a space: between any two characters, then.
    for cut in range(len(block) - 1, max(len(block) - 5, 0), -1):
        if block[cut] & 0xC0 != 0x80 and block[cut - 1 : cut + 1] != b"\r\n":
            return cut
    return len(block)


def _text_chunks(source: Source, raw: IO[bytes], blocks: Iterator[bytes]) -> Iterator[Chunk]:
    first, block = 1, next(blocks, b"")
    _refuse_binary(source, block[: 2**16])
    block = block.removeprefix(b"\xef\xbb\xbf")
    while block:
        following = next(blocks, b"")
        yield Chunk(source, block, first, not following, min(raw.tell(), source.size))
        first += block.count(b"\n")
        block = following


def _refuse_binary(source: Source, sample: bytes) -> None:
    if sample[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise UserError(f"{source.url}: this text is UTF-16: convert it to UTF-8.")
    data = np.frombuffer(sample, np.uint8)
    control = int(((data < 32) & ~np.isin(data, np.frombuffer(b"\t\n\v\f\r\x1b", np.uint8))).sum())
    invalid = sample.decode("utf-8", errors="replace").count("\ufffd") - sample.count("\ufffd".encode())
    if control + invalid > 0.3 * len(sample):
        raise UserError(f"{source.url}: this is a binary file, or text in another encoding: give UTF-8 text.")


def _table_chunks(source: Source, raw: IO[bytes], settings: Corpus) -> Iterator[Chunk]:
    name = settings.column or "text"
    first = 1
    try:
        for rows, done in _column(source, raw, name):
            for part in _portions(_as_binary(source, name, rows)):
                yield Chunk(source, part, first, True, int(done * source.size))
                first += len(part)
    except (OSError, pa.ArrowException) as error:
        kind = "Parquet" if source.format == "parquet" else "Arrow"
        raise UserError(f"{source.url}: this is not a whole {kind} file: {str(error).splitlines()[0]}") from error


def _column(source: Source, raw: IO[bytes], name: str) -> Iterator[tuple[pa.Array, float]]:
    """Some rows of the column at a time, and the share of the file that is read then."""
    if source.format == "parquet":
        table = pq.ParquetFile(raw, buffer_size=2**20)
        _check_column(source, name, table.schema_arrow.names)
        rows = 0
        for batch in table.iter_batches(_ROWS_AT_A_TIME, columns=[name]):
            rows += len(batch)
            yield batch.column(0), rows / table.metadata.num_rows
        return
    magic = raw.read(6)
    raw.seek(0)
    if magic.startswith(b"ARROW1"):
        file = pa.ipc.open_file(raw)
        batches: Iterable[pa.RecordBatch] = (file.get_batch(index) for index in range(file.num_record_batches))
        names = file.schema.names
    else:
        stream = pa.ipc.open_stream(raw)
        batches, names = stream, stream.schema.names
    _check_column(source, name, names)
    for batch in batches:
        column = batch.column(name)
        done = min(raw.tell() / max(source.size, 1), 1.0)
        for start in range(0, len(column), _ROWS_AT_A_TIME):
            yield column.slice(start, _ROWS_AT_A_TIME), done


def _check_column(source: Source, name: str, names: list[str]) -> None:
    if name not in names:
        raise UserError(
            f"{source.url} has no column {name!r}: set corpus.column (--column) to one of {', '.join(names)}."
        )


def _as_binary(source: Source, name: str, column: pa.Array) -> pa.Array:
    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    kind = column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        raise UserError(f"{source.url}: column {name!r} holds {kind}, not text: set corpus.column to one with strings.")
    return column.cast(pa.large_binary())


def _portions(column: pa.Array) -> Iterator[pa.Array]:
    """Rows of about CHUNK_BYTES at a time."""
    ends = np.cumsum(byte_counts(column))
    start = 0
    while start < len(column):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + CHUNK_BYTES, side="right")))
        yield column.slice(start, stop - start)
        start = stop
