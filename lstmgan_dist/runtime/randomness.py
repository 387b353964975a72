"""Noise and permutations as pure functions of what they are for.

Nothing here has state. A 64-bit key is derived from (seed, step, purpose, ...); the numbers of row `r` are the SplitMix64
stream (Steele et al. 2014) whose seed is element `r` of the key's own stream. So a row's noise depends neither on the
other rows of the batch, nor on how rows are dealt to workers, nor on the device: integer arithmetic is exact everywhere.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor

_GOLDEN_GAMMA = 0x9E3779B97F4A7C15 - 2**64
_MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
_MIX_2 = 0x94D049BB133111EB - 2**64


def derive(*path: int | str) -> int:
    """A key for a path such as (seed, step, "dropout"): a signed 64-bit integer, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(repr(path).encode(), digest_size=8).digest(), "little", signed=True)


def _mix(bits: Tensor) -> Tensor:
    """SplitMix64's finaliser, in place on int64, whose right shifts must be told to bring in zeros."""
    for shift, factor in ((30, _MIX_1), (27, _MIX_2)):
        bits ^= (bits >> shift) & (2 ** (64 - shift) - 1)
        bits *= factor
    bits ^= (bits >> 31) & (2**33 - 1)
    return bits


def _stream(keys: Tensor, length: int) -> Tensor:
    """The first `length` 64-bit numbers of each key's stream: (...) -> (..., length)."""
    counter = torch.arange(1, length + 1, device=keys.device) * _GOLDEN_GAMMA
    return _mix(keys[..., None] + counter)


def permutation(key: int, length: int) -> Tensor:
    """A permutation of range(length), by sorting one hash per element."""
    return torch.argsort(_stream(torch.tensor(key), length), stable=True)


@dataclass(frozen=True)
class Noise:
    """The random numbers of some rows of the global batch, under one key.

    rows_B: int64 numbers of the rows within the whole (global batch, or all texts to generate), on the target device.
    """

    key: int
    rows_B: Tensor

    def at(self, *path: int | str) -> Noise:
        """The noise for something more particular: a step, an update, a purpose."""
        return Noise(derive(self.key, *path), self.rows_B)

    def part(self, rows: slice) -> Noise:
        """The same noise for some of the rows."""
        return Noise(self.key, self.rows_B[rows])

    def positions(self, row_N: Tensor, position_N: Tensor) -> Noise:
        """Noise of its own for single positions (below 2**16) of the rows with these indices."""
        return Noise(derive(self.key, "positions"), self.rows_B[row_N] * 2**16 + position_N)

    def uniform(self, purpose: str, *shape: int) -> Tensor:
        """Uniform float32 in the open interval (0, 1), shape (B, *shape)."""
        bits = self._bits(purpose, math.prod(shape)).view(len(self.rows_B), *shape)
        # 23 bits and a half: the largest is 1 - 2**-24, which float32 still tells from 1.
        return ((bits >> 41) & (2**23 - 1)).float().add_(0.5).mul_(2**-23)

    def normal(self, purpose: str, *shape: int) -> Tensor:
        """Standard normal float32, shape (B, *shape)."""
        return torch.erfinv(self.uniform(purpose, *shape).mul_(2).sub_(1)).mul_(math.sqrt(2))

    def keep(self, purpose: str, *shape: int, dropout: float) -> Tensor:
        """A dropout mask of shape (B, *shape): 0 with probability `dropout`, else 1 / (1 - dropout)."""
        return _mask(self._bits(purpose, -(-math.prod(shape) // 4)), shape, dropout)

    def shared_keep(self, purpose: str, *shape: int, dropout: float) -> Tensor:
        """A dropout mask of shape `shape` that is the same for every row, and so for every worker."""
        key = torch.tensor([derive(self.key, purpose)], device=self.rows_B.device)
        return _mask(_stream(key, -(-math.prod(shape) // 4)), shape, dropout)[0]

    def _bits(self, purpose: str, length: int) -> Tensor:
        row_keys_B = _mix(derive(self.key, purpose) + (self.rows_B + 1) * _GOLDEN_GAMMA)
        return _stream(row_keys_B, length)


def _mask(bits: Tensor, shape: tuple[int, ...], dropout: float) -> Tensor:
    """Four 16-bit decisions from each 64-bit number: large masks cost a quarter of the hashing."""
    quarters = bits.view(torch.int16)[:, : math.prod(shape)].view(-1, *shape)
    return (quarters >= round(dropout * 2**16) - 2**15).float().mul_(1 / (1 - dropout))
