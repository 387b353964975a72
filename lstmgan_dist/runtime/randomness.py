"""Noise (of drawn tokens, dropout, latents) and permutations, as pure functions of what they are for.

Nothing here has state. A 64-bit key is derived from (seed, step, purpose, ...); the numbers of row `r` are the
SplitMix64 stream (Steele et al. 2014) whose seed is element `r` of the key's own stream. So a row's noise depends
neither on the other rows of the batch, nor on how rows are dealt to workers, nor on the device: integer arithmetic is
exact everywhere.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

GOLDEN_GAMMA = 0x9E3779B97F4A7C15 - 2**64
_MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
_MIX_2 = 0x94D049BB133111EB - 2**64
_BLOCK = 2**17  # numbers: 1 MiB, enough to keep several cores busy


def derive(*path: int | str) -> int:
    """A key for a path such as (seed, step, "dropout"): a signed 64-bit integer, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(repr(path).encode(), digest_size=8).digest(), "little", signed=True)


def _mix(bits: Tensor, scratch: Tensor) -> Tensor:
    """SplitMix64's finaliser, in place on int64, whose right shifts must be told to bring in zeros."""
    for shift, factor in ((30, _MIX_1), (27, _MIX_2), (31, 1)):
        torch.bitwise_right_shift(bits, shift, out=scratch)
        bits ^= scratch.bitwise_and_(2 ** (64 - shift) - 1)
        if factor != 1:
            bits *= factor
    return bits


def _blocks(keys_K: Tensor, length: int) -> Iterator[tuple[slice, slice, Tensor]]:
    """The first `length` 64-bit numbers of each key's stream, (K, length), block by block: rows, columns, numbers.

    A block stays in a CPU's cache while it is worked on, and its memory serves the next block.
    """
    size = max(1, len(keys_K) * length if keys_K.is_cuda else _BLOCK)
    columns = max(1, min(length, size))
    rows = max(1, size // columns)
    memory = torch.empty(2, min(rows, len(keys_K)) * columns, dtype=torch.int64, device=keys_K.device)
    for column in range(0, length, columns):
        counter = torch.arange(column + 1, min(column + columns, length) + 1, device=keys_K.device) * GOLDEN_GAMMA
        for row in range(0, len(keys_K), rows):
            keys = keys_K[row : row + rows, None]
            bits, scratch = memory[:, : len(keys) * len(counter)].view(2, len(keys), len(counter))
            _mix(torch.add(keys, counter, out=bits), scratch)
            yield slice(row, row + rows), slice(column, column + columns), bits


def split_mix_64(seeds: Tensor) -> Tensor:
    """The first number of each seed's stream, int64: a hash in which close seeds are far apart."""
    return _mix(seeds + GOLDEN_GAMMA, torch.empty_like(seeds))


def permutation(key: int, length: int) -> Tensor:
    """A permutation of range(length), by sorting one hash per element."""
    hashes = torch.empty(length, dtype=torch.int64)
    for _, columns, bits in _blocks(torch.tensor([key]), length):
        hashes[columns] = bits[0]
    return torch.argsort(hashes, stable=True)


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
        uniforms = torch.empty(len(self.rows_B), math.prod(shape), device=self.rows_B.device)
        for rows, columns, bits in _blocks(self._row_keys(purpose), math.prod(shape)):
            # 23 bits and a half: the largest is 1 - 2**-24, which float32 still tells from 1.
            whole = bits.bitwise_right_shift_(41).bitwise_and_(2**23 - 1)
            uniforms[rows, columns].copy_(whole).add_(0.5).mul_(2**-23)
        return uniforms.view(len(uniforms), *shape)

    def normal(self, purpose: str, *shape: int) -> Tensor:
        """Standard normal float32, shape (B, *shape)."""
        return torch.erfinv(self.uniform(purpose, *shape).mul_(2).sub_(1)).mul_(math.sqrt(2))

    def keep(self, purpose: str, *shape: int, dropout: float) -> Tensor:
        """A dropout mask of shape (B, *shape): 0 with probability `dropout`, else 1 / (1 - dropout)."""
        return _mask(self._row_keys(purpose), shape, dropout)

    def shared_keep(self, purpose: str, *shape: int, dropout: float) -> Tensor:
        """A dropout mask of shape `shape` that is the same for every row, and so for every worker."""
        return _mask(torch.tensor([derive(self.key, purpose)], device=self.rows_B.device), shape, dropout)[0]

    def _row_keys(self, purpose: str) -> Tensor:
        keys_B = derive(self.key, purpose) + (self.rows_B + 1) * GOLDEN_GAMMA
        return _mix(keys_B, torch.empty_like(keys_B))


def _mask(keys_K: Tensor, shape: tuple[int, ...], dropout: float) -> Tensor:
    """Four 16-bit decisions from each 64-bit number: large masks cost a quarter of the hashing."""
    words = -(-math.prod(shape) // 4)
    mask = torch.empty(len(keys_K), words * 4, device=keys_K.device)
    for rows, columns, bits in _blocks(keys_K, words):
        keep = bits.view(torch.int16) >= round(dropout * 2**16) - 2**15
        mask[rows, columns.start * 4 : columns.stop * 4].copy_(keep).mul_(1 / (1 - dropout))
    return mask[:, : math.prod(shape)].view(len(mask), *shape)
