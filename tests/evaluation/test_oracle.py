"""The LSTM oracle against enumeration and against reading token by token."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch

from lstmgan_dist.evaluation.oracle import Oracle
from lstmgan_dist.evaluation.texts import Texts

SMALL = Oracle(length=3, seed=1, vocabulary=4)
ALL_TEXTS = [list(text) for text in itertools.product(range(2, 6), repeat=3)]
PROBABILITIES = np.exp(-SMALL.nll(Texts.of(ALL_TEXTS)))


def test_the_probabilities_of_all_texts_sum_to_one():
    assert PROBABILITIES.sum() == pytest.approx(1, abs=1e-6)


def test_nll_is_that_of_reading_token_by_token_among_the_words_alone():
    oracle = Oracle(length=7, seed=5, vocabulary=30)
    texts = oracle.draw(6, seed=2).rows()
    texts[1], texts[2] = texts[1][:4], []
    expected = []
    for text in texts:
        state, read, nats = None, 0, 0.0
        for token in text:
            features, state = oracle.generator(torch.tensor([[read]]), state)
            nats -= oracle.generator.logits(features)[0, 0, 2:].log_softmax(-1)[token - 2].item()
            read = token
        expected.append(nats)
    assert oracle.nll(Texts.of(texts)) == pytest.approx(expected, rel=1e-5)


def test_what_the_oracle_never_writes_has_no_probability():
    nll = SMALL.nll(Texts.of([[2, 1, 3], [0, 2, 2], [2, 3, 4]]))
    assert list(np.isinf(nll)) == [True, True, False]


def test_texts_are_as_frequent_as_their_likelihood_says():
    count = 20_000
    texts = SMALL.draw(count, seed=1)
    assert (texts.lengths_N == 3).all()
    found = Counter(map(tuple, texts.rows()))
    expected = count * PROBABILITIES
    deviations = (np.array([found[tuple(text)] for text in ALL_TEXTS]) - expected) / np.sqrt(np.maximum(expected, 1))
    assert np.abs(deviations).max() < 4.5


def test_the_entropy_is_that_of_the_enumerated_texts():
    exact = float(-(PROBABILITIES * np.log(PROBABILITIES)).sum()) / 3
    entropy = SMALL.entropy(4000, seed=1)
    assert entropy.nats == pytest.approx(exact, abs=4 * entropy.error)
    assert 0 < entropy.error < 0.01 * exact


@pytest.mark.slow
def test_the_nll_of_its_own_texts_is_its_entropy_at_the_size_of_the_papers():
    oracle = Oracle(length=20, seed=1)
    nats_N = oracle.nll(oracle.draw(1000, seed=1)) / 20
    entropy = oracle.entropy(500, seed=2)
    error = np.hypot(nats_N.std() / 1000**0.5, entropy.error)
    assert nats_N.mean() == pytest.approx(entropy.nats, abs=4 * error)
    assert 5.5 < entropy.nats < 6.2


def test_all_weights_are_standard_normal_and_follow_from_the_seed():
    def weights(seed: int) -> torch.Tensor:
        state = Oracle(length=20, seed=seed).generator.state_dict()
        return torch.cat([weight.flatten() for name, weight in state.items() if "bias" not in name])

    first = weights(1)
    assert torch.equal(first, weights(1))
    assert (first == weights(2)).float().mean() < 0.01
    assert first.mean().abs() < 0.01
    assert abs(first.std() - 1) < 0.01
    generator = Oracle(length=20, seed=1).generator
    assert abs(generator.output_bias[2:].std() - 1) < 0.05
    (layer,) = generator.lstm_layers()
    assert abs((layer.bias_ih_l0 + layer.bias_hh_l0).std() - 1) < 0.2


def test_texts_follow_from_the_seed_and_their_number():
    assert SMALL.draw(50, seed=3).rows()[:20] == SMALL.draw(20, seed=3).rows()
    assert SMALL.draw(50, seed=3).rows() != SMALL.draw(50, seed=4).rows()


@pytest.mark.slow
def test_with_64_units_texts_of_40_words_have_the_entropy_of_the_papers():
    """LeakGAN's code takes a 64/64 oracle for 40 words; its logs say 4.12 and 4.18 nats a token, its table 4.07."""
    assert 3.9 < Oracle(length=40, seed=1, hidden=64).entropy(100, seed=1).nats < 4.4
