"""Weights from a seed: each tensor has its own stream, so that adding one changes no other.

What is on the meta device has a shape and no numbers, and stays so: a plan wants no more.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lstmgan_dist.runtime.randomness import derive


def stream(seed: int, name: str) -> torch.Generator:
    """The random numbers of one tensor, made on the CPU whatever the device."""
    return torch.Generator().manual_seed(derive(seed, "weights", name))


def normal_(weight: Tensor, deviation: float, seed: int, name: str) -> None:
    """Fill with N(0, deviation²)."""
    if weight.is_meta:
        return
    weight.copy_(torch.empty(weight.shape).normal_(0, deviation, generator=stream(seed, name)))


def uniform_(weight: Tensor, bound: float, seed: int, name: str) -> None:
    """Fill with U(-bound, bound)."""
    if weight.is_meta:
        return
    weight.copy_(torch.empty(weight.shape).uniform_(-bound, bound, generator=stream(seed, name)))


def orthogonal_(weight_HH: Tensor, seed: int, name: str) -> None:
    """Fill with a random orthogonal matrix."""
    if weight_HH.is_meta:
        return
    weight_HH.copy_(nn.init.orthogonal_(torch.empty(weight_HH.shape), generator=stream(seed, name)))
