"""What the training loop asks of the place it runs in."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

import torch
from torch import Tensor, nn

from lstmgan_dist.errors import UserError


class Runtime(Protocol):
    """One worker's view of the workers that train together."""

    rank: int
    world_size: int
    device: torch.device

    def parallel(self, objective: nn.Module) -> nn.Module:
        """The objective as a module whose backward pass averages gradients over the workers."""
        ...

    def accumulating(self, objective: nn.Module) -> AbstractContextManager[object]:
        """While open, backward passes of a `parallel` objective only add up locally."""
        ...

    def sum(self, tensor: Tensor) -> Tensor:
        """The tensor, without gradient, added up over the workers."""
        ...

    def gather(self, rows: Tensor) -> Tensor:
        """Every worker's rows (one equal shape), concatenated in the order of ranks."""
        ...

    def should_stop(self) -> bool:
        """Whether somebody asked the run to stop; the same answer on every worker."""
        ...

    def barrier(self) -> None:
        """Wait until every worker is here."""
        ...


def lanes_of(rank: int, world_size: int, lanes: int) -> range:
    """The lanes that a worker owns.

    Raises:
        UserError: if the workers cannot share the lanes equally.
    """
    if lanes % world_size:
        fitting = [workers for workers in range(1, lanes + 1) if lanes % workers == 0]
        raise UserError(
            f"{world_size} workers cannot share batch.lanes {lanes} equally: "
            f"try {' or '.join(map(str, fitting))} workers, or other batch.lanes."
        )
    return range(rank, lanes, world_size)


def rows_of(lanes: range, rows_per_lane: int) -> Tensor:
    """The numbers, within the global batch, of the rows that these lanes hold: int64, lane after lane."""
    return torch.cat([torch.arange(lane * rows_per_lane, (lane + 1) * rows_per_lane) for lane in lanes])
