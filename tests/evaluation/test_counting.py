"""Frequencies of tokens and of pairs, against counting one by one."""

import math
from collections import Counter

import numpy as np
import pytest

from lstmgan_dist.evaluation.counting import (
    frequencies,
    known_by_pairs,
    nll_by_frequency,
    nll_by_pairs,
    texts_that_teach,
)
from lstmgan_dist.evaluation.texts import Texts
from tests.evaluation.toy import VOCABULARY, babble, counting

END = 0


def pairs_of(texts):
    """Each token with the one before it, text by text."""
    before = END
    for row in texts.rows():
        for token in [*row, END]:
            yield before, token
            before = token


def probability(learnt, token, before=None):
    """Witten and Bell, interpolated, written out: of a token, or of a token after another one."""
    after = [second for first, second in pairs_of(learnt) if before in (None, first)]
    lower = 1 / VOCABULARY if before is None else probability(learnt, token)
    if not after:
        return lower
    return (Counter(after)[token] + len(set(after)) * lower) / (len(after) + len(set(after)))


@pytest.mark.parametrize("texts", [counting(30, seed=1), babble(20, seed=2), Texts.of([[], [3, 3]])])
def test_probabilities_are_those_of_counting_one_by_one(texts):
    test = counting(20, seed=3)
    expected = [probability(texts, token) for token in range(VOCABULARY)]
    assert np.allclose(frequencies(texts, VOCABULARY), expected, rtol=1e-12)
    assert sum(expected) == pytest.approx(1)
    one_by_one = {
        nll_by_frequency: [probability(texts, token) for _, token in pairs_of(test)],
        nll_by_pairs: [probability(texts, token, before) for before, token in pairs_of(test)],
    }
    for function, probabilities in one_by_one.items():
        mean = -sum(map(math.log, probabilities)) / len(probabilities)
        assert function(texts, test, VOCABULARY) == pytest.approx(mean, rel=1e-12)


@pytest.mark.parametrize("before", range(VOCABULARY))
def test_what_follows_a_token_is_a_distribution(before):
    texts = counting(5, seed=1)
    assert sum(probability(texts, token, before) for token in range(VOCABULARY)) == pytest.approx(1)


def test_pairs_know_something_only_where_there_is_something_to_know():
    assert known_by_pairs(counting(400, seed=1), counting(200, seed=2), VOCABULARY) > 1
    assert abs(known_by_pairs(babble(4000, seed=1), babble(200, seed=2), VOCABULARY)) < 0.05


def test_texts_that_teach_are_as_few_as_do_to_a_factor_of_two():
    texts, test = counting(4000, seed=1), counting(400, seed=2)
    enough = texts_that_teach(texts, test, VOCABULARY, wanted=0.9)
    assert enough is not None
    known = [known_by_pairs(texts.take(slice(0, count)), test, VOCABULARY) for count in (enough // 2, enough)]
    assert enough == 50 or known[0] < 0.9
    assert known[1] >= 0.9
    assert texts_that_teach(texts, test, VOCABULARY, wanted=9) is None
