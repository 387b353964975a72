"""Whose token earned the reward, and what it is compared with.

Shapes: B rows, T positions, P positions that have an average of their own.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def sentence(rewards_BT: Tensor, valid_BT: Tensor) -> Tensor:
    """Every token earns its sentence's mean reward."""
    mean_B1 = (rewards_BT * valid_BT).sum(dim=1, keepdim=True) / valid_BT.sum(dim=1, keepdim=True)
    return mean_B1 * valid_BT


def discounted(rewards_BT: Tensor, valid_BT: Tensor, discount: float) -> Tensor:
    """Every token earns the rewards from it onwards: G_t = r_t + discount * G_(t+1) (Sutton and Barto, section 3.3)."""
    position_T = torch.arange(rewards_BT.shape[1], device=rewards_BT.device)
    ahead_TT = position_T[:, None] - position_T  # of the reward's position (rows) over the token's (columns)
    weight_TT = torch.where(ahead_TT >= 0, discount ** ahead_TT.clamp(min=0).float(), 0.0)
    return (rewards_BT * valid_BT) @ weight_TT * valid_BT


class NoBaseline(nn.Module):
    """Rewards as they are."""

    def forward(self, returns_BT: Tensor, valid_BT: Tensor, add_up: Callable[[Tensor], Tensor]) -> Tensor:
        """The advantages of this worker's returns; every baseline has this signature.

        A baseline is what it learnt from *earlier* updates, hence independent of this one, and the estimate stays
        unbiased. `add_up` sums over the workers, so that all of them learn the same from the whole batch.
        """
        return returns_BT * valid_BT


class MovingAverage(nn.Module):
    """Subtracts an exponential moving average of returns: one for all positions, or one for each.

    Args:
        positions: how many positions have an average of their own; 1: one for all.
        decay: weight of the old average at every update, 0 to 1 (ScratchGAN's ema_decay).
    """

    total: Tensor
    weight: Tensor

    def __init__(self, *, decay: float, positions: int = 1) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("total", torch.zeros(positions))
        # Divided by the weight gathered so far, the average does not lean towards its start at zero.
        self.register_buffer("weight", torch.zeros(positions))

    def forward(self, returns_BT: Tensor, valid_BT: Tensor, add_up: Callable[[Tensor], Tensor]) -> Tensor:
        """As in `NoBaseline`."""
        average_P = self.total / self.weight.clamp(min=torch.finfo(self.weight.dtype).tiny)
        advantages_BT = (returns_BT - average_P[: returns_BT.shape[1]]) * valid_BT
        sums_2T = torch.stack([(returns_BT * valid_BT).sum(dim=0), valid_BT.sum(dim=0)])
        if len(average_P) == 1:
            sums_2T = sums_2T.sum(dim=1, keepdim=True)
        # Workers whose texts are of unequal length still add up tensors of one shape.
        sums_P, counts_P = add_up(F.pad(sums_2T, (0, len(average_P) - sums_2T.shape[1])))
        rate_P = torch.where(counts_P > 0, 1 - self.decay, 0.0)  # a position that no text reached learns nothing
        self.total.lerp_(sums_P / counts_P.clamp(min=1), rate_P)
        self.weight.lerp_(torch.ones_like(rate_P), rate_P)
        return advantages_BT
