"""Text in encodings other than UTF-8: guessed, said, and read as the same text."""

import gzip
import io
import random
from collections.abc import Callable

import pytest

from lstmgan_dist.corpus import chunks
from lstmgan_dist.corpus.encodings import as_utf_8, encoding_of, guess
from lstmgan_dist.errors import UserError
from tests.corpus.raw_text import lines_of, read

Write = Callable[..., str]

TEXTS = {
    "gb18030": "床前明月光，疑是地上霜。\n举头望明月，低头思故乡。\n",
    "big5": "床前明月光，疑是地上霜。\n舉頭望明月，低頭思故鄉。\n",
    "cp932": "吾輩は猫である。名前はまだ無い。\nどこで生れたかとんと見当がつかぬ。\n",
    "cp1252": "Le café était fermé à midi. Où est la bibliothèque ?\nÇa dépend du garçon.\n",
    "koi8-r": "Все счастливые семьи похожи друг на друга,\nкаждая несчастливая семья несчастлива по-своему.\n",
    "utf-16": "Straße, 床前\nein zweiter Satz 👩\n",
    "utf-16-le": "plain words without a mark\nand more of them here\n",
    "utf-32": "Straße\nund mehr\n",
}


@pytest.mark.parametrize("encoding", TEXTS)
def test_text_in_another_encoding_is_the_same_text(text_file: Write, encoding: str):
    text = TEXTS[encoding] * 20
    path = text_file(text.encode(encoding))
    for named in (encoding, "auto"):
        texts, findings = read(path, encoding=named)
        assert texts == text.splitlines()
        assert list(findings.encodings) == [path]
        assert "".join(lines_of(path, encoding=named, layout="continuous")) == text
    assert lines_of(text_file(gzip.compress(text.encode(encoding)), "t.txt.gz"), encoding="auto") == text.splitlines()


def test_a_byte_order_mark_is_certain(text_file: Write):
    for encoding in ("utf-16", "utf-32"):
        assert lines_of(text_file("Straße\n".encode(encoding))) == ["Straße"]
    assert lines_of(text_file("\ufeffone\n")) == ["one"]


@pytest.mark.parametrize("encoding", [name for name in TEXTS if name not in ("utf-16", "utf-32")])
def test_text_that_is_no_utf_8_is_refused_with_a_guess(text_file: Write, encoding: str):
    path = text_file((TEXTS[encoding] * 20).encode(encoding))
    with pytest.raises(UserError, match=rf"line 1: this .*, but {encoding} by its looks: set corpus.encoding"):
        lines_of(path)


def test_a_few_damaged_bytes_are_no_other_encoding(text_file: Write):
    with pytest.raises(UserError, match=r"line 41: this is not valid UTF-8 \(byte 0xff\): mend it"):
        lines_of(text_file("Où est le café ?\n".encode() * 40 + b"b\xff\n"))


def test_utf_8_and_ascii_are_utf_8_to_auto(text_file: Write):
    texts, findings = read(text_file("Straße\nplain\n"), encoding="auto")
    assert (texts, findings.encodings) == (["Straße", "plain"], {})


def test_a_folder_may_hold_a_mixture(text_file: Write, tmp_path):
    for number, (encoding, text) in enumerate(TEXTS.items()):
        text_file((text * 10).encode(encoding), f"mixed/{number}.txt")
    texts, findings = read(str(tmp_path / "mixed"), encoding="auto")
    assert texts == [line for text in TEXTS.values() for line in (text * 10).splitlines()]
    assert len(findings.encodings) == len(TEXTS)


def test_what_is_invalid_in_an_encoding_is_found_with_its_line(text_file: Write):
    content = "床前明月光\n".encode("gbk") * 3 + b"\xff\xff bad\n" + "举头望明月\n".encode("gbk")
    with pytest.raises(UserError, match=r"line 4: this is not valid GBK: mend it, or set corpus.on_bad_text"):
        lines_of(text_file(content), encoding="gbk")
    texts, findings = read(text_file(content), encoding="gbk", on_bad_text="skip")
    assert (texts[-1], len(texts), findings.bad_skipped) == ("举头望明月", 4, 1)
    assert lines_of(text_file(content), encoding="gbk", on_bad_text="replace")[3].endswith(" bad")


@pytest.mark.parametrize("size", [16, 17, 50])
def test_recoded_text_is_the_same_however_it_is_read(text_file: Write, monkeypatch: pytest.MonkeyPatch, size: int):
    text = "".join(random.Random(size).choices("ab \né中👩", k=3000))
    monkeypatch.setattr(chunks, "CHUNK_BYTES", size)
    for encoding in ("utf-16", "gb18030", "utf-32"):
        assert "".join(lines_of(text_file(text.encode(encoding)), encoding=encoding, layout="continuous")) == text


def test_a_stream_gives_what_is_asked_for():
    stream = as_utf_8(io.BytesIO("中".encode("gbk") * 1000), "gbk")
    blocks = list(iter(lambda: stream.read(7), b""))
    assert {len(block) for block in blocks[:-1]} == {7}
    assert b"".join(blocks).decode() == "中" * 1000


@pytest.mark.parametrize("size", range(1001, 1005))
@pytest.mark.parametrize("encoding", ["gb18030", "big5", "cp932", "cp1252", "koi8-r", "utf-16-le"])
def test_where_a_sample_is_cut_does_not_matter(encoding: str, size: int):
    assert guess((TEXTS[encoding] * 100).encode(encoding)[:size]) == encoding


def test_noise_is_in_no_encoding():
    noise = random.Random(1).randbytes(5000)
    assert guess(noise) is None
    assert encoding_of(noise, "auto") is None
    assert encoding_of(b"", "auto") == "utf-8"


def test_of_encodings_that_fit_equally_well_the_most_common_is_guessed():
    german = "Schöne Grüße aus Köln, sagte der Bär; das weiß doch jeder, über alle Maßen schön wäre es.\n"
    polish = "Zażółć gęślą jaźń, powiedział żółw; wszyscy wiedzą, że źdźbło trawy się chwieje.\n"
    assert guess((german * 40).encode("cp1252")) == "cp1252"
    assert guess((polish * 40).encode("cp1250")) in ("cp1250", "iso8859-2")
