"""What a run leaves for people to look at: TensorBoard, samples, and one JSON line a measurement."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Protocol, Self

from torch import Tensor

from lstmgan_dist.errors import UserError
from lstmgan_dist.storage import Folder
from lstmgan_dist.training.curves import TENSORBOARD, Curves
from lstmgan_dist.training.run import Run

METRICS = "metrics.jsonl"
SAMPLES = "samples"
# Before the names of networks, in lines that hold digests of their weights.
WEIGHTS = "weights/"

# Clock times and rates, which differ between attempts: metrics hold neither.
TIMES = "times.jsonl"


class Log(Protocol):
    """What the trainer writes."""

    def scalars(self, step: int, values: Mapping[str, float], *, phase: int) -> None:
        """One line of metrics.jsonl, which says its phase (from 0), and a point on each TensorBoard curve."""
        ...

    def digests(self, step: int, values: Mapping[str, Future[str]], *, phase: int) -> None:
        """A line of metrics.jsonl that says which weights each network has, by SHA-256, in words `weights/...`.

        It is written when all are known, and before every later line.
        """
        ...

    def rates(self, step: int, values: Mapping[str, float]) -> None:
        """Figures that are the machine's and not the run's: a line of times.jsonl, with the time, and TensorBoard."""
        ...

    def histograms(self, step: int, values: Mapping[str, Tensor]) -> None:
        """Distributions, such as the scores of real and of generated text."""
        ...

    def samples(self, step: int, texts: Sequence[str], real: Sequence[str]) -> None:
        """Generated texts, to read in samples/, and beside real ones in TensorBoard."""
        ...

    def final(self, values: Mapping[str, float]) -> None:
        """Tie the job's settings to how it came out, for TensorBoard's HParams tab."""
        ...

    def publish(self) -> None:
        """Bring everything to where the run is."""
        ...


def open_log(run: Run, *, step: int, rank: int, warn: Callable[[str], None]) -> AbstractContextManager[Log]:
    """The log of a run: of the workers, the first alone writes one."""
    return nullcontext(_NoLog()) if rank else RunLog(run, step=step, warn=warn)


class RunLog:
    """Everything that a run writes for people, from one worker.

    Metrics carry no clock times, so that a resumed run writes the very lines of an uninterrupted one; these and rates
    have a file of their own, to which every attempt adds. What was measured after `step`, by an attempt that then died,
    is dropped.

    A remote run's files grow on this machine, for event files need a file system that appends, and a thread brings them
    to the run every `log.publish_seconds`, unless another training has taken the run meanwhile.
    """

    def __init__(self, run: Run, *, step: int, warn: Callable[[str], None]) -> None:
        self._run = run
        self._folder, job = run.folder, run.job
        self._warn = warn
        self._staging = None if run.folder.local_path else Path(tempfile.mkdtemp(prefix="lstmgan-"))
        local = run.folder.local_path or self._staging
        assert local is not None
        self._local = local
        self._published: dict[str, int] = {}
        self._publishing = threading.Lock()
        self._awaited: tuple[dict[str, int], Mapping[str, Future[str]]] | None = None
        self._writing_awaited = threading.Lock()
        self._closed = threading.Event()
        self._drop_samples(step)
        self._metrics = self._open(METRICS, lambda line: line["step"] <= step)
        self._times = self._open(TIMES, lambda line: True)
        self._curves = Curves(self._local / TENSORBOARD / run.folder.name, job, step=step)
        self._publisher = threading.Thread(
            target=self._publish_regularly, args=(job.log.publish_seconds,), name="publisher", daemon=True
        )

    def __enter__(self) -> Self:
        if self._staging:
            self._publisher.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._curves.close()
        self._write_awaited()
        self._reclaim_metrics()
        self._metrics.close()
        self._times.close()
        if self._staging:
            self._closed.set()
            self._publisher.join()
            try:
                self.publish()
            finally:
                shutil.rmtree(self._staging)

    def scalars(self, step: int, values: Mapping[str, float], *, phase: int) -> None:
        self._curves.scalars(step, values, phase=phase)
        # JSON has no NaN; a loss that is not a number must not make the file unreadable.
        plain = {name: value if math.isfinite(value) else str(value) for name, value in values.items()}
        self._write_awaited()
        _add_line(self._metrics, {"step": step, "phase": phase, **plain})

    def digests(self, step: int, values: Mapping[str, Future[str]], *, phase: int) -> None:
        self._write_awaited()
        self._awaited = {"step": step, "phase": phase}, values

    def _write_awaited(self) -> None:
        """Write the line of digests, if there is one; whoever is next to write or to publish waits for it."""
        with self._writing_awaited:
            if self._awaited:
                line, values = self._awaited
                named = {f"{WEIGHTS}{name}": digest.result() for name, digest in values.items()}
                _add_line(self._metrics, {**line, **named})
                self._awaited = None

    def rates(self, step: int, values: Mapping[str, float]) -> None:
        self._curves.rates(step, values)
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        _add_line(self._times, {"step": step, "time": now, **values})

    def histograms(self, step: int, values: Mapping[str, Tensor]) -> None:
        self._curves.histograms(step, values)

    def samples(self, step: int, texts: Sequence[str], real: Sequence[str]) -> None:
        self._curves.samples(step, texts, real)
        Folder(self._local).write(f"{SAMPLES}/step-{step:08d}.txt", ("\n".join(texts) + "\n").encode())

    def final(self, values: Mapping[str, float]) -> None:
        self._curves.final(values)

    def publish(self) -> None:
        self._write_awaited()
        if self._staging is None:
            self._reclaim_metrics()
            return
        self._curves.flush()
        with self._publishing:
            self._run.check_lease()
            for path in sorted(self._staging.rglob("*")):
                name, size = path.relative_to(self._staging).as_posix(), path.stat().st_size
                if path.is_file() and self._published.get(name) != size:
                    self._folder.write(name, path.read_bytes()[:size])
                    self._published[name] = size

    def _publish_regularly(self, seconds: float) -> None:
        while not self._closed.wait(seconds):
            try:
                self.publish()
            except UserError:
                return  # the run has been taken over, which the next checkpoint finds, too, and says
            except OSError as error:
                self._warn(f"The curves of {self._folder} could not be brought up to date, and will be later: {error}")

    def _drop_samples(self, step: int) -> None:
        folder = self._folder / SAMPLES
        for name in folder.list():
            if (match := re.fullmatch(r"step-(\d+)\.txt", name)) and int(match[1]) > step:
                folder.delete(name)

    def _open(self, name: str, keeps: Callable[[dict[str, Any]], bool]) -> Any:
        """A file that lines are added to, on this machine, with those that it keeps; half a line is none."""
        text = self._folder.read(name).decode() if self._folder.exists(name) else ""
        kept = [line for line in _whole_lines(text) if keeps(json.loads(line))]
        self._run.check_lease()
        Folder(self._local).write(name, "".join(kept).encode())
        return (self._local / name).open("a+", encoding="utf-8")

    def _reclaim_metrics(self) -> None:
        """Put the file back, where a training that has been taken over has replaced it before it was told."""
        path = self._local / METRICS
        if path.exists() and os.path.samestat(path.stat(), os.fstat(self._metrics.fileno())):
            return
        self._run.check_lease()
        self._metrics.seek(0)
        Folder(self._local).write(METRICS, self._metrics.read().encode())
        self._metrics.close()
        self._metrics = path.open("a+", encoding="utf-8")


class _NoLog:
    """What every worker but the first has."""

    def scalars(self, step: int, values: Mapping[str, float], *, phase: int) -> None:
        pass

    def digests(self, step: int, values: Mapping[str, Future[str]], *, phase: int) -> None:
        pass

    def rates(self, step: int, values: Mapping[str, float]) -> None:
        pass

    def histograms(self, step: int, values: Mapping[str, Tensor]) -> None:
        pass

    def samples(self, step: int, texts: Sequence[str], real: Sequence[str]) -> None:
        pass

    def final(self, values: Mapping[str, float]) -> None:
        pass

    def publish(self) -> None:
        pass


def read_metrics(folder: Folder) -> list[dict[str, Any]]:
    """All measurements of a run, in order."""
    return read_lines(folder, METRICS)


def read_lines(folder: Folder, name: str) -> list[dict[str, Any]]:
    """The lines of one of a run's files that lines are added to, but for one that is half written."""
    text = folder.read(name).decode() if folder.exists(name) else ""
    return [json.loads(line) for line in _whole_lines(text)]


def _whole_lines(text: str) -> list[str]:
    # A kill can leave half a last line, and so can a look at a file that is being written.
    return [line for line in text.splitlines(keepends=True) if line.endswith("\n")]


def _add_line(file: IO[str], values: Mapping[str, Any]) -> None:
    file.write(json.dumps(values) + "\n")
    file.flush()
