"""What a reward is compared with, by its word in a job file.

To add one: a class with `advantages`, `memory` and `load_memory`, and a line in `BASELINES`.
Shapes: B rows, T positions, P positions that have an average of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class Baseline(Protocol):
    """Learns from the returns of every update what the next ones are compared with."""

    def advantages(self, returns_BT: Tensor, valid_BT: Tensor, add_up: Callable[[Tensor], Tensor]) -> Tensor:
        """The advantages of this worker's returns.

        A baseline is what it learnt from *earlier* updates, hence independent of this one, and the estimate stays
        unbiased. `add_up` sums over the workers, so that all of them learn the same from the whole batch.
        """
        ...

    def memory(self) -> dict[str, Tensor]:
        """What it has learnt, the same on every worker."""
        ...

    def load_memory(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `memory`."""
        ...


class NoBaseline:
    """Rewards as they are."""

    def advantages(self, returns_BT: Tensor, valid_BT: Tensor, add_up: Callable[[Tensor], Tensor]) -> Tensor:
        return returns_BT * valid_BT

    def memory(self) -> dict[str, Tensor]:
        return {}

    def load_memory(self, tensors: dict[str, Tensor]) -> None:
        pass


class MovingAverage:
    """Subtracts an exponential moving average of returns: one for all positions, or one for each.

    Args:
        positions: how many positions have an average of their own; 1: one for all.
        decay: weight of the old average at every update, 0 to 1 (ScratchGAN's ema_decay).
    """

    def __init__(self, *, decay: float, positions: int = 1) -> None:
        import torch

        self.decay = decay
        self.total = torch.zeros(positions)
        # Divided by the weight gathered so far, the average does not lean towards its start at zero.
        self.weight = torch.zeros(positions)

    def advantages(self, returns_BT: Tensor, valid_BT: Tensor, add_up: Callable[[Tensor], Tensor]) -> Tensor:
        import torch
        from torch.nn.functional import pad

        self.total, self.weight = self.total.to(returns_BT.device), self.weight.to(returns_BT.device)
        average_P = self.total / self.weight.clamp(min=torch.finfo(self.weight.dtype).tiny)
        advantages_BT = (returns_BT - average_P[: returns_BT.shape[1]]) * valid_BT
        sums_2T = torch.stack([(returns_BT * valid_BT).sum(dim=0), valid_BT.sum(dim=0)])
        if len(average_P) == 1:
            sums_2T = sums_2T.sum(dim=1, keepdim=True)
        # Workers whose texts are of unequal length still add up tensors of one shape.
        sums_P, counts_P = add_up(pad(sums_2T, (0, len(average_P) - sums_2T.shape[1])))
        rate_P = torch.where(counts_P > 0, 1 - self.decay, 0.0)  # a position that no text reached learns nothing
        self.total.lerp_(sums_P / counts_P.clamp(min=1), rate_P)
        self.weight.lerp_(torch.ones_like(rate_P), rate_P)
        return advantages_BT

    def memory(self) -> dict[str, Tensor]:
        return {"total": self.total, "weight": self.weight}

    def load_memory(self, tensors: dict[str, Tensor]) -> None:
        self.total, self.weight = tensors["total"].clone(), tensors["weight"].clone()


# (decay, positions of the longest text) -> a baseline.
BASELINES: dict[str, Callable[[float, int], Baseline]] = {
    "none": lambda decay, positions: NoBaseline(),
    "moving_average": lambda decay, positions: MovingAverage(decay=decay),
    "per_position": lambda decay, positions: MovingAverage(decay=decay, positions=positions),
}
