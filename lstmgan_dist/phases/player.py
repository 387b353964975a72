"""One side of the game: a network, the objective that it improves, and the optimiser that moves it."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from lstmgan_dist.adversarial.objective import Objective, Prepared, Report, Tensors
from lstmgan_dist.corpus.stream import Batch
from lstmgan_dist.errors import UserError
from lstmgan_dist.models.discriminator import Discriminator
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.phases.averaging import AveragedWeights
from lstmgan_dist.phases.optimizer import Optimizer, Synchronisation
from lstmgan_dist.runtime.gradients import GradientSum, Loss
from lstmgan_dist.runtime.randomness import Noise
from lstmgan_dist.runtime.units import Units
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
    phase. precision: of matrix products; weights are float32 always. synchronisation: how often workers average, and
    what. repeat_every: updates of which one is computed twice. units: of every batch.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        objective: Objective,
        settings: Optimizer,
        *,
        schedules: Mapping[str, float | Schedule],
        text_length: float | Schedule | None = None,
        steps: int,
        precision: Literal["fp32", "bf16"],
        synchronisation: Synchronisation,
        repeat_every: int | None,
        units: Units,
    ) -> None:
        self.name = name
        self.network = network
        self.objective = objective
        self._schedules = schedules
        self._text_length = text_length
        self._settings = settings
        self._steps = steps
        self._precision: Literal["fp32", "bf16"] = precision
        self._repeat_every = repeat_every
        self._updates = 0  # of this attempt
        self._units = units
        self._runtime = units.runtime
        self._every = synchronisation.every if self._runtime.world_size > 1 else 1
        self._updates_alone = 0  # since workers last had the same weights; never stored, for a checkpoint finds 0
        self._gradients = GradientSum(
            objective,
            units,
            alone=self._every > 1,
            leaves_out=objective.leaves_out,
            compression=synchronisation.compression,
        )
        self._carried: list[Tensors] = [{} for _ in units.own]
        self.optimizer = settings.build(self.network.parameters())
        self._averages = AveragedWeights(network, settings.average_decay) if settings.average_decay else None

    def learn(self, real: Sequence[Batch], *, opponent: nn.Module | None, moment: Moment) -> Report:
        """One update. Only this player has gradients meanwhile.

        real: the text of each of this worker's units.

        Returns:
            Of each figure the shares of these units, which add up to it over all units.

        Raises:
            UserError: if the update is computed twice, and has other bits the second time.
        """
        self._updates += 1
        step, steps = moment.phase_step, self._steps
        schedules = {name: value_at(setting, step, steps) for name, setting in self._schedules.items()}
        learning_rate = self._settings.learning_rate_at(step, steps) * moment.learning_rate_scale
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        if self._text_length is not None:
            most = round(value_at(self._text_length, step, steps))
            real = [text.cut(most) for text in real]
        self.optimizer.zero_grad(set_to_none=True)
        with frozen(opponent):
            losses = self._losses(real, opponent, moment.noise, schedules)
            outcomes = self._gradients.backward(losses)
        self._carried = [carried for _, carried in outcomes]
        if self._every > 1:  # as if the whole batch were as this worker's part of it
            for parameter in self.network.parameters():
                if parameter.grad is not None:
                    parameter.grad *= self._units.count / len(self._units.own)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self._settings.clip or float("inf"))
        self.optimizer.step()
        self.objective.stepped()
        if self._averages:
            self._averages.follow()
        if self._every > 1:
            self._updates_alone += 1
            if self._updates_alone == self._every:
                self.synchronise()
        report = {name: torch.stack([shares[name] for shares, _ in outcomes]) for name in outcomes[0][0]}
        # The same on all workers, where their gradients are added up; else the mean.
        report[f"{self.name}/grad_norm"] = norm.detach().expand(len(self._units.own)) / self._units.count
        return report

    def _losses(
        self, real: Sequence[Batch], opponent: nn.Module | None, noise: Noise, schedules: Mapping[str, float]
    ) -> list[Loss[tuple[Report, Tensors]]]:
        """The second half of an update, of each unit; the first half is done."""
        rows = len(noise.rows_B) // len(self._units.own)
        noises = [noise.part(slice(number * rows, (number + 1) * rows)) for number in range(len(self._units.own))]

        def prepare(unit: tuple[Batch, Noise, Tensors]) -> Prepared:
            text, noise, carried = unit
            with self._autocast():
                return self.objective.prepare(
                    text.to(self._runtime.device), opponent=opponent, noise=noise, schedules=schedules, carried=carried
                )

        def loss(prepared: Prepared, noise: Noise, objective: nn.Module) -> tuple[Tensor, tuple[Report, Tensors]]:
            with self._autocast():
                outcome = objective(prepared.own | of_all, opponent=opponent, noise=noise)
            return outcome.loss, (outcome.report, outcome.carried)

        first_halves = list(zip(real, noises, self._carried, strict=True))
        units = self._units.map(prepare, first_halves)
        is_repeated = self._repeat_every is not None and self._updates % self._repeat_every == 0
        if is_repeated:
            self._refuse_others(units, self._units.map(prepare, first_halves))
        added = self._totals([unit.added for unit in units])
        self.objective.hear(added)
        of_all = added | {
            name: self._units.join([unit.joined[name] for unit in units], [rows] * self._units.count)
            for name in units[0].joined
        }
        losses: list[Loss[tuple[Report, Tensors]]] = [
            partial(loss, unit, noise) for unit, noise in zip(units, noises, strict=True)
        ]
        if is_repeated:
            self._refuse_others(*(self._units.map(self._gradients.of_unit, losses) for _ in range(2)))
        return losses

    def _refuse_others(self, first: object, second: object) -> None:
        """See that on every worker both hold tensors of the same bits."""
        is_same = have_same_bits(first, second)
        hosts = self._runtime.exchange(None if is_same else socket.gethostname())
        if faulty := sorted({host for host in hosts if host}):
            raise UserError(
                f"An update of the {self.name}, computed twice, came out with other bits the second time on "
                f"{' and '.join(faulty)}: the processor or memory there is faulty, or another kernel was chosen. "
                "Nothing was learnt from it, and the newest checkpoint is good: go on without that machine."
            )

    def _totals(self, added: Sequence[Tensors]) -> Tensors:
        """What was to be added up, over all units, in one message."""
        shapes = {name: tensor.shape for name, tensor in added[0].items()}
        flat = self._units.total([torch.cat([of_unit[name].flatten() for name in shapes]) for of_unit in added])
        parts = flat.split([shape.numel() for shape in shapes.values()])
        return {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}

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
            followers = self.objective.followers() + (self._averages.averages if self._averages else [])
            self._runtime.average([*self.network.parameters(), *self.network.buffers(), *followers, *moments])
            self._updates_alone = 0

    def averaged(self) -> AbstractContextManager[None]:
        """Meanwhile the network has the averages of its weights, where it keeps some."""
        return self._averages.shown() if self._averages else nullcontext()

    def averages(self) -> Tensors:
        """Those, by the network's names; nothing where it keeps none."""
        return self._averages.named() if self._averages else {}

    def settle(self) -> None:
        """Learning is over: the network has the averages from now on."""
        if self._averages:
            self.network.load_state_dict(self._averages.named(), strict=False)
            self._averages = None

    @property
    def learning_rate(self) -> float:
        """That of the last update."""
        return self.optimizer.param_groups[0]["lr"]

    def optimizer_state(self) -> Tensors:
        """The optimiser's tensors, named `<number of the parameter>.<name>`."""
        state = self.optimizer.state_dict()["state"]
        return {f"{index}.{name}": value for index, entry in state.items() for name, value in entry.items()}

    def load_optimizer_state(self, tensors: Tensors) -> None:
        """The inverse of `optimizer_state`; groups and rates follow from the job."""
        state: dict[int, dict[str, Tensor]] = {}
        for path, tensor in tensors.items():
            index, name = path.split(".", 1)
            state.setdefault(int(index), {})[name] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})

    def memory(self) -> Tensors:
        """What the objective remembers from update to update, for all rows of the global batch."""
        of_rows = {
            f"{_OF_ROWS}{name}": self._units.join(
                [carried[name] for carried in self._carried], [len(tensor)] * self._units.count
            )
            for name, tensor in self._carried[0].items()
        }
        return self.objective.memory() | of_rows | (self._averages.memory() if self._averages else {})

    def load_memory(self, tensors: Tensors) -> None:
        """The inverse of `memory`; the network is as it was saved."""
        here = {name: tensor.to(self._runtime.device) for name, tensor in tensors.items()}
        of_rows = {name.removeprefix(_OF_ROWS): here.pop(name) for name in [*here] if name.startswith(_OF_ROWS)}
        # Whole tensors of each unit: a view of some rows may lie in memory as no other does.
        parts = {name: tensor.chunk(self._units.count) for name, tensor in of_rows.items()}
        self._carried = [{name: part[unit].clone() for name, part in parts.items()} for unit in self._units.own]
        if self._averages:
            self._averages.take_memory(here)
        if here:
            self.objective.load_memory(here)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self._runtime.device.type, dtype=torch.bfloat16, enabled=self._precision == "bf16", cache_enabled=False
        )


def have_same_bits(one: object, other: object) -> bool:
    """Whether all tensors within dicts, lists and tuples are the same, NaN and NaN included."""
    pairs = zip(tree_leaves(one), tree_leaves(other), strict=True)
    return all(
        torch.equal(_bytes(mine), _bytes(theirs))
        for mine, theirs in pairs
        if isinstance(mine, Tensor) and isinstance(theirs, Tensor)
    )


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.detach().reshape(-1).view(torch.uint8)


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
    repeat_every: updates of a player of which one is computed twice. units: of every batch.
    """

    generator: Generator
    discriminator: Discriminator | None
    max_length: int
    carries_state: bool
    precision: Literal["fp32", "bf16"]
    synchronisation: Synchronisation
    repeat_every: int | None
    units: Units

    def player(
        self,
        name: str,
        network: nn.Module,
        objective: Objective,
        optimizer: Optimizer,
        steps: int,
        *,
        schedules: Mapping[str, float | Schedule] = MappingProxyType({}),
        text_length: float | Schedule | None = None,
    ) -> Player:
        """One of them as a player, with a fresh optimiser."""
        return Player(
            name,
            network,
            objective.to(self.units.runtime.device),
            optimizer,
            schedules=schedules,
            text_length=text_length,
            steps=steps,
            precision=self.precision,
            synchronisation=self.synchronisation,
            repeat_every=self.repeat_every,
            units=self.units,
        )
