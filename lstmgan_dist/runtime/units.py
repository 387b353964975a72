"""The fixed parts of a batch, on which the bits of a run depend: not on its workers, nor on their cores.

A worker draws, reads and differentiates each of its units by itself, in one thread, and as many side by side as it has
cores. So a unit meets the same kernels and shapes wherever it is, and what is added up over units is added in the order
of one tree. A GPU takes one unit after the other, and uses only such kernels as do the same each time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Self, TypeVar

import torch
from torch import Tensor

from lstmgan_dist.runtime.base import Runtime
from lstmgan_dist.runtime.tree import add_up, part_of, total, whole_nodes

Item = TypeVar("Item")
Result = TypeVar("Result")


class Units:
    """The units of a batch as one worker sees them; to be used in a `with` block, in which torch computes them exactly.

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
        # A GPU works through what it is given in one line, whoever gives it.
        self.threads = 1 if runtime.device.type == "cuda" else min(torch.get_num_threads(), len(self.own))
        self._pool = ThreadPoolExecutor(self.threads, "unit", initializer=_take_one_thread)
        self._in_use = ExitStack()

    def __enter__(self) -> Self:
        self._in_use.enter_context(one_thread())
        if self.runtime.device.type == "cuda":
            self._in_use.enter_context(kernels_that_repeat_themselves())
        self._in_use.enter_context(self._pool)
        return self

    def __exit__(self, *exception: object) -> None:
        self._in_use.close()

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


@contextmanager
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    _take_one_thread()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def kernels_that_repeat_themselves() -> Iterator[None]:
    """cuDNN, cuBLAS and torch add up in one order; of an operation that has no such kernel torch warns."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read at the first matrix product
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Nothing here is read before it is written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)
