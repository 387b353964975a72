"""What the loop asks of whoever judges a generator at the end of a phase; the answer comes from `runs/contest.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from lstmgan_dist.runtime.base import Runtime
from lstmgan_dist.runtime.tasks import Watch
from lstmgan_dist.training.checkpoint import Checkpoint
from lstmgan_dist.training.run import Run


@dataclass(frozen=True)
class Judgement:
    """figures: for the run's curves, by name. sentences: the verdicts, and what they choose."""

    figures: Mapping[str, float]
    sentences: tuple[str, ...]


class PhaseJudge(Protocol):
    """Judges a generator that is being trained."""

    def __call__(
        self,
        run: Run,
        weights: Mapping[str, Tensor],
        step: int,
        *,
        likelihood: Checkpoint | None,
        runtime: Runtime,
        watch: Watch,
    ) -> Judgement:
        """Judge the generator with these weights beside the one that its game has started from, if there is a game.

        All workers that train together call it.
        """
        ...
