import math

import pytest
import torch

from lstmgan_dist.runtime.randomness import Noise, derive, permutation, split_mix_64

ROWS = torch.tensor([0, 5, 1, 77, 2**40])


def splitmix64(state: int) -> int:
    """One number of the reference implementation, in Python's own integers."""
    bits = state % 2**64
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB % 2**64
    return bits ^ (bits >> 31)


def reference_bits(key: int, row: int, index: int) -> int:
    row_key = splitmix64(key + (row + 1) * 0x9E3779B97F4A7C15)
    return splitmix64(row_key + (index + 1) * 0x9E3779B97F4A7C15)


def test_uniforms_are_the_splitmix64_stream_of_key_and_row() -> None:
    uniforms = Noise(11, ROWS).uniform("tokens", 3)
    for row, number in enumerate(ROWS.tolist()):
        for index in range(3):
            whole = reference_bits(derive(11, "tokens"), number, index) >> 41
            assert uniforms[row, index].item() == (whole + 0.5) / 2**23


def test_split_mix_64_is_the_first_number_of_a_stream() -> None:
    seeds = [0, 1, 2**40, -7]
    hashes = [number % 2**64 for number in split_mix_64(torch.tensor(seeds)).tolist()]
    assert hashes == [splitmix64(seed + 0x9E3779B97F4A7C15) for seed in seeds]


def test_golden_values_are_pinned() -> None:
    noise = Noise(derive(1, "golden"), ROWS)
    assert noise.key == GOLDEN_KEY
    assert noise.uniform("a", 2).flatten().tolist() == pytest.approx(GOLDEN_UNIFORMS, abs=0)
    assert (noise.keep("b", 6, dropout=0.5)[:3] > 0).int().tolist() == GOLDEN_KEEP
    assert permutation(7, 8).tolist() == GOLDEN_PERMUTATION


GOLDEN_KEY = 3224855338074567483
GOLDEN_UNIFORMS = [
    0.770654022693634,
    0.6738081574440002,
    0.9465252757072449,
    0.652310311794281,
    0.8451152443885803,
    0.09908241033554077,
    0.9652934670448303,
    0.9668012261390686,
    0.6826589703559875,
    0.7024063467979431,
]
GOLDEN_KEEP = [[0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 1, 0]]
GOLDEN_PERMUTATION = [3, 2, 1, 5, 7, 0, 4, 6]


@pytest.mark.parametrize("shape", [(), (1,), (5, 7), (2**17,), (2**17 + 1,), (150_000, 2)])
def test_a_row_has_its_numbers_whatever_rows_stand_beside_it(shape: tuple[int, ...]) -> None:
    together = Noise(5, ROWS)
    for row in range(len(ROWS)):
        alone = together.part(slice(row, row + 1))
        assert torch.equal(together.uniform("x", *shape)[row], alone.uniform("x", *shape)[0])
        if shape:
            kept = together.keep("x", *shape, dropout=0.3)[row]
            assert torch.equal(kept, alone.keep("x", *shape, dropout=0.3)[0])


def test_a_longer_draw_begins_with_the_shorter_one() -> None:
    noise = Noise(5, ROWS)
    assert torch.equal(noise.uniform("x", 200_000)[:, :3], noise.uniform("x", 3))


def test_purposes_keys_and_positions_have_numbers_of_their_own() -> None:
    noise = Noise(5, torch.arange(4))
    draws = [
        noise.uniform("x", 8),
        noise.uniform("y", 8),
        noise.at("x").uniform("x", 8),
        noise.positions(torch.arange(4), torch.zeros(4, dtype=torch.int64)).uniform("x", 8),
        noise.positions(torch.arange(4), torch.ones(4, dtype=torch.int64)).uniform("x", 8),
    ]
    assert torch.stack(draws).flatten().unique().numel() == 5 * 4 * 8


def test_moments_are_those_of_the_distribution() -> None:
    noise = Noise(3, torch.arange(500))
    uniforms, normals = noise.uniform("u", 2000).double(), noise.normal("n", 2000).double()
    assert uniforms.min() > 0
    assert uniforms.max() < 1
    assert uniforms.mean().item() == pytest.approx(0.5, abs=4 / math.sqrt(12e6))
    assert uniforms.var().item() == pytest.approx(1 / 12, abs=4e-4)
    assert normals.mean().item() == pytest.approx(0, abs=4e-3)
    assert normals.var().item() == pytest.approx(1, abs=6e-3)
    assert normals.pow(4).mean().item() == pytest.approx(3, abs=0.05)
    neighbours = torch.corrcoef(torch.stack([uniforms[:, :-1].flatten(), uniforms[:, 1:].flatten()]))[0, 1]
    assert abs(neighbours.item()) < 4e-3


@pytest.mark.parametrize("dropout", [0.0, 0.1, 0.5, 0.9])
def test_masks_keep_the_expectation(dropout: float) -> None:
    noise = Noise(3, torch.arange(100))
    mask = noise.keep("m", 50, 41, dropout=dropout)
    assert mask.shape == (100, 50, 41)
    assert mask[mask > 0].unique().tolist() == pytest.approx([1 / (1 - dropout)])
    assert (mask == 0).float().mean().item() == pytest.approx(dropout, abs=5e-3)
    assert noise.shared_keep("m", 50, 41, dropout=dropout).shape == (50, 41)


def test_shared_masks_are_the_same_for_all_rows() -> None:
    one, other = Noise(3, torch.tensor([0])), Noise(3, torch.tensor([8, 9]))
    assert torch.equal(one.shared_keep("m", 30, dropout=0.5), other.shared_keep("m", 30, dropout=0.5))


@pytest.mark.parametrize("length", [0, 1, 2, 1000, 2**17 + 3])
def test_permutation_is_a_permutation(length: int) -> None:
    assert torch.equal(permutation(9, length).sort().values, torch.arange(length))


def test_permutation_mixes() -> None:
    order = permutation(9, 10_000)
    moved = torch.corrcoef(torch.stack([order.double(), torch.arange(10_000).double()]))[0, 1]
    assert abs(moved.item()) < 0.05
    assert not torch.equal(order, permutation(10, 10_000))
