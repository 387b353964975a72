"""Drawing with an exported generator of the size of jobs/char_lm_small.yaml, on one core, beside PyTorch's nn.LSTM.

Seconds are those of a step (token and state to logits and state) and of choosing the token from a uniform, by the same
function for all; nats are those of held-out text, after a short training.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from lstmgan_dist.config import parse_job
from lstmgan_dist.models.drawing import draw
from lstmgan_dist.models.generators.lstm_network import LSTMGenerator
from lstmgan_dist.runs.export import FORMS, model
from lstmgan_dist.runs.export.exporting import export
from lstmgan_dist.runs.export.form import Quantisation
from lstmgan_dist.runs.export.model import State
from lstmgan_dist.runs.result import load_result
from lstmgan_dist.runtime.randomness import Noise
from tests.benchmarks.table import Row
from tests.benchmarks.timing import fastest
from tests.training.tiny_jobs import run_job

_JOB = Path("jobs/char_lm_small.yaml")
_STEPS = 300
_OVERRIDES = ("corpus.source=builtin:python-docs", f"phases.0.steps={_STEPS}", "phases.0.epochs=null")
_DRAWS = {"one text": (1, 300), "64 texts": (64, 100)}  # rows, tokens
_VARIANTS: list[tuple[str, Quantisation | None]] = [
    ("onnx", None),
    ("onnx", "int8"),
    ("onnx", "half"),
    ("safetensors", None),
    ("safetensors", "half"),
    ("torch", None),
    ("torch", "half"),
]
_TARGETS = {"onnx int8": 1.5}


def rows() -> Iterator[Row]:
    """Tokens a second of every form, with its bytes and nats."""
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as name:
        run = Path(name) / "run"
        run_job(parse_job(_JOB.read_text(), name=str(_JOB), overrides=_OVERRIDES), run)
        torch.set_num_threads(1)
        try:
            yield from _rows(run, Path(name))
        finally:
            torch.set_num_threads(threads)


def _rows(run: Path, place: Path) -> Iterator[Row]:
    generator = load_result(str(run), "latest", device="cpu", say=print).generator
    assert isinstance(generator, LSTMGenerator)
    drawers: dict[str, Callable[[Tensor], object]] = {"nn.LSTM": partial(_draw, *_eager(generator))}
    drawers["our own drawing"] = lambda uniforms_BT: draw(generator, uniforms_BT, suppress=(0,))
    notes = {"our own drawing": f"{4 * sum(weight.numel() for weight in generator.parameters()):,} bytes"}
    for form, quantisation in _VARIANTS:
        folder = place / f"{form}-{quantisation}"
        made = export(
            str(run), "latest", str(folder), form=form, quantisation=quantisation, smaller=None, device="cpu",
            say=print, watch=lambda items, total, description: iter(items),
        )  # fmt: skip
        opened = FORMS[form]().read(folder)
        name = f"{form} {quantisation or 'fp32'}"
        drawers[name] = partial(_draw, opened.start, opened.step)
        size = sum(path.stat().st_size for path in folder.iterdir() if path.suffix in _OF_WEIGHTS)
        notes[name] = f"{size:,} bytes, {made.comparison.nll:.4f} nats, unexported {made.comparison.own_nll:.4f}"
    for what, (texts, length) in _DRAWS.items():
        uniforms_BT = Noise(1, torch.arange(texts)).uniform("tokens", length)
        seconds = fastest(*(partial(drawer, uniforms_BT) for drawer in drawers.values()), rounds=5)
        reference, *others = (texts * length / taken for taken in seconds)
        for name, rate in zip(list(drawers)[1:], others, strict=True):
            ratio, target = rate / reference, _TARGETS.get(name, 1.0)
            yield Row(f"{name}, {what}", rate, "tokens/s", reference, "nn.LSTM", ratio, target, notes[name])


_OF_WEIGHTS = (".safetensors", ".bin", ".onnx", ".pt2")


def _draw(start: Callable[..., State], step: Callable[..., tuple[Tensor, State]], uniforms_BT: Tensor) -> object:
    return model.draw(start, step, uniforms_BT, latent_BZ=None, prompt=(0,), temperature=1.0, suppress=(0,), end=0)


def _eager(generator: LSTMGenerator) -> tuple[Callable[[Tensor], State], Callable[..., tuple[Tensor, State]]]:
    """What everybody writes first: nn.Embedding, nn.LSTM on one position, nn.Linear."""
    (layer,) = generator.lstm_layers()
    lstm, output = nn.LSTM(layer.input_size, layer.hidden_size, batch_first=True), nn.Linear(layer.hidden_size, 1)
    lstm.load_state_dict(layer.state_dict())
    output.weight, output.bias = nn.Parameter(generator.output_matrix), generator.output_bias

    def start(tokens_B: Tensor) -> State:
        zeros = torch.zeros(1, len(tokens_B), layer.hidden_size)
        return zeros, zeros

    @torch.no_grad()
    def step(tokens_B: Tensor, state: State) -> tuple[Tensor, State]:
        hidden_B1H, after = lstm(generator.embedding(tokens_B[:, None]), state)
        return output(hidden_B1H[:, 0]), after

    return start, step
