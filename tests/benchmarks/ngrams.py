"""BLEU and self-BLEU of as many samples as papers about COCO captions take, beside NLTK."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

from lstmgan_dist.evaluation.ngrams import NgramIndex, self_bleu
from lstmgan_dist.evaluation.texts import Texts
from tests.benchmarks.table import Row
from tests.benchmarks.timing import fastest

_VOCABULARY, _TEXTS, _MEAN_LENGTH, _MAX_LENGTH = 4683, 10_000, 11.5, 37
_LIMIT_SECONDS = 5.0
_NLTK_TEXTS = 2  # that are timed, each against all references, as each costs the same
_WEIGHTS = [(1 / k,) * k for k in (2, 3, 4, 5)]


def rows() -> Iterator[Row]:
    """Seconds of BLEU-2 to 5 and self-BLEU-2 to 5, all on one core."""
    samples, references = _zipf(seed=1), _zipf(seed=2)
    ours, some = fastest(lambda: _ours(samples, references), lambda: _nltk(samples, references), rounds=2)
    nltk = some * _TEXTS / _NLTK_TEXTS
    name = f"BLEU and self-BLEU of {_TEXTS:,} texts"
    size = f"against {_TEXTS:,}, mean length {samples.lengths_N.mean():.1f}, vocabulary {_VOCABULARY:,}"
    yield Row(name, ours, "s", _LIMIT_SECONDS, "limit", _LIMIT_SECONDS / ours, 1.0, size)
    note = f"{size}; NLTK's from {_NLTK_TEXTS} texts"
    yield Row(name, ours, "s", nltk, "NLTK", nltk / ours, 1000.0, note)


def _zipf(seed: int) -> Texts:
    """Texts of words that Zipf's law draws, as long as captions."""
    draw = np.random.default_rng(seed)
    chances_V = 1 / (np.arange(_VOCABULARY) + 2.7)
    lengths_N = np.clip(draw.poisson(_MEAN_LENGTH, _TEXTS), 1, _MAX_LENGTH)
    return Texts(draw.choice(_VOCABULARY, lengths_N.sum(), p=chances_V / chances_V.sum()), lengths_N)


def _ours(samples: Texts, references: Texts) -> tuple[np.ndarray, np.ndarray]:
    return NgramIndex(references).sentence_bleu(samples), self_bleu(samples)


def _nltk(samples: Texts, references: Texts) -> None:
    """NLTK's, all orders at once, which is the quickest way to ask."""
    some, others, against = samples.take(slice(_NLTK_TEXTS)).rows(), samples.rows(), references.rows()
    for number, text in enumerate(some):
        for rivals in (against, others[:number] + others[number + 1 :]):
            sentence_bleu(rivals, text, _WEIGHTS, smoothing_function=SmoothingFunction().method1)
