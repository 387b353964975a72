"""Programs of torch.export, which torch alone runs.

A whole text is scored by steps, for the loop over a relational memory's positions is none that torch.export takes.

Shapes: B rows, T positions, Z latent dimensions.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from copy import copy
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lstmgan_dist.runs.export.form import Form, Opened, Quantisation
from lstmgan_dist.runs.export.model import Network, State
from lstmgan_dist.runs.export.usage import begun, text_of

_EXAMPLE_ROWS = 3  # neither 0 nor 1, which would be taken for fixed


class _Step(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = _part(network, starts=False)

    def forward(self, tokens: Tensor, state: State, latent: Tensor | None = None) -> tuple[Tensor, State]:
        return self.network.step(tokens, state, latent)


class _Start(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = _part(network, starts=True)

    def forward(self, tokens: Tensor, latent: Tensor | None = None) -> State:
        return self.network.start(tokens, latent)


def _part(network: Network, *, starts: bool) -> Network:
    """What a start takes, or all else: a program keeps every weight of its module, used or not."""
    part = copy(network)
    part._parameters = {} if starts else network._parameters
    part._modules = {name: child for name, child in network._modules.items() if name.startswith("latent_to_") == starts}
    return part


def _write(network: Network, quantisation: Quantisation | None, folder: Path) -> None:
    if quantisation == "half":
        network = network.half()
    tokens = torch.zeros(_EXAMPLE_ROWS, dtype=torch.int64)
    latent = torch.zeros(_EXAMPLE_ROWS, network.latent_size) if network.latent_size else None
    state = network.start(tokens, latent)
    rows = {0: torch.export.Dim("rows")}
    of_latent = (rows if latent is not None else None,)
    start = torch.export.export(_Start(network), (tokens, latent), dynamic_shapes=(rows, *of_latent))
    shapes = (rows, tuple(rows for _ in state), *of_latent)
    step = torch.export.export(_Step(network), (tokens, state, latent), dynamic_shapes=shapes)
    for name, program in (("start", start), ("step", step)):
        program.example_inputs = None  # the one thing that would be pickled
        file = io.BytesIO()
        torch.export.save(program, file)
        (folder / f"{name}.pt2").write_bytes(file.getvalue())


def _read(folder: Path) -> Opened:
    start, step = (torch.export.load(folder / f"{name}.pt2").module() for name in ("start", "step"))

    def start_(tokens_B: Tensor, latent_BZ: Tensor | None = None) -> State:
        return start(tokens_B, latent_BZ)

    def step_(tokens_B: Tensor, state: State, latent_BZ: Tensor | None = None) -> tuple[Tensor, State]:
        return step(tokens_B, state, latent_BZ)

    def score(tokens_BT: Tensor, state: State | None = None, latent_BZ: Tensor | None = None) -> tuple[Tensor, State]:
        found = []
        after = start(tokens_BT[:, 0], latent_BZ) if state is None else state
        for tokens_B, next_B in pairwise(tokens_BT.unbind(1)):
            logits_BV, after = step(tokens_B, after, latent_BZ)
            found.append(logits_BV.log_softmax(-1).gather(1, next_B[:, None]))
        return torch.cat(found, dim=1), after

    return Opened(start_, step_, score)


_USAGE = """
start, step = (torch.export.load(f"{name}.pt2").module() for name in ("start", "step"))
random, drawing, texts = torch.Generator().manual_seed(1), config["drawing"], []
latent = LATENT
uniforms = torch.rand(5, length, generator=random)
tokens = torch.full((5,), first[0])
state = start(tokens, latent)
for token in first[1:]:
    _, state = step(tokens, state, latent)
    tokens = torch.full((5,), token)
for position in range(length):
    logits, state = step(tokens, state, latent)
    logits[:, drawing["suppress"]] = -torch.inf
    cumulative = logits.double().softmax(1).cumsum(1)
    tokens = (cumulative <= uniforms[:, position, None] * cumulative[:, -1:]).sum(1).clamp(max=logits.shape[1] - 1)
    texts.append(tokens)
for text in torch.stack(texts, dim=1).tolist():
    end = text.index(config["end_id"]) if config["end_id"] in text else len(text)
    print(TEXT)
"""


def _usage(config: Mapping[str, Any]) -> str:
    latent = config["network"]["latent"]
    made = f"torch.randn(5, {latent['size']}, generator=random)" if latent else "None"
    code = _USAGE.replace("LATENT", made).replace("TEXT", text_of(config, "kept + text[:end]"))
    return begun(config, ("import torch",), writes=True) + code


TORCH = Form(
    files=("start.pt2", "step.pt2"),
    write=_write,
    read=_read,
    refused={"int8": "PyTorch has deprecated its own products in int8 (torch.ao), so they come with --to onnx"},
    modules=(),
    used=("torch", "tokenizers"),
    reads_with="`torch`, by `torch.export.load`, which torch wants to be given only files that one trusts",
    functions="`start.pt2` gives the state before a text; `step.pt2` makes of tokens and a state the logits of the "
    "next tokens and the state behind these. A text is scored step by step.",
    usage=_usage,
)
