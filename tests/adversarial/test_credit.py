from typing import Any

import pytest
import torch

from lstmgan_dist.adversarial.baselines import MovingAverage, NoBaseline
from lstmgan_dist.adversarial.credits import CREDITS

REWARDS = torch.tensor([[1.0, 2.0, 4.0, 99.0], [3.0, 99.0, 99.0, 99.0]])
VALID = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]], dtype=torch.bool)


def after(baseline: Any, returns: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """The advantages of an update, from which the baseline learns."""
    advantages = baseline.advantages(returns, valid)
    baseline.learn(baseline.lessons(returns, valid))
    return advantages


def test_discounted_returns_are_those_computed_by_hand() -> None:
    expected = [[1 + 0.5 * (2 + 0.5 * 4), 2 + 0.5 * 4, 4, 0], [3, 0, 0, 0]]
    torch.testing.assert_close(CREDITS["discounted"].returns(REWARDS, VALID, 0.5), torch.tensor(expected))


@pytest.mark.parametrize(("discount", "first"), [(0.0, 1.0), (1.0, 7.0)])
def test_the_ends_of_the_discount(discount: float, first: float) -> None:
    assert CREDITS["discounted"].returns(REWARDS, VALID, discount)[0, 0].item() == first


def test_sentence_credit_gives_every_token_the_mean_reward() -> None:
    expected = [[7 / 3, 7 / 3, 7 / 3, 0], [3, 0, 0, 0]]
    torch.testing.assert_close(CREDITS["sentence"].returns(REWARDS, VALID, 0.5), torch.tensor(expected))


def test_no_baseline_leaves_the_returns() -> None:
    torch.testing.assert_close(after(NoBaseline(), REWARDS, VALID), REWARDS * VALID)


def test_moving_average_follows_the_mean_of_earlier_updates() -> None:
    baseline = MovingAverage(decay=0.75)
    torch.testing.assert_close(after(baseline, REWARDS, VALID), REWARDS * VALID)  # nothing known yet
    torch.testing.assert_close(after(baseline, 2 * REWARDS, VALID), (2 * REWARDS - 2.5) * VALID)
    average = (0.75 * 0.25 * 2.5 + 0.25 * 5) / (0.75 * 0.25 + 0.25)
    torch.testing.assert_close(after(baseline, REWARDS, VALID), (REWARDS - average) * VALID)


def test_per_position_averages_know_only_positions_that_were_reached() -> None:
    baseline = MovingAverage(decay=0.75, positions=6)
    after(baseline, REWARDS, VALID)
    torch.testing.assert_close(after(baseline, REWARDS, VALID)[0], torch.tensor([-1.0, 0, 0, 0]))
    assert baseline.weight.tolist() == pytest.approx([0.4375] * 3 + [0] * 3)
    everywhere = torch.ones(2, 6, dtype=torch.bool)
    torch.testing.assert_close(after(baseline, torch.ones(2, 6), everywhere)[:, 3:], torch.ones(2, 3))


def test_baselines_are_in_the_state_that_a_checkpoint_holds() -> None:
    baseline = MovingAverage(decay=0.75)
    after(baseline, REWARDS, VALID)
    restored = MovingAverage(decay=0.75)
    restored.load_memory(baseline.memory())
    torch.testing.assert_close(after(restored, REWARDS, VALID), after(baseline, REWARDS, VALID), rtol=0, atol=0)
