"""What the settings of every kind of phase have."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from lstmgan_dist.adversarial.work import BatchWork, Work
from lstmgan_dist.models.discriminators.kind import DiscriminatorKind
from lstmgan_dist.models.generators.kind import GeneratorKind
from lstmgan_dist.settings import Settings

if TYPE_CHECKING:
    from lstmgan_dist.corpus.stream import Batch
    from lstmgan_dist.phases.player import Moment, Player, Report, Sides

HELDOUT_NLL, DISCRIMINATOR_ACCURACY = "heldout/nll", "heldout/discriminator_accuracy"


class Phase(Settings):
    """What every phase has, and what a kind has to tell.

    plays: whether the discriminator takes part. moves_generator: whether the generator's weights change. judged_by: the
    figure by which the best of its steps is chosen.
    """

    plays: ClassVar[bool]
    moves_generator: ClassVar[bool] = True
    judged_by: ClassVar[str] = HELDOUT_NLL

    if TYPE_CHECKING:
        kind: Any  # of each kind its own word, behind what all have

    steps: int | None = Field(default=None, ge=1, description="Length in steps (rounds of updates).")
    epochs: float | None = Field(default=None, gt=0, description="Length in passes over the training text.")
    early_stop: int | None = Field(
        default=None,
        ge=1,
        description="End after this many evaluations that were no better than the best one; none: never.",
    )
    finish_with: Literal["latest", "best"] = Field(
        default="latest",
        description="Weights the next phase starts from: the latest, or those of the phase's best evaluation: of the "
        "lowest held-out loss, in a discriminator phase of the highest accuracy on held-out and drawn text.",
    )

    @property
    def batches_per_step(self) -> int:
        """Batches of real text that one step reads."""
        return 1

    @property
    def discriminator_loss(self) -> str | None:
        """What the discriminator learns by, its word in `LOSSES`; None where it does not learn."""
        return None

    @property
    def keeps_weights(self) -> bool:
        """Whether weights that the generator has between two updates are kept for later ones."""
        return False

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give the phase's length as either steps or epochs")
        return self

    def objection(self, discriminator: DiscriminatorKind) -> str | None:
        """Why it cannot work against this discriminator, beginning with the setting in question; None if it can."""
        return None

    def objection_to_generator(self, generator: GeneratorKind) -> str | None:
        """The same of a generator."""
        return None

    def activations(self, positions: int, vocabulary_size: int) -> int:
        """Numbers that so many positions keep for the backward pass, beside those of the networks."""
        return 0

    @abstractmethod
    def updates(self, batch: BatchWork) -> list[tuple[int, str, Work]]:
        """The updates of one step: how many, of which side, and what one takes."""

    @abstractmethod
    def players(self, sides: Sides, steps: int) -> dict[str, Player]:
        """Who learns in a phase of so many steps, with fresh optimisers, by the side's name."""

    @abstractmethod
    def play(
        self, players: Mapping[str, Player], sides: Sides, real: Iterator[Sequence[Batch]], moment: Moment
    ) -> Report:
        """One round: who learns, from what, how often. real: batches, each as the text of this worker's units."""
