"""Estimators at work by which the score's own gradient flows through softened text.

Shapes: B rows, T positions, N valid positions of all rows, V vocabulary, E embedding of the discriminator.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lstmgan_dist.adversarial.batch_scores import among_all, scores_to_join, share_of_rows
from lstmgan_dist.adversarial.estimators.objective import GeneratorObjective
from lstmgan_dist.adversarial.losses import Loss
from lstmgan_dist.adversarial.objective import Outcome, Prepared, Tensors
from lstmgan_dist.adversarial.soft_text import Soften, seen, softened
from lstmgan_dist.models.discriminator import TokenReader
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.runtime.randomness import Noise

if TYPE_CHECKING:
    from lstmgan_dist.corpus.stream import Batch


class SoftTextObjective(GeneratorObjective):
    """The score's own gradient flows through drawn text that is softened for the discriminator.

    Args:
        soften: what the discriminator sees of the logits.
        straight_through: it sees the drawn tokens, and only the gradient is that of the soft ones.
    """

    def __init__(
        self,
        generator: Generator,
        loss: Loss,
        *,
        max_length: int,
        soften: Soften,
        straight_through: bool = False,
        likelihood_weight: float = 0.0,
    ) -> None:
        super().__init__(generator, loss, max_length=max_length, likelihood_weight=likelihood_weight)
        self.soften = soften
        self.straight_through = straight_through

    @torch.no_grad()
    def prepare(
        self, real: Batch, *, opponent: TokenReader, noise: Noise, schedules: Mapping[str, float], carried: Tensors
    ) -> Prepared:
        """Draw the hard tokens."""
        prepared = self._prepare_text(real, noise)
        own, added, joined = prepared
        own["inverse_temperature"] = torch.tensor(schedules["inverse_temperature"], device=noise.rows_B.device)
        added["score_count"] = opponent.count(own["lengths_B"], own.get("starts_B"))
        real_scores = self._real_scores(real, opponent, noise.at("real scores"))
        if self.loss.compares == "batch":
            assert real_scores is not None
            joined.update(scores_to_join(real_scores, self._fake_scores(own, opponent, noise)))
        elif real_scores is not None:
            own["real_scores"] = real_scores
        return prepared

    def forward(self, part: Tensors, *, opponent: TokenReader, noise: Noise) -> Outcome:
        """Soften the drawn tokens and let the discriminator, with its dropout, score them."""
        scores = self._fake_scores(part, opponent, noise)
        if self.loss.compares == "batch":
            all_real, all_fake = among_all(part, noise, fake=scores)
            total = share_of_rows(self.loss.generator(all_fake, all_real), noise)
        else:
            costs = self.loss.generator(scores, part.get("real_scores"))
            total = opponent.total(costs, part["lengths_B"], part.get("starts_B"))
        cost = total / part["score_count"]
        return self._with_likelihood(cost, {"generator/cost": cost.detach()}, part, noise)

    def _fake_scores(self, part: Tensors, opponent: TokenReader, noise: Noise) -> Tensor:
        soft_NV = softened(self.generator, part, self.soften, noise)
        positions = part["tokens_BT"].shape[1]
        seen_BTE = seen(soft_NV, part, opponent, positions=positions, straight_through=self.straight_through)
        return opponent(seen_BTE, part["lengths_B"], noise=noise.at("fake scores"))
