"""The arguments and options that several commands have, each described once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal

import typer

JobFile = Annotated[Path, typer.Argument(metavar="JOB", help="A job file, such as jobs/quickstart.yaml.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the job; repeatable.")
]
RunUrl = Annotated[str, typer.Argument(metavar="RUN", help="Folder or URL of a run.")]
CheckpointName = Annotated[
    str,
    typer.Option(
        "--checkpoint",
        help="best (of the last phase, by the job's checkpoint.best_by), latest, likelihood (what the game started "
        "from), or the number of a step.",
    ),
]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="auto takes a GPU where there is one.")]
Processes = Annotated[
    int, typer.Option("--workers", min=0, help="Processes on Ray that share the work; 0: this one, no Ray.")
]
GpusPerWorker = Annotated[
    float | None, typer.Option(min=0, help="GPUs of each worker.  (default: 1 where the cluster has them)")
]
CpusPerWorker = Annotated[
    float | None, typer.Option(min=0, help="CPU cores of each worker.  (default: 1, or its share of this machine)")
]
TakeOver = Annotated[
    bool, typer.Option("--take-over", help="Take the run from a training that is writing to it, which then ends.")
]
RayAddress = Annotated[
    str | None, typer.Option(help="Ray cluster to join: auto or HOST:PORT.  (default: one of its own, here)")
]


def defaults_of(function: Callable[..., Any]) -> SimpleNamespace:
    """The defaults of a function's arguments, by name: those of a command are the ones of the function behind it."""
    arguments = inspect.signature(function).parameters.items()
    return SimpleNamespace(**{name: each.default for name, each in arguments if each.default is not each.empty})
