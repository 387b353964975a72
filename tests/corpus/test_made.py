"""Texts that are made here: the same everywhere, and what stands in a row hangs together."""

import hashlib

import pytest

from lstmgan_dist.corpus.made import MADE, TIMETABLE, columns_of
from lstmgan_dist.corpus.prepare import PreparedCorpus
from lstmgan_dist.errors import UserError

DIGESTS = {"builtin:news": "633ebf9c81c8d1bc", "builtin:timetable": "5929f281240dc5b8"}


@pytest.mark.parametrize("name", MADE)
def test_every_python_makes_the_same_rows(name: str):
    columns = columns_of(name)
    assert {len(column) for column in columns.values()} == {8000}
    assert hashlib.sha256(repr(columns).encode()).hexdigest()[:16] == DIGESTS[name]


def test_answers_are_true_of_the_timetable_and_headlines_of_their_articles():
    columns = columns_of("builtin:timetable")
    for said, answer in zip(columns["said"], columns["answer"], strict=True):
        (city,) = (city for city in TIMETABLE if city in said)
        assert any(fact in answer for fact in TIMETABLE[city].values())
    news = columns_of("builtin:news")
    for headline, article in zip(news["headline"], news["article"], strict=True):
        words = set(article.replace(",", " ").replace(".", " ").split()) | {"expected", "study", "finds", "to", "in"}
        assert set(headline.replace(",", "").split()) <= words, (headline, article)


def test_a_made_text_has_columns_and_no_others(prepared):
    corpus: PreparedCorpus = prepared(source="builtin:news", column="headline", label_column="section")
    assert corpus.tokenizer.labels == ("markets", "science", "sport", "weather")
    assert corpus.splits["train"].rows == 8000
    with pytest.raises(UserError, match=r"builtin:news has no column 'title': .* one of section, headline, article"):
        prepared(source="builtin:news", column="title")
    with pytest.raises(UserError, match=r"try builtin:python-docs, builtin:news or builtin:timetable"):
        prepared(source="builtin:poems")
