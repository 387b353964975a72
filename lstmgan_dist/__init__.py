"""LSTM text generators, trained by maximum likelihood and adversarially, on a laptop or on a Ray cluster.

    import lstmgan_dist as lstmgan

    run = lstmgan.train("jobs/quickstart.yaml", say=print)     # or lstmgan.open("runs/quickstart")
    run.generate(5, prompt="the function", temperature=0.8)
    run.log_likelihoods(["the function returns a list"])

Everything has the arguments of the command of its name, and does the same.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "Job",
    "OpenedRun",
    "Stopped",
    "UserError",
    "judge",
    "open",
    "prepare",
    "train",
    "workers",
]

# Threads that wait by spinning gain nothing here, and slow two runs on one machine down tenfold. The variable is read
# when torch is imported: by a program that imports this first, or leaves it to us.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from lstmgan_dist.config import Job
    from lstmgan_dist.errors import Stopped, UserError
    from lstmgan_dist.runs.judging import judge
    from lstmgan_dist.runs.launch import train
    from lstmgan_dist.runs.opened import OpenedRun, open
    from lstmgan_dist.runs.preparation import prepare
    from lstmgan_dist.runs.workers import workers

# Where each name is from: it is imported when it is first used, as torch takes seconds.
_FROM = {
    "Job": "config",
    "OpenedRun": "runs.opened",
    "Stopped": "errors",
    "UserError": "errors",
    "judge": "runs.judging",
    "open": "runs.opened",
    "prepare": "runs.preparation",
    "train": "runs.launch",
    "workers": "runs.workers",
}


def __getattr__(name: str) -> Any:
    if name not in _FROM:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found = getattr(import_module(f"{__name__}.{_FROM[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
