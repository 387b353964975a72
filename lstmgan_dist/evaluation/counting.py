"""What counting alone tells of a text: the frequencies of its tokens, and of pairs of them.

Frequencies are what a language model starts from and has to beat. Pairs tell in milliseconds, before any model is
trained, whether there is text enough for one to learn from: what they know grows with the text as what it knows does.

Both by Witten and Bell (1991, method C), interpolated as in Chen and Goodman (1999, section 2.4): after a context, a
token that is new to it has as many chances as different tokens were seen there.

Shapes: N texts, T tokens with end marks, V vocabulary.
"""

from __future__ import annotations

import numpy as np

from lstmgan_dist.evaluation.texts import Texts
from lstmgan_dist.models.drawing import END

_FEWEST = 50


def frequencies(texts: Texts, vocabulary_size: int) -> np.ndarray:
    """The probability of each token, end mark included: float64 (V,), none of them 0."""
    _, tokens_T = _pairs(texts)
    counts_V = np.bincount(tokens_T, minlength=vocabulary_size)
    different = np.count_nonzero(counts_V)
    return (counts_V + different / vocabulary_size) / (len(tokens_T) + different)


def nll_by_frequency(learnt: Texts, test: Texts, vocabulary_size: int) -> float:
    """Nats per token of the test texts, end marks included, under the frequencies of the learnt ones."""
    _, tokens_T = _pairs(test)
    return float(-np.log(frequencies(learnt, vocabulary_size)[tokens_T]).mean())


def nll_by_pairs(learnt: Texts, test: Texts, vocabulary_size: int) -> float:
    """Nats per token of the test texts, end marks included, each predicted from the one before it."""
    before_T, tokens_T = _pairs(learnt)
    pairs, counts = np.unique(before_T * vocabulary_size + tokens_T, return_counts=True)
    seen_V = np.bincount(before_T, minlength=vocabulary_size)
    different_V = np.bincount(pairs // vocabulary_size, minlength=vocabulary_size)
    before_T, tokens_T = _pairs(test)
    wanted_T = before_T * vocabulary_size + tokens_T
    places_T = np.minimum(np.searchsorted(pairs, wanted_T), len(pairs) - 1)
    counts_T = np.where(pairs[places_T] == wanted_T, counts[places_T], 0)
    by_frequency_T = frequencies(learnt, vocabulary_size)[tokens_T]
    # After a context that was never seen, frequencies are all there is.
    new_T = np.maximum(different_V[before_T], 1)
    return float(-np.log((counts_T + new_T * by_frequency_T) / (seen_V[before_T] + new_T)).mean())


def known_by_pairs(learnt: Texts, test: Texts, vocabulary_size: int) -> float:
    """How many nats a token pairs know beyond frequencies; below 0 where there is too little text for pairs."""
    return nll_by_frequency(learnt, test, vocabulary_size) - nll_by_pairs(learnt, test, vocabulary_size)


def texts_that_teach(texts: Texts, test: Texts, vocabulary_size: int, *, wanted: float) -> int | None:
    """How many texts like these let pairs know so many nats, to a factor of 2; None if even all of them do not."""
    count = _FEWEST
    while count < 2 * len(texts):
        part = texts.take(slice(0, count))
        if known_by_pairs(part, test, vocabulary_size) >= wanted:
            return len(part)
        count *= 2
    return None


def _pairs(texts: Texts) -> tuple[np.ndarray, np.ndarray]:
    """Each token of texts with their end marks, int64 (T,), behind the one before it; the first comes after END."""
    tokens_T = np.insert(texts.tokens_T, np.cumsum(texts.lengths_N), END)
    return np.append(END, tokens_T[:-1]), tokens_T
