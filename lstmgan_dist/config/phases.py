"""PHASES"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from lstmgan_dist.settings import Probability, Schedule, Settings, WithoutUse, value_at


class Optimizer(Settings):
    """How a player's weights follow its gradient."""

    without_use: ClassVar[WithoutUse] = {
        ("kind", "sgd"): ("betas",),
        ("kind", "adam"): ("momentum",),
        ("kind", "adamw"): ("momentum",),
    }

    kind: Literal["adam", "adamw", "sgd"] = Field(default="adam", description="Update rule.")
    learning_rate: Annotated[float, Field(gt=0)] | Schedule = Field(
        default=1e-3, description="Above 0; a number or schedule."
    )
    warmup_steps: int = Field(default=0, ge=0, description="Steps over which the learning rate rises linearly from 0.")
    betas: tuple[Probability, Probability] = Field(default=(0.9, 0.999), description="Adam's moment decays, 0 to 1.")
    momentum: Probability = Field(default=0.0, description="SGD's momentum, 0 to 1.")
    weight_decay: float = Field(default=0.0, ge=0, description="L2 penalty (adam, sgd) or decoupled decay (adamw).")
    clip: float | None = Field(default=5.0, gt=0, description="Largest norm of the whole gradient; none does not clip.")

    def learning_rate_at(self, step: int, steps: int) -> float:
        """The learning rate of the phase's `step` (from 0) of `steps`."""
        warmup = min(1.0, (step + 1) / (self.warmup_steps + 1))
        return warmup * value_at(self.learning_rate, step, steps)


class Phase(Settings):
    """What every phase has."""

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

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give the phase's length as either steps or epochs")
        return self


class LikelihoodPhase(Phase):
    """The generator learns to predict the next token."""

    kind: Literal["likelihood"]
    optimizer: Optimizer = Field(default_factory=Optimizer, description="The generator's optimiser.")


LossName = Literal["cross_entropy", "non_saturating", "probability", "least_squares", "hinge", "relativistic"]


class DiscriminatorPhase(Phase):
    """The discriminator learns to tell real text from generated text."""

    kind: Literal["discriminator"]
    loss: LossName = Field(default="cross_entropy", description="The game's loss.")
    optimizer: Optimizer = Field(default_factory=Optimizer, description="The discriminator's optimiser.")


class Baseline(Settings):
    """What a reward is compared with, to lower the gradient's variance."""

    without_use: ClassVar[WithoutUse] = {("kind", "none"): ("decay",)}

    kind: Literal["none", "moving_average", "per_position"] = Field(
        default="moving_average", description="Nothing; one moving average; or one moving average for each position."
    )
    decay: Probability = Field(
        default=0.9, description="Weight of the old average at every update, 0 to 1; 0: the last update's mean alone."
    )


class ScoreFunction(Settings):
    """REINFORCE (Williams 1992): the reward weighs the gradient of the log-probability."""

    without_use: ClassVar[WithoutUse] = {("credit", "sentence"): ("discount",)}

    kind: Literal["score_function"]
    credit: Literal["sentence", "discounted"] = Field(
        default="discounted",
        description="Every token earns the sentence's reward, or the discounted rewards from it onwards.",
    )
    discount: float = Field(
        default=0.23, ge=0, le=1, description="Weight of the next token's reward, 0 to 1 (discounted)."
    )
    baseline: Baseline = Field(default_factory=Baseline, description="What the reward is compared with.")


class GumbelSoftmax(Settings):
    """Gumbel-softmax (Jang et al. 2017): the score's own gradient flows through a softened sample."""

    kind: Literal["gumbel_softmax"]
    straight_through: bool = Field(
        default=False,
        description="The discriminator sees the hard token forwards and the soft one backwards; else the soft.",
    )
    inverse_temperature: Annotated[float, Field(gt=0)] | Schedule = Field(
        default=1.0, description="Sharpness of the softened sample, above 0; a number or schedule."
    )

    @field_validator("inverse_temperature")
    @classmethod
    def _positive(cls, value: float | Schedule) -> float | Schedule:
        if isinstance(value, Schedule) and min(value.start, value.end) <= 0:
            raise ValueError("inverse_temperature must stay above 0: try start: 1")
        return value


Estimator = Annotated[ScoreFunction | GumbelSoftmax, Field(discriminator="kind")]


class AdversarialPhase(Phase):
    """Generator and discriminator take turns."""

    kind: Literal["adversarial"]
    discriminator_updates: int = Field(default=1, ge=1, description="Discriminator updates in each step.")
    generator_updates: int = Field(default=1, ge=1, description="Generator updates in each step.")
    loss: LossName = Field(default="cross_entropy", description="The game's loss.")
    estimator: Estimator = Field(description="How a gradient reaches the generator.")
    likelihood_weight: float = Field(
        default=0.0, ge=0, description="Weight of the likelihood loss added to every generator update; 0: none."
    )
    generator_optimizer: Optimizer = Field(
        default_factory=lambda: Optimizer(learning_rate=1e-4), description="The generator's optimiser."
    )
    discriminator_optimizer: Optimizer = Field(
        default_factory=lambda: Optimizer(learning_rate=1e-4), description="The discriminator's optimiser."
    )

    @property
    def batches_per_step(self) -> int:
        """Batches of real text that one step reads: one for every update of either player."""
        return self.discriminator_updates + self.generator_updates


AnyPhase = Annotated[LikelihoodPhase | DiscriminatorPhase | AdversarialPhase, Field(discriminator="kind")]
