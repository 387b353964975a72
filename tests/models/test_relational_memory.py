"""For models/generators/relational_memory.py and relational_memory_network.py."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lstmgan_dist.models import drawing
from lstmgan_dist.models.drawing import draw
from lstmgan_dist.models.generators.relational_memory import RelationalMemoryKind
from lstmgan_dist.models.generators.relational_memory_network import RelationalMemoryGenerator
from lstmgan_dist.runtime.randomness import Noise
from tests.training.comparison import final_state
from tests.training.tiny_jobs import CONTINUOUS, GAMES, job_of, run_in_pieces, run_job

V, B, T = 23, 5, 7
GENERATORS: dict[str, dict[str, Any]] = {
    "one slot": {"heads": 2, "head_size": 8},
    "slots and blocks": {"slots": 3, "heads": 2, "head_size": 4, "blocks": 2, "mlp_layers": 3, "tied": False},
    "latent at every step": {"slots": 2, "head_size": 4, "latent": {"size": 3}},
    "latent as initial state": {"slots": 2, "head_size": 4, "latent": {"size": 3, "feed": "initial_state"}},
    "more slots than dimensions": {"slots": 6, "heads": 1, "head_size": 4},
}


def make(*, seed: int = 3, **settings: Any) -> RelationalMemoryGenerator:
    kind = RelationalMemoryKind(kind="relational_memory", **{"embedding": 16, **settings})
    return kind.build(vocabulary_size=V, seed=seed)


@pytest.fixture(params=GENERATORS.values(), ids=list(GENERATORS))
def generator(request: pytest.FixtureRequest) -> RelationalMemoryGenerator:
    return make(**request.param, dropout=0.3)


def tokens() -> Tensor:
    return torch.randint(0, V, (B, T), generator=torch.Generator().manual_seed(1))


def latent_of(generator: RelationalMemoryGenerator, rows: int = B) -> Tensor | None:
    return Noise(4, torch.arange(rows)).normal("z", generator.latent_size) if generator.latent_size else None


def written_out(generator: RelationalMemoryGenerator, x: Tensor, memory: Tensor) -> Tensor:
    """One position of one row, as section 3 of the paper and its authors' code have it: equation by equation."""
    size = memory.shape[1]
    head = size // generator.heads

    def norm(vector: Tensor, layer: torch.nn.LayerNorm) -> Tensor:
        centred = vector - vector.mean()
        return centred / (centred.square().mean() + 1e-5).sqrt() * layer.weight + layer.bias

    projected = generator.input_projection.weight @ x + generator.input_projection.bias
    rows = [*memory, projected]
    for _ in range(generator.blocks):
        attended = []
        qkv = [norm(generator.attention.weight @ row, generator.attention_norm) for row in rows]
        for mine in qkv:
            found = []
            for number in range(generator.heads):
                start = 3 * head * number
                query = mine[start : start + head]
                scores = [query @ other[start + head : start + 2 * head] / math.sqrt(head) for other in qkv]
                total = sum(score.exp() for score in scores)
                values = [other[start + 2 * head : start + 3 * head] for other in qkv]
                found.append(sum(score.exp() / total * value for score, value in zip(scores, values, strict=True)))
            attended.append(torch.cat(found))
        rows = [norm(row + one, generator.attended_norm) for row, one in zip(rows, attended, strict=True)]
        for number, row in enumerate(rows):
            inner = row
            for depth, layer in enumerate(generator.mlp_layers(), start=1):
                inner = layer.weight @ inner + layer.bias
                inner = inner.clamp(min=0) if depth < len(generator.mlp) else inner
            rows[number] = norm(row + inner, generator.mlp_norm)
    slots = []
    for slot, new in zip(memory, rows[:-1], strict=True):
        gates = generator.input_gates.weight @ projected + generator.input_gates.bias
        gates = gates + generator.memory_gates.weight @ slot.tanh()
        slots.append(gates[:size].sigmoid() * new.tanh() + gates[size:].sigmoid() * slot)
    return torch.stack(slots)


@torch.no_grad()
def test_reading_equals_the_equations(generator: RelationalMemoryGenerator) -> None:
    for parameter in generator.parameters():  # norms and biases, too, are to matter
        parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
    latent = latent_of(generator)
    hidden, (end,) = generator.read(tokens(), None, latent_BZ=latent, noise=None)
    (start,) = generator.initial_state(B, latent)
    x = generator.inputs(tokens(), latent, None)
    for row in range(B):
        memory = start[row]
        for t in range(T):
            memory = written_out(generator, x[row, t], memory)
            torch.testing.assert_close(hidden[row, t], memory.flatten(), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(end[row], memory, atol=1e-5, rtol=1e-4)


def test_forget_gates_start_open_and_slots_start_apart() -> None:
    generator = make(slots=3, heads=2, head_size=4, forget_bias=2.0)
    assert generator.input_gates.bias.tolist() == [0.0] * 8 + [2.0] * 8
    (memory,) = generator.initial_state(1)
    assert torch.equal(memory[0, :, :3], torch.eye(3))
    assert not memory[0, :, 3:].any()


def test_the_same_seed_gives_the_same_weights() -> None:
    def weights(seed: int) -> dict[str, Tensor]:
        torch.rand(1)  # PyTorch's own stream plays no part
        return make(head_size=8, latent={"size": 3, "feed": "initial_state"}, seed=seed).state_dict()

    assert all(torch.equal(one, other) for one, other in zip(weights(3).values(), weights(3).values(), strict=True))
    assert not torch.equal(weights(3)["attention.weight"], weights(4)["attention.weight"])


def test_reading_in_two_halves_equals_reading_at_once(generator: RelationalMemoryGenerator) -> None:
    inputs, latent = tokens(), latent_of(generator)
    whole, end = generator(inputs, latent_BZ=latent)
    first, state = generator(inputs[:, :3], latent_BZ=latent)
    second, state = generator(inputs[:, 3:], state, latent_BZ=latent)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(state, end, atol=1e-6, rtol=1e-5)


def test_a_row_is_read_the_same_alone_and_in_a_batch(generator: RelationalMemoryGenerator) -> None:
    noise, latent = Noise(9, torch.arange(B)), latent_of(generator)
    together, _ = generator(tokens(), latent_BZ=latent, noise=noise)
    for row in range(B):
        one = slice(row, row + 1)
        alone, _ = generator(tokens()[one], latent_BZ=None if latent is None else latent[one], noise=noise.part(one))
        torch.testing.assert_close(alone[0], together[row], atol=1e-6, rtol=1e-5)


def test_dropout_masks_follow_from_the_noise_and_are_constant_over_time() -> None:
    generator = make(heads=2, head_size=8, dropout={"output": 0.5})
    dropped, _ = generator(tokens(), noise=Noise(1, torch.arange(B)))
    again, _ = generator(tokens(), noise=Noise(1, torch.arange(B)))
    other, _ = generator(tokens(), noise=Noise(2, torch.arange(B)))
    assert torch.equal(dropped, again)
    assert not torch.equal(dropped, other)
    ratio = dropped / generator(tokens())[0]
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio))
    assert set(ratio.round(decimals=3).unique().tolist()) == {0.0, 2.0}


def test_every_parameter_has_a_finite_gradient(generator: RelationalMemoryGenerator) -> None:
    features, _ = generator(tokens(), latent_BZ=latent_of(generator), noise=Noise(1, torch.arange(B)))
    generator.log_likelihoods(features.flatten(0, 1), tokens().flatten()).sum().backward()
    for name, parameter in generator.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("settings", [{}, {"slots": 3, "head_size": 32, "blocks": 3, "mlp_layers": 1}], ids=str)
def test_activations_are_what_autograd_keeps(settings: dict[str, Any]) -> None:
    kind = RelationalMemoryKind(kind="relational_memory", embedding=128, **settings)
    generator = kind.build(vocabulary_size=V, seed=0)
    weights = {parameter.untyped_storage().data_ptr() for parameter in generator.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if tensor.is_floating_point() and storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes() // 4
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        generator.read(tokens(), None, latent_BZ=None, noise=None)
    assert sum(kept.values()) / tokens().numel() == pytest.approx(kind.activations(), rel=0.05)


def uniforms(rows: int) -> Tensor:
    return Noise(6, torch.arange(rows)).uniform("tokens", 12)


def ending(generator: RelationalMemoryGenerator) -> RelationalMemoryGenerator:
    """The generator, with some certainty in what it writes and texts that end."""
    with torch.no_grad():
        generator.embedding.weight.mul_(1.5)
        generator.output_bias[0] = 2
    return generator


@pytest.mark.parametrize("prompt", [(0,), (0, 7, 3)], ids=["sentence", "prompt"])
@torch.no_grad()
def test_drawing_equals_the_naive_loop(
    generator: RelationalMemoryGenerator, prompt: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In slots that rows wait for and that run out of rows, and in one step as a CUDA graph has it."""
    monkeypatch.setattr(drawing, "_SLOTS", 6)
    monkeypatch.setattr(drawing, "_SLOT_STEP", 2)
    generator, rows = ending(generator), 21
    latent = latent_of(generator, rows)
    drawn = draw(generator, uniforms(rows), latent_BZ=latent, prompt=prompt)
    for row, uniforms_T in enumerate(uniforms(rows)):
        written: list[int] = []
        for uniform in uniforms_T:
            z = None if latent is None else latent[row : row + 1]
            features, _ = generator(torch.tensor([[*prompt, *written]]), latent_BZ=z)
            cumulative = generator.logits(features[0, -1:])[0].double().softmax(-1).cumsum(-1)
            written.append(int((cumulative <= uniform.double()).sum()))
            if written[-1] == 0:
                break
        assert drawn.lengths_B[row] == len(written)
        assert drawn.tokens_BT[row].tolist() == F.pad(torch.tensor(written), (0, 12 - len(written))).tolist()
    assert 1 < drawn.lengths_B.float().mean() < 12

    def in_one_step(generator, uniforms_BT, latent_BZ, first_token, given, begin, pick):
        state = begin(latent_BZ, len(uniforms_BT))
        return drawing._draw_in_step(generator, uniforms_BT, latent_BZ, state, first_token, given, pick, torch.float32)

    monkeypatch.setattr(drawing, "_draw_in_slots", in_one_step)
    assert torch.equal(draw(generator, uniforms(rows), latent_BZ=latent, prompt=prompt).tokens_BT, drawn.tokens_BT)


@torch.no_grad()
def test_steps_in_bfloat16_are_those_in_float32_but_for_rounding(generator: RelationalMemoryGenerator) -> None:
    latent = latent_of(generator)
    state = generator.initial_state(B, latent)
    exact, rough = generator.step(latent, torch.float32), generator.step(latent, torch.bfloat16)
    exact_state, rough_state = state, tuple(tensor.bfloat16() for tensor in state)
    for token_B in tokens().unbind(1):
        exact_features, exact_state = exact(token_B, exact_state)
        rough_features, rough_state = rough(token_B, rough_state)
        assert rough_features.dtype == torch.bfloat16
        assert (rough_features - exact_features).norm() < 0.05 * exact_features.norm()
    assert not torch.equal(rough_state[0].float(), exact_state[0])


@pytest.mark.parametrize("template", [GAMES, CONTINUOUS], ids=["games", "continuous"])
def test_a_resumed_run_equals_an_uninterrupted_one(template: str, text, tmp_path) -> None:
    some = tmp_path / "some.txt"
    some.write_text("".join(text.read_text().splitlines(keepends=True)[:90]))
    block = "generator={kind: relational_memory, embedding: 8, slots: 2, head_size: 4, dropout: 0.2}"
    job = job_of(template, some, block)
    run_job(job, tmp_path / "whole")
    run_in_pieces(job, tmp_path / "pieces", steps=7)
    assert final_state(tmp_path / "pieces") == final_state(tmp_path / "whole")
