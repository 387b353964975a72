"""Zipf's exponent, on frequencies that follow the law and on some that do not."""

import numpy as np
import pytest

from lstmgan_dist.evaluation.texts import Texts
from lstmgan_dist.evaluation.zipf import zipf_coefficient


def texts_with(counts):
    """Two texts that hold token number n so many times."""
    tokens = np.repeat(np.arange(3, 3 + len(counts)), counts).tolist()
    return Texts.of([tokens[::2], tokens[1::2]])


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.6])
def test_text_that_follows_the_law_has_its_exponent(exponent):
    counts = np.round(1e6 / np.arange(1, 50) ** exponent).astype(int)
    draw = np.random.default_rng(1)
    assert zipf_coefficient(texts_with(draw.permutation(counts))) == pytest.approx(exponent, abs=1e-3)


def test_words_that_are_equally_frequent_have_none():
    assert zipf_coefficient(texts_with([7] * 30)) == pytest.approx(0, abs=1e-12)
    assert zipf_coefficient(texts_with([7])) == zipf_coefficient(Texts.of([[], []])) == 0


def test_it_is_the_slope_of_a_regression():
    # Logarithms of the ranks 1, 2, 3, less their mean, against those of 4, 2, 1: -(Σ xy) / (Σ x²), by hand.
    x, y = np.log([1, 2, 3]) - np.log(6) / 3, np.log([4, 2, 1])
    assert zipf_coefficient(texts_with([2, 4, 1])) == pytest.approx(-(x @ y) / (x @ x))
