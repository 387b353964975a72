"""What commands show: sentences, rows and tables, and how far a piece of work has come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

    from lstmgan_dist.corpus.prepare import PreparationProgress

Item = TypeVar("Item")


def stdout_console() -> Console:
    """Standard output, whose lines are cut by nobody but the terminal."""
    from rich.console import Console

    return Console(soft_wrap=True)


def warn(sentence: str) -> None:
    """Print a sentence where it does not mix with results."""
    typer.echo(sentence, err=True)


def print_rows(rows: Mapping[str, Any]) -> None:
    """Print names and values below each other."""
    width = max(map(len, rows))
    for name, value in rows.items():
        shown = f"{value:.4f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value
        typer.echo(f"{name:<{width}}  {shown}")


def print_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows of cells, with heads above their columns."""
    for line in table_lines(heads, rows):
        typer.echo(line)


def table_lines(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows of cells, with heads above their columns."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    for row in (heads, *rows):
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def clock(seconds: float | None) -> str:
    """Seconds since 1970 as local date and time; nothing for None."""
    return "" if seconds is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def watch(items: Iterable[Item], total: int, description: str) -> Iterator[Item]:
    """The items, while a bar or a line now and then shows how many have gone by; see `runtime.tasks.Watch`."""
    from rich.console import Console
    from rich.progress import track

    # On standard error: standard output may be somebody's JSON.
    console = Console(stderr=True)
    if console.is_terminal:
        yield from track(items, total=total, description=description, console=console, transient=True)
        return
    from lstmgan_dist.training.screen import write_progress

    yield from write_progress(items, total, description, warn)


@contextmanager
def preparation_bar() -> Iterator[Callable[[PreparationProgress], None]]:
    """A bar with MB/s and time left for each stage, where there is a terminal."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), DownloadColumn(), TransferSpeedColumn())
    console = stdout_console()
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        tasks: dict[str, TaskID] = {}

        def report(progress: PreparationProgress) -> None:
            if progress.stage not in tasks:
                tasks[progress.stage] = bar.add_task(progress.stage)
            bar.update(tasks[progress.stage], completed=progress.bytes_done, total=progress.bytes_total)

        yield report
