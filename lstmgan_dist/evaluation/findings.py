"""What a contest found, as plain data: what `frontier.json` holds and the report shows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

# "not distinguishable" only if a margin that matters would have been seen, and "too little evidence" else.
Word = Literal["better", "worse", "not distinguishable", "too little evidence", "not comparable"]
UNDECIDED: tuple[Word, ...] = ("not distinguishable", "too little evidence")

# What two samplers are compared at: the same diversity; where they have none in common the same quality; and where they
# have not even that, not at all, unless one of them is better in both.
Basis = Literal["diversity", "quality", "neither"]


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval, [low, high]."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Sampler:
    """Something that writes texts.

    name: unique among those compared. kind: a run's generator at its end, the likelihood-only checkpoint that its game
    started from, or real text. run: address of the run; "" for real text. step: of the checkpoint.
    """

    name: str
    kind: Literal["run", "likelihood start", "real text"]
    run: str = ""
    step: int = 0


@dataclass(frozen=True)
class Place:
    """One sampler at one temperature.

    temperature: None for real text. figures: by name, those of `METRICS` that apply.
    """

    sampler: str
    temperature: float | None
    figures: Mapping[str, Estimate]


@dataclass(frozen=True)
class Verdict:
    """What is to be said of a sampler beside another.

    word: of the sampler. margin: by how many nats a token it is better (above 0) or worse: in quality at equal
    diversity, or in diversity at equal quality, or at least in quality, as the basis says; None where the two are not
    comparable. sentence: all of it in words.
    """

    sampler: str
    reference: str
    word: Word
    margin: Estimate | None
    sentence: str
    basis: Basis = "diversity"


@dataclass(frozen=True)
class Example:
    """A generated text and what of it is in the training text.

    nearest: the training sentence that has most in common with it. longest_copied: tokens of the longest stretch that
    the training text holds literally. tokens: of the whole text.
    """

    text: str
    nearest: str
    longest_copied: int
    tokens: int

    @property
    def is_copy(self) -> bool:
        """Whether it is a training sentence."""
        return self.text == self.nearest


@dataclass(frozen=True)
class Examples:
    """Texts of one sampler at one temperature; of real text the nearest sentences are left empty."""

    sampler: str
    temperature: float | None
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Coverage:
    """How the n-grams of a sampler's texts and of as much real text overlap, for n = 1, 2, ...

    real_found: share of the real text's n-grams (each counted once) that the samples hold.
    generated_real: share of the samples' n-grams (each counted once) that the real text holds.
    """

    sampler: str
    temperature: float | None
    real_found: tuple[float, ...]
    generated_real: tuple[float, ...]


@dataclass(frozen=True)
class PhaseSteps:
    """One phase of a run: its kind, and its first and last step."""

    kind: str
    first_step: int
    last_step: int


@dataclass(frozen=True)
class LearningCurves:
    """How a run was trained. curves: (step, value) by the name that metrics.jsonl has, such as heldout/nll."""

    run: str
    phases: tuple[PhaseSteps, ...]
    curves: Mapping[str, tuple[tuple[int, float], ...]]


@dataclass(frozen=True)
class ContestFindings:
    """All of it.

    protocol: how each figure was come by, a heading and a sentence. warnings: what a reader must know first, such as a
    judge that did not learn. chosen: which checkpoint of each run the verdict chooses and why, a sentence by run name.
    """

    samplers: tuple[Sampler, ...]
    places: tuple[Place, ...]
    verdicts: tuple[Verdict, ...]
    examples: tuple[Examples, ...]
    coverage: tuple[Coverage, ...]
    curves: tuple[LearningCurves, ...]
    protocol: Mapping[str, str]
    warnings: tuple[str, ...] = ()
    chosen: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """As frontier.json holds it."""
        return (json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n").encode()

    def verdict(self, sampler: str, reference: str) -> Verdict:
        """What is to be said of a sampler beside another."""
        return next(
            verdict for verdict in self.verdicts if (verdict.sampler, verdict.reference) == (sampler, reference)
        )

    def place(self, sampler: str, temperature: float | None) -> Place:
        """The place of a sampler at a temperature."""
        return next(place for place in self.places if (place.sampler, place.temperature) == (sampler, temperature))
