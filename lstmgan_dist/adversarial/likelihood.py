"""Maximum likelihood.

Shapes: B rows, T positions, N valid positions, V vocabulary, F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from lstmgan_dist.adversarial.criteria import Criterion
from lstmgan_dist.adversarial.objective import Objective, Outcome, Prepared, Report, Tensors
from lstmgan_dist.adversarial.scheduled_sampling import with_own_samples
from lstmgan_dist.adversarial.texts import (
    mean_nll,
    named_state,
    own_loss,
    real_positions,
    real_text,
    select,
    state_named,
)
from lstmgan_dist.models.generator import Generator, State
from lstmgan_dist.runtime.randomness import Noise

if TYPE_CHECKING:
    from lstmgan_dist.corpus.stream import Batch


OWN_PROBABILITY = "own_probability"  # what the schedule of scheduled sampling is handed over as


class LikelihoodObjective(Objective):
    """The generator learns to predict the next token: mean negative log-likelihood in nats per token.

    Args:
        criterion: what a token costs instead; its negative log-likelihood without.
        carries_state: rows go on where those of the batch before ended (truncated backpropagation through time).
        sampling_passes: readings in which it draws what it reads in the place of some real tokens; 0: it reads these.
    """

    def __init__(
        self,
        generator: Generator,
        *,
        carries_state: bool,
        criterion: Criterion | None = None,
        sampling_passes: int = 0,
    ) -> None:
        super().__init__()
        self.generator = generator
        self.carries_state = carries_state
        self.criterion = criterion
        self.sampling_passes = sampling_passes

    @torch.no_grad()
    def prepare(
        self, real: Batch, *, opponent: None, noise: Noise, schedules: Mapping[str, float], carried: Tensors
    ) -> Prepared:
        """Count the tokens, find the state that the rows start from, and put own samples into what is read."""
        prepared = real_text(self.generator, real, noise)
        if self.carries_state:
            fresh = real.fresh or not carried
            start = named_state(self.generator.initial_state(len(real.inputs_BT))) if fresh else carried
            prepared.own.update(start)
        if self.sampling_passes and schedules[OWN_PROBABILITY]:
            prepared.own["real_inputs_BT"] = with_own_samples(
                self.generator,
                prepared.own,
                probability=schedules[OWN_PROBABILITY],
                passes=self.sampling_passes,
                noise=noise.at("scheduled sampling"),
            )
        return prepared

    def forward(self, part: Tensors, *, opponent: None, noise: Noise) -> Outcome:
        """Teacher forcing over the unit's rows."""
        if self.criterion is None:
            loss, end = mean_nll(self.generator, part, state_named(part), noise)
            report = {"likelihood/nll": loss.detach()}
        else:
            loss, end, report = self._judged(self.criterion, part, noise)
        carried = named_state(tuple(tensor.detach() for tensor in end)) if self.carries_state else {}
        own = own_loss(self.generator, part)
        if own is not None:
            report["likelihood/own_loss"], loss = own.detach(), loss + own
        return Outcome(loss, report, carried)

    def _judged(self, criterion: Criterion, part: Tensors, noise: Noise) -> tuple[Tensor, State, Report]:
        """The mean of what the tokens cost by a criterion, and beside it their negative log-likelihood."""
        features_BTF, end = self.generator(
            part["real_inputs_BT"],
            state_named(part),
            latent_BZ=part.get("real_latent_BZ"),
            noise=noise.at("likelihood"),
        )
        targets_BT = part["real_targets_BT"]
        index_N = real_positions(part, targets_BT.shape[1])
        logits_NV = self.generator.logits(select(features_BTF, index_N))
        loss = criterion.costs(logits_NV, targets_BT, index_N).sum() / part["real_token_count"]
        nll = F.cross_entropy(logits_NV.detach(), select(targets_BT, index_N), reduction="sum")
        return loss, end, {"likelihood/loss": loss.detach(), "likelihood/nll": nll / part["real_token_count"]}
