"""Discriminator losses and the generator costs that belong to them.

A score is a logit for "real": of a token or of a sentence. All functions work element by element; who averages over
what is the objective's business. Shapes are any, equal for real and fake where they are paired.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Loss:
    """One game.

    discriminator: (real scores, fake scores) -> (loss of each real score, loss of each fake score).
    generator: (fake scores, real scores) -> cost of each fake score. Only a paired loss looks at the real scores.
    middle: the score between real and fake; None where only the difference of a pair means anything.
    """

    discriminator: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    generator: Callable[[Tensor, Tensor | None], Tensor]
    middle: float | None = 0.0

    @property
    def paired(self) -> bool:
        """Whether real and fake scores are compared pair by pair, so that a cost needs real scores too."""
        return self.middle is None

    def reward(self, fake: Tensor, real: Tensor | None) -> Tensor:
        """How much less each fake score costs than an undecided one: the middle, or where paired an equal score.

        So a discriminator that sees no difference rewards nothing. Minus the cost itself is the same for every sentence
        then, but it is earned once a token: to write longer, or shorter, would pay.
        """
        undecided = torch.zeros_like(fake) if self.middle is None else torch.full_like(fake, self.middle)
        return self.generator(undecided, undecided) - self.generator(fake, real)


def _cross_entropy(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """-log D(real), -log(1 - D(fake)), with D the sigmoid of the score (Goodfellow et al. 2014, equation 1)."""
    return F.softplus(-real), F.softplus(fake)


def _least_squares(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Half the squared distances to 1 and 0 (Mao et al. 2017, equation 9)."""
    return (real - 1).square() / 2, fake.square() / 2


def _hinge(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Distances to the margins at 1 and -1 (Lim and Ye 2017; Miyato et al. 2018, equation 16)."""
    return F.relu(1 - real), F.relu(1 + fake)


def _relativistic(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """-log sigmoid(real - fake) of each pair (RSGAN, Jolicoeur-Martineau 2019), all of it with the real score."""
    return F.softplus(fake - real), torch.zeros_like(fake)


def _relativistic_cost(fake: Tensor, real: Tensor | None) -> Tensor:
    """-log sigmoid(fake - real) of each pair."""
    assert real is not None
    return F.softplus(real - fake)


LOSSES = {
    # log(1 - D(fake)): the minimax cost, which is flat where the discriminator wins.
    "cross_entropy": Loss(_cross_entropy, lambda fake, real: -F.softplus(fake)),
    # -log D(fake) (Goodfellow et al. 2014, section 3).
    "non_saturating": Loss(_cross_entropy, lambda fake, real: F.softplus(-fake)),
    # 1 - 2 D(fake): minus ScratchGAN's reward (de Masson d'Autume et al. 2019, section 2.2).
    "probability": Loss(_cross_entropy, lambda fake, real: 1 - 2 * torch.sigmoid(fake)),
    "least_squares": Loss(_least_squares, lambda fake, real: (fake - 1).square() / 2, middle=0.5),
    "hinge": Loss(_hinge, lambda fake, real: -fake),
    "relativistic": Loss(_relativistic, _relativistic_cost, middle=None),
}
