"""Whether two runs are the same, and from where on they are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lstmgan_dist.config import differences
from lstmgan_dist.errors import UserError
from lstmgan_dist.training.run import Run
from lstmgan_dist.training.run_log import WEIGHTS, read_metrics


@dataclass(frozen=True)
class Equality:
    """What two runs have in common.

    job: how their settings differ, a line each. checkpoints: steps whose weights both have told. parted: the first of
    them at which these differ. figures: lines of measurements that both have. first_other: the first of these that
    differs, in words. more: steps that one run has gone beyond the other.
    """

    job: tuple[str, ...]
    checkpoints: tuple[int, ...]
    parted: int | None
    figures: int
    first_other: str | None
    more: int

    @property
    def holds(self) -> bool:
        """Whether all that both have is equal, to the same end."""
        return self.parted is None and self.first_other is None and not self.more

    def sentences(self) -> list[str]:
        """What to tell of it."""
        told = [f"The jobs differ: {'; '.join(self.job)}."] if self.job else []
        if self.parted is None:
            told.append(f"The weights are equal at all {len(self.checkpoints)} checkpoints of both.")
        else:
            before = [step for step in self.checkpoints if step < self.parted]
            equal = f"equal to step {before[-1]} and" if before else "equal at no checkpoint:"
            told.append(f"The weights are {equal} not from step {self.parted} on.")
        if self.first_other is None:
            told.append(f"All {self.figures} lines of measurements that both have are equal.")
        else:
            told.append(f"The first measurement that differs: {self.first_other}.")
        if self.more:
            told.append(f"One of them is {self.more} steps ahead.")
        return told


def compare_runs(one: str, other: str) -> Equality:
    """Two runs, by what they have told of their weights and measured.

    Raises:
        UserError: if one of them is no run, or there is nothing of both to compare.
    """
    runs = [Run.open(url) for url in (one, other)]
    rows, weights = [], []
    for run in runs:
        lines = read_metrics(run.folder)
        rows.append([line for line in lines if not _digests(line)])
        weights.append({line["step"]: digests for line in lines if (digests := _digests(line))})
    common = sorted(weights[0].keys() & weights[1].keys())
    if not common:
        raise UserError(
            f"{runs[0].folder} and {runs[1].folder} have no checkpoint of the same step to compare, or were trained by "
            "a version that did not write digests of weights to metrics.jsonl."
        )
    ends = [max(told) for told in weights]
    return Equality(
        job=tuple(differences(runs[0].job, runs[1].job)),
        checkpoints=tuple(common),
        parted=next((step for step in common if weights[0][step] != weights[1][step]), None),
        figures=min(map(len, rows)),
        first_other=_first_other(*rows),
        more=abs(ends[0] - ends[1]),
    )


def _digests(line: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, value in line.items() if name.startswith(WEIGHTS)}


def _first_other(one: Sequence[dict[str, Any]], other: Sequence[dict[str, Any]]) -> str | None:
    for mine, theirs in zip(one, other, strict=False):
        if mine["step"] != theirs["step"]:
            return f"one has measured at step {min(mine['step'], theirs['step'])}, the other not"
        for name in (*mine, *theirs):
            if mine.get(name) != theirs.get(name):
                return f"step {mine['step']}, {name}, {mine.get(name, 'absent')} and {theirs.get(name, 'absent')}"
    return None
