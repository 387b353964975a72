"""Languages of a dozen words, so small that a language model learns one in a second."""

import numpy as np

from lstmgan_dist.evaluation.language_model import Recipe
from lstmgan_dist.evaluation.texts import Texts

# Every digit, so that every number can be said; no tests hold it out.
DIGITS = 1234567890

WORDS = 12
VOCABULARY = 1 + WORDS
RECIPE = Recipe(
    embedding=8, hidden=12, dropout=0.1, batch=8, learning_rate=0.03, weight_decay=0.01, epochs=3, least_steps=1
)


def counting(count: int, seed: int) -> Texts:
    """Texts that count on from any word, and start again after the last: every word but the first can be foretold."""
    draw = np.random.default_rng(seed)
    starts_N, lengths_N = draw.integers(WORDS, size=count), draw.integers(1, 9, count)
    return Texts.of(
        [1 + (start + step) % WORDS for step in range(length)]
        for start, length in zip(starts_N.tolist(), lengths_N.tolist(), strict=True)
    )


def babble(count: int, seed: int) -> Texts:
    """Texts of which nothing can be foretold: every word, and the end, is as likely anywhere."""
    draw = np.random.default_rng(seed)
    lengths_N = draw.geometric(1 / VOCABULARY, count) - 1
    return Texts(draw.integers(1, VOCABULARY, lengths_N.sum()), lengths_N)
