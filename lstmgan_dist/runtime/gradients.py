"""The gradient of a batch, from those of its units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Lock
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from lstmgan_dist.runtime.base import GradientExchange
from lstmgan_dist.runtime.tree import add_up
from lstmgan_dist.runtime.units import Units

Told = TypeVar("Told")
# Of the objective, or of what stands for it: a unit's loss, and what else is to be known of it.
Loss = Callable[[nn.Module], tuple[Tensor, Told]]
# Of each parameter; None where the loss does not depend on it.
Gradients = list[Tensor | None]


class GradientSum:
    """Gives the parameters of an objective the sum, over the units of all workers, of their losses' gradients.

    The last unit of a worker goes through DistributedDataParallel, whose one reduction sends the sums of whole nodes of
    the tree, bucket by bucket, while its backward pass goes on.

    alone: only the units of this worker count. leaves_out: whether the losses do not depend on some parameters.
    compression: what travels between workers.
    """

    def __init__(
        self,
        objective: nn.Module,
        units: Units,
        *,
        alone: bool,
        leaves_out: bool,
        compression: Literal["none", "bf16"],
    ) -> None:
        self._objective = objective
        self._units = units
        self._parameters = [parameter for parameter in objective.parameters() if parameter.requires_grad]
        self._index = {parameter: number for number, parameter in enumerate(self._parameters)}
        self._parallel = objective
        if not alone:
            exchange = GradientExchange(self._with_last_unit, units.nodes, leaves_out, compression)
            self._parallel = units.runtime.parallel(objective, exchange)
        self._sums: dict[range, Gradients] = {}  # of nodes of the tree
        self._adding = Lock()
        self._under_way: list[Future[Any]] = []

    def backward(self, losses: Sequence[Loss[Told]]) -> list[Told]:
        """Give every parameter its gradient. losses: of each own unit.

        Returns:
            What each of them told.
        """
        return self._backward_here(losses) if self._parallel is self._objective else self._backward_together(losses)

    def of_unit(self, loss_of: Loss[Told]) -> tuple[Gradients, Told]:
        """The gradients of one unit alone, and what was told; the parameters keep theirs."""
        loss, told = loss_of(self._objective)
        return list(torch.autograd.grad(loss, self._parameters, allow_unused=True)), told

    def _backward_here(self, losses: Sequence[Loss[Told]]) -> list[Told]:
        own = self._units.own
        self._sums = {}
        told = self._units.map(lambda unit: self._take(*unit, root=own), zip(own, losses, strict=True))
        for parameter, gradient in zip(self._parameters, self._sums[own], strict=True):
            parameter.grad = None if gradient is None else gradient.contiguous()
        return told

    def _backward_together(self, losses: Sequence[Loss[Told]]) -> list[Told]:
        units, (*others, (_, last)) = self._units, zip(self._units.own, losses, strict=True)
        self._sums = {}

        def take(unit: tuple[int, Loss[Told]]) -> Told:
            return self._take(*unit, root=units.root)

        # In the last round of as many units as there are threads, this thread takes the last unit.
        before = max(0, len(losses) - units.threads)
        told = units.map(take, others[:before])
        self._under_way = [units.begin(take, other) for other in others[before:]]
        loss, last_told = last(self._parallel)
        loss.backward()
        return [*told, *(future.result() for future in self._under_way), last_told]

    def _take(self, unit: int, loss_of: Loss[Told], *, root: range) -> Told:
        """Add a unit's gradients to the others' as soon as they are there, so that few are held at a time."""
        gradients, told = self.of_unit(loss_of)
        with self._adding:
            add_up(self._sums, [(range(unit, unit + 1), gradients)], _add, root)
        return told

    def _with_last_unit(
        self, parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor], gradients_N: Tensor
    ) -> Tensor:
        """The sums of this worker's whole nodes, (nodes, numbers), where the last unit has these gradients."""
        units = self._units
        if len(units.own) == 1:
            return gradients_N[None]
        for future in self._under_way:
            future.result()
        last, own = range(units.own.stop - 1, units.own.stop), units.nodes[units.runtime.rank]
        of_parameters = []
        for parameter, gradient in zip(parameters, gradients, strict=True):
            sums = {node: values[self._index[parameter]] for node, values in self._sums.items()}
            add_up(sums, [(last, gradient)], _plus, units.root)
            of_parameters.append(sums)
        flat = [_flat(sums[node], of) for node in own for sums, of in zip(of_parameters, parameters, strict=True)]
        return torch.cat(flat).view(len(own), -1)


def _add(left: Gradients, right: Gradients) -> Gradients:
    return [_plus(*pair) for pair in zip(left, right, strict=True)]


def _plus(left: Tensor | None, right: Tensor | None) -> Tensor | None:
    if left is None or right is None:
        return right if left is None else left
    return left + right


def _flat(gradient: Tensor | None, parameter: nn.Parameter) -> Tensor:
    return parameter.new_zeros(parameter.numel()) if gradient is None else gradient.flatten()
