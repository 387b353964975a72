"""The discriminator alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from lstmgan_dist.adversarial.losses import LOSSES
from lstmgan_dist.adversarial.regularisers import REGULARISERS
from lstmgan_dist.adversarial.work import BatchWork, Work
from lstmgan_dist.models.discriminators.kind import DiscriminatorKind
from lstmgan_dist.phases.kind import DISCRIMINATOR_ACCURACY, Phase
from lstmgan_dist.phases.optimizer import Optimizer
from lstmgan_dist.settings import KeyOf, Settings

if TYPE_CHECKING:
    from lstmgan_dist.adversarial.history import PastGenerators
    from lstmgan_dist.corpus.stream import Batch
    from lstmgan_dist.phases.player import Moment, Player, Report, Sides


LossName = Annotated[str, KeyOf(LOSSES)]


class RegulariserSettings(Settings):
    """A penalty that is added to the discriminator's loss."""

    kind: Annotated[str, KeyOf(REGULARISERS)] = Field(
        description="On the distance from 1 of the gradient's norm between real and drawn text; on the gradient at "
        "real text; or on the largest singular values of the weights."
    )
    weight: float = Field(default=1.0, gt=0, description="Above 0; papers have 10 for gradient_penalty.")


class DiscriminatorPhase(Phase):
    """The discriminator learns to tell real text from generated text."""

    plays = True
    moves_generator = False
    judged_by = DISCRIMINATOR_ACCURACY

    kind: Literal["discriminator"]
    loss: LossName = Field(default="cross_entropy", description="The game's loss.")
    regulariser: RegulariserSettings | None = Field(
        default=None, description="Added to the discriminator's loss; nothing without."
    )
    optimizer: Optimizer = Field(default_factory=Optimizer, description="The discriminator's optimiser.")

    @property
    def discriminator_loss(self) -> str:
        return self.loss

    def objection(self, discriminator: DiscriminatorKind) -> str | None:
        return objection_to_loss(self.loss, discriminator)

    def updates(self, batch: BatchWork) -> list[tuple[int, str, Work]]:
        return [(1, "discriminator", discriminator_work(batch, self.regulariser))]

    def players(self, sides: Sides, steps: int) -> dict[str, Player]:
        return {"discriminator": discriminator_player(sides, self.loss, self.regulariser, self.optimizer, steps)}

    def play(
        self, players: Mapping[str, Player], sides: Sides, real: Iterator[Sequence[Batch]], moment: Moment
    ) -> Report:
        """The discriminator studies real and generated text."""
        return players["discriminator"].learn(
            next(real), opponent=sides.generator, moment=moment.at("discriminator", 0)
        )


def discriminator_player(
    sides: Sides,
    loss: str,
    regulariser: RegulariserSettings | None,
    optimizer: Optimizer,
    steps: int,
    *,
    past: PastGenerators | None = None,
) -> Player:
    """The discriminator as one that learns. past: generators that draw some of its texts."""
    from lstmgan_dist.adversarial.discrimination import DiscriminatorObjective

    assert sides.discriminator is not None
    objective = DiscriminatorObjective(
        sides.discriminator,
        LOSSES[loss],
        max_length=sides.max_length,
        regulariser=REGULARISERS[regulariser.kind] if regulariser else None,
        weight=regulariser.weight if regulariser else 0.0,
        past=past,
    )
    return sides.player("discriminator", sides.discriminator, objective, optimizer, steps)


def discriminator_work(batch: BatchWork, regulariser: RegulariserSettings | None) -> Work:
    """What it takes to draw a batch and to learn from it and from the real one.

    A regulariser may score once more and differentiate that twice.
    """
    work = batch.read + batch.score.at_once(2).trained()
    return work + batch.score.trained().trained() if regulariser else work


def objection_to_loss(loss: str, discriminator: DiscriminatorKind) -> str | None:
    """Why a loss cannot work with the scores of a discriminator; None if it can."""
    if LOSSES[loss].compares == "nothing" or discriminator.scores != "per_token":
        return None
    return f"loss {loss} pairs whole texts, but the discriminator scores tokens: set discriminator.scores: per_sentence"
