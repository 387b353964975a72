"""Discriminator losses and the generator costs that belong to them, by their word in a job file.

A score is a logit for "real": of a token, of a sentence or of one of its representations. All functions say something
of every score; who averages over what is the objective's business. Shapes are any, equal for real and fake where these
are compared.

To add one: a function of each side, with its source, and a line in `LOSSES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Loss:
    """One game.

    discriminator: (real scores, fake scores) -> (loss of each real score, loss of each fake score).
    generator: (fake scores, real scores) -> cost of each fake score; the real ones are there if it compares.
    middle: the score between real and fake; None where only differences mean anything.
    compares: nothing; each pair of a real and a fake score; or each score with all of the global batch, rows first,
        which then takes part as a whole.
    posterior: what share of the texts with a score are real, if the discriminator is as good as it can be and there
        are as many real as fake ones; None where the least loss does not tell.
    """

    discriminator: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    generator: Callable[[Tensor, Tensor | None], Tensor]
    middle: float | None = 0.0
    compares: Literal["nothing", "pairs", "batch"] = "nothing"
    posterior: Callable[[Tensor], Tensor] | None = None

    @property
    def is_of_log_odds(self) -> bool:
        """Whether the discriminator learns by cross-entropy, so that a score is a logarithm of odds."""
        return self.posterior is _sigmoid

    def reward(self, fake: Tensor, real: Tensor | None) -> Tensor:
        """How much less each fake score costs than an undecided one: the middle, or where paired an equal score.

        So a discriminator that sees no difference rewards nothing. Minus the cost itself is the same for every sentence
        then, but it is earned once a token: to write longer, or shorter, would pay.
        """
        undecided = fake.new_full(fake.shape, self.middle or 0.0)
        return self.generator(undecided, undecided) - self.generator(fake, real)


def _softplus(score: Tensor) -> Tensor:
    """log(1 + e^score). Names of losses are read by commands that do without torch."""
    from torch.nn.functional import softplus

    return softplus(score)


def _sigmoid(score: Tensor) -> Tensor:
    """D(text) of those losses that are of its logarithm."""
    return score.sigmoid()


def _cross_entropy(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """-log D(real), -log(1 - D(fake)), with D the sigmoid of the score (Goodfellow et al. 2014, equation 1)."""
    return _softplus(-real), _softplus(fake)


def _least_squares(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Half the squared distances to 1 and 0 (Mao et al. 2017, equation 9)."""
    return (real - 1).square() / 2, fake.square() / 2


def _hinge(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Distances to the margins at 1 and -1 (Lim and Ye 2017; Miyato et al. 2018, equation 16)."""
    return (1 - real).relu(), (1 + fake).relu()


def _relativistic(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """-log sigmoid(real - fake) of each pair (RSGAN, Jolicoeur-Martineau 2019), all of it with the real score."""
    return _softplus(fake - real), fake.new_zeros(fake.shape)


def _relativistic_cost(fake: Tensor, real: Tensor | None) -> Tensor:
    """-log sigmoid(fake - real) of each pair."""
    assert real is not None
    return _softplus(real - fake)


def _relativistic_average(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """-log sigmoid of each score's distance to the other kind's mean (RaSGAN, Jolicoeur-Martineau 2019)."""
    return _softplus(fake.mean(0) - real), _softplus(fake - real.mean(0))


def _relativistic_average_cost(fake: Tensor, real: Tensor | None) -> Tensor:
    """The same with the kinds exchanged: what lifts a fake score above the real ones, and the real below the fake."""
    assert real is not None
    return _softplus(real.mean(0) - fake) + _softplus(real - fake.mean(0))


LOSSES = {
    # log(1 - D(fake)): the minimax cost, which is flat where the discriminator wins.
    "cross_entropy": Loss(_cross_entropy, lambda fake, real: -_softplus(fake), posterior=_sigmoid),
    # -log D(fake) (Goodfellow et al. 2014, section 3).
    "non_saturating": Loss(_cross_entropy, lambda fake, real: _softplus(-fake), posterior=_sigmoid),
    # 1 - 2 D(fake): minus ScratchGAN's reward (de Masson d'Autume et al. 2019, section 2.2).
    "probability": Loss(_cross_entropy, lambda fake, real: 1 - 2 * fake.sigmoid(), posterior=_sigmoid),
    # 1 - D(fake): SentiGAN's penalty (Wang and Wan 2018), with half the gradient of the one above.
    "penalty": Loss(_cross_entropy, lambda fake, real: (-fake).sigmoid(), posterior=_sigmoid),
    "least_squares": Loss(
        _least_squares,
        lambda fake, real: (fake - 1).square() / 2,
        middle=0.5,
        posterior=lambda score: score.clamp(0, 1),
    ),
    "hinge": Loss(_hinge, lambda fake, real: -fake),
    "relativistic": Loss(_relativistic, _relativistic_cost, middle=None, compares="pairs"),
    "relativistic_average": Loss(_relativistic_average, _relativistic_average_cost, middle=None, compares="batch"),
}
