"""Rows of unequal length in one tensor.

Shapes: B rows, T positions.
"""

from __future__ import annotations

import torch
from torch import Tensor


def valid(lengths_B: Tensor, positions: int) -> Tensor:
    """Which of so many positions hold a token, (B, T)."""
    return torch.arange(positions, device=lengths_B.device) < lengths_B[:, None]
