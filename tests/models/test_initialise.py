"""Weights come from a seed and a name, and from nothing else."""

import pytest
import torch

from lstmgan_dist.models.initialise import normal_, uniform_


@pytest.mark.parametrize("fill", [normal_, uniform_])
def test_a_tensor_is_the_same_for_a_seed_and_a_name_whatever_was_filled_before(fill):
    def filled(seed, name):
        weight = torch.zeros(40, 50)
        fill(weight, 0.1, seed, name)
        return weight

    first = filled(1, "output")
    assert torch.equal(first, filled(1, "output"))
    assert not torch.equal(first, filled(2, "output"))
    assert not torch.equal(first, filled(1, "embedding"))


def test_the_size_of_weights_is_as_asked():
    weight = torch.zeros(200, 500)
    normal_(weight, 0.1, 1, "w")
    assert weight.std().item() == pytest.approx(0.1, rel=0.02)
    assert weight.mean().abs() < 2e-3
    uniform_(weight, 0.1, 1, "w")
    assert 0.0999 < weight.abs().max() <= 0.1
    assert weight.std().item() == pytest.approx(0.1 / 3**0.5, rel=0.02)
