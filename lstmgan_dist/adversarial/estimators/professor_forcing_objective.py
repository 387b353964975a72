"""Professor Forcing at work.

Shapes: B rows, T positions, H hidden units.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from lstmgan_dist.adversarial.estimators.objective import GeneratorObjective
from lstmgan_dist.adversarial.losses import Loss
from lstmgan_dist.adversarial.objective import Outcome, Prepared, Tensors
from lstmgan_dist.models.discriminator import Discriminator
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.runtime.randomness import Noise

if TYPE_CHECKING:
    from lstmgan_dist.corpus.stream import Batch


class ProfessorForcingObjective(GeneratorObjective):
    """The cost of looking free-running where the generator runs free, and of looking teacher-forced where it reads.

    To the discriminator, states over real text are the real ones. C_f, the generator's cost of the free-running states,
    is the loss's own; C_t, that of the teacher-forced ones, is the same with the scores mirrored at the middle (Lamb et
    al. 2016, equations 5 and 6).

    Args:
        both_directions: whether C_t counts.
    """

    def __init__(
        self,
        generator: Generator,
        loss: Loss,
        *,
        max_length: int,
        both_directions: bool,
        likelihood_weight: float = 0.0,
    ) -> None:
        super().__init__(generator, loss, max_length=max_length, likelihood_weight=likelihood_weight)
        self.both_directions = both_directions
        self.leaves_out = not likelihood_weight  # the output layer, behind the hidden states

    @torch.no_grad()
    def prepare(
        self, real: Batch, *, opponent: Discriminator, noise: Noise, schedules: Mapping[str, float], carried: Tensors
    ) -> Prepared:
        """Draw as many texts as there are real ones."""
        prepared = self._prepare_text(real, noise)
        prepared.own.update({"teacher_BT": real.targets_BT, "teacher_lengths_B": real.lengths_B})
        return prepared

    def forward(self, part: Tensors, *, opponent: Discriminator, noise: Noise) -> Outcome:
        """Let the discriminator score the states over drawn text and, if both directions count, over real text."""
        free = opponent(
            opponent.see(part["tokens_BT"], self.generator), part["lengths_B"], noise=noise.at("fake scores")
        )
        cost = self.loss.generator(free, None).sum() / part["sentence_count"]
        if self.both_directions:
            assert self.loss.middle is not None
            taught = opponent(
                opponent.see(part["teacher_BT"], self.generator),
                part["teacher_lengths_B"],
                noise=noise.at("real scores"),
            )
            mirrored = 2 * self.loss.middle - taught
            cost = cost + self.loss.generator(mirrored, None).sum() / part["sentence_count"]
        return self._with_likelihood(cost, {"generator/cost": cost.detach()}, part, noise)
