"""Maximum likelihood.

Shapes: B rows, T positions, F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lstmgan_dist.adversarial.objective import Objective, Prepared, Report
from lstmgan_dist.adversarial.texts import mean_nll, real_text
from lstmgan_dist.models.generator import Generator, State
from lstmgan_dist.runtime.base import Runtime
from lstmgan_dist.runtime.randomness import Noise

if TYPE_CHECKING:
    from lstmgan_dist.corpus.stream import Batch


class LikelihoodObjective(Objective):
    """The generator learns to predict the next token: mean negative log-likelihood in nats per token.

    Args:
        carries_state: rows go on where those of the batch before ended (truncated backpropagation through time).
    """

    def __init__(self, generator: Generator, *, carries_state: bool) -> None:
        super().__init__()
        self.generator = generator
        self.carries_state = carries_state
        self._ends: list[State] = []  # of the parts of the last update

    @torch.no_grad()
    def prepare(
        self, real: Batch, *, opponent: None, noise: Noise, runtime: Runtime, schedules: Mapping[str, float]
    ) -> Prepared:
        """Count the tokens of all workers and fetch the state that the rows start from."""
        prepared = real_text(self.generator, real, noise, runtime)
        if self.carries_state:
            start = {} if real.fresh else self.row_memory()
            if not start:
                start = _named(self.generator.initial_state(len(real.inputs_BT)))
            prepared |= start
            self._ends = []
        return prepared

    def forward(self, part: Prepared, *, opponent: None, noise: Noise) -> tuple[Tensor, Report]:
        """Teacher forcing over some of the prepared rows."""
        state = tuple(part[name] for name in part if name.startswith(_STATE)) if self.carries_state else None
        nll, end = mean_nll(self.generator, part, state, noise)
        if self.carries_state:
            self._ends.append(tuple(tensor.detach() for tensor in end))
        return nll * part["workers"], {"likelihood/nll": nll.detach()}

    def row_memory(self) -> dict[str, Tensor]:
        """Where the rows of the last update ended; empty where nothing is carried over."""
        return _named(tuple(torch.cat(tensors) for tensors in zip(*self._ends, strict=True)))

    def load_row_memory(self, tensors: dict[str, Tensor]) -> None:
        self._ends = [tuple(tensors[name] for name in sorted(tensors))] if tensors else []


_STATE = "state_"


def _named(state: State) -> dict[str, Tensor]:
    return {f"{_STATE}{number}": tensor for number, tensor in enumerate(state)}
