import math
from statistics import mean

import pytest
import torch

from lstmgan_dist.adversarial.losses import LOSSES

REAL, FAKE = [-1.3, 0.0, 0.4, 2.5], [0.7, -0.2, 1.0, -3.0]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


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


@pytest.mark.parametrize("name", LOSSES)
def test_losses_stay_finite_far_out(name: str) -> None:
    scores = torch.tensor([-1e4, 1e4]).requires_grad_()
    real, fake = LOSSES[name].discriminator(scores, scores.flip(0))
    total = (real + fake + LOSSES[name].generator(scores, scores.flip(0))).sum()
    total.backward()
    assert total.isfinite()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
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
