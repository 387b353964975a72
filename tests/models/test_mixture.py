"""A mixture of softmaxes against its formula, with every kind of generator that may have one."""

from typing import Any

import pytest
import torch
from torch import Tensor

from lstmgan_dist.errors import UserError
from lstmgan_dist.models.drawing import draw
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.models.generators import GENERATORS
from lstmgan_dist.models.generators.lstm_network import LSTMGenerator
from lstmgan_dist.runtime.randomness import Noise
from tests.training.comparison import final_state
from tests.training.tiny_jobs import GAMES, job_of, run_in_pieces, run_job

V, B, T, K = 23, 5, 7, 3
KINDS: dict[str, dict[str, Any]] = {
    "lstm": {"kind": "lstm", "hidden": 12},
    "untied lstm": {"kind": "lstm", "hidden": 12, "tied": False},
    "mogrifier": {"kind": "mogrifier", "hidden": 12},
    "relational memory": {"kind": "relational_memory", "head_size": 6},
}


@pytest.fixture(params=KINDS.values(), ids=list(KINDS))
def generator(request: pytest.FixtureRequest) -> Generator:
    kind = GENERATORS[request.param["kind"]](embedding=8, softmaxes=K, dropout=0.3, **request.param)
    return kind.build(vocabulary_size=V, labels=2, seed=3)


def tokens() -> Tensor:
    return torch.randint(0, V, (B, T), generator=torch.Generator().manual_seed(1))


def test_probabilities_are_the_weighted_mean_of_the_softmaxes(generator: Generator) -> None:
    mixture = generator.mixture
    assert mixture is not None
    with torch.no_grad():
        generator.output_bias.normal_()
    hidden, _ = generator.read(tokens(), None, latent_BZ=None, noise=None)
    features, _ = generator(tokens())
    found = generator.logits(features)
    shares = (hidden @ mixture.weights.weight.T).double().softmax(-1)
    expected = torch.zeros(B, T, V, dtype=torch.float64)
    for number, weight in enumerate(mixture.contexts.weight.chunk(K)):
        context = torch.tanh(hidden @ weight.T)
        softmax = (context @ generator.output_matrix.T + generator.output_bias).double().softmax(-1)
        expected += shares[..., number : number + 1] * softmax
    torch.testing.assert_close(found.double().exp(), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(B, T))
    logs = generator.log_likelihoods(features.flatten(0, 1), tokens().flatten(), temperature=0.7)
    colder = (expected.log() / 0.7).log_softmax(-1).gather(2, tokens()[..., None]).flatten()
    torch.testing.assert_close(logs.double(), colder, atol=1e-5, rtol=1e-5)


def test_it_can_be_what_no_single_softmax_of_these_sizes_is(generator: Generator) -> None:
    """Logits of more rank than the output matrix and its bias allow."""
    many = torch.randint(0, V, (40, T), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        generator.embedding.weight.mul_(4)
        features, _ = generator(many)
        logits = generator.logits(features).flatten(0, 1).double()
    assert (
        torch.linalg.matrix_rank(logits - logits.mean(dim=-1, keepdim=True), rtol=1e-5)
        > generator.output_matrix.shape[1] + 1
    )


@torch.no_grad()
def test_steps_tell_what_reading_at_once_tells(generator: Generator) -> None:
    whole, _ = generator(tokens())
    steps = [generator.step(None, torch.float32)]
    if type(generator) is LSTMGenerator:
        steps.append(generator.step_by_cells(None, torch.float32))
    for step in steps:
        state = generator.initial_state(B)
        for t, token_B in enumerate(tokens().unbind(1)):
            features, state = step(token_B, state)
            torch.testing.assert_close(features, whole[:, t], atol=1e-6, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("temperature", [0.0, 0.6, 1.0])
def test_texts_are_drawn_at_a_temperature_of_the_mixture(generator: Generator, temperature: float) -> None:
    generator.embedding.weight.mul_(3)
    uniforms = Noise(6, torch.arange(60)).uniform("tokens", T)
    drawn, _, _ = draw(generator, uniforms, temperature=temperature, suppress=(0, 4))
    read = torch.cat([torch.zeros(60, 1, dtype=torch.int64), drawn[:, :-1]], dim=1)
    logits = generator.logits(generator(read)[0]).double()
    logits[..., [0, 4]] = -torch.inf
    if temperature == 0:
        assert torch.equal(drawn, logits.argmax(-1))
        return
    cumulative = (logits / temperature).softmax(-1).cumsum(-1)
    above = cumulative.gather(2, drawn[..., None]).squeeze(2)
    below = cumulative.gather(2, (drawn - 1).clamp(min=0)[..., None]).squeeze(2)
    assert (uniforms <= above + 1e-5).all()
    assert (uniforms >= below - 1e-5).all()


def test_every_parameter_has_a_finite_gradient(generator: Generator) -> None:
    features, _ = generator(tokens(), noise=Noise(1, torch.arange(B)))
    generator.log_likelihoods(features.flatten(0, 1), tokens().flatten()).sum().backward()
    for name, parameter in generator.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_a_resumed_run_equals_an_uninterrupted_one(text, tmp_path) -> None:
    some = tmp_path / "some.txt"
    some.write_text("".join(text.read_text().splitlines(keepends=True)[:90]))
    job = job_of(GAMES, some, "generator.softmaxes=3")
    run_job(job, tmp_path / "whole")
    run_in_pieces(job, tmp_path / "pieces", steps=7)
    assert final_state(tmp_path / "pieces") == final_state(tmp_path / "whole")


def test_a_leak_generator_has_no_mixture(text) -> None:
    with pytest.raises(UserError, match="leave softmaxes out"):
        job_of(GAMES, text, "generator={kind: leak, softmaxes: 2}")
