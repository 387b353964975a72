"""Text as it is found and read (sources), cleaned (cleaning), and what is noted about it (findings)."""

import bz2
import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from lstmgan_dist.corpus import sources
from lstmgan_dist.corpus.cleaning import clean
from lstmgan_dist.corpus.findings import Findings
from lstmgan_dist.corpus.settings import Corpus
from lstmgan_dist.corpus.sources import find_sources, read_chunks
from lstmgan_dist.errors import UserError

Write = Callable[..., str]


def read(names: str | list[str], **settings: object) -> tuple[list[str], Findings]:
    """All texts of some sources, and what was wrong with others; texts that go on are joined."""
    wanted = Corpus.model_validate({"source": "unused", **settings})
    texts, findings, goes_on = [], Findings(), False
    for source in find_sources([names] if isinstance(names, str) else names):
        for chunk in read_chunks(source, wanted):
            rows = clean(chunk, wanted)
            findings.add(rows.findings)
            found = rows.texts.to_pylist()
            if goes_on:
                texts[-1] += found.pop(0)
            texts += found
            goes_on = not rows.ends
    return texts, findings


def lines_of(names: str, **settings: object) -> list[str]:
    return read(names, **settings)[0]


# --- formats ---------------------------------------------------------------------------------------------------------


def test_every_line_is_a_sentence_without_the_space_around_it(text_file: Write):
    path = text_file("\ufeffone two \r\n\n  three\t\n   \nfour")
    texts, findings = read(path)
    assert texts == ["one two", "three", "four"]
    assert findings.empty == 2


def test_continuous_text_keeps_every_line_and_space(text_file: Write):
    assert lines_of(text_file(" one\r\n\n two \nthree"), layout="continuous") == [" one\n\n two \nthree"]


@pytest.mark.parametrize("layout", ["sentences", "continuous"])
@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".zst"])
def test_compressed_text_reads_like_plain_text(text_file: Write, suffix: str, layout: str):
    content = "".join(f"line {index} of several\n" for index in range(1000)).encode()
    half = len(content) // 2
    compress = {
        ".gz": gzip.compress,
        ".bz2": bz2.compress,
        ".zst": lambda data: pa.compress(data, "zstd", asbytes=True),
    }
    # Two members one after the other, as parallel compressors write them.
    packed = compress[suffix](content[:half]) + compress[suffix](content[half:])
    assert lines_of(text_file(packed, "t.txt" + suffix), layout=layout) == lines_of(text_file(content), layout=layout)


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".zst"])
def test_compressed_text_that_is_cut_off_is_an_error(text_file: Write, suffix: str):
    noise = random.Random(1)
    content = "".join(f"line {noise.random()}\n" for _ in range(5000)).encode()
    compress = {
        ".gz": gzip.compress,
        ".bz2": bz2.compress,
        ".zst": lambda data: pa.compress(data, "zstd", asbytes=True),
    }
    path = text_file(compress[suffix](content)[:-1000], "t.txt" + suffix)
    with pytest.raises(UserError, match=r"t\.txt\.\w+: the \w+ data is damaged or cut off"):
        lines_of(path)


def test_text_that_is_called_compressed_but_is_not_is_an_error(text_file: Write):
    with pytest.raises(UserError, match="gzip data is damaged"):
        lines_of(text_file("plain\n", "t.gz"))


@pytest.mark.parametrize("name", ["t.jsonl", "t.ndjson", "t.jsonl.gz"])
def test_json_lines_give_the_text_of_their_column(text_file: Write, name: str):
    content = b'{"text": "a\\u00e9", "n": 1}\n\n{"body": 2, "text": " b\\nc "}\n{"text": null}\n{"text": ""}'
    texts, findings = read(text_file(gzip.compress(content) if name.endswith("gz") else content, name))
    assert texts == ["aé", "b\nc"]
    assert findings.empty == 3
    assert lines_of(text_file('{"body": "x"}', "u.jsonl"), column="body") == ["x"]


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


def test_folders_globs_and_urls_stand_for_their_files_in_order(tmp_path: Path):
    for name in ("b.txt", "a.txt", "deep/c.txt", ".hidden"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert lines_of(str(tmp_path)) == ["a.txt", "b.txt", "deep/c.txt"]
    assert lines_of(f"{tmp_path}/*.txt") == ["a.txt", "b.txt"]
    assert lines_of(f"file://{tmp_path}/a.txt") == ["a.txt"]
    assert read([f"{tmp_path}/b.txt", str(tmp_path)])[0] == ["b.txt", "a.txt", "deep/c.txt"]


def test_sources_may_lie_on_any_fsspec_file_system(tmp_path: Path):
    memory = fsspec.filesystem("memory")
    memory.pipe("/sources/a.txt", b"one\ntwo\n")
    memory.pipe("/sources/b.txt.gz", gzip.compress(b"three\n"))
    try:
        assert lines_of("memory://sources") == ["one", "two", "three"]
        assert lines_of("memory://sources/a.txt") == ["one", "two"]
        assert lines_of("memory://sources/*.gz") == ["three"]
    finally:
        memory.rm("/sources", recursive=True)


# --- chunks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["sentences", "continuous"])
@pytest.mark.parametrize("size", [16, 17, 50, 1000])
def test_text_is_the_same_however_it_is_read(text_file: Write, monkeypatch: pytest.MonkeyPatch, layout: str, size: int):
    chooser = random.Random(size)
    content = "".join(chooser.choices("ab \n\r\té中", k=3000)).replace("\n", "\r\n", 20)
    whole = lines_of(text_file(content), layout=layout)
    monkeypatch.setattr(sources, "CHUNK_BYTES", size)
    assert lines_of(text_file(content), layout=layout) == whole
    assert "".join(whole) == content.replace("\r\n", "\n") or layout == "sentences"


def test_lines_are_counted_across_chunks(text_file: Write, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sources, "CHUNK_BYTES", 64)
    content = b"good line\n" * 99 + b"b\xffd\n" + b"good line\n" * 10
    for layout in ("sentences", "continuous"):
        with pytest.raises(UserError, match=r"text\.txt, line 100: this is not valid UTF-8 \(byte 0xff\)"):
            lines_of(text_file(content), layout=layout)


def test_a_line_without_end_is_never_held_in_memory(text_file: Write, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sources, "CHUNK_BYTES", 2**16)
    path = text_file(b"first\n" + b"word " * 2_000_000 + b"\nlast\n")
    largest = max(len(chunk.content) for chunk in read_chunks(find_sources([path])[0], Corpus(source=path)))
    assert largest < 2**20 + 2**18
    with pytest.raises(UserError, match=r"text\.txt, line 2: a sentence of more than 1 MiB: set corpus.on_long_text"):
        lines_of(path)
    assert lines_of(path, on_long_text="skip") == ["first", "last"]
    texts, findings = read(path, on_long_text="truncate")
    assert [len(text) for text in texts] == [5, 2**20, 4]
    assert (findings.long_truncated, findings.long_cases[0].place) == (1, "line 2")


def test_a_long_line_is_fine_in_continuous_text(text_file: Write):
    content = "word " * 1_000_000
    assert lines_of(text_file(content), layout="continuous") == [content]


def test_text_without_any_space_is_cut_between_characters(text_file: Write, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sources, "CHUNK_BYTES", 101)
    content = "中é👩" * 1000
    assert lines_of(text_file(content), layout="continuous") == [content]


# --- bad text --------------------------------------------------------------------------------------------------------


def test_a_missing_file_is_an_error():
    with pytest.raises(UserError, match=r"The source nowhere/at/all.txt matches no file"):
        lines_of("nowhere/at/all.txt")


def test_an_unknown_built_in_corpus_is_an_error():
    with pytest.raises(UserError, match=r"builtin:poems: there is no such built-in corpus: try builtin:python-docs"):
        lines_of("builtin:poems")


@pytest.mark.parametrize(
    "content",
    [
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20,
        b"\x7fELF" + bytes(500),
        gzip.compress(b"some text " * 100),
        "Straße\n".encode("utf-16-le") * 20,
    ],
    ids=["png", "elf", "gzip", "utf-16"],
)
@pytest.mark.parametrize("policy", ["error", "skip", "replace"])
def test_a_binary_file_is_an_error_whatever_the_policy(text_file: Write, content: bytes, policy: str):
    with pytest.raises(UserError, match=r"text\.txt: this is a binary file"):
        lines_of(text_file(content), on_bad_text=policy)


def test_utf_16_is_called_by_its_name(text_file: Write):
    with pytest.raises(UserError, match="UTF-16: convert it to UTF-8"):
        lines_of(text_file("text".encode("utf-16")))


BAD = b"good one\ncaf\xe9 here\nnul \0 here\ngood two\n"


@pytest.mark.parametrize("layout", ["sentences", "continuous"])
def test_invalid_utf8_and_nul_are_errors_with_file_and_line(text_file: Write, layout: str):
    with pytest.raises(UserError, match=r"text\.txt, line 2: this is not valid UTF-8 \(byte 0xe9\).*on_bad_text"):
        lines_of(text_file(BAD), layout=layout)
    with pytest.raises(UserError, match=r"text\.txt, line 3: this line holds a NUL character.*on_bad_text"):
        lines_of(text_file(BAD.replace(b"\xe9", b"e")), layout=layout)


def test_bad_lines_are_skipped_or_replaced_and_counted(text_file: Write):
    texts, findings = read(text_file(BAD), on_bad_text="skip")
    assert texts == ["good one", "good two"]
    assert (findings.bad_skipped, findings.bad_replaced) == (2, 0)
    texts, findings = read(text_file(BAD), on_bad_text="replace")
    assert texts == ["good one", "caf\ufffd here", "nul \ufffd here", "good two"]
    assert (findings.bad_skipped, findings.bad_replaced) == (0, 2)
    assert [case.place for case in findings.bad_cases] == ["line 2", "line 3"]
    assert lines_of(text_file(BAD), on_bad_text="skip", layout="continuous") == ["good one\ngood two\n"]


def test_only_the_first_cases_are_kept(text_file: Write):
    _, findings = read(text_file(b"good good good good\nb\xff\n" * 500), on_bad_text="skip")
    assert (findings.bad_skipped, len(findings.bad_cases)) == (500, 10)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"text": "x"', "this is not valid JSON"),
        ('["x"]', "this is JSON but no object"),
        ('{"body": "x"}', "there is no 'text' among 'body'"),
        ('{"text": 3}', "'text' is not text but int"),
        ("[" * 100_000, "this is not valid JSON"),
        ('{"text": "\\ud800"}', "this is not valid UTF-8"),
        ('{"text": "a\\u0000"}', "this line holds a NUL character"),
        (b'{"text": "\xff"}', "this is not valid UTF-8"),
    ],
)
def test_json_lines_without_text_are_bad_text(text_file: Write, line: str | bytes, reason: str):
    line = line.encode() if isinstance(line, str) else line
    path = text_file(b'{"text": "good"}\n' + line + b"\n", "t.jsonl")
    with pytest.raises(UserError, match=rf"t\.jsonl, line 2: {reason}"):
        lines_of(path)
    texts, findings = read(path, on_bad_text="skip")
    assert (texts, findings.bad_skipped) == (["good"], 1)


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


def test_a_prepared_corpus_is_no_raw_text(tmp_path: Path):
    (tmp_path / "manifest.json").write_text(json.dumps({}))
    (tmp_path / "tokenizer.json").write_text(json.dumps({}))
    with pytest.raises(UserError, match="is a corpus that prepare made already"):
        lines_of(str(tmp_path))
