"""Writes generated texts to files that other programs read: text, JSON lines, Parquet, Arrow.

The same texts make the same bytes.
"""

from __future__ import annotations

import gzip
import json
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from lstmgan_dist.errors import UserError

Format = Literal["text", "json", "parquet", "arrow"]

SUFFIXES: dict[Format, str] = {"text": ".txt", "json": ".jsonl", "parquet": ".parquet", "arrow": ".arrow"}
_GZIP = ".gz"
# The column, or the key, that `prepare` reads when it is told of no other.
_TEXT, _LABEL = (pa.field(name, pa.string(), nullable=False) for name in ("text", "label"))


def check_name(name: str) -> None:
    """See that `write_texts` can write a file of this name.

    Raises:
        UserError: if it names a compression or a format that this has not.
    """
    stem = name.lower().removesuffix(_GZIP)
    is_packed = stem != name.lower()
    if posixpath.splitext(stem)[1] not in SUFFIXES.values() or (is_packed and format_of(stem) in ("parquet", "arrow")):
        raise UserError(f"{name}: texts are written as .txt, .jsonl (both also with .gz), .parquet or .arrow.")


def write_texts(
    file: IO[bytes], name: str, blocks: Iterable[Sequence[str]], *, labels: Sequence[str] = (), first: int = 0
) -> int:
    """Write texts, some at a time, in the format that the name of the file says: see `check_name`.

    labels: those that the texts have by turns, for a field or a column beside each, which files of lines have not.
    first: the number of the first text, which tells whose turn it is.

    Returns:
        How many texts there were.
    """
    format_, count = format_of(name), 0
    if format_ in ("parquet", "arrow"):
        schema = pa.schema([_TEXT, _LABEL] if labels else [_TEXT])
        with _table_writer(file, format_, schema) as writer:
            for texts in blocks:
                columns = [texts, _turns(labels, first + count, len(texts))][: len(schema)]
                writer.write_batch(pa.record_batch([pa.array(column, pa.string()) for column in columns], schema))
                count += len(texts)
        return count
    with compressed(file, name) as stream:
        for texts in blocks:
            lines = texts
            if format_ == "json":
                turns = _turns(labels, first + count, len(texts)) if labels else [None] * len(texts)
                lines = [_json_line(text, label) for text, label in zip(texts, turns, strict=True)]
            stream.write("".join(f"{line}\n" for line in lines).encode())
            count += len(texts)
    return count


def _turns(labels: Sequence[str], first: int, count: int) -> list[str]:
    """The label of each of so many texts from a number on."""
    return [labels[number % len(labels)] for number in range(first, first + count)] if labels else []


def _json_line(text: str, label: str | None) -> str:
    return json.dumps({"text": text, **({} if label is None else {"label": label})}, ensure_ascii=False)


def format_of(name: str) -> Format:
    """The format that the name of a file says."""
    formats: dict[str, Format] = {suffix: format_ for format_, suffix in SUFFIXES.items()}
    return formats.get(posixpath.splitext(name.lower().removesuffix(_GZIP))[1], "text")


def _table_writer(file: IO[bytes], format_: Format, schema: pa.Schema) -> Any:
    return pq.ParquetWriter(file, schema) if format_ == "parquet" else pa.ipc.new_file(file, schema)


@contextmanager
def compressed(file: IO[bytes], name: str) -> Iterator[Any]:
    """A stream to the file, packed if its name says so."""
    if not name.lower().endswith(_GZIP):
        yield file
        return
    # Neither name nor time in the header, so that the same texts make the same bytes.
    with gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as stream:
        yield stream
