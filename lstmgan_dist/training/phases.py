"""One round of each kind of phase: who learns, from what, how often."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lstmgan_dist.config.phases import AdversarialPhase, AnyPhase
from lstmgan_dist.corpus.stream import Batch
from lstmgan_dist.training.game import Game
from lstmgan_dist.training.players import Moment, Report


def likelihood_round(game: Game, real: Iterator[Batch], phase: AnyPhase, moment: Moment) -> Report:
    """The generator predicts real text."""
    return game.players["generator"].learn(next(real), opponent=None, moment=moment.at("generator", 0))


def discriminator_round(game: Game, real: Iterator[Batch], phase: AnyPhase, moment: Moment) -> Report:
    """The discriminator studies real and generated text."""
    return game.players["discriminator"].learn(
        next(real), opponent=game.generator, moment=moment.at("discriminator", 0)
    )


def adversarial_round(game: Game, real: Iterator[Batch], phase: AnyPhase, moment: Moment) -> Report:
    """The discriminator studies real and generated text; then the generator answers."""
    assert isinstance(phase, AdversarialPhase)
    studied, answered = Report(), Report()
    for update in range(phase.discriminator_updates):
        studied = game.players["discriminator"].learn(
            next(real), opponent=game.generator, moment=moment.at("discriminator", update)
        )
    for update in range(phase.generator_updates):
        answered = game.players["generator"].learn(
            next(real), opponent=game.discriminator, moment=moment.at("generator", update)
        )
    return studied | answered


ROUNDS: dict[str, Callable[[Game, Iterator[Batch], AnyPhase, Moment], Report]] = {
    "likelihood": likelihood_round,
    "discriminator": discriminator_round,
    "adversarial": adversarial_round,
}
