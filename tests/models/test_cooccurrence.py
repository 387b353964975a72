"""Word vectors learnt from a text: its counts and singular vectors against plain ones, in bounded memory."""

import numpy as np
import pytest
import torch

from lstmgan_dist.models import cooccurrence
from lstmgan_dist.models.cooccurrence import WINDOW, Cooccurrences, learn_vectors

SIZE = 30


def text(length: int, seed: int = 1) -> np.ndarray:
    """Tokens of which neighbours are alike, in sentences."""
    chooser = np.random.default_rng(seed)
    steps = chooser.integers(-2, 3, length).cumsum() % (SIZE - 1) + 1
    steps[chooser.random(length) < 0.1] = 0
    return steps.astype(np.uint16)


def counted(*parts: np.ndarray) -> Cooccurrences:
    counts = Cooccurrences(SIZE)
    for part in parts:
        counts.add(part)
    return counts


def dense(counts: Cooccurrences) -> np.ndarray:
    rows, columns, values = counts.matrix()
    matrix = np.zeros((SIZE, SIZE))
    matrix[rows, columns] = values
    return matrix


def counted_by_hand(tokens: np.ndarray) -> np.ndarray:
    matrix = np.zeros((SIZE, SIZE))
    sentences = np.split(tokens, np.flatnonzero(tokens == 0) + 1)
    for sentence in ([int(token) for token in one if token] for one in sentences):
        for at, token in enumerate(sentence):
            for distance in range(1, WINDOW + 1):
                for other in sentence[at + distance : at + distance + 1]:
                    matrix[token, other] += WINDOW + 1 - distance
                    matrix[other, token] += WINDOW + 1 - distance
    return matrix


def test_words_are_counted_by_how_near_they_are_within_a_sentence():
    tokens = text(500)
    assert (dense(counted(tokens)) == counted_by_hand(tokens)).all()


def test_counts_are_those_of_the_parts_in_any_order(monkeypatch):
    parts = np.split(text(600), [200, 400])
    expected = sum(map(counted_by_hand, parts))
    assert (dense(counted(*parts)) == expected).all()
    assert (dense(counted(*reversed(parts))) == expected).all()


def test_vectors_are_the_singular_vectors_of_what_is_more_than_chance():
    tokens, dimensions = text(3000), 8
    counts = counted_by_hand(tokens)
    sums, smoothed = counts.sum(1), counts.sum(1) ** 0.75
    with np.errstate(divide="ignore", invalid="ignore"):
        information = np.nan_to_num(np.log(counts * smoothed.sum() / np.outer(sums, smoothed)), neginf=0).clip(0)
    left, values, _ = np.linalg.svd(information)
    expected = left[:, :dimensions] * np.sqrt(values[:dimensions])
    lengths = np.linalg.norm(expected, axis=1, keepdims=True)
    expected = np.divide(expected, lengths, out=np.zeros_like(expected), where=sums[:, None] > 0)
    found = learn_vectors(counted(tokens), SIZE, dimensions)
    assert found.found_V.tolist() == (sums > 0).tolist()
    # Singular vectors have no sign.
    ours = found.matrix_VE.double().numpy()
    assert ours @ ours.T == pytest.approx(expected @ expected.T, abs=1e-3)


def test_the_same_text_gives_the_same_bits_however_many_threads_there_are():
    before = torch.get_num_threads()
    found = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        found.append(learn_vectors(counted(text(2000)), SIZE, 6).matrix_VE)
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    assert torch.equal(*found)


def test_the_frequent_pairs_are_kept_in_little_memory(monkeypatch):
    monkeypatch.setattr(cooccurrence, "MOST_PAIRS", 60)
    chooser = np.random.default_rng(2)
    counts = Cooccurrences(SIZE)
    for _ in range(30):
        rare = chooser.integers(3, SIZE, 8)
        counts.add(np.concatenate([[1, 2, 0] * 20, rare]).astype(np.uint16))
        assert len(counts.matrix()[0]) <= 2 * 60
    matrix = dense(counts)
    assert matrix[1, 2] == 30 * 20 * WINDOW
    assert matrix[1, 2] == matrix.max()


@pytest.mark.parametrize("tokens", [[], [0], [1], [1, 0, 2, 0]], ids=str)
def test_words_without_neighbours_have_no_vectors(tokens: list[int]):
    found = learn_vectors(counted(np.array(tokens, np.uint16)), SIZE, 4)
    assert not found.found_V.any()
    assert found.matrix_VE.shape == (SIZE, 4)


def test_a_small_vocabulary_leaves_dimensions_empty():
    found = learn_vectors(counted(text(300)), SIZE, SIZE + 20)
    assert found.matrix_VE.shape == (SIZE, SIZE + 20)
    assert not found.matrix_VE[:, SIZE:].any()
