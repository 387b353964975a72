"""Saying what a folder holds."""

from __future__ import annotations

from typing import Annotated

import typer

from lstmgan_dist.commands.terminal import print_rows, warn


def inspect(path: Annotated[str, typer.Argument(metavar="PATH", help="A run, a corpus or a checkpoint.")]) -> None:
    """Say what a folder or URL holds, and verify it.

    [dim]
    lstmgan inspect runs/quickstart\n
    lstmgan inspect runs/quickstart/checkpoints/step-00000120\n
    lstmgan inspect s3://bucket/corpus
    [/dim]
    """
    from lstmgan_dist.runs.inspection import describe

    print_rows(describe(path, warn=warn))
