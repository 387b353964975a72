"""The generator's distributions shown to the discriminator as they are (Gulrajani et al. 2017; Press et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from lstmgan_dist.adversarial.estimators.gumbel_softmax import objection_to_soft_text
from lstmgan_dist.adversarial.estimators.kind import EstimatorKind
from lstmgan_dist.adversarial.losses import Loss
from lstmgan_dist.adversarial.work import BatchWork, Work
from lstmgan_dist.models.discriminators.kind import DiscriminatorKind
from lstmgan_dist.settings import Schedule

if TYPE_CHECKING:
    from lstmgan_dist.adversarial.estimators.soft_text_objective import SoftTextObjective
    from lstmgan_dist.adversarial.soft_text import Soften
    from lstmgan_dist.models.generator import Generator


class Softmax(EstimatorKind):
    """The discriminator sees the distribution that each token is drawn from, in both players' updates (WGAN-GP)."""

    reads_gradients = True

    kind: Literal["softmax"]

    def objective(
        self, generator: Generator, loss: Loss, *, max_length: int, likelihood_weight: float
    ) -> SoftTextObjective:
        from lstmgan_dist.adversarial.estimators.soft_text_objective import SoftTextObjective
        from lstmgan_dist.adversarial.soft_text import softmax

        return SoftTextObjective(
            generator, loss, max_length=max_length, soften=softmax, likelihood_weight=likelihood_weight
        )

    @property
    def shows_soft_text(self) -> bool:
        return True

    def shown(self) -> Soften | None:
        from lstmgan_dist.adversarial.soft_text import softmax

        return softmax

    def schedules(self) -> Mapping[str, float | Schedule]:
        return {"inverse_temperature": 1.0}

    def objection(self, discriminator: DiscriminatorKind, loss: Loss) -> str | None:
        return objection_to_soft_text(self.kind, discriminator)

    def work(self, batch: BatchWork) -> Work:
        """The expected embedding, forwards and backwards."""
        return Work(2 * batch.tokens * batch.vocabulary_size * batch.seen).trained()

    def activations(self, positions: int, vocabulary_size: int) -> int:
        """Distributions and their gradient."""
        return 2 * positions * vocabulary_size
