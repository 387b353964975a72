"""The largest singular value of a matrix, and matrices whose own is 1.

Shapes: O outputs and I inputs of a weight matrix.
"""

from __future__ import annotations

import torch
from torch import Tensor

_ITERATIONS = 20  # of the power method from a cold start: the largest singular value to some per cent


def largest_singular_value(matrix_OI: Tensor) -> Tensor:
    """By the power method, 0-dim, with its gradient.

    The method starts anew each time, where Miyato et al. (2018, algorithm 1) take one more step from the vector of the
    update before. So the value follows from the matrix alone: in every unit, on every worker and after resuming, and
    there is nothing that a checkpoint would have to hold.
    """
    constant_OI = matrix_OI.detach()
    right_I = left_O = constant_OI.new_ones(matrix_OI.shape[1])
    for _ in range(_ITERATIONS):
        left_O = constant_OI @ right_I
        left_O = left_O / left_O.norm()
        right_I = constant_OI.T @ left_O
        right_I = right_I / right_I.norm()
    return left_O @ matrix_OI @ right_I


def of_norm_1(weight: Tensor) -> Tensor:
    """A layer's weight, (O, ...), divided by the largest singular value of the matrix (O, I) that it makes.

    Miyato et al. 2018, equations 8 and 12: the gradient passes the division.
    """
    with torch.autocast(weight.device.type, enabled=False):
        return weight / largest_singular_value(weight.flatten(1))
