"""Which changes of a job a run may take up when it is resumed: those that only extend it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lstmgan_dist.config.job import Job
from lstmgan_dist.config.reading import differences
from lstmgan_dist.settings import Schedule, Settings

# Blocks that decide what is looked at and kept, not what is trained.
_OF_THE_OBSERVER = ("evaluate", "log", "checkpoint")


@dataclass(frozen=True)
class Changes:
    """How a job differs from the one that a run was trained by so far, a line a setting: `phases.0.steps: 60 -> 90`.

    extending: what the run may take up. others: what would make it another run. inexact: why the extended run is not
    what the new job would have given in one go, a sentence each.
    """

    extending: tuple[str, ...]
    others: tuple[str, ...]
    inexact: tuple[str, ...]


def changes(old: Job, new: Job) -> Changes:
    """The differences of two jobs. Steps and epochs of the last phase, later phases, and what is looked at extend."""
    found = differences(old, new)
    extending = tuple(line for line in found if _extends(line, old))
    others = tuple(line for line in found if line not in extending)
    return Changes(tuple(_shortened(extending, old, new)), others, tuple(_inexact(extending, old, new)))


def _extends(line: str, old: Job) -> bool:
    key = line.split()[0].rstrip(":")
    block, *_ = key.split(".")
    if block in _OF_THE_OBSERVER or (block == "discriminator" and old.discriminator is None):
        return True
    phase = re.match(r"phases\.(\d+)\.(.*)", key)
    if not phase:
        return False
    last = len(old.phases) - 1
    return int(phase[1]) > last or (int(phase[1]) == last and phase[2] in ("steps", "epochs"))


def _shortened(lines: tuple[str, ...], old: Job, new: Job) -> Iterator[str]:
    """The lines, those of a block that was absent as one."""
    for line in lines:
        if not re.match(rf"phases\.(?!{len(old.phases) - 1}\.)|discriminator\b", line):
            yield line
    for number in range(len(old.phases), len(new.phases)):
        yield f"phases.{number}: absent -> {new.phases[number].kind}"
    if old.discriminator is None and new.discriminator is not None:
        yield f"discriminator: absent -> {new.discriminator.kind}"


def _inexact(lines: tuple[str, ...], old: Job, new: Job) -> Iterator[str]:
    last, phase = len(old.phases) - 1, old.phases[-1]
    if any(line.startswith(f"phases.{last}.") for line in lines):
        for key in _spanning(phase, f"phases.{last}"):
            yield f"{key} is a schedule over the whole phase, which was shorter until now"
    is_looked_at_otherwise = any(line.startswith("evaluate.") for line in lines)
    depends = [name for name in ("early_stop", "finish_with") if getattr(phase, name) not in (None, "latest")]
    if is_looked_at_otherwise and (depends or old.guard.on_failure == "roll_back"):
        yield "which checkpoint was the best until now was decided by other evaluations"


def _spanning(value: Any, path: str) -> Iterator[str]:
    """The paths of schedules that are as long as their phase."""
    if isinstance(value, Schedule):
        if value.steps is None:
            yield path
    elif isinstance(value, Settings):
        for name in type(value).model_fields:
            yield from _spanning(getattr(value, name), f"{path}.{name}")
