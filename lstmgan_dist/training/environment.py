"""What a run is trained with, which its job does not say and its last bits depend on.

Matrix products round by the number of threads that share them and by the version of torch, so a run that is resumed
with others ends with other bits than one that is left alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch

from lstmgan_dist.storage import Folder

ENVIRONMENT = "environment.json"


@dataclass(frozen=True)
class Environment:
    """threads: of each process that trains. torch: its version."""

    threads: int
    torch: str

    def __str__(self) -> str:
        return f"{self.threads} thread{'s' if self.threads != 1 else ''} and torch {self.torch}"


def note_environment(run: Folder, *, step: int, rank: int, say: Callable[[str], None]) -> None:
    """Keep in a run's folder what it is trained with from a step on; say so if it was trained with something else.

    The first worker does, and speaks for all, which are alike.
    """
    if rank:
        return
    now = Environment(torch.get_num_threads(), str(torch.__version__))
    kept = json.loads(run.read(ENVIRONMENT)) if run.exists(ENVIRONMENT) else []
    # Of what came after the checkpoint that the run is resumed from, nothing is left.
    earlier = [record for record in kept if record["from_step"] < step]
    before = Environment(earlier[-1]["threads"], earlier[-1]["torch"]) if earlier else None
    if before and before != now:
        say(f"This run was trained with {before} and goes on with {now}: numbers will differ in the last bits.")
    records = earlier if before == now else [*earlier, {"from_step": step, **asdict(now)}]
    if records != kept:
        run.write(ENVIRONMENT, (json.dumps(records, indent=1) + "\n").encode())
