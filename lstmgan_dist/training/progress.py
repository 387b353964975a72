"""Where a run stands: everything that is not a tensor and cannot be derived."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from lstmgan_dist.phases.kind import HELDOUT_NLL, Phase
from lstmgan_dist.training.checkpoint import Checkpoint


@dataclass(frozen=True)
class Score:
    """What an evaluation of a step found of what its phase is judged by: of `figure`, one of the two names above."""

    step: int
    figure: str
    value: float

    def beats(self, other: Score | None) -> bool:
        """Whether it is better than another of the same phase: a lower loss, a higher accuracy."""
        if other is None:
            return True
        return self.value < other.value if self.figure == HELDOUT_NLL else self.value > other.value

    def __str__(self) -> str:
        if self.figure == HELDOUT_NLL:
            return f"held-out {self.value:.4f} nats per token"
        return f"{self.value:.1%} of held-out and drawn texts told apart"


@dataclass(frozen=True)
class EndedPhase:
    """The last step of a phase, its best evaluation, and how many steps the job gave it at most."""

    step: int
    best: Score | None
    most_steps: int


@dataclass
class Progress:
    """The counts of a run. A step is one round of updates; `best` is of the current phase."""

    step: int = 0
    phase: int = 0
    phase_step: int = 0
    sequences_read: int = 0
    best: Score | None = None
    evaluations_since_best: int = 0
    roll_backs: int = 0
    learning_rate_scale: float = 1.0
    ended: tuple[EndedPhase, ...] = ()

    def advance(self, sequences_read: int) -> None:
        """One more round is done, after which so many sequences have been consumed."""
        self.step += 1
        self.phase_step += 1
        self.sequences_read = sequences_read

    def record(self, figure: str, value: float) -> None:
        """Take note of an evaluation of this step."""
        score = Score(self.step, figure, value)
        if score.beats(self.best):
            self.best = score
            self.evaluations_since_best = 0
        else:
            self.evaluations_since_best += 1

    def next_phase(self, most_steps: int) -> None:
        """Begin the following phase. most_steps: what the job gives the one that has ended."""
        self.ended = (*self.ended, EndedPhase(self.step, self.best, most_steps))
        self.phase += 1
        self.phase_step = 0
        self.best = None
        self.evaluations_since_best = 0

    @property
    def best_is_of_this_step(self) -> bool:
        """Whether the last step is the one with the phase's best evaluation."""
        return self.best is not None and self.best.step == self.step

    @property
    def last_phase(self) -> int:
        """The number of the phase that the last step belongs to."""
        return self.phase if self.phase_step else max(0, self.phase - 1)

    @property
    def best_of_last_phase(self) -> Score | None:
        """The best evaluation of the phase that the last step belongs to; None before its first."""
        return self.best if self.phase_step or not self.ended else self.ended[-1].best

    def likelihood_end(self, phases: Sequence[Phase]) -> int | None:
        """The step whose generator the first game starts from; None before it, and where there is none.

        A discriminator may have learnt before, and likelihood have gone on behind it: it has not moved the generator.
        """
        games = [number for number, phase in enumerate(phases) if phase.plays and phase.moves_generator]
        before = [number for number in range(games[0] if games else 0) if phases[number].moves_generator]
        return self.ended[before[-1]].step if before and before[-1] < len(self.ended) else None

    def protected_steps(self) -> set[int]:
        """Checkpoints that must outlive pruning: of every phase the best one, and the last, which others start from."""
        bests = (self.best, *(phase.best for phase in self.ended))
        return {score.step for score in bests if score} | {phase.step for phase in self.ended}

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Self:
        """Where the run stood when the checkpoint was written."""
        return cls.from_json(checkpoint.progress())

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        ended = tuple(
            # Older versions did not write how long a phase might have become.
            EndedPhase(phase["step"], _score(phase["best"]), phase.get("most_steps", sys.maxsize))
            for phase in values["ended"]
        )
        return cls(**{**values, "best": _score(values["best"]), "ended": ended})


def _score(values: dict[str, Any] | None) -> Score | None:
    return Score(**values) if values else None
