"""Where a run stands: everything that is not a tensor and cannot be derived."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

from lstmgan_dist.config import AnyPhase
from lstmgan_dist.corpus.manifest import PreparedCorpus
from lstmgan_dist.corpus.order import TextOrder


@dataclass(frozen=True)
class Score:
    """A held-out loss, in nats per token, and the step that reached it."""

    step: int
    heldout_nll: float


@dataclass
class Progress:
    """The counts of a run. A step is one round of updates."""

    step: int = 0
    phase: int = 0
    phase_step: int = 0
    sequences_read: int = 0
    best: Score | None = None
    phase_best: Score | None = None
    evaluations_since_best: int = 0
    roll_backs: int = 0
    learning_rate_scale: float = 1.0
    likelihood_end: int | None = None  # the step whose weights the first game starts from
    best_by_verdict: int | None = None

    def advance(self, sequences_read: int) -> None:
        """One more round is done, after which so many sequences have been consumed."""
        self.step += 1
        self.phase_step += 1
        self.sequences_read = sequences_read

    def record(self, heldout_nll: float) -> None:
        """Take note of an evaluation of this step."""
        score = Score(self.step, heldout_nll)
        if self.best is None or heldout_nll < self.best.heldout_nll:
            self.best = score
        if self.phase_best is None or heldout_nll < self.phase_best.heldout_nll:
            self.phase_best = score
            self.evaluations_since_best = 0
        else:
            self.evaluations_since_best += 1

    def phase_is_over(self, phase: AnyPhase, steps: int) -> bool:
        """Whether the phase has run its steps, or stopped getting better."""
        patience = phase.early_stop
        return self.phase_step >= steps or (patience is not None and self.evaluations_since_best >= patience)

    def next_phase(self) -> None:
        """Begin the following phase."""
        self.phase += 1
        self.phase_step = 0
        self.phase_best = None
        self.evaluations_since_best = 0

    def protected_steps(self) -> set[int]:
        """Checkpoints that must outlive pruning: the best ones, and what a game has to be compared with."""
        kept = {score.step for score in (self.best, self.phase_best) if score}
        return kept | {step for step in (self.likelihood_end, self.best_by_verdict) if step is not None}

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        scores = {name: Score(**values[name]) if values[name] else None for name in ("best", "phase_best")}
        return cls(**{**values, **scores})


def steps_of(phase: AnyPhase, batches_per_epoch: float) -> int:
    """The most steps that a phase takes, where an epoch is over when as many batches were read as the text holds."""
    if phase.steps is not None:
        return phase.steps
    assert phase.epochs is not None
    return max(1, round(phase.epochs * batches_per_epoch / phase.batches_per_step))


def batches_per_epoch(corpus: PreparedCorpus, batch_size: int) -> float:
    """Batches of one pass over the training text."""
    split = corpus.splits["train"]
    if corpus.layout == "sentences":
        return split.rows / batch_size
    return TextOrder(split.tokens, rows=batch_size, length=corpus.max_length).steps
