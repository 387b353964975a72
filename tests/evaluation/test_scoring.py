"""Scores of given texts against reading them one by one, token by token."""

import numpy as np
import pytest
import torch

from lstmgan_dist.corpus.order import TextOrder
from lstmgan_dist.corpus.prepare import prepare
from lstmgan_dist.corpus.settings import Corpus, TokenizerSettings
from lstmgan_dist.corpus.stream import heldout_batches
from lstmgan_dist.evaluation import scoring
from lstmgan_dist.evaluation.likelihood import heldout_likelihood
from lstmgan_dist.evaluation.scoring import discriminator_scores, mean_hidden_states, token_log_likelihoods
from lstmgan_dist.evaluation.texts import Texts, batches_of
from lstmgan_dist.models.discriminators import DISCRIMINATORS
from lstmgan_dist.models.generators import GENERATORS
from lstmgan_dist.storage import Folder
from tests.networks import lstm_generator
from tests.training.tiny_jobs import small_sizes

CPU, WORDS = torch.device("cpu"), 9
ROWS = [[3, 4], [5, 2, 7, 7, 8, 2, 3], [], [6], [1, 8, 8, 8, 8], [4, 3], [2] * 11]
TEXTS = Texts.of(ROWS)


@pytest.fixture(params=GENERATORS)
def generator(request):
    sizes = small_sizes("generator", request.param)
    return GENERATORS[request.param](kind=request.param, **sizes).build(vocabulary_size=WORDS, seed=3).eval()


@pytest.fixture(params=["whole", "in stretches"])
def _stretches(request, monkeypatch):
    """Texts are read in one go, or some positions of a few at a time."""
    if request.param == "in stretches":
        monkeypatch.setattr(scoring, "_STRETCH", 3)
        monkeypatch.setattr(scoring, "_ROWS", 2)


def read_alone(generator, row, prompt):
    """The hidden state behind the prompt and every token, and the log-probabilities of what may follow each."""
    hidden, _ = generator.read(torch.tensor([[*prompt, *row]]), None, latent_BZ=None, noise=None)
    hidden = hidden[:, len(prompt) - 1 :]
    return hidden[0], generator.logits(generator.features(hidden))[0].log_softmax(-1)


@pytest.mark.usefixtures("_stretches")
@pytest.mark.parametrize("prompt", [(0,), (0, 5, 6)])
@pytest.mark.parametrize("ends", [True, False])
@torch.no_grad()
def test_each_token_has_the_probability_that_it_has_behind_those_before_it(generator, prompt, ends):
    found = token_log_likelihoods(generator, TEXTS, CPU, prompt=prompt, ends=ends)
    expected = []
    for row in ROWS:
        _, log_probabilities = read_alone(generator, row, prompt)
        tokens = [*row, 0] if ends else row
        expected += [log_probabilities[place, token].item() for place, token in enumerate(tokens)]
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.usefixtures("_stretches")
@torch.no_grad()
def test_an_embedding_is_the_mean_of_the_states_behind_the_tokens(generator):
    expected = [read_alone(generator, row, (0,))[0][1 if row else 0 :].mean(0).numpy() for row in ROWS]
    assert np.abs(mean_hidden_states(generator, TEXTS, CPU, (0,)) - np.array(expected)).max() < 1e-5


@pytest.mark.usefixtures("_stretches")
@pytest.mark.parametrize("feed", ["every_step", "initial_state"])
def test_with_a_latent_vector_the_sum_is_that_of_the_held_out_likelihood(feed):
    generator = lstm_generator(WORDS, embedding=4, hidden=5, latent={"size": 3, "feed": feed})
    together = heldout_likelihood(generator, batches_of(TEXTS), CPU)
    found = token_log_likelihoods(generator, TEXTS, CPU)
    assert -found.sum(dtype=np.float64) == pytest.approx(together.nats, rel=1e-6)
    assert len(found) == together.tokens
    later = token_log_likelihoods(generator, TEXTS.take(slice(4, None)), CPU, first=4)
    assert later == pytest.approx(found[-len(later) :], abs=1e-6)


@pytest.mark.usefixtures("_stretches")
def test_stretches_of_a_continuous_text_add_up_to_its_held_out_likelihood(text, tmp_path):
    settings = Corpus(
        source=str(text), heldout_fraction=0.2, layout="continuous", tokenizer=TokenizerSettings(kind="character")
    )
    corpus = prepare(settings, Folder(tmp_path), report=lambda progress: None)
    generator = lstm_generator(corpus.tokenizer.vocabulary_size, embedding=4, hidden=5)
    batches = heldout_batches(corpus, batch_size=8, most_sequences=10**6, share=0, shares=1)
    together = heldout_likelihood(generator, batches, CPU)
    blocks = corpus.read_blocks("heldout", range(len(corpus.splits["heldout"].blocks)))
    tokens = np.concatenate([block.tokens_T for block in blocks]).tolist()
    order = TextOrder(len(tokens), rows=8, length=corpus.max_length)
    nats = count = 0
    for row in range(8):
        first, *others = (tokens[place] for place in order.stretch(row, range(order.steps)))
        found = token_log_likelihoods(generator, Texts.of([others]), CPU, prompt=(first,), ends=False)
        nats -= found.sum(dtype=np.float64)
        count += len(found)
    assert (count, nats) == (together.tokens, pytest.approx(together.nats, rel=1e-6))


@pytest.mark.usefixtures("_stretches")
@pytest.mark.parametrize(
    ("kind", "scores"),
    [
        ("lstm", "per_token"),
        ("lstm", "per_sentence"),
        ("convolutional", None),
        ("hidden_states", None),
        ("mediator", None),
    ],
)
@torch.no_grad()
def test_a_discriminator_says_of_each_text_what_it_says_of_it_alone(kind, scores):
    generator = lstm_generator(WORDS, embedding=4, hidden=12)
    chosen = {"scores": scores} if scores else {}
    settings = DISCRIMINATORS[kind](kind=kind, **chosen, **small_sizes("discriminator", kind))
    discriminator = settings.build(vocabulary_size=WORDS, generator_hidden=12, seed=5)
    of_tokens, of_texts = discriminator_scores(discriminator, generator, TEXTS, CPU)
    expected, means = [], []
    for row in ROWS:
        seen = discriminator.see(torch.tensor([[*row, 0]]), generator)
        alone = discriminator(seen, torch.tensor([len(row) + 1])).flatten()
        expected += alone.tolist()
        means.append(alone.mean().item())
    assert of_tokens == pytest.approx(expected, abs=1e-5)
    assert of_texts == pytest.approx(means, abs=1e-5)
