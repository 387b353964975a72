"""Every `lstmgan` command that a file of cluster/ tells a reader or a machine to run, parsed by the real program."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import typer

from lstmgan_dist.cli import app

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"


def parse(command: str | list[str]) -> tuple[str, dict[str, Any]]:
    """Which command it is, and what its parameters would be; nothing is run.

    Raises:
        click's UsageError (typer brings its own click): for an unknown command, option or value.
    """
    program, name, *arguments = shlex.split(command) if isinstance(command, str) else command
    assert program == "lstmgan", f"{program} is not our program"
    group = typer.main.get_command(app)
    commands = vars(group)["commands"]
    assert name in commands, f"lstmgan has no command {name}"
    return name, commands[name].make_context(name, list(arguments)).params


def commands_in(path: Path) -> list[str]:
    """The commands of a text's blocks and of other files' comments, and those in a sentence's backticks."""
    text = path.read_text()
    indented = " {4}" if path.suffix == ".md" else "# {3}"
    lines = re.findall(rf"^{indented}(lstmgan [a-z].*)$", text, flags=re.MULTILINE)
    return [*lines, *re.findall(r"`(lstmgan [a-z]+ [^`]+)`", text)]


def local_path(job: str) -> Path:
    """Where a job file of the image lies in the repository."""
    return ROOT / "jobs" / Path(job).name if job.startswith("/opt/lstmgan/jobs/") else ROOT / job
