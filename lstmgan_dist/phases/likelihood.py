"""Maximum likelihood."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator

from lstmgan_dist.adversarial.criteria import CRITERIA, Criterion
from lstmgan_dist.adversarial.work import BatchWork, Work
from lstmgan_dist.phases.kind import Phase
from lstmgan_dist.phases.optimizer import Optimizer
from lstmgan_dist.settings import OneOf, Schedule, Settings

if TYPE_CHECKING:
    from lstmgan_dist.corpus.stream import Batch
    from lstmgan_dist.phases.player import Moment, Player, Report, Sides


class ScheduledSampling(Settings):
    """Some of what the generator reads is its own samples instead of the real tokens (Bengio et al. 2015)."""

    probability: Annotated[float, Field(ge=0, le=1)] | Schedule = Field(
        default=Schedule(start=0, end=0.25),
        description="Of each token that is read being the generator's own sample, 0 to 1 (the paper's 1 - ε): a number "
        "or a schedule.",
    )
    passes: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Readings of the batch that samples are drawn in, each over the mixture of the one before, the "
        "first over real text. After as many as a text has tokens, samples are those of drawing one by one.",
    )

    @field_validator("probability")
    @classmethod
    def _within(cls, value: float | Schedule) -> float | Schedule:
        if isinstance(value, Schedule) and not 0 <= min(value.start, value.end) <= max(value.start, value.end) <= 1:
            raise ValueError("a probability must stay within 0 and 1: try start: 0 and end: 0.25")
        return value


class LikelihoodPhase(Phase):
    """The generator learns to predict the next token."""

    plays = False

    kind: Literal["likelihood"]
    criterion: Annotated[Criterion, OneOf(CRITERIA)] | None = Field(
        default=None, description="What a token of real text costs; none: its negative log-likelihood."
    )
    scheduled_sampling: ScheduledSampling | None = Field(
        default=None, description="Read some samples of the generator's own in the place of real tokens; none: none."
    )
    optimizer: Optimizer = Field(default_factory=Optimizer, description="The generator's optimiser.")

    def updates(self, batch: BatchWork) -> list[tuple[int, str, Work]]:
        work = likelihood_work(batch)
        if self.scheduled_sampling:
            for _ in range(self.scheduled_sampling.passes):
                work += batch.read
        return [(1, "generator", work)]

    def players(self, sides: Sides, steps: int) -> dict[str, Player]:
        from lstmgan_dist.adversarial.likelihood import OWN_PROBABILITY, LikelihoodObjective

        sampling = self.scheduled_sampling
        objective = LikelihoodObjective(
            sides.generator,
            carries_state=sides.carries_state,
            criterion=self.criterion,
            sampling_passes=sampling.passes if sampling else 0,
        )
        schedules = {OWN_PROBABILITY: sampling.probability} if sampling else {}
        player = sides.player("generator", sides.generator, objective, self.optimizer, steps, schedules=schedules)
        return {"generator": player}

    def play(
        self, players: Mapping[str, Player], sides: Sides, real: Iterator[Sequence[Batch]], moment: Moment
    ) -> Report:
        """The generator predicts real text."""
        sides.generator.look_at(sides.discriminator)
        return players["generator"].learn(next(real), opponent=None, moment=moment.at("generator", 0))


def likelihood_work(batch: BatchWork) -> Work:
    """What the likelihood of a batch takes."""
    return batch.read.trained()
