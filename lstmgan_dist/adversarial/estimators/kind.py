"""What the settings of every kind of estimator have."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from lstmgan_dist.adversarial.losses import Loss
from lstmgan_dist.adversarial.work import BatchWork, Work
from lstmgan_dist.models.discriminators.kind import DiscriminatorKind
from lstmgan_dist.models.generators.kind import GeneratorKind
from lstmgan_dist.settings import Schedule, Settings

if TYPE_CHECKING:
    from lstmgan_dist.adversarial.estimators.objective import GeneratorObjective
    from lstmgan_dist.adversarial.soft_text import Soften
    from lstmgan_dist.models.generator import Generator


class EstimatorKind(Settings):
    """How a gradient reaches the generator through tokens, which have none."""

    reads_gradients: ClassVar[bool]  # of the discriminator, whose backward pass it takes then

    kind: Any  # each kind narrows it to its own word

    @abstractmethod
    def objective(
        self, generator: Generator, loss: Loss, *, max_length: int, likelihood_weight: float
    ) -> GeneratorObjective:
        """What the generator minimises."""

    @property
    def shows_soft_text(self) -> bool:
        """Whether `shown` tells of anything but the drawn tokens."""
        return False

    def shown(self) -> Soften | None:
        """What the discriminator is shown of drawn text in its own updates; None: the drawn tokens."""
        return None

    @property
    def keeps_weights(self) -> bool:
        """Whether weights that the generator has between two updates are kept for later ones."""
        return False

    def schedules(self) -> Mapping[str, float | Schedule]:
        """Arguments of the objective that change over the phase."""
        return {}

    def objection(self, discriminator: DiscriminatorKind, loss: Loss) -> str | None:
        """Why it cannot work with these, and what would do, beginning with the setting in question; None if it can."""
        return None

    def objection_to_generator(self, generator: GeneratorKind) -> str | None:
        """The same of a generator."""
        if generator.learns_by in (None, self.kind):
            return None
        return f"kind {self.kind} does not move all of a {generator.kind} generator: choose {generator.learns_by}"

    def work(self, batch: BatchWork) -> Work:
        """What an update takes beside what every way to move a generator does."""
        return Work()

    def activations(self, positions: int, vocabulary_size: int) -> int:
        """Numbers that so many positions keep for the backward pass, beside those of the networks."""
        return 0
