"""Text as it is read, chunk by chunk, cleaned (corpus/cleaning.py), and what is noted about it (corpus/findings.py)."""

import bz2
import gzip
import random
from collections.abc import Callable

import pyarrow as pa
import pytest

from lstmgan_dist.corpus import chunks
from lstmgan_dist.corpus.chunks import read_chunks
from lstmgan_dist.corpus.settings import Corpus
from lstmgan_dist.corpus.sources import find_sources
from lstmgan_dist.errors import UserError
from tests.corpus.raw_text import lines_of, read

Write = Callable[..., str]


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


# --- chunks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["sentences", "continuous"])
@pytest.mark.parametrize("size", [16, 17, 50, 1000])
def test_text_is_the_same_however_it_is_read(text_file: Write, monkeypatch: pytest.MonkeyPatch, layout: str, size: int):
    chooser = random.Random(size)
    content = "".join(chooser.choices("ab \n\r\té中", k=3000)).replace("\n", "\r\n", 20)
    whole = lines_of(text_file(content), layout=layout)
    monkeypatch.setattr(chunks, "CHUNK_BYTES", size)
    assert lines_of(text_file(content), layout=layout) == whole
    assert "".join(whole) == content.replace("\r\n", "\n") or layout == "sentences"


def test_lines_are_counted_across_chunks(text_file: Write, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 64)
    content = b"good line\n" * 99 + b"b\xffd\n" + b"good line\n" * 10
    for layout in ("sentences", "continuous"):
        with pytest.raises(UserError, match=r"text\.txt, line 100: this is not valid UTF-8 \(byte 0xff\)"):
            lines_of(text_file(content), layout=layout)


def test_a_line_without_end_is_never_held_in_memory(text_file: Write, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 2**16)
    path = text_file(b"first\n" + b"word " * 2_000_000 + b"\nlast\n")
    largest = max(len(chunk.content) for chunk in read_chunks(find_sources([path]).files[0], Corpus(source=path)))
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
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 101)
    content = "中é👩" * 1000
    assert lines_of(text_file(content), layout="continuous") == [content]


# --- bad text --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20,
        b"\x7fELF" + bytes(500),
        gzip.compress(b"some text " * 100),
    ],
    ids=["png", "elf", "gzip"],
)
def test_a_binary_file_is_bad_text_as_a_whole(text_file: Write, content: bytes):
    path = text_file(content)
    with pytest.raises(UserError, match=r"text\.txt, line 1: this is a binary file: .*--on-bad-text"):
        lines_of(path)
    for policy in ("skip", "replace"):  # nothing in it can be put right
        texts, findings = read([path, text_file("good\n", "more.txt")], on_bad_text=policy)
        assert (texts, findings.bad_skipped) == (["good"], 1)


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
        ('["x"]', "this is JSON but no object, which starts with {: write one object in braces a line"),
        ('{"body": "x"}', r"there is no 'text' among 'body': set corpus\.column \(--column\) to body, or set"),
        ('{"n": 1}', "there is no 'text' among 'n': mend it, or set"),
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
