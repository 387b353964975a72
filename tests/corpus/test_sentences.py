"""Running text cut into sentences."""

from collections.abc import Callable

import pytest

from lstmgan_dist.config import parse_job
from lstmgan_dist.corpus.sentences import sentences_of
from lstmgan_dist.errors import UserError
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
