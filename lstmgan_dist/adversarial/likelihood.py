"""Maximum likelihood.

Shapes: B rows, T positions, F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from lstmgan_dist.adversarial.objective import Objective, Outcome, Prepared, Tensors
from lstmgan_dist.adversarial.texts import mean_nll, named_state, own_loss, real_text, state_named
from lstmgan_dist.models.generator import Generator
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

    @torch.no_grad()
    def prepare(
        self, real: Batch, *, opponent: None, noise: Noise, schedules: Mapping[str, float], carried: Tensors
    ) -> Prepared:
        """Count the tokens, and find the state that the rows start from."""
        prepared = real_text(self.generator, real, noise)
        if self.carries_state:
            fresh = real.fresh or not carried
            start = named_state(self.generator.initial_state(len(real.inputs_BT))) if fresh else carried
            prepared.own.update(start)
        return prepared

    def forward(self, part: Tensors, *, opponent: None, noise: Noise) -> Outcome:
        """Teacher forcing over the unit's rows."""
        nll, end = mean_nll(self.generator, part, state_named(part), noise)
        carried = named_state(tuple(tensor.detach() for tensor in end)) if self.carries_state else {}
        report, loss = {"likelihood/nll": nll.detach()}, nll
        own = own_loss(self.generator, part)
        if own is not None:
            report["likelihood/own_loss"], loss = own.detach(), nll + own
        return Outcome(loss, report, carried)
