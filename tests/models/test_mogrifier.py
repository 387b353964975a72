"""The Mogrifier LSTM: its equations and gradients, an LSTM inside, drawing, and whole runs.

For models/generators/mogrifier.py, models/generators/mogrifier_network.py and models/generators/mogrifier_sequence.py.
"""

from typing import Any

import pytest
import torch
from torch import Tensor

from lstmgan_dist.errors import UserError
from lstmgan_dist.models import fused
from lstmgan_dist.models.drawing import draw
from lstmgan_dist.models.generators.mogrifier import MogrifierKind
from lstmgan_dist.models.generators.mogrifier_network import MogrifierGenerator, MogrifierLayer
from lstmgan_dist.runs.export.plain import refuse_unknown
from lstmgan_dist.runs.result import load_result
from lstmgan_dist.runtime.randomness import Noise
from tests.networks import lstm_generator
from tests.training.comparison import final_state
from tests.training.tiny_jobs import CONTINUOUS, GAMES, job_of, run_in_pieces, run_job

V, B, T = 23, 5, 7
GENERATORS: dict[str, dict[str, Any]] = {
    "five rounds": {},
    "layers, low rank, untied": {"layers": 2, "rank": 3, "rounds": 4, "tied": False},
    "latent at every step": {"rounds": 2, "latent": {"size": 3}},
    "latent as initial state": {"rounds": 1, "latent": {"size": 3, "feed": "initial_state"}},
}


def make(*, seed: int = 3, **settings: Any) -> MogrifierGenerator:
    kind = MogrifierKind(kind="mogrifier", **{"embedding": 8, "hidden": 12, **settings})
    return kind.build(vocabulary_size=V, seed=seed)


@pytest.fixture(params=GENERATORS.values(), ids=list(GENERATORS))
def generator(request: pytest.FixtureRequest) -> MogrifierGenerator:
    return make(**request.param, dropout={"embedding": 0.3, "between": 0.3, "output": 0.3, "weight": 0.3})


def tokens() -> Tensor:
    return torch.randint(0, V, (B, T), generator=torch.Generator().manual_seed(1))


def latent_of(generator: MogrifierGenerator, rows: int = B) -> Tensor | None:
    return Noise(4, torch.arange(rows)).normal("z", generator.latent_size) if generator.latent_size else None


def written_out(layer: MogrifierLayer, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """One position of one row, as equations 1 and 2 and those of an LSTM have it."""
    for number, gate in enumerate(layer.gates, start=1):
        matrix = torch.eye(len(h) if number % 2 else len(x))
        for factor in gate.parameters():
            matrix = factor @ matrix
        if number % 2:
            x = 2 * torch.sigmoid(matrix @ h) * x
        else:
            h = 2 * torch.sigmoid(matrix @ x) * h
    gates = layer.weight_ih_l0 @ x + layer.bias_ih_l0 + layer.weight_hh_l0 @ h + layer.bias_hh_l0
    take, keep, new, show = gates.chunk(4)
    c = keep.sigmoid() * c + take.sigmoid() * new.tanh()
    return show.sigmoid() * c.tanh(), c


@torch.no_grad()
def test_reading_equals_the_equations(generator: MogrifierGenerator) -> None:
    latent = latent_of(generator)
    hidden, end = generator.read(tokens(), None, latent_BZ=latent, noise=None)
    start_h, start_c = generator.initial_state(B, latent)
    inputs = generator.inputs(tokens(), latent, None)
    for row in range(B):
        h, c = list(start_h[row]), list(start_c[row])
        for t in range(T):
            x = inputs[row, t]
            for number, layer in enumerate(generator.layers):
                assert isinstance(layer, MogrifierLayer)
                h[number], c[number] = written_out(layer, x, h[number], c[number])
                x = h[number]
            torch.testing.assert_close(hidden[row, t], x, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close((end[0][row], end[1][row]), (torch.stack(h), torch.stack(c)), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("rank", [None, 3])
def test_gradients_are_those_of_autograd(rank: int | None) -> None:
    layer = MogrifierLayer(6, 8, 5, rank)
    layer.initialise(1, "layer")
    noise = Noise(2, torch.arange(4))
    inputs, h, c = noise.normal("x", T, 6), noise.normal("h", 8), noise.normal("c", 8)
    for tensor in (inputs, h, c):
        tensor.requires_grad_()
    asked = [inputs, h, c, *layer.parameters()]

    def gradients() -> list[Tensor]:
        outputs, (end_h, end_c) = layer.read(inputs, (h, c))
        return list(torch.autograd.grad(outputs.sin().sum() + 2 * end_h.sum() + end_c.square().sum(), asked))

    found = gradients()
    with fused.twice_differentiable():
        expected = gradients()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_gates_of_one_half_leave_the_lstm_of_the_same_seed() -> None:
    settings: dict[str, Any] = {"layers": 2, "dropout": {"weight": 0.4, "between": 0.2}}
    generator = make(**settings)
    lstm = lstm_generator(V, embedding=8, hidden=12, seed=3, **settings)
    for layer in generator.layers:
        assert isinstance(layer, MogrifierLayer)
        for weight in layer.gates.parameters():
            weight.zero_()
    noise = Noise(9, torch.arange(B))
    torch.testing.assert_close(generator(tokens(), noise=noise), lstm(tokens(), noise=noise), atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_a_step_equals_reading_and_halves_equal_the_whole(generator: MogrifierGenerator) -> None:
    latent = latent_of(generator)
    whole, end = generator(tokens(), latent_BZ=latent)
    step, state = generator.step(latent, torch.float32), generator.initial_state(B, latent)
    for t in range(T):
        features, state = step(tokens()[:, t], state)
        torch.testing.assert_close(features, whole[:, t], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(state, end, atol=1e-6, rtol=1e-5)
    first, state = generator(tokens()[:, :3], latent_BZ=latent)
    second, state = generator(tokens()[:, 3:], state, latent_BZ=latent)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(state, end, atol=1e-6, rtol=1e-5)


def test_drawn_text_is_as_probable_as_reading_says(generator: MogrifierGenerator) -> None:
    """The most probable token of every prefix, one by one, is that of a reading of the whole text."""
    latent = latent_of(generator)
    drawn = draw(generator, torch.full((B, T), 0.5), latent_BZ=latent, temperature=0, suppress=(0,))
    inputs = torch.nn.functional.pad(drawn.tokens_BT, (1, -1))
    logits = generator.logits(generator(inputs, latent_BZ=latent)[0])
    logits[..., 0] = -torch.inf
    assert torch.equal(logits.argmax(-1), drawn.tokens_BT)


@pytest.mark.parametrize("template", [GAMES, CONTINUOUS], ids=["games", "text"])
def test_a_run_stopped_every_few_steps_equals_an_uninterrupted_one_and_is_not_exported(template, text, tmp_path):
    job = job_of(template, text, "generator={kind: mogrifier, embedding: 8, hidden: 12, rank: 4, dropout: 0.2}")
    run_job(job, tmp_path / "whole")
    run_in_pieces(job, tmp_path / "run", steps=3)
    assert final_state(tmp_path / "run") == final_state(tmp_path / "whole")
    with pytest.raises(UserError, match="kind mogrifier cannot be exported: export knows of lstm"):
        refuse_unknown(load_result(str(tmp_path / "whole"), "latest", device="cpu", say=print))
