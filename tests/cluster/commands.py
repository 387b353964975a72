"""The commands that the files of cluster/ tell a reader or a machine to run: ours are parsed, others' can be typed."""

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


def shown_in_readme() -> list[str]:
    """Every line of the blocks of cluster/README.md, and what stands in backticks with an argument."""
    text = (CLUSTER / "README.md").read_text()
    return [*re.findall(r"^ {4}(\S.*)$", text, flags=re.MULTILINE), *re.findall(r"`([a-z]+ [^`]+)`", text)]


def from_readme(part: str, **replaced: object) -> tuple[dict[str, str], list[str]]:
    """The first command of cluster/README.md that holds a part: its variables, and its words.

    replaced: what a reader puts in the place of words, each under its own name: `job` for jobs/quickstart.yaml, `run`
    for /shared/runs/quickstart, `file` for what lies in cluster/; and whatever else is a word, as `_3` for 3.
    """
    command = next(line for line in shown_in_readme() if part in line)
    words = shlex.split(command)
    variables = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
    names = {"jobs/quickstart.yaml": "job", "/shared/runs/quickstart": "run", "JOBID": "job_id"}

    def put(word: str) -> str:
        if match := re.fullmatch(r"(--[\w.]+=)?cluster/.*", word):
            return f"{match[1] or ''}{replaced['file']}"
        name = names.get(word, f"_{word.lstrip('-').replace('-', '_').replace('=', '_')}")
        return str(replaced.get(name, word))

    return variables, [put(word) for word in words[len(variables) :]]


def local_path(job: str) -> Path:
    """Where a job file of the image lies in the repository."""
    return ROOT / "jobs" / Path(job).name if job.startswith("/opt/lstmgan/jobs/") else ROOT / job
