"""Weights as safetensors, with a file of plain PyTorch that draws and scores with them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from lstmgan_dist.runs.export import model
from lstmgan_dist.runs.export.form import Form, Opened, Quantisation
from lstmgan_dist.runs.export.usage import begun


def _write(network: model.Network, quantisation: Quantisation | None, folder: Path) -> None:
    """Names are those of the run's checkpoint; half precision is of the file alone, until `load` is told otherwise."""
    dtype = torch.float16 if quantisation == "half" else torch.float32
    weights = {name: tensor.to(dtype).contiguous() for name, tensor in network.state_dict().items()}
    (folder / "model.safetensors").write_bytes(safetensors.torch.save(weights))
    (folder / "model.py").write_bytes(Path(model.__file__).read_bytes())


def _read(folder: Path) -> Opened:
    config = json.loads((folder / "config.json").read_bytes())
    network = model.build(config, safetensors.torch.load((folder / "model.safetensors").read_bytes())).float()
    return Opened(network.start, network.step, network.score)


def _usage(config: Mapping[str, Any]) -> str:
    latent = config["network"]["latent"]
    made = f"latent = torch.randn(5, {latent['size']}, generator=random)\n" if latent else ""
    imports = ("import torch", "from model import load")
    return f"""{begun(config, imports)}
generator = load()
random = torch.Generator().manual_seed(1)
{made}uniforms = torch.rand(5, length, generator=random)
for tokens in generator.draw(uniforms, prompt=first{", latent_BZ=latent" if latent else ""}):
    print(generator.text(kept + tokens))
"""


SAFETENSORS = Form(
    files=("model.safetensors", "model.py"),
    write=_write,
    read=_read,
    refused={
        "int8": "PyTorch would turn the numbers back into float32 before every product, so int8 comes with --to onnx, "
        "whose runtime multiplies them"
    },
    modules=(),
    used=("torch", "safetensors", "tokenizers"),
    reads_with="Python with `torch` and `safetensors`, by the file `model.py` beside it",
    functions="`generator.score(tokens)` gives the log-probability of every token but the first; `generator.start` and "
    "`generator.step` go on token by token.",
    usage=_usage,
)
