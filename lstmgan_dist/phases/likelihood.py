"""Maximum likelihood."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from lstmgan_dist.adversarial.criteria import CRITERIA, Criterion
from lstmgan_dist.adversarial.work import BatchWork, Work
from lstmgan_dist.phases.kind import Phase
from lstmgan_dist.phases.optimizer import Optimizer
from lstmgan_dist.settings import OneOf

if TYPE_CHECKING:
    from lstmgan_dist.corpus.stream import Batch
    from lstmgan_dist.phases.player import Moment, Player, Report, Sides


class LikelihoodPhase(Phase):
    """The generator learns to predict the next token."""

    plays = False

    kind: Literal["likelihood"]
    criterion: Annotated[Criterion, OneOf(CRITERIA)] | None = Field(
        default=None, description="What a token of real text costs; none: its negative log-likelihood."
    )
    optimizer: Optimizer = Field(default_factory=Optimizer, description="The generator's optimiser.")

    def updates(self, batch: BatchWork) -> list[tuple[int, str, Work]]:
        return [(1, "generator", likelihood_work(batch))]

    def players(self, sides: Sides, steps: int) -> dict[str, Player]:
        from lstmgan_dist.adversarial.likelihood import LikelihoodObjective

        objective = LikelihoodObjective(sides.generator, carries_state=sides.carries_state, criterion=self.criterion)
        return {"generator": sides.player("generator", sides.generator, objective, self.optimizer, steps)}

    def play(
        self, players: Mapping[str, Player], sides: Sides, real: Iterator[Sequence[Batch]], moment: Moment
    ) -> Report:
        """The generator predicts real text."""
        sides.generator.look_at(sides.discriminator)
        return players["generator"].learn(next(real), opponent=None, moment=moment.at("generator", 0))


def likelihood_work(batch: BatchWork) -> Work:
    """What the likelihood of a batch takes."""
    return batch.read.trained()
