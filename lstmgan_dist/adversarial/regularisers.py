"""Regularisers of the discriminator, by their word in a job file: what is added to its loss beside any game.

Each tells a penalty for every row, whose mean over the global batch counts. L2 is not here: it is an optimiser's
`weight_decay`. To add one: a function with its source, and a line in `REGULARISERS`.

Shapes: B rows, T positions, D dimensions of what is seen of a position, O outputs and I inputs of a weight matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from lstmgan_dist.models.discriminator import Discriminator
    from lstmgan_dist.runtime.randomness import Noise

_ITERATIONS = 20  # of the power method from a cold start: the largest singular value to some per cent


@dataclass(frozen=True)
class SeenTexts:
    """What the discriminator sees of some texts, (B, T, D), zero at padded positions, and where these begin and end."""

    seen_BTD: Tensor
    lengths_B: Tensor
    starts_B: Tensor | None = None


# Of the discriminator, as many real as drawn texts, equally padded, and noise: the penalty of each row, (B,).
Regulariser = Callable[["Discriminator", SeenTexts, SeenTexts, "Noise"], "Tensor"]


def _gradient_penalty(discriminator: Discriminator, real: SeenTexts, fake: SeenTexts, noise: Noise) -> Tensor:
    """(|gradient| - 1)² at a random place between a real and a drawn text (Gulrajani et al. 2017, equation 3).

    Between texts of unequal length is one as long as the longer, whose end is faint.
    """
    between_BTD = fake.seen_BTD.lerp(real.seen_BTD, noise.uniform("between", 1, 1))
    longer_B = real.lengths_B.maximum(fake.lengths_B)
    square_B = discriminator.squared_gradient(between_BTD, longer_B, real.starts_B)
    # A square root has no gradient at 0.
    return ((square_B + 1e-12).sqrt() - 1).square()


def _real_gradient(discriminator: Discriminator, real: SeenTexts, fake: SeenTexts, noise: Noise) -> Tensor:
    """Half the squared gradient at a real text (R1, Mescheder et al. 2018, equation 9)."""
    return discriminator.squared_gradient(real.seen_BTD, real.lengths_B, real.starts_B) / 2


def _spectral_norm(discriminator: Discriminator, real: SeenTexts, fake: SeenTexts, noise: Noise) -> Tensor:
    """Half the sum of the weights' squared largest singular values (Yoshida and Miyato 2017, equation 6)."""
    squares = [_largest_singular_value(matrix_OI).square() for matrix_OI in discriminator.weight_matrices()]
    return (sum(squares[1:], squares[0]) / 2).expand(len(real.lengths_B))


def _largest_singular_value(matrix_OI: Tensor) -> Tensor:
    """By the power method, which starts anew each time: so there is nothing that a checkpoint would have to hold."""
    constant_OI = matrix_OI.detach()
    right_I = left_O = constant_OI.new_ones(matrix_OI.shape[1])
    for _ in range(_ITERATIONS):
        left_O = constant_OI @ right_I
        left_O = left_O / left_O.norm()
        right_I = constant_OI.T @ left_O
        right_I = right_I / right_I.norm()
    return left_O @ matrix_OI @ right_I


REGULARISERS: dict[str, Regulariser] = {
    "gradient_penalty": _gradient_penalty,
    "real_gradient": _real_gradient,
    "spectral_norm": _spectral_norm,
}
