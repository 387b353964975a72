"""The Gumbel-softmax estimator (Jang et al. 2017; in a game of texts, Kusner and Hernández-Lobato 2016)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from lstmgan_dist.adversarial.estimators.kind import EstimatorKind
from lstmgan_dist.adversarial.losses import Loss
from lstmgan_dist.adversarial.work import BatchWork, Work
from lstmgan_dist.models.discriminators.kind import DiscriminatorKind
from lstmgan_dist.settings import Schedule

if TYPE_CHECKING:
    from lstmgan_dist.adversarial.estimators.gumbel_softmax_objective import GumbelSoftmaxObjective
    from lstmgan_dist.adversarial.soft_text import Soften
    from lstmgan_dist.models.generator import Generator


class GumbelSoftmax(EstimatorKind):
    """Gumbel-softmax (Jang et al. 2017): the score's own gradient flows through a softened sample."""

    reads_gradients = True

    kind: Literal["gumbel_softmax"]
    straight_through: bool = Field(
        default=False,
        description="The discriminator sees the hard token forwards and the soft one backwards; else the soft.",
    )
    inverse_temperature: Annotated[float, Field(gt=0)] | Schedule = Field(
        default=1.0, description="Sharpness of the softened sample, above 0; a number or schedule."
    )

    soft_for_discriminator: bool = Field(
        default=False,
        description="The discriminator's own updates, too, see softened text in the place of drawn tokens, as "
        "RelGAN's code has it.",
    )

    @field_validator("inverse_temperature")
    @classmethod
    def _positive(cls, value: float | Schedule) -> float | Schedule:
        if isinstance(value, Schedule) and min(value.start, value.end) <= 0:
            raise ValueError("inverse_temperature must stay above 0: try start: 1")
        return value

    @model_validator(mode="after")
    def _sees_either(self) -> Self:
        if self.straight_through and self.soft_for_discriminator:
            raise ValueError(
                "straight_through shows the discriminator drawn tokens, and soft_for_discriminator soft ones: leave "
                "one of them out"
            )
        return self

    def objective(
        self, generator: Generator, loss: Loss, *, max_length: int, likelihood_weight: float
    ) -> GumbelSoftmaxObjective:
        from lstmgan_dist.adversarial.estimators.gumbel_softmax_objective import GumbelSoftmaxObjective

        return GumbelSoftmaxObjective(
            generator,
            loss,
            max_length=max_length,
            straight_through=self.straight_through,
            likelihood_weight=likelihood_weight,
        )

    @property
    def shows_soft_text(self) -> bool:
        return self.soft_for_discriminator

    def shown(self) -> Soften | None:
        from lstmgan_dist.adversarial.soft_text import gumbel_softmax

        return gumbel_softmax if self.soft_for_discriminator else None

    def schedules(self) -> Mapping[str, float | Schedule]:
        return {"inverse_temperature": self.inverse_temperature}

    def objection(self, discriminator: DiscriminatorKind, loss: Loss) -> str | None:
        return objection_to_soft_text(self.kind, discriminator)

    def work(self, batch: BatchWork) -> Work:
        """The expected embedding, forwards and backwards."""
        return Work(2 * batch.tokens * batch.vocabulary_size * batch.seen).trained()

    def activations(self, positions: int, vocabulary_size: int) -> int:
        """Perturbed logits, their softmax and its gradient."""
        return 3 * positions * vocabulary_size


def objection_to_soft_text(kind: str, discriminator: DiscriminatorKind) -> str | None:
    """Why a discriminator cannot see distributions over tokens; None if it can."""
    if discriminator.reads == "tokens":
        return None
    return (
        f"kind {kind} needs a discriminator that reads tokens, and {discriminator.kind} does not: "
        "set discriminator.kind: lstm or convolutional"
    )
