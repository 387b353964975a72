"""Saying what a folder holds."""

from __future__ import annotations

from typing import Annotated

import typer

from lstmgan_dist.commands.terminal import print_rows, warn


def inspect(
    path: Annotated[str, typer.Argument(metavar="PATH", help="A run, a corpus or a checkpoint.")],
    against: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Another run: say whether both are equal, and from which step on not."),
    ] = None,
) -> None:
    """Say what a folder or URL holds, and verify it; or whether two runs are equal, bit for bit (exit code 1 if not).

    [dim]
    lstmgan inspect runs/quickstart\n
    lstmgan inspect runs/quickstart/checkpoints/step-00000120\n
    lstmgan inspect s3://bucket/corpus\n
    lstmgan inspect runs/here --against s3://bucket/runs/on-the-cluster
    [/dim]
    """
    if against is not None:
        from lstmgan_dist.runs.equality import compare_runs

        found = compare_runs(path, against)
        for sentence in found.sentences():
            typer.echo(sentence)
        raise typer.Exit(0 if found.holds else 1)
    from lstmgan_dist.runs.inspection import describe

    print_rows(describe(path, warn=warn))
