"""Giving a run's generator to other programs."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from lstmgan_dist.commands.options import CheckpointName, Device, RunUrl
from lstmgan_dist.commands.terminal import warn, watch
from lstmgan_dist.errors import UserError

FormName = Annotated[
    Literal["safetensors", "torch", "onnx"],
    typer.Option(
        "--to",
        help="safetensors: weights and a file of plain PyTorch; torch: programs of torch.export; onnx: graphs for "
        "onnxruntime.",
    ),
]
Quantise = Annotated[
    Literal["int8", "half"] | None,
    typer.Option(help="half: half the bytes; int8 (onnx): a quarter, and faster.  (default: float32)"),
]
Hidden = Annotated[int | None, typer.Option(min=1, help="With --distil: units of the smaller generator.")]
Distil = Annotated[
    bool,
    typer.Option("--distil", help="Train a smaller generator on the run's corpus, towards what the run's expects."),
]
Steps = Annotated[
    int | None, typer.Option(min=1, help="With --distil: updates.  (default: those of the run's likelihood phases)")
]


def export(
    run: RunUrl,
    to: FormName,
    out: Annotated[str, typer.Option(help="Folder or URL, empty or absent.")],
    quantise: Quantise = None,
    checkpoint: CheckpointName = "best",
    hidden: Hidden = None,
    distil: Distil = False,
    steps: Steps = None,
    seed: Annotated[int, typer.Option(min=0, help="With --distil: the same seed gives the same generator.")] = 1,
    device: Device = "auto",
) -> None:
    """Write a run's generator so that other programs load it, with its tokenizer and a card that says where it is from.

    What is written is read back and compared with the run's own network on held-out text before it is kept.

    [dim]
    lstmgan export runs/quickstart --to safetensors --out exported/quickstart\n
    lstmgan export runs/char-lm-small --to onnx --quantise int8 --out s3://bucket/models/char-lm\n
    lstmgan export runs/char-lm-small --to onnx --hidden 128 --distil --out exported/tiny
    [/dim]
    """
    if distil and hidden is None:
        raise UserError("--distil needs to know how small: say --hidden, such as --hidden 128.")
    if not distil and (hidden is not None or steps is not None):
        option = "--hidden" if hidden is not None else "--steps"
        raise UserError(f"{option} is for a smaller generator, which has to learn: add --distil, or leave it out.")
    from lstmgan_dist.runs.export.distillation import Smaller
    from lstmgan_dist.runs.export.exporting import export as write_export

    made = write_export(
        run,
        checkpoint,
        out,
        form=to,
        quantisation=quantise,
        smaller=None if hidden is None else Smaller(hidden, seed, steps),
        device=device,
        say=warn,
        watch=watch,
    )
    if made.student:
        typer.echo(made.student.sentence())
    typer.echo(f"{made.comparison.sentence()} {made.agreement.sentence()}")
    typer.echo(
        f"{made.folder} holds {made.files} files of {made.bytes_written:,} bytes; its README.md says how to use them."
    )
