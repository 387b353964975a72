"""Rows of unequal length in one tensor.

Shapes: B rows, T positions.
"""

from __future__ import annotations

import torch
from torch import Tensor


def valid(lengths_B: Tensor, positions: int, starts_B: Tensor | None = None) -> Tensor:
    """Which of so many positions hold a token, (B, T): one of the text, where `starts_B` says where that begins."""
    position_T = torch.arange(positions, device=lengths_B.device)
    within_BT = position_T < lengths_B[:, None]
    return within_BT if starts_B is None else within_BT & (position_T >= starts_B[:, None])
