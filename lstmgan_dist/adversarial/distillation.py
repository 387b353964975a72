"""Distillation: a student learns what a teacher expects, beside what the text says (Hinton, Vinyals and Dean 2015).

Shapes: B rows, T positions, N valid positions, V vocabulary, F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from lstmgan_dist.adversarial.objective import Objective, Outcome, Prepared, Tensors
from lstmgan_dist.adversarial.texts import named_state, real_positions, real_text, select, state_named
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.runtime.randomness import Noise

if TYPE_CHECKING:
    from lstmgan_dist.corpus.stream import Batch


class DistillationObjective(Objective):
    """Mean cross-entropy of the student with the teacher's distribution of every next token, and with the token itself.

    The teacher is the opponent: it reads the same text, with the same latent vector.

    Args:
        soft_weight: of the teacher's distribution, 0 to 1; the token itself has the rest.
        carries_state: rows go on where those of the batch before ended, for both networks.
    """

    def __init__(self, student: Generator, *, soft_weight: float, carries_state: bool) -> None:
        super().__init__()
        self.student = student
        self.soft_weight = soft_weight
        self.carries_state = carries_state

    @torch.no_grad()
    def prepare(
        self, real: Batch, *, opponent: Generator, noise: Noise, schedules: Mapping[str, float], carried: Tensors
    ) -> Prepared:
        """Count the tokens, and find the states that the rows start from."""
        prepared = real_text(self.student, real, noise)
        if self.carries_state:
            rows = len(real.inputs_BT)
            start = named_state(self.student.initial_state(rows))
            start |= named_state(opponent.initial_state(rows), _TEACHER)
            prepared.own.update(start if real.fresh or not carried else carried)
        return prepared

    def forward(self, part: Tensors, *, opponent: Generator, noise: Noise) -> Outcome:
        """Teacher forcing of both over the unit's rows; the student alone has gradients."""
        inputs_BT, latent_BZ = part["real_inputs_BT"], part.get("real_latent_BZ")
        features_BTF, end = self.student(
            inputs_BT, state_named(part), latent_BZ=latent_BZ, noise=noise.at("likelihood")
        )
        with torch.no_grad():
            taught_BTF, teacher_end = opponent(inputs_BT, state_named(part, _TEACHER), latent_BZ=latent_BZ)
        index_N = real_positions(part, inputs_BT.shape[1])
        logits_NV = self.student.logits(select(features_BTF, index_N))
        with torch.no_grad():
            expected_NV = opponent.logits(select(taught_BTF, index_N)).softmax(-1)
        soft = F.cross_entropy(logits_NV, expected_NV, reduction="sum") / part["real_token_count"]
        targets_N = select(part["real_targets_BT"], index_N)
        hard = F.cross_entropy(logits_NV, targets_N, reduction="sum") / part["real_token_count"]
        loss = self.soft_weight * soft + (1 - self.soft_weight) * hard
        carried = named_state(end) | named_state(teacher_end, _TEACHER) if self.carries_state else {}
        report = {"distillation/soft": soft.detach(), "likelihood/nll": hard.detach()}
        return Outcome(loss, report, {name: tensor.detach() for name, tensor in carried.items()})


_TEACHER = "teacher_state_"
