"""Averages of weights over the updates of a phase."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from lstmgan_dist.adversarial.objective import Tensors

_UPDATES, _MOVING = "average/updates", "average/moving/"


class AveragedWeights:
    """Exponential moving averages of a network's weights, which it does not have itself while it learns.

    After n updates those of update i weigh decay^(n-i), divided by the sum of these: the average of Polyak and Juditsky
    (1992), with a memory that fades, and without the weights from before the first update.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._network, self._decay = network, decay
        self._updates = 0
        self.averages = [parameter.detach().clone() for parameter in network.parameters()]

    @torch.no_grad()
    def follow(self) -> None:
        """An update is made."""
        self._updates += 1
        share = (1 - self._decay) / (1 - self._decay**self._updates)
        for parameter, average in zip(self._network.parameters(), self.averages, strict=True):
            # One rounding at a time: what kernels fuse may depend on the number of threads.
            average.add_((parameter - average).mul_(share))

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Meanwhile the network has the averages."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        """In place, for captured graphs read weights where they are."""
        for parameter, average in zip(self._network.parameters(), self.averages, strict=True):
            moving = parameter.clone()
            parameter.copy_(average)
            average.copy_(moving)

    def named(self) -> Tensors:
        """The averages as the network names its weights."""
        names = [name for name, _ in self._network.named_parameters()]
        return dict(zip(names, self.averages, strict=True))

    def memory(self) -> Tensors:
        """The number of updates, and the weights that updates go on from: a checkpoint's network has the averages."""
        moving = {f"{_MOVING}{name}": parameter.detach() for name, parameter in self._network.named_parameters()}
        return {_UPDATES: torch.tensor(self._updates)} | moving

    @torch.no_grad()
    def take_memory(self, tensors: Tensors) -> None:
        """The inverse of `memory`, beside a network that has the averages; takes its own out of the tensors."""
        self._updates = int(tensors.pop(_UPDATES))
        for (name, parameter), average in zip(self._network.named_parameters(), self.averages, strict=True):
            average.copy_(parameter)
            parameter.copy_(tensors.pop(f"{_MOVING}{name}"))
