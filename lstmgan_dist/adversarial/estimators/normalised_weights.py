"""Likelihood of the drawn text, weighted by how much more real than drawn it is: MaliGAN (Che et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator

from lstmgan_dist.adversarial.estimators.kind import EstimatorKind
from lstmgan_dist.adversarial.losses import Loss
from lstmgan_dist.models.discriminators.kind import DiscriminatorKind
from lstmgan_dist.settings import Schedule

if TYPE_CHECKING:
    from lstmgan_dist.adversarial.estimators.normalised_weights_objective import NormalisedWeightsObjective
    from lstmgan_dist.models.generator import Generator


class NormalisedWeights(EstimatorKind):
    """MaliGAN (Che et al. 2017): likelihood of drawn text with weights D / (1 - D), normalised over the batch."""

    reads_gradients = False

    kind: Literal["normalised_weights"]
    baseline: Annotated[float, Field(ge=0, le=1)] | Schedule = Field(
        default=1.0,
        description="How much of the mean weight is taken from every weight, 0 to 1; a number or schedule. Less than 1 "
        "also makes the drawn text as such more probable.",
    )

    @field_validator("baseline")
    @classmethod
    def _within(cls, value: float | Schedule) -> float | Schedule:
        if isinstance(value, Schedule) and not 0 <= min(value.start, value.end) <= max(value.start, value.end) <= 1:
            raise ValueError("baseline must stay between 0 and 1: try {start: 0, end: 1}")
        return value

    def objective(
        self, generator: Generator, loss: Loss, *, max_length: int, likelihood_weight: float
    ) -> NormalisedWeightsObjective:
        from lstmgan_dist.adversarial.estimators.normalised_weights_objective import NormalisedWeightsObjective

        return NormalisedWeightsObjective(generator, loss, max_length=max_length, likelihood_weight=likelihood_weight)

    def schedules(self) -> Mapping[str, float | Schedule]:
        return {"baseline": self.baseline}

    def objection(self, discriminator: DiscriminatorKind, loss: Loss) -> str | None:
        if not loss.is_of_log_odds:
            return (
                "kind normalised_weights takes the score for log D / (1 - D), which this loss does not make it: choose "
                "loss cross_entropy, non_saturating or probability"
            )
        if discriminator.scores == "per_token":
            return (
                "kind normalised_weights weighs whole texts against each other, and this discriminator scores tokens: "
                "set discriminator.scores: per_sentence or kind: score_function"
            )
        return None
