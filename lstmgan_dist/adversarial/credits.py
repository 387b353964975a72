"""Whose token earned the reward, by its word in a job file.

To add one: a function and a line in `CREDITS`. Shapes: B rows, T positions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Credit:
    """One way to share rewards out.

    returns: (rewards_BT, valid_BT, discount) -> returns_BT, zero at padded positions.
    of_tokens: whether tokens earn rewards of their own, so that the discriminator has to score tokens.
    of_rollouts: whether the rewards are values of tokens, which rollouts tell from scores of whole texts.
    """

    returns: Callable[[Tensor, Tensor, float], Tensor]
    of_tokens: bool = False
    of_rollouts: bool = False


def _sentence(rewards_BT: Tensor, valid_BT: Tensor, discount: float) -> Tensor:
    """Every token earns its sentence's mean reward."""
    mean_B1 = (rewards_BT * valid_BT).sum(dim=1, keepdim=True) / valid_BT.sum(dim=1, keepdim=True)
    return mean_B1 * valid_BT


def _discounted(rewards_BT: Tensor, valid_BT: Tensor, discount: float) -> Tensor:
    """Every token earns the rewards from it onwards: G_t = r_t + discount * G_(t+1) (Sutton and Barto, section 3.3)."""
    import torch

    position_T = torch.arange(rewards_BT.shape[1], device=rewards_BT.device)
    ahead_TT = position_T[:, None] - position_T  # of the reward's position (rows) over the token's (columns)
    weight_TT = torch.where(ahead_TT >= 0, discount ** ahead_TT.clamp(min=0).float(), 0.0)
    return (rewards_BT * valid_BT) @ weight_TT * valid_BT


def _own(rewards_BT: Tensor, valid_BT: Tensor, discount: float) -> Tensor:
    """Every token earns its value, which is that of all that may follow (Yu et al. 2017, equation 4)."""
    return rewards_BT * valid_BT


CREDITS = {
    "sentence": Credit(_sentence),
    "discounted": Credit(_discounted, of_tokens=True),
    "rollouts": Credit(_own, of_rollouts=True),
}
