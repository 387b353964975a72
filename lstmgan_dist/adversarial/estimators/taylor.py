"""The score function estimator, told about the neighbours of what was drawn (TaylorGAN, Lin et al. 2020)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from lstmgan_dist.adversarial.baselines import BASELINES
from lstmgan_dist.adversarial.estimators.kind import EstimatorKind
from lstmgan_dist.adversarial.estimators.score_function import BaselineSettings
from lstmgan_dist.adversarial.losses import Loss
from lstmgan_dist.adversarial.work import BatchWork, Work
from lstmgan_dist.models.discriminators.kind import DiscriminatorKind

if TYPE_CHECKING:
    from lstmgan_dist.adversarial.estimators.taylor_objective import TaylorObjective
    from lstmgan_dist.models.generator import Generator


class Taylor(EstimatorKind):
    """A sentence's reward also teaches the neighbours of its tokens, as the discriminator's gradient tells theirs."""

    reads_gradients = True

    kind: Literal["taylor"]
    bandwidth: float = Field(
        default=0.5,
        gt=0,
        description="How near, in the discriminator's embedding, a token has to be to be taught with the drawn one: "
        "standard deviation of a Gaussian kernel, above 0. Embeddings taken from the generator have a length near 1.",
    )
    entropy_weight: float = Field(
        default=0.0, ge=0, description="Weight of the entropy of the next token, in nats a text, that is rewarded too."
    )
    baseline: BaselineSettings = Field(
        default_factory=BaselineSettings, description="What the reward is compared with."
    )

    def objective(
        self, generator: Generator, loss: Loss, *, max_length: int, likelihood_weight: float
    ) -> TaylorObjective:
        from lstmgan_dist.adversarial.estimators.taylor_objective import TaylorObjective

        return TaylorObjective(
            generator,
            loss,
            max_length=max_length,
            baseline=BASELINES[self.baseline.kind](self.baseline.decay, max_length),
            bandwidth=self.bandwidth,
            entropy_weight=self.entropy_weight,
            likelihood_weight=likelihood_weight,
        )

    def objection(self, discriminator: DiscriminatorKind, loss: Loss) -> str | None:
        if discriminator.reads != "tokens":
            return (
                "kind taylor needs a discriminator that reads tokens, for their neighbours are near in its embedding, "
                f"and {discriminator.kind} does not: set discriminator.kind: lstm or convolutional"
            )
        if discriminator.tells_labels:
            return (
                "kind taylor takes what the discriminator sees for an embedding alone, and beside it "
                f"{discriminator.kind} has the label: set discriminator.kind: lstm or convolutional"
            )
        if loss.compares == "batch":
            return (
                "kind taylor gives every text a reward of its own, and this loss compares texts with the whole batch: "
                "choose gumbel_softmax, or loss relativistic"
            )
        return None

    def work(self, batch: BatchWork) -> Work:
        """Products with the kernel, which is made anew, and with the embedding; and no gradient of the weights."""
        vocabulary, seen = batch.vocabulary_size, batch.seen
        return Work(2 * vocabulary * (batch.tokens * (vocabulary + 2 * seen) + vocabulary * seen))

    def activations(self, positions: int, vocabulary_size: int) -> int:
        """Probabilities, their neighbourhoods, distances, slopes and weights."""
        return 5 * positions * vocabulary_size
