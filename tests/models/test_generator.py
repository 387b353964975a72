"""Generators of all kinds, and the LSTM of models/generators/lstm_network.py against its equations.

Also for models/generators/kind.py: what it tells of the work is what is done.
"""

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from lstmgan_dist.models.fused import LSTMLayer, linear
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.models.generators.kind import GeneratorKind, Latent
from lstmgan_dist.models.generators.lstm import LSTMGeneratorKind
from lstmgan_dist.models.generators.lstm_network import LSTMGenerator
from lstmgan_dist.models.generators.mogrifier import MogrifierKind
from lstmgan_dist.models.generators.relational_memory import RelationalMemoryKind
from lstmgan_dist.runtime.randomness import Noise
from tests.networks import lstm_generator

V, B, T = 23, 5, 7
KINDS: dict[str, dict[str, Any]] = {
    "tied": {"embedding": 16, "hidden": 16},
    "tied with projection": {"embedding": 8, "hidden": 16, "layers": 2},
    "untied": {"embedding": 8, "hidden": 16, "tied": False, "layers": 2},
    "latent at every step": {"embedding": 8, "hidden": 16, "latent": {"size": 3}},
    "latent as initial state": {
        "embedding": 8,
        "hidden": 16,
        "layers": 2,
        "latent": {"size": 3, "feed": "initial_state"},
    },
}
DROPOUT: dict[str, Any] = {"dropout": {"embedding": 0.3, "between": 0.3, "output": 0.3, "weight": 0.4}}


@pytest.fixture(params=KINDS.values(), ids=list(KINDS))
def generator(request: pytest.FixtureRequest) -> Generator:
    return lstm_generator(V, **request.param, **DROPOUT, seed=3)


def text(rows: int = B) -> Tensor:
    return torch.randint(0, V, (rows, T), generator=torch.Generator().manual_seed(1))


def latent_of(generator: Generator, rows: int = B) -> Tensor | None:
    return Noise(4, torch.arange(rows)).normal("z", generator.latent_size) if generator.latent_size else None


@pytest.mark.parametrize(
    "kind",
    [
        LSTMGeneratorKind(embedding=8, hidden=12, layers=2, latent=Latent(size=3)),
        LSTMGeneratorKind(embedding=8, hidden=12, tied=False, latent=Latent(size=3, feed="initial_state")),
        LSTMGeneratorKind(embedding=8, hidden=12, softmaxes=3),
        LSTMGeneratorKind(embedding=8, hidden=12, softmaxes=3, tied=False),
        MogrifierKind(kind="mogrifier", embedding=8, hidden=12, layers=2, rounds=3),
        MogrifierKind(kind="mogrifier", embedding=8, hidden=12, rank=3),
        RelationalMemoryKind(kind="relational_memory", embedding=8, head_size=4),
        RelationalMemoryKind(kind="relational_memory", embedding=7, slots=3, head_size=5, blocks=2, mlp_layers=3),
    ],
    ids=[
        *("lstm", "untied lstm", "mixture", "untied mixture"),
        *("mogrifier", "mogrifier of low rank", "one slot", "slots and blocks"),
    ],
)
def test_operations_are_those_that_torch_counts(kind: GeneratorKind) -> None:
    generator = kind.build(vocabulary_size=V, seed=0)
    latent_BZ = latent_of(generator, rows=1)
    # The fused kernel of an LSTM is not counted.
    make_step = generator.step_by_cells if type(generator) is LSTMGenerator else generator.step
    step, state = make_step(latent_BZ, torch.float32), generator.initial_state(1, latent_BZ)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        features_BF, _ = step(torch.zeros(1, dtype=torch.int64), state)
        generator.logits(features_BF)
    assert kind.operations(V) == counter.get_total_flops()


def test_layer_equals_the_lstm_equations() -> None:
    layer = LSTMLayer(4, 6)
    layer.initialise(seed=2, name="layer")
    x, h, c = torch.randn(3, 5, 4), torch.randn(3, 6), torch.randn(3, 6)
    keep = Noise(1, torch.arange(3)).shared_keep("w", 24, 6, dropout=0.5)
    outputs, (h_end, c_end) = layer.read(x, (h, c), recurrent_keep=keep)
    for t in range(5):
        gates = x[:, t] @ layer.weight_ih_l0.T + h @ (layer.weight_hh_l0 * keep).T + layer.bias_ih_l0 + layer.bias_hh_l0
        i, f, g, o = gates.chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        torch.testing.assert_close(outputs[:, t], h, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close((h_end, c_end), (h, c), atol=1e-6, rtol=1e-5)


def test_weight_dropout_stays_on_the_fused_kernel() -> None:
    generator = lstm_generator(V, embedding=8, hidden=16, layers=2, **DROPOUT)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        features, _ = generator(text(), noise=Noise(1, torch.arange(B)))
        features.sum().backward()
    kernels = {event.key: event.count for event in profiled.key_averages()}
    assert kernels["aten::mkldnn_rnn_layer"] == kernels["aten::mkldnn_rnn_layer_backward"] == 2


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """How many of them PyTorch has meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")  # by which PyTorch chooses its kernel too
@pytest.mark.parametrize("rows", [3, 5000])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_equals_torch_with_its_gradients(rows: int, bias: bool) -> None:
    layer = nn.Linear(17, 9, bias=bias)
    x = torch.randn(rows, 17, requires_grad=True)
    expected = torch.autograd.grad(layer(x).square().mean(), [x, *layer.parameters()])
    found = torch.autograd.grad(linear(x, layer.weight, layer.bias).square().mean(), [x, *layer.parameters()])
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def test_the_same_seed_gives_the_same_weights() -> None:
    def weights(seed: int) -> dict[str, Tensor]:
        torch.rand(1)  # PyTorch's own stream plays no part
        return lstm_generator(V, embedding=8, hidden=16, seed=seed).state_dict()

    assert all(torch.equal(one, other) for one, other in zip(weights(3).values(), weights(3).values(), strict=True))
    assert not torch.equal(weights(3)["embedding.weight"], weights(4)["embedding.weight"])


def test_an_untrained_generator_knows_nothing(generator: Generator) -> None:
    features, _ = generator(text(), latent_BZ=latent_of(generator))
    nll = -generator.log_likelihoods(features.flatten(0, 1), text().flatten()).mean().item()
    assert nll == pytest.approx(math.log(V), abs=0.3)


def test_reading_in_two_halves_equals_reading_at_once(generator: Generator) -> None:
    inputs, latent = text(), latent_of(generator)
    whole, end = generator(inputs, latent_BZ=latent)
    first, state = generator(inputs[:, :3], latent_BZ=latent)
    second, state = generator(inputs[:, 3:], state, latent_BZ=latent)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(state, end, atol=1e-6, rtol=1e-5)


def test_a_row_is_read_the_same_alone_and_in_a_batch(generator: Generator) -> None:
    noise, latent = Noise(9, torch.arange(B)), latent_of(generator)
    together, _ = generator(text(), latent_BZ=latent, noise=noise)
    for row in range(B):
        one = slice(row, row + 1)
        alone, _ = generator(text()[one], latent_BZ=None if latent is None else latent[one], noise=noise.part(one))
        torch.testing.assert_close(alone[0], together[row], atol=1e-6, rtol=1e-5)


def test_log_likelihoods_are_those_of_the_softmax(generator: Generator) -> None:
    features, _ = generator(text(), latent_BZ=latent_of(generator))
    logits = features @ generator.output_matrix.T + generator.output_bias
    expected = F.log_softmax(logits, dim=-1).gather(2, text()[..., None]).squeeze(2)
    found = generator.log_likelihoods(features.flatten(0, 1), text().flatten())
    torch.testing.assert_close(found, expected.flatten(), atol=1e-5, rtol=1e-5)


def test_dropout_masks_are_constant_over_time() -> None:
    generator = lstm_generator(V, embedding=16, hidden=16, dropout={"output": 0.5})
    dropped, _ = generator(text(), noise=Noise(1, torch.arange(B)))
    kept, _ = generator(text())
    ratio = dropped / kept
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio))
    assert set(ratio.round(decimals=3).unique().tolist()) == {0.0, 2.0}


def test_weight_dropout_is_the_same_for_all_rows_and_differs_between_updates() -> None:
    generator = lstm_generator(V, embedding=16, hidden=16, dropout={"weight": 0.5})
    inputs = text(rows=1).expand(B, -1)
    first, _ = generator(inputs, noise=Noise(1, torch.arange(B)))
    torch.testing.assert_close(first, first[:1].expand_as(first))
    second, _ = generator(inputs, noise=Noise(2, torch.arange(B)))
    assert not torch.allclose(first, second)


def test_every_parameter_has_a_gradient(generator: Generator) -> None:
    features, _ = generator(text(), latent_BZ=latent_of(generator), noise=Noise(1, torch.arange(B)))
    generator.log_likelihoods(features.flatten(0, 1), text().flatten()).sum().backward()
    for name, parameter in generator.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
