"""Players as a run has them, to be measured: with the units that a job has by default."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from torch import nn

from lstmgan_dist.adversarial.objective import Objective
from lstmgan_dist.config.training import BatchSettings
from lstmgan_dist.corpus.stream import Batch
from lstmgan_dist.phases.optimizer import Optimizer, Synchronisation
from lstmgan_dist.phases.player import Moment, Player
from lstmgan_dist.runtime.local import LocalRuntime, choose_device
from lstmgan_dist.runtime.randomness import Noise
from lstmgan_dist.runtime.units import Units


@dataclass
class Learner:
    """A player at work on one text, again and again."""

    player: Player
    parts: list[Batch]
    opponent: nn.Module | None
    moment: Moment
    threads: int
    updates: int = 0

    def __call__(self) -> None:
        """One update, with so many threads in each unit; torch has as many afterwards as before."""
        threads = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        self.player.learn(self.parts, opponent=self.opponent, moment=self.moment.at(self.updates))
        self.updates += 1
        torch.set_num_threads(threads)


def learner(
    network: nn.Module,
    objective: Objective,
    opponent: nn.Module | None,
    text: Batch,
    *,
    optimizer: Optimizer,
    units: int | None = None,
    threads: int = 1,
    precision: Literal["fp32", "bf16"] = "fp32",
    schedules: Mapping[str, float] = MappingProxyType({}),
) -> Callable[[], None]:
    """What makes one update after another, all of it: drawing, scoring, backward pass, clipping and the optimiser."""
    device, rows = choose_device("auto"), len(text.lengths_B)
    of_batch = Units(LocalRuntime(device), units or BatchSettings(size=rows).units)
    tensors = (text.inputs_BT, text.targets_BT, text.lengths_B)
    split = (tensor.to(device).split(rows // of_batch.count) for tensor in tensors)
    parts = [Batch(*part, fresh=text.fresh) for part in zip(*split, strict=True)]
    player = Player(
        "player",
        network,
        objective,
        optimizer,
        schedules=schedules,
        steps=1000,
        precision=precision,
        synchronisation=Synchronisation(),
        repeat_every=None,
        units=of_batch,
    )
    return Learner(player, parts, opponent, Moment(0, 1.0, Noise(1, torch.arange(rows, device=device))), threads)
