"""Quality against diversity, and who is better at equal diversity: pure functions of what was measured.

A sampler at a temperature has a *quality*, what a judge of real text says of its samples (LM score), and a *diversity*,
what a model of its samples says of real text (reverse LM score; Semeniuta et al. 2018, Caccia et al. 2020). Both are
nats per token and better when low. Over temperatures they make a curve. Colder samples are better and less diverse, so
single figures of two samplers say nothing: what counts is the quality at equal diversity, the distance of the curves.

Whatever is uncertain is drawn at random, again and again, and everything is computed anew from each draw (bootstrap):
which real sentences were tested, the same ones for all samplers; which samples were drawn; and how the reverse models
turned out, whose spread is known from several that were trained on different samples of one sampler.

Shapes: O orientations (which half of the held-out text judged), R reverse models of one sampler at one temperature,
N test sentences, D draws of the bootstrap with the figures themselves in front, T temperatures, X points of a curve.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lstmgan_dist.evaluation.assessment import Basis, Estimate, Verdict, Word
from lstmgan_dist.runtime.randomness import derive

DRAWS = 1000
_CURVE_POINTS, _RANGE_POINTS = 200, 50
# A curve is smooth in the logarithm of the temperature: a polynomial of this degree, at most, follows it.
_DEGREE = 4
_PRIOR_FREEDOM = 4
# Standard errors by which the hottest samples must be more diverse than the second hottest to be called that.
_OPEN_BY = 2.0
# Share of draws without a basis of comparison beyond which it is none.
_MOST_WITHOUT = 0.1


@dataclass(frozen=True)
class Scores:
    """The scores of one sampler at one temperature, over all seeds.

    quality_O: LM score and quality_error_O its standard error, for each judge. reverse_ORN: nats of every test sentence
    for every reverse model, an array (R, N) for each orientation.
    """

    quality_O: np.ndarray
    quality_error_O: np.ndarray
    reverse_ORN: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Curve:
    """A sampler's scores over its temperatures, ascending, for one orientation; row 0 of D is what was measured.

    temperatures: () for what has none, such as real text, which is one point. is_open: it is still getting more diverse
    at its hottest, so that hotter samples might be more diverse than any of these.
    """

    temperatures: tuple[float, ...]
    is_open: bool
    quality_DT: np.ndarray
    diversity_DT: np.ndarray

    def dense(self) -> tuple[np.ndarray, np.ndarray]:
        """Quality and diversity at many temperatures between the coldest and the hottest, (D, X)."""
        if len(self.temperatures) < 2:
            return self.quality_DT, self.diversity_DT
        logs_T = np.log(self.temperatures)
        logs_T = 2 * (logs_T - logs_T[0]) / np.ptp(logs_T) - 1
        degree = min(_DEGREE, len(logs_T) - 1)
        at_temperatures, between = (
            np.vander(logs_T, degree + 1),
            np.vander(np.linspace(-1, 1, _CURVE_POINTS), degree + 1),
        )
        follow_TX = (between @ np.linalg.pinv(at_temperatures)).T
        return self.quality_DT @ follow_TX, self.diversity_DT @ follow_TX


def curves(
    scores: Mapping[str, Mapping[float | None, Scores]], tokens_ON: Sequence[np.ndarray], *, orientation: int
) -> dict[str, Curve]:
    """Every sampler's curve, with draws of everything that is uncertain.

    tokens_ON: tokens of every test sentence, end marks included, for each orientation.
    """
    draw = np.random.default_rng(derive("bootstrap", orientation) % 2**63)
    tokens_N = tokens_ON[orientation].astype(np.float64)
    weights_DN = draw.multinomial(len(tokens_N), np.full(len(tokens_N), 1 / len(tokens_N)), DRAWS).astype(np.float64)
    weights_DN = np.concatenate([np.ones((1, len(tokens_N))), weights_DN])
    spreads = reverse_spreads(
        {name: [one.reverse_ORN[orientation] for one in sweep.values()] for name, sweep in scores.items()}, tokens_N
    )
    found = {}
    for name, sweep in scores.items():
        temperatures = sorted(temperature for temperature in sweep if temperature is not None)
        points = [sweep[temperature] for temperature in temperatures] or [sweep[None]]
        quality_T = np.array([point.quality_O[orientation] for point in points])
        errors_T = np.array([point.quality_error_O[orientation] for point in points])
        nats_NT = np.stack([point.reverse_ORN[orientation].mean(0) for point in points], axis=1)
        models_T = np.array([len(point.reverse_ORN[orientation]) for point in points])
        diversity_DT = weights_DN @ nats_NT / (weights_DN @ tokens_N)[:, None]
        quality_DT = np.repeat(quality_T[None], DRAWS + 1, axis=0)
        quality_DT[1:] += errors_T * draw.standard_normal((DRAWS, len(points)))
        # Student's t: the spread itself is known from few models only.
        spread, freedom = spreads[name]
        deviations_D1 = spread * np.sqrt(freedom / draw.chisquare(freedom, (DRAWS, 1)))
        diversity_DT[1:] += deviations_D1 / np.sqrt(models_T) * draw.standard_normal((DRAWS, len(points)))
        noise = np.sqrt((1 / models_T[-2:]).sum()) * spread
        is_open = len(points) > 1 and bool(diversity_DT[0, -2] - diversity_DT[0, -1] > _OPEN_BY * noise)
        found[name] = Curve(tuple(temperatures), is_open, quality_DT, diversity_DT)
    return found


def reverse_spreads(models: Mapping[str, Sequence[np.ndarray]], tokens_N: np.ndarray) -> dict[str, tuple[float, int]]:
    """How far reverse models of a sampler at one temperature differ: a standard deviation and its degrees of freedom.

    Few models of one sampler say little of their variance, so it is drawn towards that of the middle sampler, which
    counts for so many more of them (moderated variances, Smyth 2004).

    models: of each sampler, for each temperature, nats of the test sentences for each of its reverse models, (R, N).
    """
    squares, freedom = {}, {}
    for name, temperatures in models.items():
        scores = [nats_RN.sum(1) / tokens_N.sum() for nats_RN in temperatures]
        squares[name] = sum(((score_R - score_R.mean()) ** 2).sum() for score_R in scores)
        freedom[name] = sum(len(score_R) - 1 for score_R in scores)
    middle = float(np.median([squares[name] / freedom[name] for name in models]))
    return {
        name: (
            float(np.sqrt((_PRIOR_FREEDOM * middle + squares[name]) / (_PRIOR_FREEDOM + freedom[name]))),
            _PRIOR_FREEDOM + freedom[name],
        )
        for name in models
    }


@dataclass(frozen=True)
class Margin:
    """How many nats a token a sampler is better than another: in quality, or in diversity at equal quality.

    estimate: None where they are not comparable. At "neither" it is the least distance in quality.
    """

    basis: Basis
    estimate: Estimate | None

    @property
    def word(self) -> Word:
        """What it says of the sampler."""
        if self.estimate is None:
            return "not comparable"
        if self.estimate.low > 0:
            return "better"
        return "worse" if self.estimate.high < 0 else "not distinguishable"


def margin(sampler: Curve, reference: Curve) -> Margin:
    """Compare two curves over everything that both reach, all of it of equal weight."""
    pairs = list(zip(_frontiers(sampler), _frontiers(reference), strict=True))
    compare: dict[Basis, Callable[[_Frontier, _Frontier], float]] = {
        "diversity": _at_equal_diversity,
        "quality": _at_equal_quality,
        "neither": _least_distance,
    }
    for basis, function in compare.items():
        margins_D = np.array([function(first, second) for first, second in pairs])
        drawn = margins_D[1:][np.isfinite(margins_D[1:])]
        if np.isfinite(margins_D[0]) and len(drawn) >= (1 - _MOST_WITHOUT) * DRAWS:
            return Margin(basis, interval(margins_D[0], drawn))
    return Margin("neither", None)


class _Frontier(NamedTuple):
    """The part of a curve from its most diverse samples to its coldest: diversity rises and quality falls, both scores.

    Hotter samples than the most diverse ones are worse in both respects.
    """

    diversity: np.ndarray
    quality: np.ndarray
    is_open: bool


def _frontiers(curve: Curve) -> Iterator[_Frontier]:
    """That of each draw."""
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


def interval(value: float, draws: np.ndarray) -> Estimate:
    """A figure with the middle 95 % of its draws."""
    low, high = np.quantile(draws, [0.025, 0.975])
    return Estimate(float(value), float(low), float(high))


def verdict(sampler: str, reference: str, by_orientation: Sequence[Mapping[str, Curve]]) -> Verdict:
    """What is to be said of a sampler beside another, and whether it holds with the halves swapped."""
    first, swapped = (margin(found[sampler], found[reference]) for found in by_orientation)
    sentence = _sentence(sampler, reference, first)
    if swapped.word == first.word:
        sentence += " With the judge's half and the test half of the held-out text swapped it is the same."
    else:
        sentence += (
            f" With the judge's half and the test half of the held-out text swapped it is {swapped.word}"
            f"{'' if swapped.estimate is None else f' ({_in_words(swapped.estimate)})'}, so do not rely on it."
        )
    return Verdict(sampler, reference, first.word, first.estimate, swapped.word, sentence, first.basis)


def _sentence(sampler: str, reference: str, found: Margin) -> str:
    if found.estimate is None:
        return (
            f"{sampler} and {reference} are not comparable: at these temperatures neither a diversity nor a quality "
            "is common to both, and neither is better in both. Sample the more diverse one colder or the other one "
            "hotter, with --temperatures."
        )
    numbers = _in_words(found.estimate)
    if found.basis == "neither":
        return (
            f"{sampler} is {found.word} than {reference} in both diversity and quality, at every temperature: in "
            f"quality by at least {numbers}."
        )
    missing = ", for no diversity is common to both" if found.basis == "quality" else ""
    if found.word == "not distinguishable":
        return (
            f"{sampler} and {reference} are not distinguishable at equal {found.basis}{missing}: the margin is "
            f"{numbers}."
        )
    if found.basis == "diversity":
        return (
            f"{sampler} is {found.word} than {reference} at equal diversity: in the judge's eyes its texts are "
            f"{numbers} {found.word}."
        )
    more = "more" if found.word == "better" else "less"
    return f"{sampler} is {found.word} than {reference} at equal quality{missing}: {more} diverse by {numbers}."


def _in_words(estimate: Estimate) -> str:
    sign = "+" if estimate.low <= 0 <= estimate.high else ""
    if not sign:
        values = sorted(map(abs, (estimate.low, estimate.high)))
        return f"{abs(estimate.value):.3f} nats a token (95 %: {values[0]:.3f} to {values[1]:.3f})"
    return f"{estimate.value:+.3f} nats a token (95 %: {estimate.low:+.3f} to {estimate.high:+.3f})"
