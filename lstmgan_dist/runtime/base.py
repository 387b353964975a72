"""What the training loop asks of the place it runs in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Literal, Protocol, TypeVar

import torch
from torch import Tensor, nn

from lstmgan_dist.runtime.signals import StopRequest

T = TypeVar("T")
Item = TypeVar("Item")
Result = TypeVar("Result")


class Runtime(Protocol):
    """One worker's view of the workers that train together."""

    rank: int
    world_size: int
    device: torch.device

    def parallel(self, objective: nn.Module, *, compression: Literal["none", "bf16"] = "none") -> nn.Module:
        """The objective as a module whose backward pass averages gradients, so compressed, over the workers."""
        ...

    def accumulating(self, objective: nn.Module) -> AbstractContextManager[object]:
        """While open, backward passes of a `parallel` objective only add up locally."""
        ...

    def sum(self, tensor: Tensor) -> Tensor:
        """The tensor, without gradient, added up over the workers."""
        ...

    def average(self, tensors: list[Tensor]) -> None:
        """Replace float32 tensors by their means over the workers: the same bits on each of them."""
        ...

    def gather(self, rows: Tensor) -> Tensor:
        """Every worker's rows, concatenated in the order of ranks; all but their number is equal."""
        ...

    def exchange(self, own: T) -> list[T]:
        """What every worker gives, in the order of ranks: any Python object; whoever is late is waited for."""
        ...

    def stop_request(self) -> StopRequest:
        """What the workers are asked for by signals or by whoever watches over them; the same answer on every one."""
        ...

    def barrier(self) -> None:
        """Wait until every worker is here."""
        ...


class WorkTogether:
    """Workers that train together as those who apply a function to many items, see `tasks`: all know the results."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def map_in_order(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """One item for each worker at a time."""
        everything, size = list(items), self._runtime.world_size
        for start in range(0, len(everything), size):
            mine = everything[start : start + size][self._runtime.rank : self._runtime.rank + 1]
            for results in self._runtime.exchange([function(item) for item in mine]):
                yield from results


def lanes_of(rank: int, world_size: int, lanes: int) -> range:
    """The lanes that a worker owns; workers of an elastic group may own different numbers of them."""
    assert world_size <= lanes, "WorkerSize.check_lanes has checked this"
    return range(rank, lanes, world_size)


def rows_of(lanes: range, rows_per_lane: int) -> Tensor:
    """The numbers, within the global batch, of the rows that these lanes hold: int64, lane after lane."""
    return torch.cat([torch.arange(lane * rows_per_lane, (lane + 1) * rows_per_lane) for lane in lanes])
