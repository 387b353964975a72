"""Columns of text from Parquet, Arrow, CSV and TSV files."""

import csv
import gzip
import io
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from lstmgan_dist.corpus import chunks, tables
from lstmgan_dist.errors import UserError
from tests.corpus.raw_text import lines_of, read

Write = Callable[..., str]


TYPES = [
    pa.string(),
    pa.large_string(),
    pa.dictionary(pa.int32(), pa.string()),
    pa.dictionary(pa.int8(), pa.large_string()),
]


@pytest.mark.parametrize("kind", TYPES, ids=str)
@pytest.mark.parametrize("name", ["t.parquet", "t.arrow", "t.feather", "stream.arrow"])
def test_tables_give_the_text_of_their_column(tmp_path: Path, name: str, kind: pa.DataType):
    texts = [f"row {index % 50}" for index in range(9000)]
    table = pa.table({"number": range(9002), "text": pa.array([None, " x ", *texts], pa.string()).cast(kind)})
    path = tmp_path / name
    if name == "t.parquet":
        pq.write_table(table, path, row_group_size=2500)
    elif name == "t.feather":
        pyarrow.feather.write_feather(table, str(path), compression="zstd")
    else:
        make = pa.ipc.new_stream if name.startswith("stream") else pa.ipc.new_file
        with make(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=2500)
    found, findings = read(str(path))
    assert found == ["x", *texts]
    assert findings.empty == 1


def test_rows_are_documents_in_continuous_text(tmp_path: Path):
    pq.write_table(pa.table({"text": ["a \n", "b"]}), tmp_path / "t.parquet")
    assert lines_of(str(tmp_path / "t.parquet"), layout="continuous") == ["a \n", "b"]


def test_a_table_without_the_column_names_those_it_has(tmp_path: Path):
    pq.write_table(pa.table({"id": [1], "caption": ["a"]}), tmp_path / "t.parquet")
    with pytest.raises(UserError, match=r"t\.parquet has no column 'text': set corpus.column .* id, caption"):
        lines_of(str(tmp_path / "t.parquet"))
    with pytest.raises(UserError, match="column 'id' holds int64, not text"):
        lines_of(str(tmp_path / "t.parquet"), column="id")


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow", "t.feather"])
@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty"])
def test_a_damaged_table_is_an_error(tmp_path: Path, name: str, damage: str):
    table = pa.table({"text": [f"row {index}" for index in range(5000)]})
    path = tmp_path / name
    pq.write_table(table, path) if name == "t.parquet" else pyarrow.feather.write_feather(table, str(path))
    content = path.read_bytes()
    path.write_bytes({"truncated": content[:-100], "garbage": b"no table at all" * 9, "empty": b""}[damage])
    with pytest.raises(UserError, match=rf"{name}: this is not a whole (Parquet|Arrow) file"):
        lines_of(str(path))


def test_invalid_text_in_a_table_is_named_by_its_row(tmp_path: Path):
    column = pa.array([b"good", b"b\xffd"], pa.binary())
    texts = pa.StringArray.from_buffers(2, column.buffers()[1], column.buffers()[2])
    with pa.ipc.new_file(tmp_path / "t.arrow", pa.schema({"text": pa.string()})) as writer:
        writer.write_batch(pa.record_batch([texts], names=["text"]))
    with pytest.raises(UserError, match=r"t\.arrow, row 2: this is not valid UTF-8"):
        lines_of(str(tmp_path / "t.arrow"))


# --- CSV and TSV -----------------------------------------------------------------------------------------------------


def written(rows: list[list[str]], **form: str) -> str:
    file = io.StringIO()
    csv.writer(file, **form).writerows(rows)  # type: ignore[arg-type]
    return file.getvalue()


ROWS = [["id", "text"], ["1", " plain "], ["2", 'a "quoted", word'], ["3", "two\nlines"], ["4", ""], ["5", "é中"]]
CSV_TEXTS = ["plain", 'a "quoted", word', "two\nlines", "é中"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("lineterminator", ["\n", "\r\n"])
def test_csv_gives_the_text_of_its_column(text_file: Write, delimiter: str, lineterminator: str):
    content = written(ROWS, delimiter=delimiter, lineterminator=lineterminator)
    texts, findings = read(text_file("\ufeff" + content, "t.csv"))
    assert (texts, findings.empty) == (CSV_TEXTS, 1)
    assert lines_of(text_file(gzip.compress(content.encode()), "t.csv.gz")) == CSV_TEXTS
    assert lines_of(text_file(content.encode("utf-16"), "t.csv")) == CSV_TEXTS
    assert lines_of(text_file(content.rstrip(lineterminator), "t.csv"), column="id") == list("12345")


@pytest.mark.parametrize("name", ["t.tsv", "t.tab", "t.TSV", "t.tsv.gz"])
def test_quotes_are_characters_like_others_in_tsv(text_file: Write, name: str):
    content = b'label\ttext\n1\t"quoted" word, and a comma\n0\tan " alone\n\n1\tlast'
    path = text_file(gzip.compress(content) if name.endswith("gz") else content, name)
    assert lines_of(path) == ['"quoted" word, and a comma', 'an " alone', "last"]


def test_csv_without_the_column_names_those_it_has(text_file: Write):
    with pytest.raises(UserError, match=r"t\.csv has no column 'nope': .* \(--column\) to one of id, text"):
        lines_of(text_file(written(ROWS), "t.csv"), column="nope")
    with pytest.raises(UserError, match=r"has no column 'text'"):
        lines_of(text_file("", "empty.csv"))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("1,one, two, three", "this row has 4 fields, and the first line names 2 columns"),
        ("1", "this row has 1 fields"),
        ('1,"closed"too early', "this row is not valid CSV"),
        ("1,a\xff", "this is not valid UTF-8"),
    ],
)
def test_rows_without_text_are_bad_text_with_their_number(text_file: Write, row: str, reason: str):
    content = f"id,text\n1,good\n\n{row}\n2,more\n".encode("latin-1")
    path = text_file(content, "t.csv")
    with pytest.raises(UserError, match=rf"t\.csv, row 4: {reason}.*--on-bad-text"):
        lines_of(path)
    texts, findings = read(path, on_bad_text="skip")
    assert (texts, findings.bad_skipped) == (["good", "more"], 1)


def test_a_quote_that_is_never_closed_is_bad_text(text_file: Write):
    with pytest.raises(UserError, match=r"row 3: this row is not valid CSV \(unexpected end of data\)"):
        lines_of(text_file('id,text\n1,good\n2,"open\n3,more\n', "t.csv"))


@pytest.mark.parametrize("size", [16, 100, 1000])
def test_csv_is_the_same_however_it_is_read(text_file: Write, monkeypatch: pytest.MonkeyPatch, size: int):
    chooser = random.Random(size)
    rows = [["text", "n"], *(["x" + "".join(chooser.choices('ab,"\né中', k=9)) + "x", str(n)] for n in range(500))]
    path = text_file(written(rows), "t.csv")
    whole = lines_of(path)
    assert whole == [row[0] for row in rows[1:]]
    monkeypatch.setattr(chunks, "CHUNK_BYTES", size)
    monkeypatch.setattr(tables, "_BYTES_AT_A_TIME", size)
    monkeypatch.setattr(tables, "_ROWS_AT_A_TIME", 7)
    assert lines_of(path) == whole
