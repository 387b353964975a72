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
    between = _between(real, fake, noise)
    return _from_slope_1(discriminator.squared_gradient(between.seen_BTD, between.lengths_B, between.starts_B))


def _token_gradient_penalty(discriminator: Discriminator, real: SeenTexts, fake: SeenTexts, noise: Noise) -> Tensor:
    """The same by distributions over tokens, as the paper has it: a real text's are certain.

    A discriminator that is held to a slope of 1 by what it sees of tokens, their embedding, may still be as steep as
    it likes by the tokens: it need only spread the embedding out.
    """
    between = _between(real, fake, noise)
    square_B = discriminator.squared_gradient_by_tokens(between.seen_BTD, between.lengths_B, between.starts_B)
    return _from_slope_1(square_B)


def _between(real: SeenTexts, fake: SeenTexts, noise: Noise) -> SeenTexts:
    """A random place between each real text and a drawn one: what is seen of a text between, for seeing is linear."""
    between_BTD = fake.seen_BTD.lerp(real.seen_BTD, noise.uniform("between", 1, 1))
    return SeenTexts(between_BTD, real.lengths_B.maximum(fake.lengths_B), real.starts_B)


def _from_slope_1(square_B: Tensor) -> Tensor:
    """The squared distance from 1 of a gradient's norm; a square root has no gradient at 0."""
    return ((square_B + 1e-12).sqrt() - 1).square()


def _real_gradient(discriminator: Discriminator, real: SeenTexts, fake: SeenTexts, noise: Noise) -> Tensor:
    """Half the squared gradient at a real text (R1, Mescheder et al. 2018, equation 9)."""
    return discriminator.squared_gradient(real.seen_BTD, real.lengths_B, real.starts_B) / 2


def _spectral_norm(discriminator: Discriminator, real: SeenTexts, fake: SeenTexts, noise: Noise) -> Tensor:
    """Half the sum of the weights' squared largest singular values (Yoshida and Miyato 2017, equation 6)."""
    from lstmgan_dist.models.spectral import largest_singular_value

    squares = [largest_singular_value(matrix_OI).square() for matrix_OI in discriminator.weight_matrices()]
    return (sum(squares[1:], squares[0]) / 2).expand(len(real.lengths_B))


REGULARISERS: dict[str, Regulariser] = {
    "gradient_penalty": _gradient_penalty,
    "token_gradient_penalty": _token_gradient_penalty,
    "real_gradient": _real_gradient,
    "spectral_norm": _spectral_norm,
}

# Those of discriminators that read tokens alone.
OF_TOKENS = frozenset({"token_gradient_penalty"})
