"""What the tests on real clusters share."""

import json
import time
from pathlib import Path

import psutil
import pytest

from lstmgan_dist.config import Job
from lstmgan_dist.runtime.ray_cluster import connected
from lstmgan_dist.runtime.worker_size import WorkerSize
from lstmgan_dist.training.run import Run, prepared_corpus


@pytest.fixture(scope="module")
def local_ray():
    """This process drives a Ray of its own, as `lstmgan train --workers` does."""
    with connected(None, cpus=4):
        yield


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


def until(condition, seconds=240.0):
    """Wait for a truth, and give it back."""
    end = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < end, "this took too long"
        time.sleep(0.02)
    return result


def launch(function, workers, *, cpus=0.5, timeout=60.0, heard=None, furthest=lambda: 0, said=None):
    """Run a function on workers; one number of them, or the fewest and the most."""
    from lstmgan_dist.runtime import ray_train

    fewest, most = workers if isinstance(workers, tuple) else (workers, workers)
    result, _ = ray_train.launch(
        function,
        size=WorkerSize(fewest, most, cpus, 0),
        timeout=timeout,
        listen=(lambda message: None) if heard is None else heard,
        say=(lambda sentence: None) if said is None else said.append,
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
        until(lambda: self.path.stat().st_ino != before)  # it begins its lines anew
        size = self.path.stat().st_size
        until(lambda: self.path.stat().st_size > size)
        return time.monotonic() - begun
