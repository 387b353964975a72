"""What a player minimises: a module whose forward returns a loss, which is what is wrapped for the workers.

An update has two halves. `prepare` runs once, without gradient, on all rows of the worker: it draws text, scores it,
and fetches whatever depends on the whole global batch (counts, baselines). `forward` runs on those rows or, to save
memory, on some of them at a time, and has all the gradient. Its loss is the sum over its rows divided by the *global*
count and multiplied by the number of workers, which the averaging of gradients takes out again: neither the number of
parts nor that of workers changes the gradient. Its report holds shares of global means, which add up over parts and
workers.

Shapes: B rows, T positions, N valid positions of all rows, V vocabulary, F features, H hidden units, Z latent
dimensions, G rows of the global batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from lstmgan_dist.runtime.base import Runtime
from lstmgan_dist.runtime.randomness import Noise

if TYPE_CHECKING:
    from lstmgan_dist.corpus.stream import Batch

Prepared = dict[str, Tensor]
Report = dict[str, Tensor]


class Objective(nn.Module, ABC):
    """What every objective answers to; a player knows none of them by name.

    Whoever remembers something from update to update says so in `memory`, the same on every worker, or in
    `row_memory`, this worker's rows first: a checkpoint holds both, and a run goes on with other workers from it.
    """

    @abstractmethod
    def prepare(
        self, real: Batch, *, opponent: Any, noise: Noise, runtime: Runtime, schedules: Mapping[str, float]
    ) -> Prepared:
        """The first half of an update. schedules: the values of what changes over the phase, by name."""

    @abstractmethod
    def forward(self, part: Prepared, *, opponent: Any, noise: Noise) -> tuple[Tensor, Report]:
        """The second half, on some of the rows: the loss, and shares of figures."""

    def parts(self, prepared: Prepared, rows: int, count: int) -> Iterator[tuple[Prepared, slice]]:
        """What was prepared, cut into so many parts of equal size, each with the rows that it holds.

        Prepared tensors have rows first, except for 0-dim ones and those called `all_...`, which belong to all rows.
        """
        size = rows // count
        for number in range(count):
            part = slice(number * size, (number + 1) * size)
            yield (
                {
                    name: tensor[part] if tensor.dim() and not name.startswith("all_") else tensor
                    for name, tensor in prepared.items()
                },
                part,
            )

    def memory(self) -> dict[str, Tensor]:
        """What is remembered, the same on every worker."""
        return {}

    def load_memory(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `memory`."""

    def row_memory(self) -> dict[str, Tensor]:
        """What is remembered of this worker's rows, rows first."""
        return {}

    def load_row_memory(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `row_memory`; empty where nothing was remembered."""
