"""Scores of the whole global batch, for a loss that compares each with all.

A first pass without gradient tells the scores of every unit to all; then each unit's own take their places among them,
with a gradient.

Shapes: B rows, G rows of the global batch.
"""

from __future__ import annotations

from torch import Tensor

from lstmgan_dist.adversarial.objective import Tensors
from lstmgan_dist.runtime.randomness import Noise


def scores_to_join(real: Tensor, fake: Tensor) -> Tensors:
    """What `among_all` reads."""
    return {"all_real_scores": real, "all_fake_scores": fake}


def among_all(part: Tensors, noise: Noise, *, fake: Tensor, real: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """All real and all fake scores, in which those of these rows have their gradient."""
    all_real = part["all_real_scores"]
    if real is not None:
        all_real = all_real.index_copy(0, noise.rows_B, real)
    return all_real, part["all_fake_scores"].index_copy(0, noise.rows_B, fake)


def share_of_rows(values_G: Tensor, noise: Noise) -> Tensor:
    """The sum of values of the global batch that is reported for these rows, with the gradient of the sum of all."""
    total = values_G.sum()
    return values_G[noise.rows_B].sum().detach() + total - total.detach()
