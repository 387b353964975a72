"""Discriminator losses and the generator costs that belong to them, by their word in a job file.

A score is a logit for "real": of a token, of a sentence or of one of its representations. All functions say something
of every score; who averages over what is the objective's business. Shapes are any, equal for real and fake where these
are compared. To some losses those of a text's representations are one vector.

To add one: a function of each side, with its source, and a line in `LOSSES`.

Shapes: G rows of the global batch, R representations.
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
    costs_apart: of a loss that compares with all, whether a fake score's cost depends on no other fake score, so that a
        text's reward is its own.
    of_vectors: whether the scores of a text's representations are compared as one vector, and take several of them.
    standing: (real scores, fake scores) of a batch -> how real each text looks beside the others, once for each of its
        scores, for a loss to which a score by itself says nothing; None where the score says it.
    """

    discriminator: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    generator: Callable[[Tensor, Tensor | None], Tensor]
    middle: float | None = 0.0
    compares: Literal["nothing", "pairs", "batch"] = "nothing"
    posterior: Callable[[Tensor], Tensor] | None = None
    costs_apart: bool = False
    of_vectors: bool = False
    standing: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None

    @property
    def is_of_log_odds(self) -> bool:
        """Whether a score is the logarithm of the odds of real text, of the best one log p_data / p_model."""
        return self.posterior is _sigmoid

    def reward(self, fake: Tensor, real: Tensor | None) -> Tensor:
        """How much less each fake score costs than an undecided one: the middle, or where paired an equal score.

        So a discriminator that sees no difference rewards nothing. Minus the cost itself is the same for every sentence
        then, but it is earned once a token: to write longer, or shorter, would pay.
        """
        undecided, undecided_real = (
            None if scores is None else scores.new_full(scores.shape, self.middle or 0.0) for scores in (fake, real)
        )
        assert undecided is not None
        return self.generator(undecided, undecided_real) - self.generator(fake, real)


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


# Of Gaussian kernels, which are added up (MMD-GAN, Li et al. 2017, section 4).
_BANDWIDTHS = (1.0, 2.0, 4.0, 8.0, 16.0)


def _discrepancies(real_GR: Tensor, fake_GR: Tensor) -> tuple[Tensor, Tensor]:
    """Each text's share of the squared maximum mean discrepancy, whose mean over the pairs of rows it is, (G,), (G,).

    That is the unbiased estimate (Gretton et al. 2012, equation 4): no text is compared with itself.
    """
    within_real_GG, within_fake_GG = _kernel(real_GR, real_GR), _kernel(fake_GR, fake_GR)
    across_GG = _kernel(real_GR, fake_GR)
    real_G = _mean_of_others(within_real_GG) - across_GG.mean(1)
    return real_G, _mean_of_others(within_fake_GG) - across_GG.mean(0)


def _kernel(one_GR: Tensor, other_GR: Tensor) -> Tensor:
    """Gaussian kernels of all pairs, added up, (G, G)."""
    squares_GG = (one_GR[:, None] - other_GR[None]).square().sum(-1)
    kernels = [(squares_GG / (-2 * bandwidth**2)).exp() for bandwidth in _BANDWIDTHS]
    return sum(kernels[1:], kernels[0])


def _mean_of_others(values_GG: Tensor) -> Tensor:
    """Of each row but for the value on the diagonal, (G,)."""
    return (values_GG.sum(1) - values_GG.diagonal()) / max(1, len(values_GG) - 1)


def _feature_matching(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of every score, minus the discrepancy of the vectors (TextGAN, Zhang et al. 2017, equation 3)."""
    real_loss, fake_loss = _cross_entropy(real, fake)
    real_G, fake_G = _discrepancies(_vectors(real), _vectors(fake))
    return real_loss - _each(real_G, real), fake_loss - _each(fake_G, fake)


def _feature_matching_cost(fake: Tensor, real: Tensor | None) -> Tensor:
    """The discrepancy (Zhang et al. 2017, equation 5), the real texts' shares with the fake ones beside them."""
    assert real is not None
    real_G, fake_G = _discrepancies(_vectors(real), _vectors(fake))
    return _each(real_G + fake_G, fake)


# Of the softmax over likenesses, which are within 1 (the paper's γ, "set empirically").
_SHARPNESS = 10.0


def _likeness(texts_NR: Tensor, real_GR: Tensor) -> Tensor:
    """exp(γ cosine) of texts and the real ones that they are likened to, (N, G)."""
    norms_N1, norms_G1 = (vectors.norm(dim=1, keepdim=True).clamp(min=1e-8) for vectors in (texts_NR, real_GR))
    return (_SHARPNESS * (texts_NR / norms_N1) @ (real_GR / norms_G1).T).exp()


def _others(real_GR: Tensor) -> Tensor:
    """1 but for a row's own number: nothing is likened to itself, nor beside what is of the same row, (G, G)."""
    return 1 - real_GR.new_ones(len(real_GR)).diag()


def _rank_of_real(real: Tensor, fake: Tensor) -> Tensor:
    """How likely each real text is the one among fake ones that is most like other real texts, (G,).

    RankGAN's R(real | U, C-) (Lin et al. 2017, equation 3).
    """
    real_GR, others_GG = _vectors(real), _others(_vectors(real))
    own_GG, among_G = _likeness(real_GR, real_GR), (_likeness(_vectors(fake), real_GR) * others_GG).sum(0)
    return (own_GG / (own_GG + among_G) * others_GG).sum(1) / max(1, len(real_GR) - 1)


def _rank_of_fake(real: Tensor, fake: Tensor) -> Tensor:
    """R(fake | U, C+): how likely each is the one among real ones that is most like another real one, (N,)."""
    real_GR = _vectors(real)
    own_NG, among_G = _likeness(_vectors(fake), real_GR), (_likeness(real_GR, real_GR) * _others(real_GR)).sum(0)
    return (own_NG / (own_NG + among_G)).mean(1)


def _standing(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """R of both."""
    return _each(_rank_of_real(real, fake), real), _each(_rank_of_fake(real, fake), fake)


def _ranking(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """-log R(real), -log(1 - R(fake)) (Lin et al. 2017, equation 4)."""
    real_G, fake_G = _rank_of_real(real, fake), _rank_of_fake(real, fake)
    return _each(-real_G.clamp(min=_LEAST_RANK).log(), real), _each(-(-fake_G).log1p(), fake)


def _ranking_cost(fake: Tensor, real: Tensor | None) -> Tensor:
    """-log R(fake), minus the reward of Lin et al. 2017, equation 6."""
    assert real is not None
    return _each(-_rank_of_fake(real, fake).clamp(min=_LEAST_RANK).log(), fake)


_LEAST_RANK = 1e-12


def _vectors(scores: Tensor) -> Tensor:
    """(G, R), also of one score a text."""
    return scores if scores.dim() > 1 else scores[:, None]


def _each(values_G: Tensor, scores: Tensor) -> Tensor:
    """A text's value as that of each of its scores, over which means are taken."""
    return values_G.view(-1, *[1] * (scores.dim() - 1)).expand_as(scores)


def _wasserstein(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Minus the difference of the scores, which estimates a distance (Arjovsky et al. 2017, algorithm 1)."""
    return -real, fake


def _wasserstein_cost(fake: Tensor, real: Tensor | None) -> Tensor:
    """Minus the score, counted from that of a real text: a critic's scores have no zero.

    The real score changes no gradient of the score's own; a reward without it would be an unknown constant more.
    """
    assert real is not None
    return real - fake


LOSSES = {
    # log(1 - D(fake)): the minimax cost, which is flat where the discriminator wins.
    "cross_entropy": Loss(_cross_entropy, lambda fake, real: -_softplus(fake), posterior=_sigmoid),
    # -log D(fake) (Goodfellow et al. 2014, section 3).
    "non_saturating": Loss(_cross_entropy, lambda fake, real: _softplus(-fake), posterior=_sigmoid),
    # 1 - 2 D(fake): minus ScratchGAN's reward (de Masson d'Autume et al. 2019, section 2.2).
    "probability": Loss(_cross_entropy, lambda fake, real: 1 - 2 * fake.sigmoid(), posterior=_sigmoid),
    # 1 - D(fake): SentiGAN's penalty (Wang and Wan 2018), with half the gradient of the one above.
    "penalty": Loss(_cross_entropy, lambda fake, real: (-fake).sigmoid(), posterior=_sigmoid),
    # log((1 - D(fake)) / D(fake)): with the best discriminator, the divergence KL(drawn || real) (Sønderby et al. 2017,
    # section 3.1; the cost in TaylorGAN, Lin et al. 2020).
    "reverse_kl": Loss(_cross_entropy, lambda fake, real: -fake, posterior=_sigmoid),
    "least_squares": Loss(
        _least_squares,
        lambda fake, real: (fake - 1).square() / 2,
        middle=0.5,
        posterior=lambda score: score.clamp(0, 1),
    ),
    "hinge": Loss(_hinge, lambda fake, real: -fake),
    # Needs a critic whose slope is held: a regulariser, or layers of norm 1.
    "wasserstein": Loss(_wasserstein, _wasserstein_cost, middle=None, compares="pairs"),
    "relativistic": Loss(_relativistic, _relativistic_cost, middle=None, compares="pairs"),
    "relativistic_average": Loss(_relativistic_average, _relativistic_average_cost, middle=None, compares="batch"),
    "feature_matching": Loss(_feature_matching, _feature_matching_cost, compares="batch", of_vectors=True),
    "ranking": Loss(
        _ranking,
        _ranking_cost,
        middle=None,
        compares="batch",
        costs_apart=True,
        of_vectors=True,
        standing=_standing,
    ),
}
