"""What is said of a sampler beside another: the word of their margin, which frontier.py decides, and a sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping

from lstmgan_dist.evaluation.findings import Estimate, Verdict
from lstmgan_dist.evaluation.frontier import LEAST_KNOWLEDGE, MATTERS, Curve, Margin, margin

# What has a smaller share of the variance than this is not worth more of it.
_PART = 0.2


def verdict(sampler: str, reference: str, found: Mapping[str, Curve], *, knowledge: float = math.inf) -> Verdict:
    """What is to be said of a sampler beside another.

    knowledge: what reverse models of real text know beyond the frequencies of words, nats a token. What training again
    with another seed would do is not part of the interval, so every sentence says so.
    """
    beside = margin(found[sampler], found[reference], knowledge=knowledge)
    sentence = f"{_sentence(sampler, reference, beside)} This holds for these training seeds."
    return Verdict(sampler, reference, beside.word, beside.estimate, sentence, beside.basis)


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
    missing = ", for they have too little diversity in common" if found.basis == "quality" else ""
    if found.word == "not distinguishable":
        return (
            f"{sampler} and {reference} are not distinguishable at equal {found.basis}{missing}: the margin is "
            f"{numbers}."
        )
    if found.word == "too little evidence":
        return _without_evidence(sampler, reference, found, f"equal {found.basis}{missing}: the margin is {numbers}")
    if found.basis == "diversity":
        return (
            f"{sampler} is {found.word} than {reference} at equal diversity: in the judges' eyes its texts are "
            f"{numbers} {found.word}."
        )
    more = "more" if found.word == "better" else "less"
    return f"{sampler} is {found.word} than {reference} at equal quality{missing}: {more} diverse by {numbers}."


def _without_evidence(sampler: str, reference: str, found: Margin, numbers: str) -> str:
    """What could not be seen, and how much more of what would show it."""
    assert found.visible is not None
    if found.knowledge < LEAST_KNOWLEDGE:
        return (
            f"There is too little evidence to tell {sampler} and {reference} apart at {numbers}, but models of so few "
            "samples see little difference between any texts."
        )
    times = (found.visible / MATTERS) ** 2
    more = []
    if found.of_sentences > _PART:
        more.append("as much held-out text (--heldout FILE, or a larger corpus.heldout_fraction)")
    if found.of_sentences < 1 - _PART:
        more.append("as many samples (--seeds, --samples)")
    return (
        f"There is too little evidence to tell {sampler} and {reference} apart at {numbers}, and one below "
        f"{found.visible:.2f} would not have been seen. To see one of {MATTERS:g}, take about {max(2, round(times))} "
        f"times {' and '.join(more)}."
    )


def _in_words(estimate: Estimate) -> str:
    sign = "+" if estimate.low <= 0 <= estimate.high else ""
    if not sign:
        values = sorted(map(abs, (estimate.low, estimate.high)))
        return f"{abs(estimate.value):.3f} nats a token (95 %: {values[0]:.3f} to {values[1]:.3f})"
    return f"{estimate.value:+.3f} nats a token (95 %: {estimate.low:+.3f} to {estimate.high:+.3f})"
