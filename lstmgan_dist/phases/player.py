"""One side of the game: a network, the objective that it improves, and the optimiser that moves it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn

from lstmgan_dist.adversarial.objective import Objective, Report
from lstmgan_dist.corpus.stream import Batch
from lstmgan_dist.models.discriminator import Discriminator
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.phases.optimizer import Optimizer, Synchronisation
from lstmgan_dist.runtime.base import Runtime
from lstmgan_dist.runtime.randomness import Noise
from lstmgan_dist.settings import Schedule, value_at

_OF_ROWS = "rows/"


@dataclass(frozen=True)
class Moment:
    """When an update happens: the step of the phase, what roll-backs left of the learning rates, and the noise."""

    phase_step: int
    learning_rate_scale: float
    noise: Noise

    def at(self, *path: int | str) -> Moment:
        """The same time, with the noise of one update."""
        return replace(self, noise=self.noise.at(*path))


class Player:
    """A network that learns.

    name: prefixes its figures. schedules: arguments of the objective that change over the phase. steps: length of the
    phase. parts: pieces an update is split into to save memory; the gradient is the same. precision: of matrix
    products; weights are float32 always. synchronisation: how often workers average, and what.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        objective: Objective,
        settings: Optimizer,
        *,
        schedules: Mapping[str, float | Schedule],
        steps: int,
        parts: int,
        precision: Literal["fp32", "bf16"],
        synchronisation: Synchronisation,
        runtime: Runtime,
    ) -> None:
        self.name = name
        self.network = network
        self.objective = objective
        self._schedules = schedules
        self._settings = settings
        self._steps = steps
        self._parts = parts
        self._precision: Literal["fp32", "bf16"] = precision
        self._runtime = runtime
        self._every = synchronisation.every if runtime.world_size > 1 else 1
        self._updates_alone = 0  # since workers last had the same weights; never stored, for a checkpoint finds 0
        self._parallel: nn.Module = objective
        if self._every == 1:
            self._parallel = runtime.parallel(objective, compression=synchronisation.compression)
        self.optimizer = settings.build(self.network.parameters())

    def learn(self, real: Batch, *, opponent: nn.Module | None, moment: Moment) -> Report:
        """One update. Only this player has gradients meanwhile."""
        real, noise = real.to(self._runtime.device), moment.noise
        step, steps = moment.phase_step, self._steps
        schedules = {name: value_at(setting, step, steps) for name, setting in self._schedules.items()}
        learning_rate = self._settings.learning_rate_at(step, steps) * moment.learning_rate_scale
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad(set_to_none=True)
        with frozen(opponent), self._autocast():
            prepared = self.objective.prepare(
                real, opponent=opponent, noise=noise, runtime=self._runtime, schedules=schedules
            )
            report: Report = {}
            parts = list(self.objective.parts(prepared, len(real.lengths_B), self._parts))
            for number, (part, rows) in enumerate(parts, start=1):
                # Every worker adds up its parts, and the last part's backward pass is the one reduction.
                is_last = number == len(parts)
                with nullcontext() if is_last or self._every > 1 else self._runtime.accumulating(self._parallel):
                    loss, shares = self._parallel(part, opponent=opponent, noise=noise.part(rows))
                    loss.backward()
                for name, share in shares.items():
                    report[name] = report[name] + share if name in report else share
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self._settings.clip or float("inf"))
        self.optimizer.step()
        if self._every > 1:
            self._updates_alone += 1
            if self._updates_alone == self._every:
                self.synchronise()
        # The mean over workers, all of whom have the same norm where gradients are averaged.
        report[f"{self.name}/grad_norm"] = norm.detach() / self._runtime.world_size
        return report

    @property
    def is_synchronised(self) -> bool:
        """Whether every worker has the same weights and moments."""
        return not self._updates_alone

    def synchronise(self) -> None:
        """Average weights and moments over the workers, where updates of their own have made them differ.

        The moments too, although they triple the message: a checkpoint has one optimiser for all workers, and to
        average it only when one is saved would let the moment of a stop decide the numbers.
        """
        if self._updates_alone:
            # In one order on all workers: that of a state read from a file differs between processes.
            moments = [tensor for name, tensor in sorted(self.optimizer_state().items()) if not name.endswith(".step")]
            self._runtime.average([*self.network.parameters(), *moments])
            self._updates_alone = 0

    @property
    def learning_rate(self) -> float:
        """That of the last update."""
        return self.optimizer.param_groups[0]["lr"]

    def optimizer_state(self) -> dict[str, Tensor]:
        """The optimiser's tensors, named `<number of the parameter>.<name>`."""
        state = self.optimizer.state_dict()["state"]
        return {f"{index}.{name}": value for index, entry in state.items() for name, value in entry.items()}

    def load_optimizer_state(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `optimizer_state`; groups and rates follow from the job."""
        state: dict[int, dict[str, Tensor]] = {}
        for path, tensor in tensors.items():
            index, name = path.split(".", 1)
            state.setdefault(int(index), {})[name] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})

    def memory(self, rows_B: Tensor) -> dict[str, Tensor]:
        """What the objective remembers from update to update, for all rows of the global batch.

        rows_B: the rows of the global batch that are this worker's.
        """
        order_B = self._runtime.gather(rows_B).argsort()
        of_rows = {
            f"{_OF_ROWS}{name}": self._runtime.gather(tensor)[order_B]
            for name, tensor in self.objective.row_memory().items()
        }
        return self.objective.memory() | of_rows

    def load_memory(self, tensors: dict[str, Tensor], rows_B: Tensor) -> None:
        """The inverse of `memory`."""
        here = {name: tensor.to(self._runtime.device) for name, tensor in tensors.items()}
        of_rows = {name for name in here if name.startswith(_OF_ROWS)}
        self.objective.load_row_memory({name.removeprefix(_OF_ROWS): here[name][rows_B] for name in of_rows})
        if here.keys() - of_rows:
            self.objective.load_memory({name: here[name] for name in here.keys() - of_rows})

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self._runtime.device.type, dtype=torch.bfloat16, enabled=self._precision == "bf16", cache_enabled=False
        )


@contextmanager
def frozen(network: nn.Module | None) -> Iterator[None]:
    """Meanwhile the network's parameters take no gradients, so its `.grad` stays None and its hooks never fire."""
    parameters = list(network.parameters()) if network else []
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


@dataclass(frozen=True)
class Sides:
    """Both networks, which last, and what the players that a phase makes of them have in common.

    max_length: tokens at which drawn text is cut off. carries_state: rows of text go on where those before ended.
    """

    generator: Generator
    discriminator: Discriminator | None
    max_length: int
    carries_state: bool
    parts: int
    precision: Literal["fp32", "bf16"]
    synchronisation: Synchronisation
    runtime: Runtime

    def player(
        self,
        name: str,
        network: nn.Module,
        objective: Objective,
        optimizer: Optimizer,
        steps: int,
        *,
        schedules: Mapping[str, float | Schedule] = MappingProxyType({}),
    ) -> Player:
        """One of them as a player, with a fresh optimiser."""
        return Player(
            name,
            network,
            objective.to(self.runtime.device),
            optimizer,
            schedules=schedules,
            steps=steps,
            parts=self.parts,
            precision=self.precision,
            synchronisation=self.synchronisation,
            runtime=self.runtime,
        )
