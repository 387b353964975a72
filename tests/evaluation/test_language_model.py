"""Language models of evaluation against adding up token by token, and against what a toy language allows."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from lstmgan_dist.evaluation import language_model
from lstmgan_dist.evaluation.language_model import build, fit, nll, read, tokens_of
from lstmgan_dist.evaluation.texts import Texts, join_texts
from lstmgan_dist.models.generator import Generator
from tests.evaluation.toy import (
    RECIPE,
    VOCABULARY,
    WORDS,
    babble,
    counting,
)

CPU = torch.device("cpu")
ROWS = [[3, 4, 4], [], [5], [6, 1, 2, 1, 6, 12], [], [7, 8]]


@pytest.fixture(scope="module")
def network():
    network = build(VOCABULARY, replace(RECIPE, dropout=0.5), seed=3)
    torch.nn.init.normal_(network.output_bias, generator=torch.Generator().manual_seed(1))
    return network


def trained(texts, seed=1, **settings):
    return fit(texts, vocabulary_size=VOCABULARY, recipe=replace(RECIPE, **settings), seed=seed, device=CPU)


def frequency_nll(texts):
    """Nats per token under the texts' own frequencies."""
    counts = Counter(texts.tokens_T.tolist()) + Counter({0: len(texts)})
    shares = np.array([*counts.values()]) / counts.total()
    return float(-(shares * np.log(shares)).sum())


def test_nats_of_a_text_add_up_token_by_token(network):
    reading = read(network, Texts.of(ROWS), CPU)
    for row, nats in zip(ROWS, reading.nats_N, strict=True):
        expected, state, token = 0.0, None, 0
        for target in [*row, 0]:
            features, state = network(torch.tensor([[token]]), state)
            expected -= network.logits(features)[0, 0].log_softmax(-1)[target].item()
            token = target
        assert nats == pytest.approx(expected, rel=1e-5)
    assert nll(reading, Texts.of(ROWS)) == pytest.approx(reading.nats_N.sum() / 18)


def test_features_are_the_mean_over_a_text_and_its_end(network):
    reading = read(network, Texts.of(ROWS), CPU)
    assert reading.features_NF.dtype == np.float32
    for row, features_F in zip(ROWS, reading.features_NF, strict=True):
        alone_BPF, _ = network(torch.tensor([[0, *row]]))
        assert features_F == pytest.approx(alone_BPF[0].mean(0).detach().numpy(), abs=1e-6)


def test_an_empty_text_is_its_end_mark(network):
    features_BPF, _ = network(torch.tensor([[0]]))
    expected = -network.logits(features_BPF)[0, 0].log_softmax(-1)[0].item()
    assert read(network, Texts.of([[]]), CPU).nats_N == pytest.approx([expected], rel=1e-6)
    assert tokens_of(Texts.of(ROWS)).tolist() == [4, 1, 2, 7, 1, 3]


def test_neither_padding_nor_batches_nor_order_matter(network, monkeypatch):
    texts = join_texts([counting(300, seed=1), Texts.of(ROWS)])
    expected = read(network, texts, CPU)
    monkeypatch.setattr(language_model, "_SCORED_ROWS", 7)
    order = np.random.default_rng(1).permutation(len(texts))
    found = read(network, texts.take(order), CPU)
    assert found.nats_N == pytest.approx(expected.nats_N[order], rel=1e-5)
    assert found.features_NF == pytest.approx(expected.features_NF[order], abs=1e-6)


def test_a_language_is_learnt():
    texts, others = counting(400, seed=1), counting(200, seed=2)
    found = trained(texts)
    assert found.epochs <= RECIPE.epochs
    # Nothing foretells the first word; how long a text is, and the words after the first, take some learning.
    least = np.log(WORDS) / tokens_of(others).mean()
    reached = nll(read(found.network, others, CPU), others)
    assert least < reached < 0.75 * frequency_nll(others)
    assert found.held_back_nll == pytest.approx(reached, rel=0.2)


@pytest.mark.slow
def test_nothing_is_learnt_where_there_is_nothing_to_learn():
    texts, others = babble(400, seed=1), babble(400, seed=2)
    assert nll(read(trained(texts).network, others, CPU), others) > 0.98 * frequency_nll(others)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_model_and_another_one_another():
    texts = counting(120, seed=1)
    first, same, other = (trained(texts, seed=seed, epochs=2) for seed in (1, 1, 2))
    assert first.held_back_nll == same.held_back_nll != other.held_back_nll
    weights, sames, others = (found.network.state_dict() for found in (first, same, other))
    assert all(torch.equal(weights[name], sames[name]) for name in weights)
    assert not any(torch.equal(weights[name], others[name]) for name in weights if "bias" not in name)


@pytest.mark.slow
def test_few_texts_are_learnt_for_more_epochs():
    # 95 of the texts in batches of 8 are 12 steps.
    few = counting(100, seed=1)
    assert trained(few, epochs=2, patience=99, least_steps=37).epochs == 4
    assert trained(few, epochs=2, patience=99, least_steps=24).epochs == 2


@pytest.mark.parametrize("patience", [1, 2])
def test_training_stops_when_it_gets_worse_and_keeps_the_best(patience, monkeypatch):
    losses, held_back = [], []

    def recorded(network, texts, device):
        reading = read(network, texts, device)
        losses.append(nll(reading, texts))
        held_back.append(texts)
        return reading

    monkeypatch.setattr(language_model, "read", recorded)
    found = trained(babble(80, seed=1), learning_rate=0.1, epochs=20, patience=patience, held_back=0.25)
    assert found.epochs == len(losses) == 1 + int(np.argmin(losses)) + patience < 20
    assert found.held_back_nll == min(losses)
    assert nll(read(found.network, held_back[0], CPU), held_back[0]) == min(losses)


def test_no_text_that_is_held_back_is_learnt_and_all_others_are_once_an_epoch(monkeypatch):
    """Learning has noise, for dropout, and reading has none."""
    learnt, read_only, noises = [], Counter(), []
    forward = Generator.forward

    def recorded(self, inputs_BT, state=None, *, noise=None, **options):
        texts = [tuple(token for token in row if token) for row in inputs_BT.tolist()]
        if noise is None:
            read_only.update(texts)
        else:
            learnt.extend(texts)
            noises.append(noise.key)
        return forward(self, inputs_BT, state, noise=noise, **options)

    monkeypatch.setattr(Generator, "forward", recorded)
    rows = [(1 + number // WORDS, 1 + number % WORDS, *[5] * (number % 4)) for number in range(WORDS**2)]
    trained(Texts.of(rows), held_back=0.1, epochs=2, patience=2)
    assert len(read_only) == 14
    first, second = learnt[:130], learnt[130:]
    assert Counter(first) == Counter(second) == Counter(set(rows) - read_only.keys())
    assert first != second
    assert len(noises) == len(set(noises)) == 2 * 17


def test_a_model_begins_as_its_seed_says():
    first, same, other = (build(VOCABULARY, RECIPE, seed=seed).embedding.weight for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_texts_of_like_length_share_a_batch_in_another_order_every_epoch():
    texts = counting(1000, seed=1)
    first, second = ([*language_model._batches(texts, 8, key)] for key in (1, 2))
    assert [batch.rows() for batch in first] != [batch.rows() for batch in second]
    for batches in (first, second):
        assert Counter(map(tuple, join_texts(batches).rows())) == Counter(map(tuple, texts.rows()))
        assert np.mean([np.ptp(batch.lengths_N) for batch in batches]) < 1
        # Short texts do not come first, not even among the few that were sorted.
        lengths = [batch.lengths_N.mean() for batch in language_model._batches(texts.take(slice(0, 128)), 8, 1)]
        assert lengths != sorted(lengths)
