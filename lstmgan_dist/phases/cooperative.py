"""Cooperative Training (Lu et al. 2019)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from lstmgan_dist.adversarial.losses import LOSSES
from lstmgan_dist.adversarial.work import BatchWork, Work
from lstmgan_dist.models.discriminators.kind import DiscriminatorKind
from lstmgan_dist.phases.kind import Phase
from lstmgan_dist.phases.likelihood import likelihood_work
from lstmgan_dist.phases.optimizer import Optimizer

if TYPE_CHECKING:
    from lstmgan_dist.corpus.stream import Batch
    from lstmgan_dist.phases.player import Moment, Player, Report, Sides

# A mediator learns by likelihood, and its scores are the logits that this loss would teach.
_SCORED_AS = "cross_entropy"


class CooperativePhase(Phase):
    """A mediator learns real and generated text, and the generator comes near it (CoT, Lu et al. 2019)."""

    plays = True

    kind: Literal["cooperative"]
    mediator_updates: int = Field(default=1, ge=1, description="Mediator updates in each step.")
    generator_updates: int = Field(default=1, ge=1, description="Generator updates in each step.")
    likelihood_weight: float = Field(
        default=0.0, ge=0, description="Weight of the likelihood loss added to every generator update; 0: none."
    )
    generator_optimizer: Optimizer = Field(
        default_factory=lambda: Optimizer(learning_rate=1e-3, betas=(0.9, 0.95)),
        description="The generator's optimiser.",
    )
    mediator_optimizer: Optimizer = Field(
        default_factory=lambda: Optimizer(learning_rate=3e-3, betas=(0.9, 0.95)),
        description="The mediator's optimiser.",
    )

    @property
    def batches_per_step(self) -> int:
        """Batches of real text that one step reads: one for every update of either player."""
        return self.mediator_updates + self.generator_updates

    @property
    def discriminator_loss(self) -> str:
        return _SCORED_AS

    def objection(self, discriminator: DiscriminatorKind) -> str | None:
        if discriminator.reads == "likelihoods":
            return None
        return f"kind cooperative needs a mediator, and {discriminator.kind} is none: set discriminator.kind: mediator"

    def activations(self, positions: int, vocabulary_size: int) -> int:
        """Logits of the mediator over real and drawn text, with their gradient and softmax, where one is counted."""
        return 3 * positions * vocabulary_size

    def updates(self, batch: BatchWork) -> list[tuple[int, str, Work]]:
        """The mediator reads twice the text; the generator draws, and both read that."""
        answer = batch.read + batch.read.trained() + batch.score
        if self.likelihood_weight:
            answer += likelihood_work(batch)
        return [
            (self.mediator_updates, "discriminator", batch.read + batch.score.at_once(2).trained()),
            (self.generator_updates, "generator", answer),
        ]

    def players(self, sides: Sides, steps: int) -> dict[str, Player]:
        from lstmgan_dist.adversarial.cooperation import CooperativeObjective, MediatorObjective

        assert sides.discriminator is not None
        mediating = MediatorObjective(sides.discriminator, LOSSES[_SCORED_AS], max_length=sides.max_length)
        approaching = CooperativeObjective(
            sides.generator,
            LOSSES[_SCORED_AS],
            max_length=sides.max_length,
            likelihood_weight=self.likelihood_weight,
        )
        return {
            "discriminator": sides.player(
                "discriminator", sides.discriminator, mediating, self.mediator_optimizer, steps
            ),
            "generator": sides.player("generator", sides.generator, approaching, self.generator_optimizer, steps),
        }

    def play(
        self, players: Mapping[str, Player], sides: Sides, real: Iterator[Sequence[Batch]], moment: Moment
    ) -> Report:
        """The mediator studies real and generated text; then the generator comes near it."""
        studied, approached = {}, {}
        for update in range(self.mediator_updates):
            studied = players["discriminator"].learn(
                next(real), opponent=sides.generator, moment=moment.at("discriminator", update)
            )
        for update in range(self.generator_updates):
            approached = players["generator"].learn(
                next(real), opponent=sides.discriminator, moment=moment.at("generator", update)
            )
        return studied | approached
