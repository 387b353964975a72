"""Verdicts on samplers whose scores are made up, so that the truth is known."""

import math

import numpy as np
import pytest

from lstmgan_dist.evaluation.frontier import Scores, curves, margin, reverse_spreads, verdict

TEMPERATURES = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3)
SENTENCES, SPREAD, QUALITY_ERROR = 600, 0.01, 0.01
TOKENS_N = np.random.default_rng(0).integers(6, 16, SENTENCES)
# How hard each sentence is, for every model alike.
HARDNESS_N = np.random.default_rng(1).normal(0, 0.4, SENTENCES)


def quality(temperature):
    return 5.2 + 4.6 * math.log(temperature) + 1.5 * math.log(temperature) ** 2


def diversity(temperature):
    return 4.35 + 3.2 * (math.log(temperature) - 0.05) ** 2 - 2.5 * (math.log(temperature) - 0.05) ** 3


def sampler(draw, *, heat=1.0, better=0.0, models=2, temperatures=TEMPERATURES) -> dict[float | None, Scores]:
    """Scores of a model at temperatures times `heat`, its quality better by so many nats."""
    return {
        temperature: point(draw, quality(temperature * heat) - better, diversity(temperature * heat), models)
        for temperature in temperatures
    }


def point(draw, quality, diversity, models=2):
    """Scores with the noise that is to be expected, for both orientations."""
    reverse = tuple(
        np.stack([(diversity + draw.normal(0, SPREAD) + HARDNESS_N) * TOKENS_N for _ in range(models)])
        for _ in range(2)
    )
    return Scores(quality + draw.normal(0, QUALITY_ERROR, 2), np.full(2, QUALITY_ERROR), reverse)


def judged(first, second):
    scores = {"first": first, "second": second}
    both = [curves(scores, [TOKENS_N, TOKENS_N], orientation=orientation) for orientation in range(2)]
    return verdict("first", "second", both)


@pytest.mark.parametrize("heat", [0.85, 0.7, 1.25])
def test_samplers_that_differ_in_temperature_only_are_not_distinguishable(heat):
    words = [judged(sampler(draw, heat=heat), sampler(draw)).word for draw in map(np.random.default_rng, range(30))]
    assert words.count("not distinguishable") >= 25


def test_margin_is_the_difference_in_quality():
    found = judged(sampler(np.random.default_rng(5), better=0.3, heat=0.9), sampler(np.random.default_rng(6)))
    assert found.word == found.swapped == "better"
    assert found.margin is not None
    assert found.margin.low < 0.3 < found.margin.high
    assert found.margin.high - found.margin.low < 0.2
    assert "better than second at equal diversity" in found.sentence
    assert "swapped it is the same" in found.sentence
    opposite = judged(sampler(np.random.default_rng(6)), sampler(np.random.default_rng(5), better=0.3, heat=0.9))
    assert opposite.word == "worse"
    assert opposite.margin is not None
    assert opposite.margin.value == pytest.approx(-found.margin.value, abs=0.05)


def test_intervals_hold_what_they_promise():
    """Of 50 pairs of equal samplers, about 95 % have an interval that holds 0: fewer than 43 once in 1,000 times."""
    held = 0
    for seed in range(50):
        draw = np.random.default_rng(100 + seed)
        found = curves({"first": sampler(draw, heat=0.9), "second": sampler(draw)}, [TOKENS_N], orientation=0)
        estimate = margin(found["first"], found["second"]).estimate
        assert estimate is not None
        held += estimate.low <= 0 <= estimate.high
    assert held >= 43


def test_real_text_wins_and_collapse_and_salad_lose():
    draw = np.random.default_rng(3)
    model = sampler(draw)
    real: dict[float | None, Scores] = {None: point(draw, 4.9, 4.0)}
    found = judged(real, model)
    assert found.word == found.swapped == "better"
    assert "at equal quality, for no diversity is common to both: more diverse by" in found.sentence
    # At 4.9, the model has a reverse LM score of a little more than 4.35.
    assert found.margin is not None
    assert found.margin.low < 0.375 < found.margin.high
    assert judged(model, real).word == "worse"
    # Ten sentences again and again: as good as real ones each, and nothing can be learnt from them.
    collapsed: dict[float | None, Scores] = {t: point(draw, 4.9, 7.5) for t in TEMPERATURES}
    assert judged(collapsed, model).word == "worse"
    # Words by their frequency: colder, ever the same words.
    salad: dict[float | None, Scores] = {t: point(draw, 8.0 + math.log(t), 6.4 + (t - 1) ** 2) for t in TEMPERATURES}
    assert judged(salad, model).word == "worse"
    # The same, but of those that might be more diverse if they were hotter.
    salad = {t: point(draw, 8.0 + math.log(t), 7.4 - t) for t in TEMPERATURES}
    hotter = sampler(draw, temperatures=TEMPERATURES[:4])
    found = judged(salad, hotter)
    assert found.word == "worse"
    assert "in both diversity and quality, at every temperature" in found.sentence
    assert judged(hotter, salad).word == "better"


def test_neither_a_common_diversity_nor_quality_is_not_comparable():
    draw = np.random.default_rng(4)
    colder: dict[float | None, Scores] = {t: point(draw, quality(t * 0.3), diversity(t * 0.3)) for t in TEMPERATURES}
    found = judged(colder, sampler(draw))
    assert found.word == "not comparable"
    assert found.margin is None
    assert "--temperatures" in found.sentence


def test_verdict_that_changes_with_the_halves_says_so():
    draw = np.random.default_rng(7)
    scores = {"first": sampler(draw, better=0.3), "second": sampler(draw)}
    same, other = (curves(scores, [TOKENS_N, TOKENS_N], orientation=orientation) for orientation in range(2))
    found = verdict("first", "second", [same, {"first": other["second"], "second": other["first"]}])
    assert (found.word, found.swapped) == ("better", "worse")
    assert "swapped it is worse" in found.sentence
    assert "do not rely on it" in found.sentence


def models_of(draw, spread, count=3):
    return [(5 + draw.normal(0, spread, (count, 1)) + HARDNESS_N) * TOKENS_N for _ in range(100)]


def test_spread_of_reverse_models_is_that_of_their_scores():
    draw = np.random.default_rng(8)
    models = {"steady": models_of(draw, 0.01), "middle": models_of(draw, 0.02), "wild": models_of(draw, 0.5)}
    found = reverse_spreads(models, TOKENS_N)
    for name, spread in (("steady", 0.01), ("middle", 0.02), ("wild", 0.5)):
        assert found[name] == (pytest.approx(spread, rel=0.15), 204)
    # Of few models the spread is hardly known by themselves.
    few = reverse_spreads({**models, "steady": [np.stack([TOKENS_N, TOKENS_N]) * 5.0]}, TOKENS_N)
    assert few["steady"] == (pytest.approx(0.02 * math.sqrt(4 / 5), rel=0.15), 5)
