"""How a gradient reaches the generator through tokens, which have none.

Shapes: N positions of any rows, V vocabulary, F features, E dimensions of the discriminator's embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lstmgan_dist.models.discriminators import Discriminator
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.runtime.randomness import Noise


def score_function(log_likelihoods_N: Tensor, advantages_N: Tensor) -> Tensor:
    """REINFORCE's loss of each token: its gradient is minus advantage times the log-probability's (Williams 1992)."""
    return -(advantages_N * log_likelihoods_N)


def gumbel_softmax(
    generator: Generator,
    features_NF: Tensor,
    tokens_N: Tensor,
    discriminator: Discriminator,
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
    # A probability that float32 rounds to zero must not make the noise infinite.
    probabilities_NV = logits_NV.softmax(dim=-1).clamp_(min=torch.finfo(torch.float32).tiny)
    return exponential_NV.addcmul_(probabilities_NV, exponential_of_drawn_N1).log_().neg_()
