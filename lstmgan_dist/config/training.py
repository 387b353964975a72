"""What a job says of its batches, of what is measured while it trains, of what is kept, and of failures."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from lstmgan_dist.settings import Interval, Probability, Settings

# A unit wants so many sequences, or its matrix products waste a core; and no more units are made for their own sake.
_SEQUENCES_OF_A_UNIT, _MOST_UNITS = 32, 8


def _usual_units(batch: dict[str, Any]) -> int:
    """How many units a batch has whose job does not say it."""
    size, lanes = batch.get("size", 1), batch.get("lanes", 1)
    most = min(_MOST_UNITS, max(1, size // _SEQUENCES_OF_A_UNIT))
    return max(units for units in range(1, most + 1) if lanes % units == 0)


class BatchSettings(Settings):
    """How many sequences one update sees."""

    size: int = Field(default=64, ge=1, description="Sequences per update, over all workers.")
    lanes: int = Field(default=8, ge=1, description="Fixed streams the data is dealt to; a unit has whole lanes.")
    units: int = Field(
        default_factory=_usual_units,
        ge=1,
        description="Fixed parts of a batch, each computed by itself in one thread, side by side on as many cores and "
        "workers as there are; so units bound their number. A run's numbers depend on its units, and on its workers "
        "not at all. More units take less memory and, with few sequences in each, more time. Without this, as many as "
        f"have {_SEQUENCES_OF_A_UNIT} sequences or more, at most {_MOST_UNITS}.",
    )

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.size % self.lanes:
            below = self.size - self.size % self.lanes
            choices = " or ".join(str(size) for size in (below, below + self.lanes) if size)
            raise ValueError(f"size {self.size} must be divisible by {self.lanes} lanes: try size {choices}")
        if self.lanes % self.units:
            fitting = [str(units) for units in range(1, self.lanes + 1) if self.lanes % units == 0]
            raise ValueError(f"{self.units} units cannot share {self.lanes} lanes equally: try {' or '.join(fitting)}")
        return self


class Frontier(Settings):
    """How thoroughly quality and diversity are judged: see lstmgan evaluate."""

    temperatures: tuple[Annotated[float, Field(gt=0, le=10)], ...] = Field(
        default=(0.7, 0.8, 0.9, 1.0, 1.1), min_length=1, description="At which texts are drawn, above 0."
    )
    seeds: int = Field(default=1, ge=1, description="Times that everything is drawn and learnt anew.")
    samples: int = Field(default=10_000, ge=300, description="Texts drawn for each temperature and seed.")

    @field_validator("temperatures")
    @classmethod
    def _distinct(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(value)) < len(value):
            raise ValueError("a temperature is given twice: leave one out")
        return tuple(sorted(value))


class EvaluationSettings(Settings):
    """What is measured while training."""

    every: Interval = Field(
        default=Interval(count=1, unit="epochs"), description="How often, and at the end of each phase."
    )
    heldout_sequences: int = Field(
        default=2000,
        ge=1,
        description="Most held-out sequences scored (sentences: and at most a third of them, for the others are kept "
        "for judges; continuous: rows of a batch times windows).",
    )
    samples: int = Field(
        default=500, ge=2, description="Texts generated for BLEU, distinct-n and the like (sentences)."
    )
    frontier: Frontier | None = Field(
        default=None, description="Judge quality and diversity in full at the end of each phase; none: not in training."
    )
    show: int = Field(default=8, ge=1, description="Texts written to samples/ and TensorBoard.")
    prompt: str = Field(default="", description="Text that shown samples continue.")
    sample_length: int | None = Field(
        default=None, ge=1, description="Tokens of each sample; none: max_length (sentences) or 500 (continuous)."
    )


class Guard(Settings):
    """What counts as a failed run, and what happens then."""

    distinct_2_floor: Probability = Field(
        default=0.0,
        description="Samples with a smaller share of distinct token pairs count as collapsed, 0 to 1; 0: never.",
    )
    on_failure: Literal["stop", "roll_back"] = Field(
        default="stop",
        description="On a loss that is not a number or a collapse: stop, or go on from the phase's best checkpoint, "
        "and before its first evaluation from its start.",
    )
    repeat_every: int | None = Field(
        default=None,
        ge=1,
        description="Every so many updates of a player one is computed twice before anything is learnt from it, and "
        "the run stops if a bit differs, for then a machine is faulty. It changes no number; none: never.",
    )
    most_roll_backs: int = Field(default=3, ge=1, description="Roll-backs after which the run stops all the same.")
    learning_rate_factor: float = Field(
        default=0.5, gt=0, le=1, description="Every roll-back multiplies the learning rates by this, 0 to 1."
    )


class CheckpointSettings(Settings):
    """When the run is saved, and what is kept."""

    every: Interval = Field(
        default=Interval(count=1, unit="epochs"), description="How often, and at the end of each phase."
    )
    keep: int = Field(
        default=3,
        ge=1,
        description="Newest checkpoints kept; of every phase the best and the last are kept besides.",
    )
    best_by: Literal["heldout_nll", "frontier"] = Field(
        default="heldout_nll",
        description="What makes a checkpoint the best one of the last phase: its held-out loss; or the judges' "
        "verdict, by which the end of a game takes the place of the likelihood checkpoint only if it is better at "
        "equal diversity.",
    )


class Logging(Settings):
    """How often the losses are written."""

    every: Interval = Field(default=Interval(count=10, unit="steps"), description="How often.")
    publish_seconds: float = Field(
        default=30.0,
        gt=0,
        description="Remote runs: seconds between uploads of curves; checkpoints bring them too.",
    )
