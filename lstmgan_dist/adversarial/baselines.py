"""What a reward is compared with, by its word in a job file.

To add one: a class like those here, and a line in `BASELINES`.
Shapes: B rows, T positions, P positions that have an average of their own, D drafts of a row, R rows that have drafts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class Baseline(Protocol):
    """Learns from the returns of every update what the next ones are compared with."""

    def advantages(self, returns_BT: Tensor, valid_BT: Tensor) -> Tensor:
        """The advantages of a unit's returns.

        A baseline is what it learnt from *earlier* updates, or from other texts, hence independent of this one, and the
        estimate stays unbiased.
        """
        ...

    def lessons(self, returns_BT: Tensor, valid_BT: Tensor) -> dict[str, Tensor]:
        """What is to be learnt from a unit's returns: what `learn` is told the sums of, over all units."""
        ...

    def learn(self, lessons: dict[str, Tensor]) -> None:
        """Learn from the whole batch."""
        ...

    def memory(self) -> dict[str, Tensor]:
        """What it has learnt, the same on every worker."""
        ...

    def load_memory(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `memory`."""
        ...


class LearnsNothing:
    """Of a baseline that earlier updates do not change."""

    def lessons(self, returns_BT: Tensor, valid_BT: Tensor) -> dict[str, Tensor]:
        return {}

    def learn(self, lessons: dict[str, Tensor]) -> None:
        pass

    def memory(self) -> dict[str, Tensor]:
        return {}

    def load_memory(self, tensors: dict[str, Tensor]) -> None:
        pass


class NoBaseline(LearnsNothing):
    """Rewards as they are."""

    def advantages(self, returns_BT: Tensor, valid_BT: Tensor) -> Tensor:
        return returns_BT * valid_BT


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

    def advantages(self, returns_BT: Tensor, valid_BT: Tensor) -> Tensor:
        import torch

        average_P = self.total / self.weight.clamp(min=torch.finfo(self.weight.dtype).tiny)
        return (returns_BT - average_P[: returns_BT.shape[1]].to(returns_BT.device)) * valid_BT

    def lessons(self, returns_BT: Tensor, valid_BT: Tensor) -> dict[str, Tensor]:
        from torch.nn.functional import pad

        sums_T, counts_T = (returns_BT * valid_BT).sum(dim=0), valid_BT.sum(dim=0).float()
        if len(self.total) == 1:
            return {"sums": sums_T.sum(dim=0, keepdim=True), "counts": counts_T.sum(dim=0, keepdim=True)}
        # Units whose texts are of unequal length still add up tensors of one shape.
        beyond = len(self.total) - len(sums_T)
        return {"sums": pad(sums_T, (0, beyond)), "counts": pad(counts_T, (0, beyond))}

    def learn(self, lessons: dict[str, Tensor]) -> None:
        import torch

        sums_P, counts_P = lessons["sums"], lessons["counts"]
        self.total, self.weight = self.total.to(sums_P.device), self.weight.to(sums_P.device)
        rate_P = torch.where(counts_P > 0, 1 - self.decay, 0.0)  # a position that no text reached learns nothing
        self.total.lerp_(sums_P / counts_P.clamp(min=1), rate_P)
        self.weight.lerp_(torch.ones_like(rate_P), rate_P)

    def memory(self) -> dict[str, Tensor]:
        return {"total": self.total, "weight": self.weight}

    def load_memory(self, tensors: dict[str, Tensor]) -> None:
        self.total, self.weight = tensors["total"].clone(), tensors["weight"].clone()


class OtherDrafts(LearnsNothing):
    """Subtracts the mean return of a row's other drafts (Kool et al. 2019, equation 8; RLOO, Ahmadian et al. 2024).

    Drafts of a row share its latent vector and context, and are independent beside. So whatever the others earned says
    nothing of this one, and the estimate stays unbiased.

    Args:
        drafts: of each row, which follow each other.
        of_tokens: whether a position's return is of what comes from there on. Then that of another draft counts where
            this reaches the position; else a draft has one return, whatever its length.
    """

    def __init__(self, *, drafts: int, of_tokens: bool) -> None:
        self.drafts = drafts
        self.of_tokens = of_tokens

    def advantages(self, returns_BT: Tensor, valid_BT: Tensor) -> Tensor:
        returns_RDT = (returns_BT * valid_BT).unflatten(0, (-1, self.drafts))
        counts_RDT = valid_BT.unflatten(0, (-1, self.drafts)).float()
        if not self.of_tokens:  # every text has a first token
            returns_RDT, counts_RDT = returns_RDT[..., :1], counts_RDT[..., :1]
        others_RDT = counts_RDT.sum(dim=1, keepdim=True) - counts_RDT
        mean_RDT = (returns_RDT.sum(dim=1, keepdim=True) - returns_RDT) / others_RDT.clamp(min=1)
        return (returns_BT - mean_RDT.flatten(0, 1)) * valid_BT


# (decay, positions of the longest text) -> a baseline.
BASELINES: dict[str, Callable[[float, int], Baseline]] = {
    "none": lambda decay, positions: NoBaseline(),
    "moving_average": lambda decay, positions: MovingAverage(decay=decay),
    "per_position": lambda decay, positions: MovingAverage(decay=decay, positions=positions),
}

# Beside these, where an estimator draws several drafts of each row: see `OtherDrafts`.
GROUP = "group"
