"""What the training loop asks of the place it runs in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

import torch
from torch import Tensor, nn

from lstmgan_dist.runtime.signals import StopRequest

T = TypeVar("T")
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class GradientExchange:
    """How gradients are added up over the workers: in the order of the tree, unless they are compressed.

    own_sums: from the gradients of some parameters in this worker's last unit, one by one and as one vector, whose
    views they are, the sums of each of its nodes, (nodes, numbers). nodes: of the tree, those of every worker.
    leaves_out: whether there are parameters on which the loss does not depend. compression: of what travels.
    """

    own_sums: Callable[[Sequence[nn.Parameter], Sequence[Tensor], Tensor], Tensor]
    nodes: Sequence[Sequence[range]]
    leaves_out: bool
    compression: Literal["none", "bf16"]

    @property
    def root(self) -> range:
        """The node of all units."""
        return range(self.nodes[-1][-1].stop)


class Runtime(Protocol):
    """One worker's view of the workers that train together."""

    rank: int
    world_size: int
    device: torch.device

    def parallel(self, objective: nn.Module, exchange: GradientExchange) -> nn.Module:
        """The objective as a module whose backward pass adds up gradients over the workers; itself if it is alone."""
        ...

    def average(self, tensors: list[Tensor]) -> None:
        """Replace float32 tensors by their means over the workers: the same bits on each of them."""
        ...

    def gather(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """Every worker's rows, concatenated in the order of ranks. counts: how many each has."""
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
