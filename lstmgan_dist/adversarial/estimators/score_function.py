"""The score function estimator: REINFORCE (Williams 1992)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from lstmgan_dist.adversarial.baselines import BASELINES, GROUP, OtherDrafts
from lstmgan_dist.adversarial.credits import CREDITS
from lstmgan_dist.adversarial.estimators.exploration import ExplorationSettings
from lstmgan_dist.adversarial.estimators.kind import EstimatorKind
from lstmgan_dist.adversarial.estimators.proximal import ProximalSettings
from lstmgan_dist.adversarial.losses import Loss
from lstmgan_dist.adversarial.work import BatchWork, Work
from lstmgan_dist.models.discriminators.kind import DiscriminatorKind
from lstmgan_dist.settings import KeyOf, Probability, Settings, WithoutUse

if TYPE_CHECKING:
    from lstmgan_dist.adversarial.estimators.score_function_objective import ScoreFunctionObjective
    from lstmgan_dist.models.generator import Generator


class BaselineSettings(Settings):
    """What a reward is compared with, to lower the gradient's variance."""

    without_use: ClassVar[WithoutUse] = {("kind", "none"): ("decay",)}

    kind: Annotated[str, KeyOf(BASELINES)] = Field(
        default="moving_average", description="Nothing; one moving average; or one moving average for each position."
    )
    decay: Probability = Field(
        default=0.9, description="Weight of the old average at every update, 0 to 1; 0: the last update's mean alone."
    )


class DraftBaselineSettings(BaselineSettings):
    """What a reward is compared with, where several drafts of each row may be drawn."""

    without_use: ClassVar[WithoutUse] = {
        ("kind", "none"): ("decay", "drafts"),
        ("kind", "moving_average"): ("drafts",),
        ("kind", "per_position"): ("drafts",),
        ("kind", GROUP): ("decay",),
    }

    kind: Annotated[str, KeyOf({**BASELINES, GROUP: OtherDrafts})] = Field(
        default="moving_average",
        description="Nothing; one moving average; one moving average for each position; or group: the mean of the "
        "other drafts of the same row.",
    )
    drafts: int = Field(
        default=4,
        ge=2,
        le=256,
        description="Texts drawn of each row with the same context and latent vector (group); an update draws, scores "
        "and reads so many times the batch.",
    )


class ScoreFunction(EstimatorKind):
    """REINFORCE (Williams 1992): the reward weighs the gradient of the log-probability."""

    without_use: ClassVar[WithoutUse] = {("credit", "sentence"): ("discount",)}

    reads_gradients = False

    kind: Literal["score_function"]
    credit: Annotated[str, KeyOf(CREDITS)] = Field(
        default="sentence",
        description="Every token earns the sentence's reward, or, with scores per token, the discounted rewards from "
        "it onwards.",
    )
    discount: float = Field(
        default=0.23, ge=0, le=1, description="Weight of the next token's reward, 0 to 1 (discounted)."
    )
    baseline: DraftBaselineSettings = Field(
        default_factory=DraftBaselineSettings, description="What the reward is compared with."
    )

    exploration: ExplorationSettings | None = Field(
        default=None, description="Learn from texts drawn otherwise than the generator would; none: from its own."
    )
    proximal: ProximalSettings | None = Field(
        default=None, description="Learn from the texts of an older generator for a while, near to it; none: never."
    )

    @model_validator(mode="after")
    def _one_writer(self) -> Self:
        if self.exploration and self.proximal:
            raise ValueError("exploration and proximal both say who writes, and weigh it: leave one of them out")
        return self

    @property
    def drafts(self) -> int:
        """Texts that are drawn of each row."""
        return self.baseline.drafts if self.baseline.kind == GROUP else 1

    @property
    def keeps_weights(self) -> bool:
        return self.proximal is not None

    def work(self, batch: BatchWork) -> Work:
        """More drafts than one are drawn, scored and read beside it; and some of it twice."""
        one = batch.read + batch.read.trained() + batch.score
        more = Work(operations=(self.drafts - 1) * one.operations)
        reads_twice = self.proximal or (self.exploration and self.exploration.nucleus)
        return more + batch.read.at_once(self.drafts) if reads_twice else more

    def activations(self, positions: int, vocabulary_size: int) -> int:
        """Logits of more drafts than one, and their softmax with its gradient."""
        return 3 * (self.drafts - 1) * positions * vocabulary_size

    def objective(
        self, generator: Generator, loss: Loss, *, max_length: int, likelihood_weight: float
    ) -> ScoreFunctionObjective:
        from lstmgan_dist.adversarial.estimators.score_function_objective import ScoreFunctionObjective

        return ScoreFunctionObjective(
            generator,
            loss,
            max_length=max_length,
            credit=CREDITS[self.credit],
            discount=self.discount,
            baseline=OtherDrafts(drafts=self.drafts, of_tokens=CREDITS[self.credit].of_tokens)
            if self.baseline.kind == GROUP
            else BASELINES[self.baseline.kind](self.baseline.decay, max_length),
            drafts=self.drafts,
            exploration=self.exploration and self.exploration.build(),
            old=self.proximal and self.proximal.build(generator),
            likelihood_weight=likelihood_weight,
        )

    def objection(self, discriminator: DiscriminatorKind, loss: Loss) -> str | None:
        if loss.compares == "batch":
            return (
                "kind score_function gives every text a reward of its own, and this loss compares texts with the whole "
                "batch: choose gumbel_softmax, or loss relativistic"
            )
        if not CREDITS[self.credit].of_tokens:
            return None
        if discriminator.scores != "per_token":
            return (
                f"credit {self.credit} needs a reward for every token: "
                "set discriminator.scores: per_token or credit: sentence"
            )
        if discriminator.looks_ahead:
            return (
                f"credit {self.credit} is biased when a bidirectional discriminator's score of a token depends on "
                "later ones: set discriminator.bidirectional: false or credit: sentence"
            )
        return None
