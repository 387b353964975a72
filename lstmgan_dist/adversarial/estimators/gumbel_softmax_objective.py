"""The Gumbel-softmax estimator at work.

Shapes: B rows, T positions, N valid positions of all rows, V vocabulary, F features, E embedding of
the discriminator.
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
from lstmgan_dist.adversarial.texts import select
from lstmgan_dist.models.discriminator import TokenReader
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.models.padding import valid
from lstmgan_dist.runtime.randomness import Noise

if TYPE_CHECKING:
    from lstmgan_dist.corpus.stream import Batch


class GumbelSoftmaxObjective(GeneratorObjective):
    """The Gumbel-softmax estimator: the score's own gradient flows through softened samples (Jang et al. 2017).

    The hard token is what the generator reads next; only the discriminator sees the soft one (Nie et al. 2019). So the
    text is drawn first, and one teacher-forced pass over it gives all logits at once.
    """

    def __init__(
        self,
        generator: Generator,
        loss: Loss,
        *,
        max_length: int,
        straight_through: bool,
        likelihood_weight: float = 0.0,
    ) -> None:
        super().__init__(generator, loss, max_length=max_length, likelihood_weight=likelihood_weight)
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
        tokens_BT, lengths_B, starts_B = part["tokens_BT"], part["lengths_B"], part.get("starts_B")
        rows, positions = tokens_BT.shape
        row_N, position_N = valid(lengths_B, positions, starts_B).nonzero().unbind(1)
        index_N = row_N * positions + position_N
        features_BTF, _ = self.generator(part["inputs_BT"], latent_BZ=part.get("latent_BZ"))
        embedded_NE = gumbel_softmax(
            self.generator,
            select(features_BTF, index_N),
            select(tokens_BT, index_N),
            opponent,
            noise_N=noise.positions(row_N, position_N),
            inverse_temperature=part["inverse_temperature"],
            straight_through=self.straight_through,
        )
        embedded_BTE = embedded_NE.new_zeros(rows * positions, embedded_NE.shape[1])
        embedded_BTE = embedded_BTE.index_copy(0, index_N, embedded_NE).view(rows, positions, -1)
        if starts_B is not None:  # contexts are seen as they are
            is_context_BT = valid(starts_B, positions)
            embedded_BTE = torch.where(is_context_BT[..., None], opponent.embed(tokens_BT).float(), embedded_BTE)
        return opponent(embedded_BTE, lengths_B, noise=noise.at("fake scores"))


def gumbel_softmax(
    generator: Generator,
    features_NF: Tensor,
    tokens_N: Tensor,
    discriminator: TokenReader,
    *,
    noise_N: Noise,
    inverse_temperature: Tensor,
    straight_through: bool,
) -> Tensor:
    """What the discriminator's embedding sees of softened samples at these positions (Jang et al. 2017), (N, E).

    soft = softmax(inverse_temperature * (logits + Gumbel noise)), with noise that makes the drawn token the argmax and
    counts as constant. Straight-through, the value is the drawn token's embedding and the gradient is the soft one's.
    """
    logits_NV = generator.logits(features_NF)
    noise_NV = conditioned_gumbel(logits_NV.detach(), tokens_N, noise_N)
    soft_NV = ((logits_NV + noise_NV) * inverse_temperature).softmax(dim=-1)
    soft_NE = discriminator.embed_distribution(soft_NV).float()
    if not straight_through:
        return soft_NE
    return discriminator.embed(tokens_N).detach() + (soft_NE - soft_NE.detach())


def conditioned_gumbel(logits_NV: Tensor, tokens_N: Tensor, noise_N: Noise) -> Tensor:
    """Gumbel noise given that the argmax of logits + noise is the token.

    Drawing the token from softmax(logits) first and the noise afterwards is distributed as Gumbel-max sampling
    (Maddison et al. 2014, section 4). With E ~ Exp(1) for every token and k the drawn one, the largest sum is
    M = logsumexp(logits) - log E_k, and the other sums are Gumbel variables cut off at M. With p = softmax(logits) this
    makes noise_k = -log(p_k E_k) and noise_i = -log(E_i + p_i E_k).
    """
    exponential_NV = noise_N.uniform("gumbel", logits_NV.shape[-1]).log_().neg_()
    drawn_N1 = tokens_N[:, None]
    exponential_of_drawn_N1 = exponential_NV.gather(1, drawn_N1)
    exponential_NV.scatter_(1, drawn_N1, 0.0)
    # A probability that float32 rounds to zero must not make the noise infinite, nor may its product with E_k be zero.
    probabilities_NV = logits_NV.softmax(dim=-1).clamp_(min=1e-30)
    return exponential_NV.addcmul_(probabilities_NV, exponential_of_drawn_N1).log_().neg_()
