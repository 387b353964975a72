"""Professor Forcing (Lamb et al. 2016): the generator gets on alike whether it reads real text or its own.

No gradient has to pass a token: drawn tokens are constants, and the discriminator sees hidden states, which have one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from lstmgan_dist.adversarial.estimators.kind import EstimatorKind
from lstmgan_dist.adversarial.losses import Loss
from lstmgan_dist.models.discriminators.kind import DiscriminatorKind

if TYPE_CHECKING:
    from lstmgan_dist.adversarial.estimators.professor_forcing_objective import ProfessorForcingObjective
    from lstmgan_dist.models.generator import Generator


class ProfessorForcing(EstimatorKind):
    """Hidden states of free running are made to look like those of teacher forcing (Lamb et al. 2016, section 2.2)."""

    reads_gradients = True

    kind: Literal["professor_forcing"]
    both_directions: bool = Field(
        default=True,
        description="Teacher-forced states are made to look free-running as well (the paper's C_t beside its C_f).",
    )

    def objective(
        self, generator: Generator, loss: Loss, *, max_length: int, likelihood_weight: float
    ) -> ProfessorForcingObjective:
        from lstmgan_dist.adversarial.estimators.professor_forcing_objective import ProfessorForcingObjective

        return ProfessorForcingObjective(
            generator,
            loss,
            max_length=max_length,
            both_directions=self.both_directions,
            likelihood_weight=likelihood_weight,
        )

    def objection(self, discriminator: DiscriminatorKind, loss: Loss) -> str | None:
        if discriminator.reads != "hidden_states":
            return (
                "kind professor_forcing needs a discriminator that sees hidden states: "
                "set discriminator.kind: hidden_states"
            )
        if loss.compares != "nothing":
            return (
                "kind professor_forcing has a cost for each side of a game, and this loss compares the sides: "
                "choose loss non_saturating"
            )
        return None
