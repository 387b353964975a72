"""What all ways to move a generator by a discriminator's scores have in common.

Shapes: B rows, T positions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from lstmgan_dist.adversarial.losses import Loss
from lstmgan_dist.adversarial.objective import Objective, Outcome, Prepared, Report, Tensors
from lstmgan_dist.adversarial.texts import draw_text, drawn_text, mean_nll, number_of_rows, own_loss, real_text
from lstmgan_dist.models.discriminator import Discriminator
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.runtime.randomness import Noise

if TYPE_CHECKING:
    from lstmgan_dist.adversarial.estimators.exploration_weights import Exploration
    from lstmgan_dist.corpus.stream import Batch


class GeneratorObjective(Objective):
    """What every way to move a generator by a discriminator's scores have in common.

    The generator draws and answers without dropout, so that it learns from the text that it would write.

    Args:
        max_length: tokens at which drawn text is cut off.
        likelihood_weight: weight of the negative log-likelihood of the real text, added to the cost.
    """

    def __init__(self, generator: Generator, loss: Loss, *, max_length: int, likelihood_weight: float = 0.0) -> None:
        super().__init__()
        self.generator = generator
        self.loss = loss
        self.max_length = max_length
        self.likelihood_weight = likelihood_weight

    def _prepare_text(
        self,
        real: Batch,
        noise: Noise,
        *,
        drafts: int = 1,
        exploration: Exploration | None = None,
        writer: Generator | None = None,
    ) -> Prepared:
        """Drawn text with the inputs that teacher forcing wants, and the real text where it has a weight.

        drafts, exploration: see `draw_text`. writer: who draws; the generator itself, if it is not said.
        """
        drawn, latent_BZ = draw_text(
            writer or self.generator, noise, self.max_length, real, drafts=drafts, exploration=exploration
        )
        own = drawn_text(drawn, latent_BZ)
        added = {"sentence_count": number_of_rows(drawn.lengths_B)}
        if self.likelihood_weight:
            beside = real_text(self.generator, real, noise)
            own, added = own | beside.own, added | beside.added
        return Prepared(own, added, {})

    def _real_scores(self, real: Batch, opponent: Discriminator, noise: Noise | None) -> Tensor | None:
        """Scores of the real text for a loss that compares."""
        if self.loss.compares == "nothing":
            return None
        return opponent(opponent.see(real.targets_BT, self.generator), real.lengths_B, noise=noise)

    def _with_likelihood(self, loss: Tensor, report: Report, part: Tensors, noise: Noise) -> Outcome:
        """Add the likelihood term, and the mean length of the drawn text to the report."""
        lengths_B = part["lengths_B"] - part["starts_B"] if "starts_B" in part else part["lengths_B"]
        report["generator/length"] = lengths_B.sum() / part["sentence_count"]
        if self.likelihood_weight:
            nll, _ = mean_nll(self.generator, part, None, noise)
            own = own_loss(self.generator, part)
            loss = loss + self.likelihood_weight * (nll if own is None else nll + own)
            report["generator/nll"] = nll.detach()
        return Outcome(loss, report)
