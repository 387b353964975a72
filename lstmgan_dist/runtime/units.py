"""The fixed parts of a batch, on which the bits of a run depend: not on its workers, nor on their cores.

A worker draws, reads and differentiates each of its units by itself, in one thread, and as many side by side as it has
cores. So a unit meets the same kernels and shapes wherever it is, and what is added up over units is added in the order
of one tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self, TypeVar

import torch
from torch import Tensor

from lstmgan_dist.runtime.base import Runtime
from lstmgan_dist.runtime.tree import add_up, part_of, total, whole_nodes

Item = TypeVar("Item")
Result = TypeVar("Result")


class Units:
    """The units of a batch as one worker sees them; to be used in a `with` block, in which torch has one thread.

    count: how many there are, over all workers. own: those of this worker. threads: how many it works on side by side.
    nodes: what each worker's units are in the tree, by rank.
    """

    def __init__(self, runtime: Runtime, count: int) -> None:
        self.runtime = runtime
        self.count = count
        assert runtime.world_size <= count, "WorkerSize.check_units has checked this"
        shares = [part_of(count, rank, runtime.world_size) for rank in range(runtime.world_size)]
        self._shares = shares
        self.own = shares[runtime.rank]
        self.nodes = [whole_nodes(share, self.root) for share in shares]
        self._cores = torch.get_num_threads()
        # A GPU works through what it is given in one line, whoever gives it.
        self.threads = 1 if runtime.device.type == "cuda" else min(self._cores, len(self.own))
        self._pool = ThreadPoolExecutor(self.threads, "unit", initializer=_take_one_thread)

    def __enter__(self) -> Self:
        _take_one_thread()
        return self

    def __exit__(self, *exception: object) -> None:
        self._pool.shutdown()
        torch.set_num_threads(self._cores)

    @property
    def root(self) -> range:
        """All units."""
        return range(self.count)

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """What a function gives for something of each unit, side by side."""
        if self.threads == 1:
            return [function(item) for item in items]
        return list(self._pool.map(function, items))

    def begin(self, function: Callable[[Item], Result], item: Item) -> Future[Result]:
        """The same for one of them, while this thread goes on."""
        return self._pool.submit(function, item)

    def total(self, values: Sequence[Tensor]) -> Tensor:
        """The sum over the units of all workers, from what each own unit gives: tensors of one shape."""
        own: dict[range, Tensor] = {}
        leaves = (range(unit, unit + 1) for unit in self.own)
        add_up(own, zip(leaves, values, strict=True), torch.add, self.root)
        sums = torch.stack([own[node] for node in self.nodes[self.runtime.rank]])
        everyone = self.runtime.gather(sums, [len(nodes) for nodes in self.nodes])
        nodes = (node for nodes in self.nodes for node in nodes)
        return total(zip(nodes, everyone.unbind(), strict=True), torch.add, self.root)

    def join(self, values: Sequence[Tensor], rows: Sequence[int]) -> Tensor:
        """The rows that the units of all workers give, one unit after the other. rows: how many each unit has."""
        counts = [sum(rows[unit] for unit in share) for share in self._shares]
        return self.runtime.gather(torch.cat(list(values)), counts)


def _take_one_thread() -> None:
    torch.set_num_threads(1)
