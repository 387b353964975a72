"""Texts drawn otherwise than the generator would, and how much each of them weighs.

Shapes: B rows, T positions, N valid positions of all rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from lstmgan_dist.models.drawing import Drawn
from lstmgan_dist.runtime.randomness import Noise

# Of a probability: what reading a text at once may round otherwise than drawing it did.
_ROUNDING = 1e-5


class Exploration(NamedTuple):
    """A text is drawn at the temperature or, with probability `share`, from the nucleus at that temperature.

    So q(text) = share · q_nucleus(text) + (1 - share) · q_temperature(text), which no text that the generator could
    write makes zero (Scialom et al. 2020, section 3.2). clip: the largest weight; None does not clip.
    """

    temperature: float
    top_p: float | None
    share: float
    clip: float | None

    def drawn(self, draw: Callable[..., Drawn], noise: Noise) -> Drawn:
        """A text of each row. draw: draws all rows with these settings."""
        cold = draw(temperature=self.temperature)
        if self.top_p is None:
            return cold
        # Both for every row, for a captured graph wants the same rows each time.
        nucleus = draw(temperature=self.temperature, top_p=self.top_p)
        is_nucleus_B = noise.uniform("exploration") < self.share
        tokens_BT = nucleus.tokens_BT.where(is_nucleus_B[:, None], cold.tokens_BT)
        return Drawn(tokens_BT, nucleus.lengths_B.where(is_nucleus_B, cold.lengths_B), cold.starts_B)

    def weights(self, logits_NV: Tensor, tokens_N: Tensor, index_N: Tensor, shape: torch.Size) -> Tensor:
        """p(text) / q(text) of each row, clipped, (B,), where p is the generator's own probability.

        index_N: where the positions are among all, of this shape (B, T).
        """

        def of_texts(logs_N: Tensor) -> Tensor:
            return logs_N.new_zeros(shape.numel()).index_copy(0, index_N, logs_N).view(shape).sum(dim=1)

        own_B = of_texts(log_probabilities(logits_NV, tokens_N))
        q_B = of_texts(log_probabilities(logits_NV, tokens_N, self.temperature))
        if self.top_p is not None:
            nucleus_B = of_texts(log_probabilities(logits_NV, tokens_N, self.temperature, self.top_p))
            shares = torch.tensor([1 - self.share, self.share], device=q_B.device).log()
            q_B = torch.logaddexp(q_B + shares[0], nucleus_B + shares[1])
        weights_B = (own_B - q_B).exp()
        return weights_B if self.clip is None else weights_B.clamp(max=self.clip)


def log_probabilities(
    logits_NV: Tensor, tokens_N: Tensor, temperature: float = 1.0, top_p: float | None = None
) -> Tensor:
    """Of tokens that `draw` draws with these settings from these logits, (N,): minus infinity outside the nucleus."""
    logs_NV = (logits_NV / temperature).log_softmax(dim=-1)
    log_N1 = logs_NV.gather(1, tokens_N[:, None])
    if top_p is None:
        return log_N1.squeeze(1)
    probabilities_NV = logs_NV.exp()
    more_probable_N = (probabilities_NV * (logs_NV > log_N1)).sum(dim=-1)
    sorted_NV = probabilities_NV.sort(dim=-1, descending=True).values
    is_inside_NV = sorted_NV.cumsum(dim=-1) - sorted_NV < top_p
    mass_N = (sorted_NV * is_inside_NV).sum(dim=-1)
    return (log_N1.squeeze(1) - mass_N.log()).where(more_probable_N < top_p + _ROUNDING, -torch.inf)
