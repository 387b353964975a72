"""The score function estimator: REINFORCE (Williams 1992)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from lstmgan_dist.adversarial.baselines import BASELINES, GROUP, Baseline, NoBaseline, OtherDrafts
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

    # Of a probability the expected gradient is not zero, so what all rewards are compared with would move tokens.
    without_use: ClassVar[WithoutUse] = {
        ("credit", "sentence"): ("discount", "rollouts", "rollout_policy_decay"),
        ("credit", "discounted"): ("rollouts", "rollout_policy_decay"),
        ("credit", "rollouts"): ("discount", "exploration", "proximal"),
        ("weighs", "probability"): ("baseline", "exploration", "proximal"),
    }

    reads_gradients = False

    kind: Literal["score_function"]
    credit: Annotated[str, KeyOf(CREDITS)] = Field(
        default="sentence",
        description="Every token earns the sentence's reward; with scores per token, the discounted rewards from it "
        "onwards; or the mean reward of whole texts that are drawn from it on.",
    )
    discount: float = Field(
        default=0.23, ge=0, le=1, description="Weight of the next token's reward, 0 to 1 (discounted)."
    )
    rollouts: int = Field(
        default=16, ge=1, le=1024, description="Texts drawn from every token on, to tell what it is worth (rollouts)."
    )
    rollout_policy_decay: Probability = Field(
        default=0.8,
        description="Weight that what draws the rollouts keeps of its own weights when it follows the generator after "
        "an update, 0 to 1; 0: the generator draws them (rollouts).",
    )
    weighs: Literal["log_probability", "probability"] = Field(
        default="log_probability",
        description="What of a drawn token the reward weighs: its log-probability, so that the mean reward rises "
        "(REINFORCE); or its probability itself, by which tokens that were unlikely move less (SentiGAN).",
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
        if CREDITS[self.credit].of_rollouts and self.drafts > 1:
            raise ValueError("credit rollouts draws from every token of one text: set baseline.kind: per_position")
        return self

    @property
    def drafts(self) -> int:
        """Texts that are drawn of each row."""
        return self.baseline.drafts if self.baseline.kind == GROUP else 1

    @property
    def keeps_weights(self) -> bool:
        return self.proximal is not None

    def activations(self, positions: int, vocabulary_size: int) -> int:
        """Logits of more drafts than one, and their softmax with its gradient."""
        return 3 * (self.drafts - 1) * positions * vocabulary_size

    def objective(
        self, generator: Generator, loss: Loss, *, max_length: int, likelihood_weight: float
    ) -> ScoreFunctionObjective:
        from lstmgan_dist.adversarial.estimators.score_function_objective import ScoreFunctionObjective
        from lstmgan_dist.adversarial.rollouts import Rollouts

        rollouts = None
        if CREDITS[self.credit].of_rollouts:
            rollouts = Rollouts(generator, count=self.rollouts, decay=self.rollout_policy_decay, max_length=max_length)
        return ScoreFunctionObjective(
            generator,
            loss,
            max_length=max_length,
            credit=CREDITS[self.credit],
            discount=self.discount,
            baseline=self._baseline(max_length),
            rollouts=rollouts,
            weighs=self.weighs,
            drafts=self.drafts,
            exploration=self.exploration and self.exploration.build(),
            old=self.proximal and self.proximal.build(generator),
            likelihood_weight=likelihood_weight,
        )

    def _baseline(self, max_length: int) -> Baseline:
        if self.weighs == "probability":
            return NoBaseline()
        if self.baseline.kind == GROUP:
            return OtherDrafts(drafts=self.drafts, of_tokens=CREDITS[self.credit].of_tokens)
        return BASELINES[self.baseline.kind](self.baseline.decay, max_length)

    def work(self, batch: BatchWork) -> Work:
        """What more there is to draw, to score and to read: rollouts, drafts, texts that are read twice.

        Rollouts: from every token the rest of its text, half of a text in the mean, and its score.
        """
        if CREDITS[self.credit].of_rollouts:
            texts = self.rollouts * batch.tokens / batch.rows
            return batch.read.at_once(texts / 2) + batch.score.at_once(texts)
        one = batch.read + batch.read.trained() + batch.score
        more = Work(operations=(self.drafts - 1) * one.operations)
        reads_twice = self.proximal or (self.exploration and self.exploration.nucleus)
        return more + batch.read.at_once(self.drafts) if reads_twice else more

    def objection(self, discriminator: DiscriminatorKind, loss: Loss) -> str | None:
        if loss.compares == "batch" and not loss.costs_apart:
            return (
                "kind score_function gives every text a reward of its own, and this loss compares texts with the whole "
                "batch: choose gumbel_softmax, or loss relativistic"
            )
        credit = CREDITS[self.credit]
        if credit.of_rollouts and discriminator.scores == "per_token":
            return (
                "credit rollouts completes texts to have them scored as a whole, and this discriminator scores tokens: "
                "set discriminator.scores: per_sentence or credit: discounted"
            )
        if not credit.of_tokens:
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
