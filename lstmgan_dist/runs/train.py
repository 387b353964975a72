"""Starting a training, or resuming it: the loop with judges for the ends of its phases."""

from __future__ import annotations

import socket
from collections.abc import Callable

from lstmgan_dist.config import Job
from lstmgan_dist.corpus.manifest import PreparedCorpus
from lstmgan_dist.errors import UserError
from lstmgan_dist.runtime.base import Runtime
from lstmgan_dist.storage import Folder
from lstmgan_dist.training import trainer
from lstmgan_dist.training.run import JOB, Run
from lstmgan_dist.training.screen import Message, Relay, Screen
from lstmgan_dist.training.trainer import Outcome


def train(run: Run, corpus: PreparedCorpus, runtime: Runtime, screen: Screen) -> Outcome:
    """Train a run to the end of its job, or until the runtime wants it to stop: see `trainer.train`."""
    judge = None
    if run.job.evaluate.frontier:
        # Few jobs have judges, and all that they need takes a second to import.
        from lstmgan_dist.runs.contest import judge_phase as judge
    return trainer.train(run, corpus, runtime, screen, judge=judge)


def train_on_worker(
    url: str, job: Job, runtime: Runtime, send: Callable[[Message], None], *, lease_number: int | None = None
) -> Outcome:
    """Train a run that exists, as one of the workers, wherever that is; the first one's screen is where `send` leads.

    lease_number: what the process that has started the workers has taken of the run.

    Raises:
        UserError: if this machine does not see the run or its corpus.
    """
    folder = Folder(url, job.storage)
    if not folder.exists(JOB):
        raise UserError(
            f"{socket.gethostname()} does not see the run {url}: put it where all nodes can reach it with --run, such "
            "as s3:// or a mounted share."
        )
    run = Run(folder, job, lease_number=lease_number)
    return train(run, run.corpus(), runtime, Relay(send))
