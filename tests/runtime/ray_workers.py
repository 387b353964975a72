"""Training workers on Ray: launched as a function, found among the processes, watched from outside."""

import json
import time
from pathlib import Path

import psutil

from lstmgan_dist.config import Job
from lstmgan_dist.runtime.worker_size import WorkerSize
from lstmgan_dist.training.run import Run, prepared_corpus
from lstmgan_dist.training.screen import tells_of_checkpoint
from tests.waiting import wait_until


def workers_of(parent: int | None = None) -> list[psutil.Process]:
    """The training workers among a process's descendants, by default this one's."""
    found = []
    for process in psutil.Process(parent).children(recursive=True):
        try:
            if "RayTrainWorker" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def launch(function, workers, *, cpus=0.5, timeout=60.0, heard=None, furthest=lambda: 0, said=None):
    """Run a function on workers; one number of them, or the fewest and the most."""
    from lstmgan_dist.runtime import ray_train

    fewest, most = workers if isinstance(workers, tuple) else (workers, workers)
    say = (lambda sentence: None) if said is None else said.append
    result, _ = ray_train.launch(
        function,
        size=WorkerSize(fewest, most, cpus, 0),
        timeout=timeout,
        listen=(lambda message: None) if heard is None else heard,
        tells_of_checkpoint=tells_of_checkpoint,
        say=say,
        lost=say,
        furthest=furthest,
    )
    return result


def make_run(job: Job, folder: Path) -> str:
    """A run that exists and has done nothing yet."""
    corpus = prepared_corpus(job.corpus, str(folder), lambda progress: None)
    Run.create_or_resume(str(folder), job, corpus)
    return str(folder)


class Progress:
    """What a run's metrics say from moment to moment."""

    def __init__(self, folder: Path):
        self.path = folder / "metrics.jsonl"

    def step(self):
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        return json.loads(lines[-1])["step"] if lines else 0

    def seconds_to_next_step(self):
        """Wait until a new attempt has made a step."""
        begun, before = time.monotonic(), self.path.stat().st_ino
        wait_until(lambda: self.path.stat().st_ino != before)  # it begins its lines anew
        size = self.path.stat().st_size
        wait_until(lambda: self.path.stat().st_size > size)
        return time.monotonic() - begun
