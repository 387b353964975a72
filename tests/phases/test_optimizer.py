"""Learning rates and update rules against their formulas, for the first two updates of one weight."""

import pytest
import torch

from lstmgan_dist.phases.optimizer import Optimizer

RATE, DECAY, WEIGHT, GRADIENTS = 0.1, 0.5, 2.0, (1.0, -3.0)


def test_the_learning_rate_rises_to_its_schedule():
    constant = Optimizer(learning_rate=RATE, warmup_steps=3)
    assert [constant.learning_rate_at(step, 6) for step in range(6)] == pytest.approx(
        [RATE / 4, RATE / 2, RATE * 3 / 4, RATE, RATE, RATE]
    )
    falling = Optimizer.model_validate({"learning_rate": {"start": 1.0, "end": 0.2, "shape": "linear"}})
    assert [falling.learning_rate_at(step, 5) for step in range(5)] == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2])


def adam(weight, gradients, *, decoupled):
    """Kingma and Ba (2015), or with the decay beside the moments: Loshchilov and Hutter (2019)."""
    first = second = 0.0
    for step, gradient in enumerate(gradients, start=1):
        if decoupled:
            weight *= 1 - RATE * DECAY
        else:
            gradient += DECAY * weight
        first, second = 0.5 * first + 0.5 * gradient, 0.9 * second + 0.1 * gradient**2
        weight -= RATE * (first / (1 - 0.5**step)) / (second / (1 - 0.9**step)) ** 0.5
    return weight


def sgd(weight, gradients):
    velocity = 0.0
    for gradient in gradients:
        velocity = 0.5 * velocity + gradient + DECAY * weight
        weight -= RATE * velocity
    return weight


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"kind": "adam", "betas": (0.5, 0.9)}, adam(WEIGHT, GRADIENTS, decoupled=False)),
        ({"kind": "adamw", "betas": (0.5, 0.9)}, adam(WEIGHT, GRADIENTS, decoupled=True)),
        ({"kind": "sgd", "momentum": 0.5}, sgd(WEIGHT, GRADIENTS)),
    ],
    ids=["adam", "adamw", "sgd"],
)
def test_every_rule_follows_its_formula(settings, expected):
    weight = torch.nn.Parameter(torch.tensor([WEIGHT]))
    optimizer = Optimizer(weight_decay=DECAY, **settings).build([weight])
    optimizer.param_groups[0]["lr"] = RATE
    for gradient in GRADIENTS:
        weight.grad = torch.tensor([gradient])
        optimizer.step()
    assert weight.item() == pytest.approx(expected, rel=1e-5)
