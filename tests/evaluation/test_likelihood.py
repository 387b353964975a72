"""Held-out likelihood against adding up token by token."""

import math

import pytest
import torch

from lstmgan_dist.corpus.prepare import prepare
from lstmgan_dist.corpus.settings import Corpus
from lstmgan_dist.corpus.stream import Batch, heldout_batches
from lstmgan_dist.evaluation.likelihood import Likelihood, heldout_likelihood
from lstmgan_dist.storage import Folder
from tests.networks import lstm_generator

CPU = torch.device("cpu")


def test_likelihood_is_the_sum_over_tokens_whatever_the_padding():
    generator = lstm_generator(7, embedding=4, hidden=5, dropout={"output": 0.5})
    sentences = [[3, 4, 0], [5, 0], [6, 6, 2, 1, 0]]
    expected = 0.0
    for sentence in sentences:
        state, token = None, 0
        for target in sentence:
            features, state = generator(torch.tensor([[token]]), state)
            expected -= generator.logits(features)[0, 0].log_softmax(-1)[target].item()
            token = target
    batch = Batch(
        inputs_BT=torch.tensor([[0, 3, 4, 0, 0], [0, 5, 0, 0, 0], [0, 6, 6, 2, 1]]),
        targets_BT=torch.tensor([[3, 4, 0, 0, 0], [5, 0, 0, 0, 0], [6, 6, 2, 1, 0]]),
        lengths_B=torch.tensor([3, 2, 5]),
        fresh=True,
    )
    likelihood = heldout_likelihood(generator, [batch], CPU)
    assert likelihood.tokens == 10
    assert likelihood.nats == pytest.approx(expected, rel=1e-6)


def test_state_is_carried_along_a_continuous_text():
    generator = lstm_generator(7, embedding=4, hidden=5)
    text = torch.tensor([[1, 2, 3, 4, 5, 6, 5, 4, 3]])
    whole = Batch(text[:, :-1], text[:, 1:], torch.tensor([8]), fresh=True)
    halves = [
        Batch(text[:, :4], text[:, 1:5], torch.tensor([4]), fresh=True),
        Batch(text[:, 4:8], text[:, 5:9], torch.tensor([4]), fresh=False),
    ]
    one, two = (heldout_likelihood(generator, batches, CPU) for batches in ([whole], halves))
    assert one.nats == pytest.approx(two.nats, rel=1e-6)


@pytest.mark.parametrize("latent_size", [0, 3])
def test_heldout_loss_depends_on_neither_the_batch_size_nor_the_number_of_shares(latent_size, text, tmp_path):
    settings = Corpus(source=str(text), heldout_fraction=0.3)
    corpus = prepare(settings, Folder(tmp_path), report=lambda progress: None)
    torch.manual_seed(1)
    latent = {"size": latent_size} if latent_size else None
    generator = lstm_generator(corpus.tokenizer.vocabulary_size, embedding=4, hidden=5, latent=latent)

    def nll(batch_size, shares):
        parts = [
            heldout_likelihood(
                generator,
                heldout_batches(corpus, batch_size=batch_size, most_sequences=1000, share=share, shares=shares),
                CPU,
            )
            for share in range(shares)
        ]
        return sum(part.nats for part in parts) / sum(part.tokens for part in parts)

    expected = nll(1, 1)
    for batch_size in (3, 7):
        for shares in (1, 2, 4):
            assert nll(batch_size, shares) == pytest.approx(expected, rel=1e-6)


def test_units():
    likelihood = Likelihood(nats=20 * math.log(2), tokens=10)
    assert likelihood.nll == pytest.approx(2 * math.log(2))
    assert likelihood.perplexity == pytest.approx(4)
    assert likelihood.bits_per_character(characters_per_token=4) == pytest.approx(0.5)
