"""Running text cut into sentences."""

import sys
from collections.abc import Callable
from typing import cast

import pytest

from lstmgan_dist.config import parse_job
from lstmgan_dist.corpus.sentences import sentences_of, splitter_of
from lstmgan_dist.corpus.settings import Corpus, SentenceLanguage
from lstmgan_dist.errors import UserError
from lstmgan_dist.settings import choices
from tests.corpus.raw_text import read

Write = Callable[..., str]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One ends. Two ends! Does three? Yes", ["One ends.", "Two ends!", "Does three?", "Yes"]),
        ('He said: "Go." Then he went.', ['He said: "Go."', "Then he went."]),
        ("It was (so he said.) true.", ["It was (so he said.) true."]),
        ("J. R. Smith, e.g. the elder, left at 3.30 p.m. that day. Nobody knew.",
         ["J. R. Smith, e.g. the elder, left at 3.30 p.m. that day.", "Nobody knew."]),
        ('A " starring " role . The first @,@ 200 of them . " The end . "',
         ['A " starring " role .', "The first @,@ 200 of them .", '" The end . "']),
        ("床前明月光。疑是地上霜！“低头。”思故乡", ["床前明月光。", "疑是地上霜！", "“低头。”", "思故乡"]),
        ("A heading\n\na line\nand its end. more", ["A heading", "a line\nand its end. more"]),
        ("It ended.\nand went on\nhere. It\nstopped.\n\nthen more",
         ["It ended.\nand went on\nhere.", "It\nstopped.", "then more"]),
        ("Dr. Smith met Mr. Jones at St. Paul's, e.g. The Crypt. They talked.",
         ["Dr. Smith met Mr. Jones at St. Paul's, e.g. The Crypt.", "They talked."]),
        ("The U.S. Senate sat. He lives in the U.S. He likes it.",
         ["The U.S. Senate sat.", "He lives in the U.S.", "He likes it."]),
        ("See Fig. 3 and No. 7. He said no. Nobody came.", ["See Fig. 3 and No. 7.", "He said no.", "Nobody came."]),
        ("It rained at 5 p.m. Nobody left Fresno, CA. Why?",
         ["It rained at 5 p.m.", "Nobody left Fresno, CA.", "Why?"]),
        ("Prof. Dr. Müller kam am 3. Oktober, bzw. Herr Maier. Es regnete.",
         ["Prof. Dr. Müller kam am 3. Oktober, bzw. Herr Maier.", "Es regnete."]),
        ("1. The first. 2. The second . . . went on . . . . It ended.",
         ["1. The first.", "2. The second . . . went on . . . .", "It ended."]),
        ("Donald J . Trump met Mr . Smith . They left .", ["Donald J . Trump met Mr . Smith .", "They left ."]),
        ("यह पहला वाक्य है। यह दूसरा है।", ["यह पहला वाक्य है।", "यह दूसरा है।"]),
        ("هذا أول. هل هذا ثان؟ نعم.", ["هذا أول.", "هل هذا ثان؟", "نعم."]),
        ("Wait... What?! No …", ["Wait...", "What?!", "No …"]),
        ("...", ["..."]),
        ("  ", []),
    ],
)  # fmt: skip
def test_sentences_end_where_a_reader_ends_them(text, sentences):
    assert list(sentences_of(text)) == sentences


def test_lines_and_rows_become_their_sentences_with_their_numbers(text_file: Write):
    lines = text_file("A first. A second.\n\n   Another line \n")
    texts, _ = read(lines, split_sentences=True)
    assert texts == ["A first.", "A second.", "Another line"]
    table = text_file('text,label\n"One. Two.",1\n"Three.",0\n', "table.csv")
    assert read(table, split_sentences=True)[0] == ["One.", "Two.", "Three."]


def test_a_sentence_that_is_too_long_is_told_with_its_line(prepared, text_file: Write):
    path = text_file("One. " * 20 + "\nTwo. " + "word " * 30 + "\n")
    with pytest.raises(UserError, match=r"line 2: this sentence has 33 tokens .* more than max_length 20"):
        prepared(source=path, split_sentences=True, max_length=20)
    made = prepared(source=path, split_sentences=True, max_length=20, on_long_text="skip")
    assert made.splits["train"].rows == 20


def test_a_text_that_is_read_as_it_runs_is_not_cut():
    with pytest.raises(UserError, match=r"corpus\.split_sentences: layout continuous has no use for it"):
        parse_job("corpus: {source: a.txt, layout: continuous, split_sentences: true}\n", name="a.yaml")


@pytest.mark.parametrize(
    ("language", "text", "sentences"),
    [
        ("english", "Let's ask Jane and co. They know.", ["Let's ask Jane and co.", "They know."]),
        ("german", "Vgl. Abb. 3 usw. für Dr. Maier. Es regnete.", ["Vgl. Abb. 3 usw. für Dr. Maier.", "Es regnete."]),
        ("chinese", "这是第一句。  这是第二句吗？", ["这是第一句。", "这是第二句吗？"]),
        ("english", "  \n ", []),
    ],
)
def test_a_language_that_is_named_has_its_own_abbreviations(language, text, sentences):
    assert list(splitter_of(language)(text)) == sentences


def test_every_language_that_can_be_named_has_a_code():
    for language in choices(Corpus.model_fields["language"]):
        assert list(splitter_of(cast(SentenceLanguage, language))("A cat\n\nB")) == ["A cat", "B"]


def test_lines_are_split_in_their_language(text_file: Write):
    path = text_file("Hallo z.B. Dr. Maier. Er kam am 3. Mai.\n")
    assert read(path, split_sentences=True, language="german")[0] == ["Hallo z.B. Dr. Maier.", "Er kam am 3. Mai."]


def test_a_language_without_its_library_or_its_use_is_told(prepared, text_file: Write, tmp_path, monkeypatch):
    with pytest.raises(
        UserError, match=r"corpus: language german says how sentences are split: set split_sentences \(--spl"
    ):
        parse_job("corpus: {source: a.txt, language: german}\n", name="a.yaml")
    monkeypatch.setitem(sys.modules, "sentencex", None)
    with pytest.raises(UserError, match=r"corpus.language needs sentencex, .* on .*: pip install 'lstmgan-dist\[sent"):
        prepared(source=text_file("a\n"), split_sentences=True, language="german")
    assert not (tmp_path / "corpus").exists()
