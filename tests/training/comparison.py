"""What runs leave, to be compared."""

from collections.abc import Set
from pathlib import Path

import pytest

from lstmgan_dist.storage import Folder
from lstmgan_dist.training.curves import TENSORBOARD
from lstmgan_dist.training.lease import LEASE
from lstmgan_dist.training.run import Run
from lstmgan_dist.training.run_log import TIMES, read_metrics


def everything_in(folder) -> dict[str, bytes]:
    """What a run leaves, but for what holds clock times (event files, leases, times) and files that a kill cut off."""
    path = Folder(str(folder)).local_path
    assert path is not None
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file() and not {TENSORBOARD, LEASE, TIMES} & {*file.parts} and file.suffix != ".part"
    }


def final_state(folder) -> dict[str, bytes]:
    """All files of a run, with only the newest checkpoint: a stop adds checkpoints, which pruning may then keep."""
    files = everything_in(folder)
    newest = max(name.split("/")[1] for name in files if name.endswith("/manifest.json"))
    return {name: content for name, content in files.items() if not name.startswith("checkpoints/") or newest in name}


# Shares of some dozen pairs of scores: where two are nearly equal, rounding moves them by a whole pair.
OF_PAIRS = ("auc", "accuracy")


def agree(one: Path, other: Path, *, but: Set[str] = frozenset(), relative: float = 1e-5) -> None:
    """Every figure of two runs is the same but for rounding, which grows with the steps."""
    mine, theirs = read_metrics(Run.open(str(one)).folder), read_metrics(Run.open(str(other)).folder)
    assert len(mine) == len(theirs) > 0
    for left, right in zip(mine, theirs, strict=True):
        assert right.keys() == left.keys()
        for name in left.keys() - but:
            absolute = 0.05 if name.endswith(OF_PAIRS) else relative / 10
            assert right[name] == pytest.approx(left[name], rel=relative, abs=absolute), (left["step"], name)
