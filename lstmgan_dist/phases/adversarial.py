"""The game."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from lstmgan_dist.adversarial.estimators import ESTIMATORS
from lstmgan_dist.adversarial.estimators.kind import EstimatorKind
from lstmgan_dist.adversarial.losses import LOSSES
from lstmgan_dist.adversarial.work import BatchWork, Work
from lstmgan_dist.models.discriminators.kind import DiscriminatorKind
from lstmgan_dist.models.generators.kind import GeneratorKind
from lstmgan_dist.phases.discriminator import (
    TEXT_LENGTH,
    LossName,
    RegulariserSettings,
    TextLength,
    discriminator_player,
    discriminator_work,
    objection_to_loss,
    objection_to_regulariser,
)
from lstmgan_dist.phases.kind import Phase
from lstmgan_dist.phases.likelihood import likelihood_work
from lstmgan_dist.phases.optimizer import Optimizer
from lstmgan_dist.settings import OneOf, Settings

if TYPE_CHECKING:
    from lstmgan_dist.corpus.stream import Batch
    from lstmgan_dist.phases.player import Moment, Player, Report, Sides


class HistorySettings(Settings):
    """Some of the discriminator's drawn texts are of the generator as it was."""

    share: float = Field(default=0.25, gt=0, lt=1, description="Of the drawn texts, 0 to 1.")
    every: int = Field(default=20, ge=1, description="Discriminator updates after which the weights are kept.")
    keep: int = Field(
        default=4,
        ge=1,
        le=100,
        description="Weights that are kept, in memory and in every checkpoint: the newest ones.",
    )


class AdversarialPhase(Phase):
    """Generator and discriminator take turns."""

    plays = True

    kind: Literal["adversarial"]
    discriminator_updates: int = Field(default=1, ge=1, description="Discriminator updates in each step.")
    generator_updates: int = Field(default=1, ge=1, description="Generator updates in each step.")
    loss: LossName = Field(default="cross_entropy", description="The game's loss.")
    estimator: Annotated[EstimatorKind, OneOf(ESTIMATORS)] = Field(description="How a gradient reaches the generator.")
    likelihood_weight: float = Field(
        default=0.0, ge=0, description="Weight of the likelihood loss added to every generator update; 0: none."
    )
    start_penalty: float = Field(
        default=0.0,
        ge=0,
        description="Weight of the Kullback-Leibler divergence, in nats a token of drawn text, of the generator from "
        "itself as it was when the phase began; 0: none.",
    )
    regulariser: RegulariserSettings | None = Field(
        default=None, description="Added to the discriminator's loss; nothing without."
    )
    text_length: TextLength = TEXT_LENGTH
    history: HistorySettings | None = Field(
        default=None, description="Draw some of the discriminator's texts with past weights; none: none."
    )
    generator_optimizer: Optimizer = Field(
        default_factory=lambda: Optimizer(learning_rate=1e-4), description="The generator's optimiser."
    )
    discriminator_optimizer: Optimizer = Field(
        default_factory=lambda: Optimizer(learning_rate=1e-4), description="The discriminator's optimiser."
    )

    @property
    def batches_per_step(self) -> int:
        """Batches of real text that one step reads: one for every update of either player."""
        return self.discriminator_updates + self.generator_updates

    @property
    def discriminator_loss(self) -> str:
        return self.loss

    @property
    def keeps_weights(self) -> bool:
        return self.history is not None or self.estimator.keeps_weights

    def objection(self, discriminator: DiscriminatorKind) -> str | None:
        if self.history and discriminator.reads != "tokens":
            return (
                "history has text that the generator would no longer write, and this discriminator sees what the "
                "generator does while it writes its own: leave it out"
            )
        if self.history and self.estimator.shown():
            return (
                "history has texts as tokens, and this estimator shows the discriminator what the generator makes of "
                "its own: leave it out"
            )
        objection = objection_to_loss(self.loss, discriminator)
        objection = objection or objection_to_regulariser(self.regulariser, discriminator)
        if objection is None:
            objection = self.estimator.objection(discriminator, LOSSES[self.loss])
            return objection and f"estimator.{objection}"
        return objection

    def objection_to_generator(self, generator: GeneratorKind) -> str | None:
        objection = self.estimator.objection_to_generator(generator)
        return objection and f"estimator.{objection}"

    def activations(self, positions: int, vocabulary_size: int) -> int:
        beside = 3 * positions * vocabulary_size if self.start_penalty else 0  # probabilities of both generators
        return self.estimator.activations(positions, vocabulary_size) + beside

    def updates(self, batch: BatchWork) -> list[tuple[int, str, Work]]:
        """The generator draws, is scored, and reads what it drew with gradient."""
        answer = batch.read + batch.read.trained() + self.estimator.work(batch)
        answer += batch.score.trained() if self.estimator.reads_gradients else batch.score
        if LOSSES[self.loss].compares != "nothing":  # real text is scored in the same pass
            answer += Work(operations=batch.score.operations)
        if self.likelihood_weight:
            answer += likelihood_work(batch)
        if self.start_penalty:
            answer += batch.read + batch.read.trained()
        study = discriminator_work(batch, self.regulariser, self.estimator)
        return [
            (self.discriminator_updates, "discriminator", study + batch.read if self.history else study),
            (self.generator_updates, "generator", answer),
        ]

    def players(self, sides: Sides, steps: int) -> dict[str, Player]:
        from lstmgan_dist.adversarial.history import PastGenerators
        from lstmgan_dist.adversarial.start_penalty import StartPenalty

        game = self.estimator.objective(
            sides.generator,
            LOSSES[self.loss],
            max_length=sides.max_length,
            likelihood_weight=self.likelihood_weight,
        )
        past = self.history and PastGenerators(
            sides.generator, every=self.history.every, keep=self.history.keep, share=self.history.share
        )
        objective = StartPenalty(game, weight=self.start_penalty) if self.start_penalty else game
        return {
            "discriminator": discriminator_player(
                sides,
                self.loss,
                self.regulariser,
                self.discriminator_optimizer,
                steps,
                self.estimator,
                self.text_length,
                past=past,
            ),
            "generator": sides.player(
                "generator",
                sides.generator,
                objective,
                self.generator_optimizer,
                steps,
                schedules=self.estimator.schedules(),
                text_length=self.text_length,
            ),
        }

    def play(
        self, players: Mapping[str, Player], sides: Sides, real: Iterator[Sequence[Batch]], moment: Moment
    ) -> Report:
        """The discriminator studies real and generated text; then the generator answers."""
        studied, answered = {}, {}
        for update in range(self.discriminator_updates):
            studied = players["discriminator"].learn(
                next(real), opponent=sides.generator, moment=moment.at("discriminator", update)
            )
        for update in range(self.generator_updates):
            sides.generator.look_at(sides.discriminator)
            answered = players["generator"].learn(
                next(real), opponent=sides.discriminator, moment=moment.at("generator", update)
            )
        return studied | answered
