"""LeakGAN's way to move a manager and a worker (Guo et al. 2018), after feudal networks (Vezhnevets et al. 2017)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from lstmgan_dist.adversarial.estimators.kind import EstimatorKind
from lstmgan_dist.adversarial.losses import Loss
from lstmgan_dist.models.discriminators.kind import DiscriminatorKind
from lstmgan_dist.models.generators.kind import GeneratorKind

if TYPE_CHECKING:
    from lstmgan_dist.adversarial.estimators.feudal_objective import FeudalObjective
    from lstmgan_dist.models.generator import Generator


class Feudal(EstimatorKind):
    """The manager learns which goals lead to rewards, and the worker is rewarded for reaching them (LeakGAN)."""

    reads_gradients = False

    kind: Literal["feudal"]
    worker_reward: Literal["product", "intrinsic"] = Field(
        default="product",
        description="What a token earns: how far it went where the goals point (intrinsic, as in the paper, less the "
        "mean of the other texts), or that times its sentence's reward.",
    )
    steepness: float | None = Field(
        default=16.0,
        gt=0,
        description="Rewards go by rank in the batch: the bootstrapped rescaled activation with this δ, above 0 (the "
        "authors' code has 16); none: as the loss gives them.",
    )

    def objective(
        self, generator: Generator, loss: Loss, *, max_length: int, likelihood_weight: float
    ) -> FeudalObjective:
        from lstmgan_dist.adversarial.estimators.feudal_objective import FeudalObjective

        return FeudalObjective(
            generator,
            loss,
            max_length=max_length,
            intrinsic_alone=self.worker_reward == "intrinsic",
            steepness=self.steepness,
            likelihood_weight=likelihood_weight,
        )

    def objection(self, discriminator: DiscriminatorKind, loss: Loss) -> str | None:
        if loss.compares == "batch":
            return (
                "kind feudal gives every text a reward of its own, and this loss compares texts with the whole batch: "
                "choose loss relativistic or cross_entropy"
            )
        return None

    def objection_to_generator(self, generator: GeneratorKind) -> str | None:
        if generator.learns_by == self.kind:
            return None
        return (
            f"kind feudal moves a manager, and a generator of kind {generator.kind} has none: set generator.kind: leak"
        )
