import re
import sys

import pytest

from lstmgan_dist.corpus import python_docs


@pytest.fixture(scope="module")
def sentences() -> tuple[str, ...]:
    """The built-in corpus; gathering it takes a few seconds, once."""
    before = set(sys.modules)
    found = python_docs.sentences()
    imported = {name for name in set(sys.modules) - before if not name.startswith("pydoc_data")}
    assert imported == set(), "docstrings are gathered by parsing, never by importing"
    return found


@pytest.mark.slow
def test_the_built_in_corpus_is_about_a_megabyte_of_different_sentences(sentences: tuple[str, ...]):
    assert 0.8e6 < sum(map(len, sentences)) < 3e6
    assert len(set(sentences)) == len(sentences) > 10_000


@pytest.mark.slow
def test_the_built_in_sentences_are_plain_prose(sentences: tuple[str, ...]):
    for sentence in sentences:
        assert re.fullmatch(r"[A-Z][ -~]*[.!?]", sentence), sentence
        assert not re.search(r">>>|``|\n|  ", sentence), sentence


def test_markup_code_and_doctests_are_left_out():
    text = """Summary line that says *what* it does with ``some_code``.

    Use :meth:`~list.append` or `a link <http://x>`_ here [1]_, e.g. this way::

        x = call(This, is, code)
        more.of_it()

    >>> print("A doctest is not prose.")
    A doctest is not prose.

    - A list item is left out too.

    The end of it all comes here. Is it really over now?
    """
    found = [s for p in python_docs.paragraphs(text) for s in python_docs.sentences_of(p)]
    assert found == [
        "Summary line that says what it does with some_code.",
        "The end of it all comes here.",
        "Is it really over now?",
    ]
