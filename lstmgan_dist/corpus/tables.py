"""Columns of text from Parquet, Arrow, CSV and TSV files, some rows at a time.

Which columns are wanted is told by what they are for, and what is read has these as its names.
"""

from __future__ import annotations

import codecs
import csv
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lstmgan_dist.corpus.bulk import byte_counts
from lstmgan_dist.corpus.encodings import Readable
from lstmgan_dist.corpus.made import columns_of
from lstmgan_dist.corpus.settings import UTF_8, Role
from lstmgan_dist.corpus.sources import OPTIONS, Source
from lstmgan_dist.errors import UserError

_ROWS_AT_A_TIME = 4096
_BYTES_AT_A_TIME = 2**18
# Most characters of a field, for the whole process; a field that seems longer is a quote that was never closed.
csv.field_size_limit(2**24)


Columns = Mapping[Role, str]


@dataclass(frozen=True)
class Part:
    """Some rows, as bytes, in columns that are named for what they are for.

    first: number of the first one. share_read: of the file, 0 to 1. objection: what is wrong with the row of that
    number; there are no rows then.
    """

    rows: pa.RecordBatch
    first: int
    share_read: float
    objection: str = ""


def columns(source: Source, raw: IO[bytes], wanted: Columns) -> Iterator[Part]:
    """The rows of some columns of a Parquet or Arrow file.

    Raises:
        UserError: if it is none, or damaged, or a column is absent or no text.
    """
    if source.compression:
        raise UserError(f"{source}: decompress it first; its columns are compressed already.")
    first = 1
    try:
        for rows, share_read in _batches(source, raw, wanted):
            read = [_as_binary(source, role, name, rows.column(name)) for role, name in wanted.items()]
            yield Part(pa.record_batch(read, names=list(wanted)), first, share_read)
            first += len(rows)
    except (OSError, pa.ArrowException) as error:
        kind = "Parquet" if source.format == "parquet" else "Arrow"
        raise UserError(f"{source}: this is not a whole {kind} file: {str(error).splitlines()[0]}") from error


def _batches(source: Source, raw: IO[bytes], wanted: Columns) -> Iterator[tuple[pa.RecordBatch, float]]:
    """Some rows of the columns at a time, and the share of the file that is read then."""
    if source.format == "parquet":
        table = pq.ParquetFile(raw, buffer_size=2**20)
        _check_columns(source, wanted, table.schema_arrow.names)
        rows = 0
        for batch in table.iter_batches(_ROWS_AT_A_TIME, columns=list(wanted.values())):
            rows += len(batch)
            yield batch, rows / table.metadata.num_rows
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
    _check_columns(source, wanted, names)
    for batch in batches:
        share_read = min(raw.tell() / max(source.size, 1), 1.0)
        for start in range(0, len(batch), _ROWS_AT_A_TIME):
            yield batch.slice(start, _ROWS_AT_A_TIME), share_read


def _check_columns(source: Source, wanted: Columns, names: Sequence[str]) -> None:
    for role, name in wanted.items():
        if name not in names:
            raise UserError(f"{source} has no column {name!r}: set {OPTIONS[role]} to one of {', '.join(names)}.")


def _as_binary(source: Source, role: Role, name: str, column: pa.Array) -> pa.Array:
    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    kind = column.type
    if role == "label" and (pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        return column.cast(pa.large_string()).cast(pa.large_binary())
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        raise UserError(f"{source}: column {name!r} holds {kind}, not text: set {OPTIONS[role]} to one with strings.")
    return column.cast(pa.large_binary())


def delimited_rows(source: Source, raw: IO[bytes], stream: Readable, wanted: Columns) -> Iterator[Part]:
    """The rows of some columns of a CSV or TSV file, whose first line names its columns and is row 1.

    CSV (RFC 4180): fields may be quoted, and hold line ends then. They are parted by what the first line has most of:
    commas, semicolons, tabs or bars. TSV (as registered with IANA): tabs, and a quote is a character like others.

    raw: the file that the stream is read from.

    Raises:
        UserError: if a column is absent.
    """
    lines = _lines(stream)
    header = next(lines, "").removeprefix("\ufeff")
    lines = itertools.chain([header], lines)
    if source.format == "tsv":
        reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(lines, delimiter=max(",;\t|", key=header.count), strict=True)
    names = next(reader, [])
    _check_columns(source, wanted, names)
    places = [names.index(name) for name in wanted.values()]
    first: int = 2
    fields: list[list[bytes | None]] = []
    for number in itertools.count(2):
        row = _next_row(reader, len(names))
        is_good = isinstance(row, list)
        if is_good:
            fields.append([row[at].encode(UTF_8, "surrogateescape") if row else None for at in places])
        if not is_good or len(fields) == _ROWS_AT_A_TIME:
            share_read = min(raw.tell() / max(source.size, 1), 1.0)
            yield Part(in_columns([*wanted], fields, pa.large_binary()), first, share_read)
            first, fields = number + 1, []
            if row is None:
                return
            if not is_good:
                yield Part(in_columns([*wanted], [], pa.large_binary()), number, share_read, row)


def in_columns(names: Sequence[str], rows: Sequence[Sequence[str | bytes | None]], kind: pa.DataType) -> pa.RecordBatch:
    """Rows of fields as columns of these names, whose fields are all of one kind."""
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    return pa.record_batch([pa.array(column, kind) for column in columns], names=list(names))


def _lines(stream: Readable) -> Iterator[str]:
    """Lines with their ends; bytes that are invalid become surrogates, for cleaning to find them again."""
    decoder = codecs.getincrementaldecoder(UTF_8)("surrogateescape")
    pending = ""
    while block := stream.read(_BYTES_AT_A_TIME):
        *lines, pending = (pending + decoder.decode(block)).split("\n")
        for line in lines:
            yield line + "\n"
    pending += decoder.decode(b"", final=True)
    if pending:
        yield pending


def _next_row(reader: Iterator[list[str]], width: int) -> list[str] | str | None:
    """A row, empty for an empty line; why it is not fit; or None at the end."""
    try:
        row = next(reader)
    except StopIteration:
        return None
    except csv.Error as error:
        return f"this row is not valid CSV ({error})"
    if len(row) in (0, width):
        return row
    return f"this row has {len(row)} fields, and the first line names {width} columns"


def made_rows(source: Source, wanted: Columns) -> Iterator[Part]:
    """The rows of some columns of a text that is made here.

    Raises:
        UserError: if it has no such column.
    """
    columns = columns_of(source.url)
    _check_columns(source, wanted, [*columns])
    read = [pa.array(columns[name], pa.large_string()).cast(pa.large_binary()) for name in wanted.values()]
    yield Part(pa.record_batch(read, names=list(wanted)), 1, 1.0)


def portions(rows: pa.RecordBatch, most_bytes: int) -> Iterator[pa.RecordBatch]:
    """Rows of about so many bytes at a time."""
    ends = np.cumsum(sum(byte_counts(column) for column in rows.columns))
    start = 0
    while start < len(rows):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + most_bytes, side="right")))
        yield rows.slice(start, stop - start)
        start = stop
