"""Raw text from files, read in order in chunks of bounded size.

Reading is one pass over the files. What it gives is cleaned chunk by chunk: see `cleaning`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

import pyarrow as pa

from lstmgan_dist.corpus import python_docs, tables
from lstmgan_dist.corpus.encodings import SAMPLE_BYTES, Readable, as_utf_8, encoding_of
from lstmgan_dist.corpus.settings import UTF_8, Corpus
from lstmgan_dist.corpus.sources import Source
from lstmgan_dist.errors import UserError
from lstmgan_dist.storage import open_file

CHUNK_BYTES = 2 * 2**20
# A sentence of more bytes is "long text" whatever the tokens, and is never held in memory as a whole.
LONGEST_SENTENCE_BYTES = 2**20
# A JSON line has to be parsed in one piece, and a document in a table comes in one piece.
LONGEST_DOCUMENT_BYTES = 16 * 2**20
_SENTENCES_AT_A_TIME = 4096

# Where long text may be cut between two chunks: see tokenizer.piece_borders. A single line end is a token by itself, so
# that there is a cut behind it too, which keeps lines whole; a carriage return stays with its line feed.
_SOLID = rb"(?=[!-~\xc3-\xe0\xe4-\xf4])"
_AFTER_LINE = re.compile(rb"[!-~]\r?\n" + _SOLID)
_BEFORE_SPACE = re.compile(rb"(?:(?<!\r)\n| )" + _SOLID)


@dataclass(frozen=True)
class Chunk:
    """Consecutive text of one source, as it was read.

    content: whole lines, part of one long text, or rows (binary) in columns that are named for what they are for.
    first: number of the first line or row, from 1. ends: the last text ends with the chunk.
    bytes_read: stored bytes of this source up to here.
    encoding: what the file is in; the content is UTF-8. objection: why there is nothing here, in an empty content.
    """

    source: Source
    content: bytes | pa.RecordBatch
    first: int
    ends: bool
    bytes_read: int
    encoding: str = UTF_8
    objection: str = ""


def read_chunks(source: Source, settings: Corpus) -> Iterator[Chunk]:
    """The text of a source from beginning to end.

    Raises:
        UserError: if the file is not what its name says, cannot be read, or lacks the column.
    """
    if source.format == "builtin":
        yield from _builtin_chunks(source, settings)
        return
    if source.format == "made":
        yield from _table_chunks(source, tables.made_rows(source, settings.columns), UTF_8)
        return
    try:
        with open_file(source.url, source.storage) as raw:
            if source.format in ("parquet", "arrow"):
                yield from _table_chunks(source, tables.columns(source, raw, settings.columns), UTF_8)
                return
            with _decompressed(source, raw) as stream:
                yield from _decoded_chunks(source, raw, stream, settings)
    except (EOFError, OSError, pa.ArrowException) as error:
        if source.compression and not isinstance(error, PermissionError | FileNotFoundError):
            raise UserError(f"{source}: the {source.compression} data is damaged or cut off: {error}.") from error
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UserError(f"{source} cannot be read: {reason}.") from error


def _builtin_chunks(source: Source, settings: Corpus) -> Iterator[Chunk]:
    sentences = python_docs.sentences()
    for start in range(0, len(sentences), _SENTENCES_AT_A_TIME):
        part = sentences[start : start + _SENTENCES_AT_A_TIME]
        last = start + _SENTENCES_AT_A_TIME >= len(sentences)
        content = "".join(sentence + "\n" for sentence in part).encode()
        yield Chunk(source, content, start + 1, last or settings.layout == "sentences", 0)


@contextmanager
def _decompressed(source: Source, raw: IO[bytes]) -> Iterator[Readable]:
    if source.compression is None:
        yield raw
        return
    with pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), source.compression) as stream:
        yield stream


def _decoded_chunks(source: Source, raw: IO[bytes], stream: Readable, settings: Corpus) -> Iterator[Chunk]:
    sample = _first_bytes(stream, SAMPLE_BYTES)
    encoding = encoding_of(sample, settings.encoding)
    if encoding is None:
        yield Chunk(source, b"", 1, True, source.size, objection="this is a binary file")
        return
    text = as_utf_8(_Rejoined(sample, stream), encoding)
    if source.format in ("csv", "tsv"):
        yield from _table_chunks(source, tables.delimited_rows(source, raw, text, settings.columns), encoding)
        return
    if source.format == "json":
        blocks = _line_blocks(text, LONGEST_DOCUMENT_BYTES)
    elif settings.layout == "continuous":
        blocks = _text_blocks(text)
    else:
        blocks = _line_blocks(text, LONGEST_SENTENCE_BYTES)
    yield from _text_chunks(source, raw, blocks, encoding)


def _first_bytes(stream: Readable, size: int) -> bytes:
    parts = []
    while size > 0 and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


class _Rejoined:
    """A stream again, of which the first bytes were read already."""

    def __init__(self, first: bytes, rest: Readable) -> None:
        self._first, self._rest = first, rest

    def read(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end."""
        if not self._first:
            return self._rest.read(size)
        block, self._first = self._first[:size], self._first[size:]
        return block + self._rest.read(size - len(block)) if len(block) < size else block


def _line_blocks(stream: Readable, longest: int) -> Iterator[bytes]:
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


def _text_blocks(stream: Readable) -> Iterator[bytes]:
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


def _text_chunks(source: Source, raw: IO[bytes], blocks: Iterator[bytes], encoding: str) -> Iterator[Chunk]:
    first, block = 1, next(blocks, b"").removeprefix(b"\xef\xbb\xbf")
    while block:
        following = next(blocks, b"")
        yield Chunk(source, block, first, not following, min(raw.tell(), source.size), encoding)
        first += block.count(b"\n")
        block = following


def _table_chunks(source: Source, parts: Iterator[tables.Part], encoding: str) -> Iterator[Chunk]:
    for part in parts:
        bytes_read = int(part.share_read * source.size)
        if part.objection:
            yield Chunk(source, b"", part.first, True, bytes_read, encoding, part.objection)
            continue
        first = part.first
        for rows in tables.portions(part.rows, CHUNK_BYTES):
            yield Chunk(source, rows, first, True, bytes_read, encoding)
            first += len(rows)
