"""Lines of named values as tables and files that other programs read: what was measured of a run, or of texts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import Table

from lstmgan_dist.corpus.texts import compressed, format_of


def table_of(rows: Sequence[Mapping[str, Any]], *, whole: Sequence[str] = ()) -> Table:
    """A row for each line, and a column for each name that one of them has; null where a line has none.

    Columns are float64, where a number that JSON lacks may be written as text (`nan`); those named `whole` are int64;
    other text is text.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: _column([row.get(name) for row in rows], name in whole) for name in names})


def _column(values: list[Any], is_whole: bool) -> pa.Array:
    if is_whole:
        return pa.array(values, pa.int64())
    try:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    except ValueError:
        return pa.array(values, pa.string())


def write_records(file: IO[bytes], name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write lines as the name of the file says: .jsonl (also with .gz), .parquet or .arrow."""
    format_ = format_of(name)
    if format_ == "json":
        with compressed(file, name) as stream:
            stream.write("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode())
        return
    table = pa.Table.from_pylist(list(rows))
    if format_ == "parquet":
        pq.write_table(table, file)
        return
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
