"""Workers together against one alone, Ray against bare torch.distributed, and what a checkpoint costs the step loop.

Every worker has one core. The loop is that of `lstmgan train`; the time of a step is the median of the steps of one
phase, and the set-ups take turns.
"""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing

from lstmgan_dist.config import Job, parse_job
from lstmgan_dist.runs.train import train, train_on_worker
from lstmgan_dist.runtime.base import Runtime
from lstmgan_dist.runtime.signals import StopRequest
from lstmgan_dist.runtime.worker_size import WorkerSize
from lstmgan_dist.training.game import Vocabulary
from lstmgan_dist.training.run import Run, prepared_corpus
from tests.benchmarks.table import Row
from tests.servers import s3_server

_TURNS = 3
_ROWS = 64  # of each worker
_STEPS = {"likelihood": 40, "adversarial": 12}

_JOB = """
name: workers
corpus: {source: SOURCE, heldout_fraction: 0.02, max_length: 24}
batch: {size: 64, lanes: 2}
generator: {embedding: 256, hidden: 512}
discriminator: {kind: convolutional, embedding: 64, representations: 4, filters: {2: 100, 3: 100, 4: 100}}
phases:
  - {kind: likelihood, steps: 40}
  - {kind: adversarial, steps: 12, estimator: {kind: gumbel_softmax}}
evaluate: {every: 1000 steps, heldout_sequences: 64, samples: 8, show: 1}
checkpoint: {every: 1000 steps}
log: {every: 10 steps}
"""


def rows() -> Iterator[Row]:
    """Scaling, the cost of Ray, the start, and the stall of a checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "captions.txt")
        source.write_text("\n".join(_captions(20_000)))
        yield from _scaling(Path(folder), source)
        yield from _start(Path(folder), source)
        yield from _checkpoint(source)


def _captions(count: int) -> Iterator[str]:
    draw = random.Random(1)
    words = [f"word{number}" for number in range(4000)]
    for _ in range(count):
        yield " ".join(draw.choices(words, k=draw.randrange(8, 16)))


# --- steps -----------------------------------------------------------------------------------------------------------


def _scaling(folder: Path, source: Path) -> Iterator[Row]:
    from lstmgan_dist.runtime.ray_cluster import connected

    seconds: dict[tuple[str, int], list[dict[str, float]]] = {}
    with connected(None, cpus=2), ThreadPoolExecutor(2) as pool:
        for turn in range(_TURNS):
            apart = list(pool.map(partial(_apart, folder, source), (f"{turn}-left", f"{turn}-right")))
            seconds.setdefault(("apart", 2), []).append({kind: max(one[kind] for one in apart) for kind in _STEPS})
            for workers in (1, 2):
                for how, measure in (("bare", _on_bare_processes), ("Ray", _on_ray)):
                    job = _job(source, workers)
                    url = _new_run(job, folder / f"{how}-{workers}-{turn}")
                    notes = folder / f"{how}-{workers}-{turn}.txt"
                    measure(partial(_noted, url, job, str(notes)), workers)
                    seconds.setdefault((how, workers), []).append(_step_times(job, notes))

    def best(how: str, workers: int, kind: str) -> float:
        return min(times[kind] for times in seconds[how, workers])

    for kind in _STEPS:
        one, two = best("bare", 1, kind), best("apart", 2, kind)
        yield Row(
            f"{kind} in 2 processes that know nothing of each other",
            2 * _ROWS / two,
            "rows/s",
            _ROWS / one,
            "1 of them",
            2 * one / two,
            2.0,
            "what two workers could reach here",
        )
        for how in ("bare", "Ray"):
            one, two = best(how, 1, kind), best(how, 2, kind)
            yield Row(
                f"{kind} on 2 workers, {'torch.distributed' if how == 'bare' else how}",
                2 * _ROWS / two,
                "rows/s",
                _ROWS / one,
                "1 worker",
                2 * one / two,
                1.85,
                f"one core and {_ROWS} rows for each worker",
            )
        ray, bare = best("Ray", 2, kind), best("bare", 2, kind)
        yield Row(f"{kind} step on Ray", ray, "s", bare, "torch.distributed", bare / ray, 0.98, "2 workers")


def _apart(folder: Path, source: Path, name: str) -> dict[str, float]:
    """The step times of a worker that is alone in its run, but not on the machine."""
    job, notes = _job(source, 1), folder / f"apart-{name}.txt"
    _on_bare_processes(partial(_noted, _new_run(job, folder / f"apart-{name}"), job, str(notes)), 1)
    return _step_times(job, notes)


def _job(source: Path, workers: int) -> Job:
    overrides = (f"batch.size={_ROWS * workers}", f"batch.units={workers}")  # a worker has one unit
    return parse_job(_JOB.replace("SOURCE", str(source)), name="workers.yaml", overrides=overrides)


def _new_run(job: Job, folder: Path) -> str:
    Run.create_or_resume(str(folder), job, prepared_corpus(job.corpus, str(folder), lambda progress: None))
    return str(folder)


def _noted(url: str, job: Job, notes: str, runtime: Runtime, send: Any) -> None:
    """Train, and note when the steps of the first worker end."""
    torch.set_num_threads(1)
    ends: list[float] = []
    stop_request = runtime.stop_request  # asked once a step

    def noted() -> StopRequest:
        ends.append(time.perf_counter())
        return stop_request()

    runtime.stop_request = noted
    train_on_worker(url, job, runtime, send)
    if runtime.rank == 0:
        Path(notes).write_text("\n".join(map(str, ends)))


def _step_times(job: Job, notes: Path) -> dict[str, float]:
    ends = [float(line) for line in notes.read_text().splitlines()]
    times, first = {}, 0
    for phase in job.phases:
        assert phase.steps is not None
        mine = ends[first : first + phase.steps]
        # The first steps of a phase allocate, and its last one evaluates.
        times[phase.kind] = statistics.median(end - begin for begin, end in pairwise(mine[2:-1]))
        first += phase.steps
    return times


def _on_ray(function: Any, workers: int) -> None:
    from lstmgan_dist.runtime import ray_train

    ray_train.launch(
        function,
        size=WorkerSize(workers, workers, 1, 0),
        timeout=60,
        listen=lambda message: None,
        tells_of_checkpoint=lambda message: False,
        say=lambda sentence: None,
        lost=lambda sentence: None,
        furthest=lambda: 0,
    )


def _on_bare_processes(function: Any, workers: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(  # pyright: ignore[reportPrivateImportUsage]
            _bare_process, (workers, f"file://{folder}/store", function), nprocs=workers
        )


def _bare_process(rank: int, workers: int, store: str, function: Any) -> None:
    from lstmgan_dist.runtime.distributed import DistributedRuntime

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=workers)
    function(DistributedRuntime(torch.device("cpu"), lambda: StopRequest.NONE), lambda message: None)
    dist.destroy_process_group()


# --- start -----------------------------------------------------------------------------------------------------------


def _start(folder: Path, source: Path) -> Iterator[Row]:
    from lstmgan_dist.runtime.ray_cluster import connected

    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    torch_alone = time.perf_counter() - begun
    job_file = folder / "job.yaml"
    job_file.write_text(_JOB.replace("SOURCE", str(source)))
    _new_run(_job(source, 1), folder / "first")  # prepares the corpus
    with connected(None, cpus=2):
        import ray

        command = [sys.executable, "-m", "lstmgan_dist", "train", str(job_file), "--run", str(folder / "start")]
        command += ["--workers", "2", "--address", ray.get_runtime_context().gcs_address, "--set", "log.every=1 steps"]
        begun = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        metrics = folder / "start" / "metrics.jsonl"
        while not (metrics.exists() and metrics.stat().st_size):
            time.sleep(0.05)
        to_first_step = time.perf_counter() - begun
        process.terminate()
        process.wait()
    over = to_first_step - torch_alone
    yield Row(
        "start to first step, beyond importing torch",
        over,
        "s",
        15,
        "promise",
        15 / over,
        1,
        "cluster running, 2 workers",
    )


# --- checkpoints -----------------------------------------------------------------------------------------------------


def _checkpoint(source: Path) -> Iterator[Row]:
    from lstmgan_dist.runtime.local import LocalRuntime
    from lstmgan_dist.training import trainer
    from lstmgan_dist.training.checkpoint import Checkpoints
    from lstmgan_dist.training.screen import Relay

    waits, uploads = [], []
    _timed(trainer._Training, "_save", waits)
    _timed(Checkpoints, "save", uploads)
    torch.set_num_threads(1)  # the other core has the server and the upload
    overrides = ("generator.embedding=1024", "generator.hidden=1024", "phases=[{kind: likelihood, steps: 12}]")
    overrides += ("discriminator=null", "checkpoint.every=6 steps", "checkpoint.keep=1", "batch.size=32")
    job = parse_job(_JOB.replace("SOURCE", str(source)), name="checkpoint.yaml", overrides=overrides)
    with s3_server() as server, server.as_environment():
        url = f"{server.url}/runs/big"
        corpus = prepared_corpus(job.corpus, str(source.parent / "x"), lambda progress: None)
        run = Run.create_or_resume(url, job, corpus)
        train(run, corpus, LocalRuntime(torch.device("cpu")), Relay(lambda message: None))
    wait, upload = waits[0], uploads[0]
    size = sum(value.numel() for value in _weights(job, corpus.tokenizer.vocabulary_size)) * 12 / 1e6
    yield Row(
        "wait of the step loop for a checkpoint",
        wait,
        "s",
        upload,
        "its upload",
        0.05 * upload / wait,
        1,
        f"{size:.0f} MB to an S3 server on this machine; ratio: 5 % of the upload over the wait",
    )


def _weights(job: Job, vocabulary_size: int) -> Iterator[torch.Tensor]:
    from lstmgan_dist.training.game import build_generator

    yield from build_generator(job, Vocabulary(vocabulary_size)).parameters()


def _timed(owner: Any, name: str, seconds: list[float]) -> None:
    function = getattr(owner, name)

    def timed(*arguments: Any, **named: Any) -> Any:
        begun = time.perf_counter()
        try:
            return function(*arguments, **named)
        finally:
            seconds.append(time.perf_counter() - begun)

    setattr(owner, name, timed)
