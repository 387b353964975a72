"""TaylorGAN's estimator at work.

Shapes: B rows, T positions, N valid positions of all rows, V vocabulary, J a block of it, E embedding of the
discriminator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lstmgan_dist.adversarial.baselines import Baseline
from lstmgan_dist.adversarial.credits import CREDITS
from lstmgan_dist.adversarial.estimators.score_function_objective import ScoreFunctionObjective
from lstmgan_dist.adversarial.losses import Loss
from lstmgan_dist.adversarial.objective import Outcome, Tensors
from lstmgan_dist.adversarial.texts import drawn_positions, select
from lstmgan_dist.models import fused
from lstmgan_dist.models.discriminator import Discriminator, TokenReader
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.runtime.randomness import Noise

if TYPE_CHECKING:
    from lstmgan_dist.corpus.stream import Batch

_BLOCK = 512  # columns of the kernel that are held at a time


class TaylorObjective(ScoreFunctionObjective):
    """The reward of a drawn token, and what it would be with a neighbour in its place (Lin et al. 2020, section 3).

    With x drawn from p at some position, every token v is taught by its own reward to first order,
    R + dR/de(x) · (e(v) - e(x)), as far as the kernel K says that v is near, over how often v is near what is drawn:

        gradient = sum over v of  K(x, v) / (sum over u of p(u) K(u, v)) · (R - baseline + slope(x, v)) · grad p(v)

    Where R is linear in the embedding, and what follows does not depend on x, its expectation is the exact gradient at
    any bandwidth; as the bandwidth vanishes, it becomes REINFORCE with any discriminator. Between the two it is biased,
    for a neighbour is scored with what was written behind x. The rewards are of sentences.

    Args:
        bandwidth: standard deviation of the Gaussian kernel over distances in the discriminator's embedding.
        entropy_weight: of the entropy of every next token, added up over a text.
    """

    def __init__(
        self,
        generator: Generator,
        loss: Loss,
        *,
        max_length: int,
        baseline: Baseline,
        bandwidth: float,
        entropy_weight: float = 0.0,
        likelihood_weight: float = 0.0,
    ) -> None:
        super().__init__(
            generator,
            loss,
            max_length=max_length,
            credit=CREDITS["sentence"],
            discount=1.0,
            baseline=baseline,
            likelihood_weight=likelihood_weight,
        )
        self.bandwidth = bandwidth
        self.entropy_weight = entropy_weight

    def _judged(self, own: Tensors, seen_BTD: Tensor, real: Batch, opponent: Discriminator) -> tuple[Tensor, Tensor]:
        """Beside the rewards, the gradient of every text's own at the embeddings of its tokens."""
        with torch.enable_grad():
            seen_BTD = seen_BTD.detach().requires_grad_()
            rewards, costs = super()._judged(own, seen_BTD, real, opponent)
            total = opponent.of_sentences(rewards, own["lengths_B"], own.get("starts_B")).sum()
            (own["gradient_BTE"],) = torch.autograd.grad(total, seen_BTD)
        return rewards.detach(), costs.detach()

    def forward(self, part: Tensors, *, opponent: Discriminator, noise: Noise) -> Outcome:
        """One teacher-forced pass over the drawn tokens."""
        assert isinstance(opponent, TokenReader), "Taylor.objection has refused any other"
        tokens_BT, lengths_B, starts_B = part["tokens_BT"], part["lengths_B"], part.get("starts_B")
        index_N = drawn_positions(part)
        features_BTF, _ = self.generator(part["inputs_BT"], latent_BZ=part.get("latent_BZ"))
        logs_NV = self.generator.logits(select(features_BTF, index_N)).log_softmax(dim=-1)
        probabilities_NV = logs_NV.exp()
        # Distances are small differences of large numbers, so no bf16 here.
        with torch.no_grad(), torch.autocast(logs_NV.device.type, enabled=False):
            weights_NV = neighbour_weights(
                probabilities_NV,
                select(tokens_BT, index_N),
                opponent.embedding.weight[: self.generator.vocabulary_size].float(),
                advantages_N=select(part["advantages_BT"], index_N),
                gradient_NE=select(part["gradient_BTE"], index_N).float(),
                bandwidth=self.bandwidth,
            )
            entropy = -(probabilities_NV * logs_NV).sum()
            weights_NV -= self.entropy_weight * logs_NV  # the gradient of the entropy is that of -log p, held constant
        report = {
            "generator/reward": opponent.total(part["rewards"], lengths_B, starts_B) / part["score_count"],
            "generator/cost": opponent.total(part["costs"], lengths_B, starts_B) / part["score_count"],
            "generator/entropy": entropy / part["sentence_count"],
        }
        loss = -(weights_NV * probabilities_NV).sum() / part["sentence_count"]
        return self._with_likelihood(loss, report, part, noise)


def neighbour_weights(
    probabilities_NV: Tensor,
    tokens_N: Tensor,
    embedding_VE: Tensor,
    *,
    advantages_N: Tensor,
    gradient_NE: Tensor,
    bandwidth: float,
) -> Tensor:
    """What the gradient of each token's probability is multiplied by, where these tokens were drawn, (N, V)."""
    drawn_NE = embedding_VE[tokens_N]
    weights_NV = fused.linear(gradient_NE, embedding_VE)
    weights_NV += (advantages_N - (gradient_NE * drawn_NE).sum(dim=-1))[:, None]
    for start in range(0, len(embedding_VE), _BLOCK):
        block_JE, columns = embedding_VE[start : start + _BLOCK], slice(start, start + _BLOCK)
        nearness_NJ = fused.linear(probabilities_NV, kernel(block_JE, embedding_VE, bandwidth))
        # Where no token that may be drawn is near, what was drawn is not near, either.
        weights_NV[:, columns] *= kernel(drawn_NE, block_JE, bandwidth) / nearness_NJ.clamp(min=1e-30)
    return weights_NV


def kernel(one_NE: Tensor, other_JE: Tensor, bandwidth: float) -> Tensor:
    """exp(-d² / 2 bandwidth²), with d the distance of each to each, (N, J)."""
    squares_NJ = one_NE.square().sum(-1)[:, None] + other_JE.square().sum(-1) - 2 * fused.linear(one_NE, other_JE)
    return (squares_NJ.clamp_(min=0) * (-0.5 / bandwidth**2)).exp_()
