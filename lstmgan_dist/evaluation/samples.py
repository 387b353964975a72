"""Samples as metrics see them: texts, and what several metrics need of them, each computed once when it is asked for.

Shapes: N texts, K orders of n-grams, F dimensions of an embedding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lstmgan_dist.evaluation.bench import Bench
from lstmgan_dist.evaluation.embedding import quantize
from lstmgan_dist.evaluation.grammar import Grammar
from lstmgan_dist.evaluation.language_model import Reading, read
from lstmgan_dist.evaluation.ngrams import Copied, NgramIndex, copied, self_bleu
from lstmgan_dist.evaluation.sample_sources import SampleSource
from lstmgan_dist.evaluation.texts import Texts, decoded
from lstmgan_dist.runtime.local import choose_device
from lstmgan_dist.runtime.randomness import derive, permutation

_GROUPS = 8


class Samples:
    """Texts beside references: enough to count n-grams."""

    def __init__(self, texts: Texts, references: NgramIndex) -> None:
        self.texts = texts
        self.references = references

    @cached_property
    def bleu_NK(self) -> np.ndarray:
        """BLEU of each text against the references."""
        return self.references.sentence_bleu(self.texts)

    @cached_property
    def self_bleu_NK(self) -> np.ndarray:
        """BLEU of each text against the others."""
        return self_bleu(self.texts)

    @cached_property
    def without_groups(self) -> list[Texts]:
        """The texts without each of the jackknife's groups."""
        return [self.texts.take(rest) for rest in _rests(len(self.texts))]


class ContestSamples(Samples):
    """What a sampler has drawn at a temperature, beside everything that all samplers are measured with."""

    def __init__(self, texts: Texts, bench: Bench, source: SampleSource, temperature: float | None) -> None:
        super().__init__(texts, bench.references)
        self.bench = bench
        self.source = source
        self.temperature = temperature
        self.device = choose_device(bench.device)

    @cached_property
    def readings(self) -> list[Reading]:
        """What each judge reads in the texts."""
        return [read(judge.network, self.texts, self.device) for judge in self.bench.judges]

    @cached_property
    def features_NF(self) -> np.ndarray:
        """An embedding of each text."""
        if self.bench.encoder is None:
            return self.readings[0].features_NF
        return self.bench.encoder.encode(decoded(self.texts, self.bench.tokenizer))

    @cached_property
    def clusters(self) -> tuple[np.ndarray, np.ndarray]:
        """The cluster of each real text, and of each of these."""
        return quantize(self.bench.real_features, self.features_NF)

    @cached_property
    def copies(self) -> Copied:
        """What of each text is in the training text."""
        return copied(self.texts, self.bench.training)

    @cached_property
    def words(self) -> list[list[str]]:
        """The texts as lists of words, as a grammar reads them."""
        return [[self.bench.tokenizer.tokens[token] for token in row] for row in self.texts.rows()]

    @cached_property
    def grammar_log_likelihoods_N(self) -> np.ndarray:
        """Log-likelihood of each text under the grammar that the corpus was made with."""
        assert isinstance(self.bench.oracle, Grammar)
        return self.bench.oracle.log_likelihoods(self.words)


@dataclass(frozen=True)
class Measured:
    """A figure. error: computes its standard error, which may cost many times as much."""

    value: float
    error: Callable[[], float]


def exact(value: float) -> Measured:
    """A figure of all that there is."""
    return Measured(value, lambda: 0.0)


def mean_of(values_N: np.ndarray) -> Measured:
    """The mean of a figure that every text has."""
    return column_mean(values_N[:, None], 0)


def column_mean(values_NK: np.ndarray, column: int) -> Measured:
    """The mean of one of several figures that every text has."""
    return Measured(
        float(values_NK.mean(0)[column]),
        lambda: float(values_NK[:, column].std(ddof=1) / np.sqrt(len(values_NK))),
    )


def ratio(sums_N: np.ndarray, counts_N: np.ndarray) -> Measured:
    """A ratio of totals, whose standard error is to first order."""
    value = sums_N.sum() / counts_N.sum()

    def error() -> float:
        residuals_N = (sums_N - value * counts_N) / counts_N.mean()
        return float(residuals_N.std(ddof=1) / np.sqrt(len(residuals_N)))

    return Measured(float(value), error)


def of_all(samples: Samples, statistic: Callable[[Texts], float]) -> Measured:
    """A statistic of all texts together."""
    return Measured(statistic(samples.texts), lambda: _jackknife(map(statistic, samples.without_groups)))


def of_numbers(count: int, statistic: Callable[[np.ndarray], float]) -> Measured:
    """A statistic of all texts together, which takes their numbers."""
    return Measured(statistic(np.arange(count)), lambda: _jackknife(map(statistic, _rests(count))))


def _rests(count: int) -> Iterator[np.ndarray]:
    """The numbers of all texts but those of one group, for each group."""
    groups = permutation(derive("jackknife"), count).numpy() % _GROUPS
    return (np.flatnonzero(groups != group) for group in range(_GROUPS))


def _jackknife(statistics: Iterator[float]) -> float:
    """The standard error of a statistic from its values where one group at a time is left out (Quenouille)."""
    without_G = list(statistics)
    mean = sum(without_G) / _GROUPS
    return math.sqrt((_GROUPS - 1) / _GROUPS * sum((value - mean) ** 2 for value in without_G))
