"""How far features go where goals point: what moves a manager, and what a worker earns (Guo et al. 2018).

Shapes: B rows, T positions, S = T + 1 prefixes: f_0 of the empty one to f_T, K features. Goals have length 1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cosines_of_aims(features_BSK: Tensor, goals_BTK: Tensor, lengths_B: Tensor, horizon: int) -> Tensor:
    """d_cos(f_(t+c) - f_t, g_t) of the goal behind every prefix, (B, T); no use at padding.

    A goal aims at the end of the text where that is nearer than the horizon.
    """
    position_T = torch.arange(goals_BTK.shape[1], device=goals_BTK.device)
    end_BT = (position_T + horizon).minimum(lengths_B[:, None])
    then_BTK = features_BSK.gather(1, end_BT[..., None].expand_as(goals_BTK))
    return _cosines(then_BTK - features_BSK[:, :-1], goals_BTK)


def intrinsic_rewards(features_BSK: Tensor, goals_BTK: Tensor, horizon: int, starts_B: Tensor | None = None) -> Tensor:
    """r_t of the token that ends prefix t, (B, T): the mean over i = 1..c of d_cos(f_t - f_(t-i), g_(t-i)).

    Where fewer goals have been set, their mean. starts_B: where each text begins behind its context, whose goals are
    nobody's; None: at once.
    """
    positions = goals_BTK.shape[1]
    position_T = torch.arange(positions, device=goals_BTK.device)
    total_BT = goals_BTK.new_zeros(goals_BTK.shape[:2])
    count_BT = torch.zeros_like(total_BT)
    for back in range(min(horizon, positions)):  # of the goal set so many tokens before this one
        change_BTK = features_BSK[:, back + 1 :] - features_BSK[:, : positions - back]
        cosine_BT = _cosines(change_BTK, goals_BTK[:, : positions - back])
        set_T = position_T[back:] - back
        counts_BT = (set_T >= (0 if starts_B is None else starts_B[:, None])).expand_as(cosine_BT)
        total_BT[:, back:] += cosine_BT * counts_BT
        count_BT[:, back:] += counts_BT
    return total_BT / count_BT.clamp(min=1)


def _cosines(changes_BTK: Tensor, goals_BTK: Tensor) -> Tensor:
    """Of changes with goals, which have length 1; 0 where nothing has changed."""
    return (F.normalize(changes_BTK, dim=-1) * goals_BTK).sum(dim=-1)
