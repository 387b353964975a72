"""Verdicts on samplers whose scores are made up, so that the truth is known."""

import math
from typing import get_args

import numpy as np
import pytest

from lstmgan_dist.evaluation import frontier
from lstmgan_dist.evaluation.findings import UNDECIDED, Word
from lstmgan_dist.evaluation.frontier import MATTERS, Scores, curves, margin
from lstmgan_dist.evaluation.verdict import verdict
from tests.cases import cases

TEMPERATURES = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3)
SENTENCES, REPLICATES = 600, 6
SPREAD, QUALITY_SPREAD = 0.02, 0.02  # of one replicate
TOKENS_N = np.random.default_rng(0).integers(6, 16, SENTENCES)
# How hard each sentence is, for every model alike.
HARDNESS_N = np.random.default_rng(1).normal(0, 0.4, SENTENCES)


def quality(temperature):
    return 5.2 + 4.6 * math.log(temperature) + 1.5 * math.log(temperature) ** 2


def diversity(temperature):
    return 4.35 + 3.2 * (math.log(temperature) - 0.05) ** 2 - 2.5 * (math.log(temperature) - 0.05) ** 3


def sampler(draw, *, heat=1.0, better=0.0, temperatures=TEMPERATURES) -> dict[float | None, Scores]:
    """Scores of a model at temperatures times `heat`, its quality better by so many nats."""
    return {
        temperature: point(draw, quality(temperature * heat) - better, diversity(temperature * heat))
        for temperature in temperatures
    }


def point(draw, quality, diversity, replicates=REPLICATES):
    """Scores with the noise that is to be expected, at every temperature another."""
    return scores_of(
        quality + draw.normal(0, QUALITY_SPREAD, replicates), diversity + draw.normal(0, SPREAD, replicates)
    )


def scores_of(quality_R, diversity_R):
    return Scores(quality_R, (diversity_R[:, None] + HARDNESS_N) * TOKENS_N)


def judged(first, second):
    return verdict("first", "second", curves({"first": first, "second": second}, TOKENS_N))


@pytest.mark.parametrize("heat", cases([0.85, 0.7, 1.25], quick=[0.85]))
def test_samplers_that_differ_in_temperature_only_are_not_distinguishable(heat):
    words = [judged(sampler(draw, heat=heat), sampler(draw)).word for draw in map(np.random.default_rng, range(30))]
    assert sum(word in UNDECIDED for word in words) >= 25


def test_margin_is_the_difference_in_quality():
    found = judged(sampler(np.random.default_rng(5), better=0.3, heat=0.9), sampler(np.random.default_rng(6)))
    assert found.word == "better"
    assert found.margin is not None
    assert found.margin.low < 0.3 < found.margin.high
    assert found.margin.high - found.margin.low < 0.2
    assert "better than second at equal diversity" in found.sentence
    opposite = judged(sampler(np.random.default_rng(6)), sampler(np.random.default_rng(5), better=0.3, heat=0.9))
    assert opposite.word == "worse"
    assert opposite.margin is not None
    assert opposite.margin.value == pytest.approx(-found.margin.value, abs=0.05)


def drawn_together(draw, replicates, *, better=0.0):
    """Two samplers whose replicates err alike at all temperatures, and colder ones more, as those of real models do.

    Half the variance of a replicate is that of its number, which both samplers share.
    """
    both = np.sqrt(0.5) * draw.normal(0, 1, (2, replicates))
    for name, ahead in (("first", better), ("second", 0.0)):
        own = both + np.sqrt(0.5) * draw.normal(0, 1, (2, replicates))
        sweep: dict[float | None, Scores] = {}
        for temperature in (0.7, 0.8, 0.9, 1.0, 1.1):
            errors = np.sqrt(0.9) * own + np.sqrt(0.1) * draw.normal(0, 1, (2, replicates))
            spread = 0.03 * temperature**-3
            sweep[temperature] = scores_of(
                quality(temperature) - ahead + QUALITY_SPREAD * errors[0], diversity(temperature) + spread * errors[1]
            )
        yield name, sweep


@pytest.mark.slow
@pytest.mark.parametrize("replicates", [4, 12])
def test_one_in_twenty_equal_samplers_is_called_different(replicates, monkeypatch):
    """Of 400 pairs; 20 are to be expected, and fewer than 8 or more than 32 once in 150 times."""
    monkeypatch.setattr(frontier, "DRAWS", 40)
    called = 0
    for seed in range(400):
        found = judged(**dict(drawn_together(np.random.default_rng(seed), replicates)))
        called += found.word not in UNDECIDED
    assert 8 <= called <= 32


@pytest.mark.parametrize("better", cases([0.25, -0.25], quick=[0.25]))
def test_a_real_difference_is_found_with_its_sign(better):
    pairs = [dict(drawn_together(np.random.default_rng(seed), 12, better=better)) for seed in range(20)]
    words = [judged(**pair).word for pair in pairs]
    assert words.count("better" if better > 0 else "worse") >= 18


def test_errors_that_all_samplers_share_are_no_doubt_about_their_difference():
    draw = np.random.default_rng(9)
    error_R = draw.normal(0, 0.2, REPLICATES)
    sweep = {t: scores_of(quality(t) + error_R, diversity(t) + error_R) for t in TEMPERATURES}
    ahead = {t: Scores(one.quality_R - 0.02, one.reverse_RN) for t, one in sweep.items()}
    found = curves({"first": {**ahead}, "second": {**sweep}}, TOKENS_N)
    estimate = margin(found["first"], found["second"]).estimate
    assert estimate is not None
    assert 0.015 < estimate.low < 0.02 < estimate.high < 0.025


def noisy_point(draw, quality, diversity):
    return scores_of(quality + draw.normal(0, 0.5, REPLICATES), diversity + draw.normal(0, 0.5, REPLICATES))


@pytest.mark.parametrize("seed", range(5))
def test_equal_samplers_are_called_alike_only_where_a_margin_that_matters_would_have_shown(seed):
    draw = np.random.default_rng(seed)
    precise = margin(*curves(dict(drawn_together(draw, 12)), TOKENS_N).values())
    assert precise.visible is not None
    if precise.word in UNDECIDED:
        assert (precise.visible <= MATTERS) == (precise.word == "not distinguishable")
    noisy = [{t: noisy_point(draw, quality(t), diversity(t)) for t in TEMPERATURES} for _ in range(2)]
    found = judged(*noisy)
    assert found.word == "too little evidence"
    assert found.sentence.startswith("There is too little evidence to tell first and second apart at equal diversity")
    assert "times as many samples (--seeds, --samples)." in found.sentence


def test_reverse_models_that_learnt_nothing_are_no_evidence():
    pair = curves(dict(drawn_together(np.random.default_rng(3), 12)), TOKENS_N)
    assert verdict("first", "second", pair, knowledge=0.6).word == "not distinguishable"
    blind = verdict("first", "second", pair, knowledge=0.2)
    assert blind.word == "too little evidence"
    assert "but models of so few samples see little difference between any texts" in blind.sentence
    # What they see in spite of it counts.
    ahead = curves(dict(drawn_together(np.random.default_rng(3), 12, better=0.4)), TOKENS_N)
    assert verdict("first", "second", ahead, knowledge=0.2).word == "better"


def test_too_little_evidence_says_whether_text_or_samples_are_too_few():
    draw = np.random.default_rng(11)
    few = slice(0, 12)
    of_few = [
        {t: Scores(one.quality_R, one.reverse_RN[:, few] * draw.normal(1, 0.1, 12)) for t, one in sampler(draw).items()}
        for _ in range(2)
    ]
    found = verdict("first", "second", curves(dict(zip(("first", "second"), of_few, strict=True)), TOKENS_N[few]))
    assert found.word == "too little evidence"
    assert "times as much held-out text (--heldout FILE, or a larger corpus.heldout_fraction)." in found.sentence


def test_every_verdict_says_that_it_holds_for_these_training_seeds():
    draw = np.random.default_rng(10)
    colder: dict[float | None, Scores] = {t: point(draw, quality(t * 0.3), diversity(t * 0.3)) for t in TEMPERATURES}
    real: dict[float | None, Scores] = {None: point(draw, 4.9, 4.0)}
    noisy: dict[float | None, Scores] = {t: noisy_point(draw, quality(t), diversity(t)) for t in TEMPERATURES}
    others = (sampler(draw), sampler(draw, better=0.4), sampler(draw, better=-0.4), colder, real, noisy)
    found = [judged(other, sampler(draw)) for other in others]
    assert {one.word for one in found} == set(get_args(Word))
    for one in found:
        assert one.sentence.endswith(" This holds for these training seeds.")


def test_real_text_wins_and_collapse_and_salad_lose():
    draw = np.random.default_rng(3)
    model = sampler(draw)
    real: dict[float | None, Scores] = {None: point(draw, 4.9, 4.0)}
    found = judged(real, model)
    assert found.word == "better"
    assert "at equal quality, for they have too little diversity in common: more diverse by" in found.sentence
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


def test_a_diversity_that_is_not_common_without_one_replicate_is_no_basis():
    def flat(diversity_R, quality):
        return {None: scores_of(np.full(REPLICATES, quality), diversity_R)}

    # Without the first replicate 3.92, which the model does not reach.
    odd_R = np.array([4.52, *[3.92] * (REPLICATES - 1)])
    model = {t: scores_of(np.full(REPLICATES, 5 + t), np.full(REPLICATES, 4.2 - t / 5)) for t in (0.6, 1.0)}
    assert judged({**model}, flat(np.full(REPLICATES, odd_R.mean()), 6.5)).basis == "diversity"
    assert judged({**model}, flat(odd_R, 6.5)).basis != "diversity"
