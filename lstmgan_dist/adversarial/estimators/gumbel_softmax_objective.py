"""The Gumbel-softmax estimator at work."""

from __future__ import annotations

from lstmgan_dist.adversarial.estimators.soft_text_objective import SoftTextObjective
from lstmgan_dist.adversarial.losses import Loss
from lstmgan_dist.adversarial.soft_text import gumbel_softmax
from lstmgan_dist.models.generator import Generator


class GumbelSoftmaxObjective(SoftTextObjective):
    """The Gumbel-softmax estimator: the score's own gradient flows through softened samples (Jang et al. 2017)."""

    def __init__(
        self,
        generator: Generator,
        loss: Loss,
        *,
        max_length: int,
        straight_through: bool,
        likelihood_weight: float = 0.0,
    ) -> None:
        super().__init__(
            generator,
            loss,
            max_length=max_length,
            soften=gumbel_softmax,
            straight_through=straight_through,
            likelihood_weight=likelihood_weight,
        )
