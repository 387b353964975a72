"""The discriminator alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from lstmgan_dist.adversarial.estimators.kind import EstimatorKind
from lstmgan_dist.adversarial.estimators.softmax import Softmax
from lstmgan_dist.adversarial.losses import LOSSES
from lstmgan_dist.adversarial.regularisers import OF_TOKENS, REGULARISERS
from lstmgan_dist.adversarial.work import BatchWork, Work
from lstmgan_dist.models.discriminators.kind import DiscriminatorKind
from lstmgan_dist.phases.kind import DISCRIMINATOR_ACCURACY, Phase
from lstmgan_dist.phases.optimizer import Optimizer
from lstmgan_dist.settings import KeyOf, Schedule, Settings, either

if TYPE_CHECKING:
    from lstmgan_dist.adversarial.history import PastGenerators
    from lstmgan_dist.corpus.stream import Batch
    from lstmgan_dist.phases.player import Moment, Player, Report, Sides


LossName = Annotated[str, KeyOf(LOSSES)]


def _is_some_text(value: float | Schedule | None) -> float | Schedule | None:
    if isinstance(value, Schedule) and min(value.start, value.end) < 1:
        raise ValueError("a text has one token or more: try start: 1")
    return value


TextLength = Annotated[Annotated[int, Field(ge=1)] | Schedule | None, AfterValidator(_is_some_text)]
TEXT_LENGTH = Field(
    default=None,
    description="Tokens, 1 or more, at which real and drawn text are cut in every update, for a curriculum of lengths "
    "(Press et al. 2017): a number, or a schedule, rounded; a text that is cut has no end mark. none: "
    "corpus.max_length, which is the most in any case.",
)


class RegulariserSettings(Settings):
    """A penalty that is added to the discriminator's loss."""

    kind: Annotated[str, KeyOf(REGULARISERS)] = Field(
        description="On the distance from 1 of the gradient's norm between real and drawn text, by what is seen of "
        "tokens (gradient_penalty) or by distributions over them (token_gradient_penalty, WGAN-GP's); on the gradient "
        "at real text; or on the largest singular values of the weights."
    )
    weight: float = Field(default=1.0, gt=0, description="Above 0; papers have 10 for the penalties of gradients.")


class DiscriminatorPhase(Phase):
    """The discriminator learns to tell real text from generated text."""

    plays = True
    moves_generator = False
    judged_by = DISCRIMINATOR_ACCURACY

    kind: Literal["discriminator"]
    loss: LossName = Field(default="cross_entropy", description="The game's loss.")
    regulariser: RegulariserSettings | None = Field(
        default=None, description="Added to the discriminator's loss; nothing without."
    )
    shown: Literal["tokens", "distributions"] = Field(
        default="tokens",
        description="What the discriminator sees of drawn text: its tokens, or the distributions that these are drawn "
        "from, as in a game whose estimator is softmax. Held-out accuracy is on tokens in any case.",
    )
    text_length: TextLength = TEXT_LENGTH
    optimizer: Optimizer = Field(default_factory=Optimizer, description="The discriminator's optimiser.")

    @property
    def discriminator_loss(self) -> str:
        return self.loss

    def objection(self, discriminator: DiscriminatorKind) -> str | None:
        if self.shown == "distributions" and discriminator.reads != "tokens":
            return (
                f"shown distributions needs a discriminator that reads tokens, and {discriminator.kind} does not: "
                "set discriminator.kind: lstm or convolutional"
            )
        return objection_to_loss(self.loss, discriminator) or objection_to_regulariser(self.regulariser, discriminator)

    @property
    def _estimator(self) -> EstimatorKind | None:
        """Of a game in which the discriminator would see drawn text likewise; None: one where it sees tokens."""
        return Softmax(kind="softmax") if self.shown == "distributions" else None

    def updates(self, batch: BatchWork) -> list[tuple[int, str, Work]]:
        return [(1, "discriminator", discriminator_work(batch, self.regulariser, self._estimator))]

    def players(self, sides: Sides, steps: int) -> dict[str, Player]:
        return {
            "discriminator": discriminator_player(
                sides, self.loss, self.regulariser, self.optimizer, steps, self._estimator, self.text_length
            )
        }

    def play(
        self, players: Mapping[str, Player], sides: Sides, real: Iterator[Sequence[Batch]], moment: Moment
    ) -> Report:
        """The discriminator studies real and generated text."""
        return players["discriminator"].learn(
            next(real), opponent=sides.generator, moment=moment.at("discriminator", 0)
        )


def discriminator_player(
    sides: Sides,
    loss: str,
    regulariser: RegulariserSettings | None,
    optimizer: Optimizer,
    steps: int,
    estimator: EstimatorKind | None,
    text_length: float | Schedule | None,
    *,
    past: PastGenerators | None = None,
) -> Player:
    """The discriminator as one that learns from what an estimator shows of drawn text; without one, from tokens.

    past: generators that draw some of its texts.
    """
    from lstmgan_dist.adversarial.discrimination import DiscriminatorObjective

    assert sides.discriminator is not None
    soften = estimator.shown() if estimator else None
    objective = DiscriminatorObjective(
        sides.discriminator,
        LOSSES[loss],
        max_length=sides.max_length,
        regulariser=REGULARISERS[regulariser.kind] if regulariser else None,
        weight=regulariser.weight if regulariser else 0.0,
        soften=soften,
        past=past,
    )
    return sides.player(
        "discriminator",
        sides.discriminator,
        objective,
        optimizer,
        steps,
        schedules=estimator.schedules() if estimator and soften else {},
        text_length=text_length,
    )


def discriminator_work(
    batch: BatchWork, regulariser: RegulariserSettings | None, estimator: EstimatorKind | None
) -> Work:
    """What it takes to draw a batch and to learn from it and from the real one.

    Soft text takes another pass over it, and its expected embedding. A regulariser may score once more and
    differentiate that twice.
    """
    work = batch.read + batch.score.at_once(2).trained()
    if estimator and estimator.shows_soft_text:
        work += batch.read + estimator.work(batch)
    return work + batch.score.trained().trained() if regulariser else work


def objection_to_loss(loss: str, discriminator: DiscriminatorKind) -> str | None:
    """Why a loss cannot work with the scores of a discriminator; None if it can."""
    if discriminator.reads == "likelihoods":
        return f"loss {loss} teaches by scores, and a mediator learns by likelihood: set kind: cooperative"
    if LOSSES[loss].of_vectors and discriminator.vector_size < 2:
        return (
            f"loss {loss} compares vectors, and the discriminator gives one score a text: "
            "set discriminator.kind: convolutional with representations: 2 or more"
        )
    if discriminator.tells_labels and not LOSSES[loss].is_of_log_odds:
        of_log_odds = [name for name, one in LOSSES.items() if one.is_of_log_odds]
        return (
            f"loss {loss} is not of odds, as the scores of a {discriminator.kind} discriminator are: "
            f"choose {either(of_log_odds)}"
        )
    if LOSSES[loss].compares == "nothing" or discriminator.scores != "per_token":
        return None
    return f"loss {loss} pairs whole texts, but the discriminator scores tokens: set discriminator.scores: per_sentence"


def objection_to_regulariser(regulariser: RegulariserSettings | None, discriminator: DiscriminatorKind) -> str | None:
    """Why a regulariser cannot work on a discriminator; None if it can."""
    if regulariser and regulariser.kind in OF_TOKENS and discriminator.reads != "tokens":
        return (
            f"regulariser.kind {regulariser.kind} needs a discriminator that reads tokens, and {discriminator.kind} "
            "does not: choose gradient_penalty"
        )
    if regulariser and regulariser.kind == "spectral_norm" and discriminator.is_spectrally_normalised:
        return "regulariser.kind spectral_norm has no use beside discriminator.spectral_norm: leave one of them out"
    return None
