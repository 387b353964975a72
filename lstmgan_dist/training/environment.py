"""What a run is trained with, which its job does not say and its last bits depend on.

Kernels differ between kinds of processors and versions of torch, and with them the rounding of sums. Cores and workers
do not matter, see `runtime.units`.
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from lstmgan_dist.runtime.base import Runtime
from lstmgan_dist.storage import Folder

ENVIRONMENT = "environment.json"


@dataclass(frozen=True)
class Environment:
    """processor: the kind that computes, and what torch uses of it. torch: its version."""

    processor: str
    torch: str

    def __str__(self) -> str:
        return f"{self.processor} and torch {self.torch}"


def environment_of(device: torch.device) -> Environment:
    """That of this process."""
    if device.type == "cuda":
        return Environment(torch.cuda.get_device_name(device), str(torch.__version__))
    facts = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", facts.read_text()) if facts.exists() else None
    name = model[1] if model else platform.machine()
    return Environment(f"{name} ({torch.backends.cpu.get_cpu_capability()})", str(torch.__version__))


def note_environment(run: Folder, runtime: Runtime, *, step: int, say: Callable[[str], None]) -> None:
    """Keep in a run's folder what it is trained with from a step on; say so if it was trained with something else.

    All workers call it; the first one writes and speaks, also where they differ.
    """
    now, *others = dict.fromkeys(runtime.exchange(environment_of(runtime.device)))
    if runtime.rank:
        return
    for other in others:
        say(f"Some workers have {now}, others {other}: numbers will differ in the last bits from those of one kind.")
    kept = json.loads(run.read(ENVIRONMENT)) if run.exists(ENVIRONMENT) else []
    # Of what came after the checkpoint that the run is resumed from, nothing is left.
    earlier = [record for record in kept if record["from_step"] < step]
    # Runs of older versions do not name their processor.
    before = Environment(earlier[-1].get("processor", now.processor), earlier[-1]["torch"]) if earlier else None
    if before and before != now:
        say(f"This run was trained with {before} and goes on with {now}: numbers will differ in the last bits.")
    records = earlier if before == now else [*earlier, {"from_step": step, **asdict(now)}]
    if records != kept:
        run.write(ENVIRONMENT, (json.dumps(records, indent=1) + "\n").encode())
