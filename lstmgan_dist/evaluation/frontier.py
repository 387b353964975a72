"""Quality against diversity, and who is better at equal diversity: pure functions of what was measured.

A sampler at a temperature has a *quality*, what a judge of real text says of its samples (LM score), and a *diversity*,
what a model of its samples says of real text (reverse LM score; Semeniuta et al. 2018, Caccia et al. 2020). Both are
nats per token and better when low. Over temperatures they make a curve. Colder samples are better and less diverse, so
single figures of two samplers say nothing: what counts is the quality at equal diversity, the distance of the curves.

Both halves of the held-out text serve at once: quality is the mean of their two judges, and diversity that of both, so
that one verdict has all of the text behind it.

What is uncertain is left out or drawn anew, for all samplers and temperatures at once, and everything is computed again
(see intervals.py). What is left out is a *replicate*: one share of the samples of one seed, with the reverse model that
learnt it. Shares of one number are drawn with the same random numbers at all temperatures, from all samplers, so that
their errors are alike, and largely vanish from differences.

Shapes: R replicates, N test sentences, D draws of these, T temperatures, X points of a curve, V versions of a figure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lstmgan_dist.evaluation.findings import Basis, Estimate, Word
from lstmgan_dist.evaluation.intervals import detectable, interval, variances, without_each
from lstmgan_dist.runtime.randomness import derive

# Their variance alone is used, which 400 draws tell to 7 %.
DRAWS = 400
_CURVE_POINTS, _RANGE_POINTS = 200, 50
# A curve is smooth in the logarithm of the temperature: a polynomial of this degree, at most, follows it.
_DEGREE = 4
# A margin that matters, nats a token: a tenth of the perplexity.
MATTERS = 0.1
# What models that learnt as much real text must know beyond the frequencies of words, nats a token, for their scores to
# tell texts apart. Below, all texts look alike.
LEAST_KNOWLEDGE = 0.5
# Share of draws without a basis of comparison beyond which it is none.
_MOST_WITHOUT = 0.1


@dataclass(frozen=True)
class Scores:
    """The scores of one sampler at one temperature.

    quality_R: LM score of the samples of each replicate. reverse_RN: nats of every test sentence under the reverse
    model of each. Replicates of one number belong together, at all temperatures and of all samplers.
    """

    quality_R: np.ndarray
    reverse_RN: np.ndarray


@dataclass(frozen=True)
class Curve:
    """A sampler's scores over its temperatures, ascending; row 0 of V is what was measured.

    temperatures: () for what has none, such as real text, which is one point. is_open: it is still getting more diverse
    at its hottest, so that hotter samples might be more diverse than any of these.
    """

    temperatures: tuple[float, ...]
    is_open: bool
    replicates: int
    quality_VT: np.ndarray
    diversity_VT: np.ndarray

    def dense(self) -> tuple[np.ndarray, np.ndarray]:
        """Quality and diversity at many temperatures between the coldest and the hottest, (V, X)."""
        if len(self.temperatures) < 2:
            return self.quality_VT, self.diversity_VT
        logs_T = np.log(self.temperatures)
        logs_T = 2 * (logs_T - logs_T[0]) / np.ptp(logs_T) - 1
        degree = min(_DEGREE, len(logs_T) - 1)
        at_temperatures, between = (
            np.vander(logs_T, degree + 1),
            np.vander(np.linspace(-1, 1, _CURVE_POINTS), degree + 1),
        )
        follow_TX = (between @ np.linalg.pinv(at_temperatures)).T
        return self.quality_VT @ follow_TX, self.diversity_VT @ follow_TX


def curves(scores: Mapping[str, Mapping[float | None, Scores]], tokens_N: np.ndarray) -> dict[str, Curve]:
    """Every sampler's curve in all versions. tokens_N: tokens of every test sentence, end marks included."""
    draw = np.random.default_rng(derive("bootstrap") % 2**63)
    weights_DN = draw.multinomial(len(tokens_N), np.full(len(tokens_N), 1 / len(tokens_N)), DRAWS).astype(np.float64)
    drawn_tokens_D1 = (weights_DN @ tokens_N)[:, None]
    found = {}
    for name, sweep in scores.items():
        temperatures = sorted(temperature for temperature in sweep if temperature is not None)
        points = [sweep[temperature] for temperature in temperatures] or [sweep[None]]
        quality_RT = np.stack([point.quality_R for point in points], axis=1)
        diversity_RT = np.stack([point.reverse_RN.sum(1) for point in points], axis=1) / tokens_N.sum()
        nats_NT = np.stack([point.reverse_RN.mean(0) for point in points], axis=1)
        quality_1T = quality_RT.mean(0, keepdims=True)
        quality_VT = np.concatenate([quality_1T, without_each(quality_RT), quality_1T.repeat(DRAWS, axis=0)])
        diversity_VT = np.concatenate(
            [diversity_RT.mean(0, keepdims=True), without_each(diversity_RT), weights_DN @ nats_NT / drawn_tokens_D1]
        )
        replicates = len(quality_RT)
        is_open = len(points) > 1 and interval(diversity_VT[:, -2] - diversity_VT[:, -1], replicates).low > 0
        found[name] = Curve(tuple(temperatures), is_open, replicates, quality_VT, diversity_VT)
    return found


@dataclass(frozen=True)
class Margin:
    """How many nats a token a sampler is better than another: in quality, or in diversity at equal quality.

    estimate: None where they are not comparable. At "neither" it is the least distance in quality.
    of_sentences: the share of its variance that the choice of test sentences has, 0 to 1. knowledge: what reverse
    models of real text know beyond the frequencies of words, nats a token.
    """

    basis: Basis
    estimate: Estimate | None
    of_sentences: float = 0.0
    knowledge: float = np.inf

    @property
    def visible(self) -> float | None:
        """The least margin that this comparison would have seen, in four cases of five."""
        return None if self.estimate is None else detectable(self.estimate)

    @property
    def word(self) -> Word:
        """What it says of the sampler."""
        if self.estimate is None:
            return "not comparable"
        if self.estimate.low > 0:
            return "better"
        if self.estimate.high < 0:
            return "worse"
        would_have_shown = detectable(self.estimate) <= MATTERS and self.knowledge >= LEAST_KNOWLEDGE
        return "not distinguishable" if would_have_shown else "too little evidence"


def margin(sampler: Curve, reference: Curve, *, knowledge: float = np.inf) -> Margin:
    """Compare two curves over everything that both reach, all of it of equal weight. knowledge: see `Margin`."""
    pairs = list(zip(_frontiers(sampler), _frontiers(reference), strict=True))
    compare: dict[Basis, Callable[[_Frontier, _Frontier], float]] = {
        "diversity": _at_equal_diversity,
        "quality": _at_equal_quality,
        "neither": _least_distance,
    }
    for basis, function in compare.items():
        margins_V = np.array([function(first, second) for first, second in pairs])
        without_one, drawn = np.split(np.isfinite(margins_V), [1 + sampler.replicates])
        if without_one.all() and drawn.mean() >= 1 - _MOST_WITHOUT:
            of_replicates, of_sentences = variances(margins_V, sampler.replicates)
            share = of_sentences / (of_replicates + of_sentences) if of_sentences else 0.0
            return Margin(basis, interval(margins_V, sampler.replicates), share, knowledge)
    return Margin("neither", None)


class _Frontier(NamedTuple):
    """The part of a curve from its most diverse samples to its coldest: diversity rises and quality falls, both scores.

    Hotter samples than the most diverse ones are worse in both respects.
    """

    diversity: np.ndarray
    quality: np.ndarray
    is_open: bool


def _frontiers(curve: Curve) -> Iterator[_Frontier]:
    """That of each version."""
    for quality_X, diversity_X in zip(*curve.dense(), strict=True):
        coldest_to_most_diverse = slice(0, int(diversity_X.argmin()) + 1)
        # A measured curve may waver; a point that another one beats in both respects does not count.
        yield _Frontier(
            np.maximum.accumulate(diversity_X[coldest_to_most_diverse][::-1]),
            np.minimum.accumulate(quality_X[coldest_to_most_diverse][::-1]),
            curve.is_open,
        )


def _at_equal_diversity(first: _Frontier, second: _Frontier) -> float:
    """How much better the quality of the first is, on average over the diversities of both; NaN if there are none."""
    start, end = max(first.diversity[0], second.diversity[0]), min(first.diversity[-1], second.diversity[-1])
    if start > end:
        return np.nan
    between = np.linspace(start, end, _RANGE_POINTS)
    qualities = (np.interp(between, one.diversity, one.quality) for one in (second, first))
    return float(np.subtract(*qualities).mean())


def _at_equal_quality(first: _Frontier, second: _Frontier) -> float:
    """How much more diverse the first is, on average over the qualities of both; NaN if there are none.

    Worse qualities than that of its most diverse samples are qualities that a sampler has no use for: at these, too, it
    is as diverse as it can be. Not so if hotter samples might be more diverse still.
    """
    start, end = max(first.quality[-1], second.quality[-1]), max(first.quality[0], second.quality[0])
    end = min([end, *(one.quality[0] for one in (first, second) if one.is_open)])
    if start > end:
        return np.nan
    between = np.linspace(start, end, _RANGE_POINTS)
    diversities = (np.interp(between, one.quality[::-1], one.diversity[::-1]) for one in (second, first))
    return float(np.subtract(*diversities).mean())


def _least_distance(first: _Frontier, second: _Frontier) -> float:
    """How much better in quality the worst of one is than the best of the other, if it is more diverse throughout."""
    if first.diversity[-1] < second.diversity[0] and first.quality[0] < second.quality[-1]:
        return second.quality[-1] - first.quality[0]
    if second.diversity[-1] < first.diversity[0] and second.quality[0] < first.quality[-1]:
        return second.quality[0] - first.quality[-1]
    return np.nan
