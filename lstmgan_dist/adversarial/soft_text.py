"""Drawn text as a discriminator sees it softened: a distribution over tokens in the place of each.

The hard tokens are what the generator reads next; only the discriminator sees soft ones (Nie et al. 2019). So the text
is drawn first, and one teacher-forced pass over it gives all logits at once.

Shapes: B rows, T positions, N valid positions of all rows, V vocabulary, F features, E embedding of the discriminator.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lstmgan_dist.adversarial.objective import Tensors
from lstmgan_dist.adversarial.texts import select
from lstmgan_dist.models.discriminator import TokenReader
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.models.padding import valid
from lstmgan_dist.runtime.randomness import Noise

# Of the generator's logits, the drawn tokens, noise of the positions and the sharpness: distributions over tokens.
Soften = Callable[[Tensor, Tensor, Noise, Tensor], Tensor]


def softmax(logits_NV: Tensor, tokens_N: Tensor, noise_N: Noise, inverse_temperature: Tensor) -> Tensor:
    """The distribution that the token was drawn from, at this sharpness (Gulrajani et al. 2017, section 5), (N, V)."""
    return (logits_NV * inverse_temperature).softmax(dim=-1)


def gumbel_softmax(logits_NV: Tensor, tokens_N: Tensor, noise_N: Noise, inverse_temperature: Tensor) -> Tensor:
    """softmax(inverse_temperature * (logits + Gumbel noise)) (Jang et al. 2017), (N, V).

    With noise that makes the drawn token the argmax, and counts as constant.
    """
    noise_NV = conditioned_gumbel(logits_NV.detach(), tokens_N, noise_N)
    return ((logits_NV + noise_NV) * inverse_temperature).softmax(dim=-1)


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


def softened(generator: Generator, text: Tensors, soften: Soften, noise: Noise) -> Tensor:
    """What the generator makes of the valid positions of a text that it drew, (N, V), with its gradient.

    text: tokens_BT, the inputs_BT of teacher forcing, lengths_B and, where there are, starts_B and latent_BZ; and the
        sharpness, inverse_temperature.
    """
    tokens_BT = text["tokens_BT"]
    row_N, position_N = _places(text)
    index_N = row_N * tokens_BT.shape[1] + position_N
    features_BTF, _ = generator(text["inputs_BT"], latent_BZ=text.get("latent_BZ"))
    logits_NV = generator.logits(select(features_BTF, index_N))
    noise_N = noise.positions(row_N, position_N)
    return soften(logits_NV, select(tokens_BT, index_N), noise_N, text["inverse_temperature"])


def seen(
    soft_NV: Tensor, text: Tensors, discriminator: TokenReader, *, positions: int, straight_through: bool = False
) -> Tensor:
    """What the discriminator sees of a text that `softened` has softened, padded to so many positions, (B, T, E).

    Straight-through, the value is the drawn tokens' embedding and the gradient is the soft one's. Contexts are seen as
    they are.
    """
    tokens_BT, starts_B = text["tokens_BT"], text.get("starts_B")
    row_N, position_N = _places(text)
    soft_NE = discriminator.embed_distribution(soft_NV).float()
    if straight_through:
        hard_NE = discriminator.embed(tokens_BT[row_N, position_N]).detach()
        soft_NE = hard_NE + (soft_NE - soft_NE.detach())
    rows = len(tokens_BT)
    seen_BTE = soft_NE.new_zeros(rows * positions, soft_NE.shape[1])
    seen_BTE = seen_BTE.index_copy(0, row_N * positions + position_N, soft_NE).view(rows, positions, -1)
    if starts_B is not None:
        is_context_BT = valid(starts_B, positions)
        padded_BT = torch.nn.functional.pad(tokens_BT, (0, positions - tokens_BT.shape[1]))
        seen_BTE = torch.where(is_context_BT[..., None], discriminator.embed(padded_BT).float(), seen_BTE)
    return seen_BTE


def _places(text: Tensors) -> tuple[Tensor, Tensor]:
    """Rows and positions of the text's tokens, contexts not, (N,) each."""
    valid_BT = valid(text["lengths_B"], text["tokens_BT"].shape[1], text.get("starts_B"))
    row_N, position_N = valid_BT.nonzero().unbind(1)
    return row_N, position_N
