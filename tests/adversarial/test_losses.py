import math
from statistics import mean

import pytest
import torch

from lstmgan_dist.adversarial.losses import LOSSES

REAL, FAKE = [-1.3, 0.0, 0.4, 2.5], [0.7, -0.2, 1.0, -3.0]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def kernel(one: list[float], other: list[float]) -> float:
    """Five Gaussian ones, added up."""
    square = sum((x - y) ** 2 for x, y in zip(one, other, strict=True))
    return sum(math.exp(-square / (2 * bandwidth**2)) for bandwidth in (1, 2, 4, 8, 16))


def discrepancy(text: list[float], own: list[list[float]], others: list[list[float]]) -> float:
    """A text's share of the squared maximum mean discrepancy."""
    within = [kernel(text, one) for one in own if one is not text]
    return mean(within) - mean(kernel(text, other) for other in others)


def cosine(one: list[float], other: list[float]) -> float:
    norms = math.hypot(*one) * math.hypot(*other)
    return sum(x * y for x, y in zip(one, other, strict=True)) / norms if norms else 0.0


def rank(text: list[float], likened_to: list[list[float]], beside: list[list[float]]) -> float:
    """Lin et al. 2017, equations 2 and 3: the text itself is compared, and not the row of what it is likened to."""
    chances = []
    for row_of_one, one in enumerate(likened_to):
        if one is not text:
            among = [math.exp(10 * cosine(other, one)) for row, other in enumerate(beside) if row != row_of_one]
            own = math.exp(10 * cosine(text, one))
            chances.append(own / (own + sum(among)))
    return mean(chances)


REALS, FAKES = [[score] for score in REAL], [[score] for score in FAKE]


def row(score: float, among: list[list[float]]) -> list[float]:
    return next(one for one in among if one == [score])


# discriminator's loss of a real and of a fake score, generator's cost of a fake score, written out
FORMULAS = {
    "cross_entropy": (
        lambda r, f: (-math.log(sigmoid(r)), -math.log(1 - sigmoid(f))),
        lambda f, r: math.log(1 - sigmoid(f)),
    ),
    "non_saturating": (
        lambda r, f: (-math.log(sigmoid(r)), -math.log(1 - sigmoid(f))),
        lambda f, r: -math.log(sigmoid(f)),
    ),
    "probability": (
        lambda r, f: (-math.log(sigmoid(r)), -math.log(1 - sigmoid(f))),
        lambda f, r: -(2 * sigmoid(f) - 1),
    ),
    "penalty": (
        lambda r, f: (-math.log(sigmoid(r)), -math.log(1 - sigmoid(f))),
        lambda f, r: 1 - sigmoid(f),
    ),
    "least_squares": (lambda r, f: (0.5 * (r - 1) ** 2, 0.5 * f**2), lambda f, r: 0.5 * (f - 1) ** 2),
    "reverse_kl": (
        lambda r, f: (-math.log(sigmoid(r)), -math.log(1 - sigmoid(f))),
        lambda f, r: math.log((1 - sigmoid(f)) / sigmoid(f)),
    ),
    "hinge": (lambda r, f: (max(0.0, 1 - r), max(0.0, 1 + f)), lambda f, r: -f),
    "relativistic_average": (
        lambda r, f: (-math.log(sigmoid(r - mean(FAKE))), -math.log(1 - sigmoid(f - mean(REAL)))),
        lambda f, r: -math.log(sigmoid(f - mean(REAL))) - math.log(1 - sigmoid(r - mean(FAKE))),
    ),
    "feature_matching": (
        lambda r, f: (
            -math.log(sigmoid(r)) - discrepancy(row(r, REALS), REALS, FAKES),
            -math.log(1 - sigmoid(f)) - discrepancy(row(f, FAKES), FAKES, REALS),
        ),
        lambda f, r: discrepancy(row(f, FAKES), FAKES, REALS) + discrepancy(row(r, REALS), REALS, FAKES),
    ),
    "ranking": (
        lambda r, f: (
            -math.log(rank(row(r, REALS), REALS, FAKES)),
            -math.log(1 - rank(row(f, FAKES), REALS, REALS)),
        ),
        lambda f, r: -math.log(rank(row(f, FAKES), REALS, REALS)),
    ),
    # Arjovsky et al. 2017, algorithm 1: the critic climbs the difference, the generator its own score, which is counted
    # here from that of the text beside it.
    "wasserstein": (lambda r, f: (-r, f), lambda f, r: -f + r),
    "relativistic": (lambda r, f: (-math.log(sigmoid(r - f)), 0.0), lambda f, r: -math.log(sigmoid(f - r))),
}


def test_every_loss_has_its_formula_here() -> None:
    assert FORMULAS.keys() == LOSSES.keys()


@pytest.mark.parametrize("name", LOSSES)
def test_loss_equals_the_formula(name: str) -> None:
    discriminator, generator = FORMULAS[name]
    real, fake = torch.tensor(REAL, dtype=torch.float64), torch.tensor(FAKE, dtype=torch.float64)
    real_loss, fake_loss = LOSSES[name].discriminator(real, fake)
    cost = LOSSES[name].generator(fake, real)
    for index, (r, f) in enumerate(zip(REAL, FAKE, strict=True)):
        assert (real_loss[index].item(), fake_loss[index].item()) == pytest.approx(discriminator(r, f))
        assert cost[index].item() == pytest.approx(generator(f, r))


VECTORS = [[0.3, -1.0, 2.0], [1.5, 0.2, -0.4], [-0.7, 0.9, 0.1]], [[0.1, 0.4, -2.0], [2.0, 1.0, 0.3], [-1.0, -1.2, 0.8]]


def test_vectors_of_scores_are_compared_as_wholes() -> None:
    real, fake = (torch.tensor(rows, dtype=torch.float64) for rows in VECTORS)
    reals, fakes = VECTORS
    cost = LOSSES["feature_matching"].generator(fake, real)
    ranks = LOSSES["ranking"].generator(fake, real)
    assert cost.shape == ranks.shape == fake.shape
    total = 0.0
    for number, (text, other) in enumerate(zip(fakes, reals, strict=True)):
        share = discrepancy(text, fakes, reals) + discrepancy(other, reals, fakes)
        total += share / len(fakes)
        assert cost[number].tolist() == pytest.approx([share] * 3)
        assert ranks[number].tolist() == pytest.approx([-math.log(rank(text, reals, reals))] * 3)
    pairs = [(x, y) for x in range(3) for y in range(3) if x != y]
    within = sum(kernel(rows[x], rows[y]) for rows in VECTORS for x, y in pairs) / len(pairs)
    across = mean(kernel(x, y) for x in reals for y in fakes)
    assert total == pytest.approx(within - 2 * across)


def test_texts_of_one_distribution_have_no_discrepancy_on_average() -> None:
    draw = torch.Generator().manual_seed(1)
    cost = LOSSES["feature_matching"].generator
    estimates = torch.stack(
        [cost(*torch.randn(2, 16, 3, generator=draw, dtype=torch.float64)).mean() for _ in range(2000)]
    )
    assert abs(estimates.mean()) < 4 * estimates.std() / len(estimates) ** 0.5
    shifted = cost(*torch.randn(2, 16, 3, generator=draw, dtype=torch.float64) + torch.tensor([[[0.0]], [[2.0]]]))
    assert shifted.mean() > 5 * estimates.std()


def test_a_text_like_real_ones_ranks_above_others() -> None:
    standing = LOSSES["ranking"].standing
    assert standing
    real = torch.tensor([[1.0, 0.1], [1.0, -0.1], [0.9, 0.0], [1.0, 0.2]])
    fake = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.5, 0.5]])
    of_real, of_fake = standing(real, fake)
    assert of_fake[0, 0] > of_fake[3, 0] > of_fake[1, 0] > of_fake[2, 0]
    assert of_real.min() > of_fake[1:].max()


def test_a_ranked_texts_reward_is_by_the_real_texts_alone_and_nothing_where_all_are_alike() -> None:
    """As many drawn texts as there may be: rollouts are ranked among the same real ones."""
    loss = LOSSES["ranking"]
    real, fake = (torch.tensor(rows, dtype=torch.float64) for rows in VECTORS)
    many = torch.cat([fake, fake.flip(0), 2 * fake[:1]])
    rewards = loss.reward(many, real)
    for number, text in enumerate(many.tolist()):
        expected = math.log(rank(text, VECTORS[0], VECTORS[0])) - math.log(1 / len(real))
        assert rewards[number].tolist() == pytest.approx([expected] * 3)
    alike = torch.ones(4, 3, dtype=torch.float64)
    assert loss.reward(alike, alike[:2]).abs().max() < 1e-12


@pytest.mark.parametrize("name", LOSSES)
def test_losses_stay_finite_far_out(name: str) -> None:
    scores = torch.tensor([-1e4, 1e4]).requires_grad_()
    real, fake = LOSSES[name].discriminator(scores, scores.flip(0))
    total = (real + fake + LOSSES[name].generator(scores, scores.flip(0))).sum()
    total.backward()
    assert total.isfinite()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()


@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if not loss.of_vectors])
def test_a_generator_pays_less_for_a_score_that_looks_more_real(name: str) -> None:
    fake = torch.tensor([-2.0, -1.0, 0.0, 0.5, 0.9])
    cost = LOSSES[name].generator(fake, torch.zeros(5))
    assert (cost.diff() < 0).all()


@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if loss.posterior])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_the_best_score_of_texts_of_which_a_share_is_real_tells_that_share(name: str, share: float) -> None:
    loss = LOSSES[name]
    scores = torch.linspace(-4, 4, 80001, dtype=torch.float64)
    real, fake = loss.discriminator(scores, scores)
    best = scores[(share * real + (1 - share) * fake).argmin()]
    assert loss.posterior
    assert loss.posterior(best).item() == pytest.approx(share, abs=1e-4)
