"""A drill: a run that is disturbed at random, again and again, and must come out as the one that nobody disturbed.

The cluster is a small one of this machine's own, the storage a folder that can vanish. What is killed is killed as
hardware kills, with no word of warning; what a person or a launcher would do then is done, which is to begin again.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

import psutil

from lstmgan_dist.config import Job, dump_job
from lstmgan_dist.errors import UserError
from lstmgan_dist.runtime.ray_nodes import SmallCluster
from lstmgan_dist.storage import Folder
from lstmgan_dist.training.checkpoint import Checkpoints
from lstmgan_dist.training.curves import TENSORBOARD
from lstmgan_dist.training.lease import LEASE
from lstmgan_dist.training.run_log import TIMES, read_lines

_SECONDS_BETWEEN_LOOKS = 0.1
_SECONDS_OF_OUTAGE = 5.0
# After the run has made up for a fault, the next one comes within so many seconds.
_MOST_SECONDS_OF_PEACE = 3.0
# What is logged so soon after a fault was on its way before.
_SECONDS_OF_ECHO = 1.0
_SECONDS_UNTIL_A_WORKER_IS_LOST = 12
# Drivers in a row that may end of themselves and leave the run no further.
_MOST_BARREN_DRIVERS = 5


@dataclass
class Fault:
    """What was done to a run. second: of the drill; step: how far the run had come then.

    made_up_after: seconds until it was further than that; None where the drill ended before.
    """

    kind: str
    run: str
    second: float
    step: int
    made_up_after: float | None = None


@dataclass
class DisturbedRun:
    """A run that reached its end. differing: its files that are not those of the undisturbed run."""

    name: str
    began: float
    seconds: float
    files: int
    differing: list[str]


@dataclass
class DrillFindings:
    """What a drill found; seconds count from its beginning. curves: of each run, its steps over those seconds."""

    job: str
    workers: int
    nodes: int
    seed: int
    undisturbed_seconds: float
    faults: list[Fault] = field(default_factory=list)
    runs: list[DisturbedRun] = field(default_factory=list)
    curves: dict[str, list[tuple[float, int]]] = field(default_factory=dict)

    @property
    def is_passed(self) -> bool:
        """Whether every run came out as the undisturbed one."""
        return not any(run.differing for run in self.runs)

    def to_json(self) -> str:
        """For programs."""
        return json.dumps(asdict(self) | {"passed": self.is_passed}, indent=1)


def hold_drill(
    job: Job, folder: Path, *, workers: int, nodes: int, seconds: float, seed: int, say: Callable[[str], None]
) -> DrillFindings:
    """Train a job undisturbed, and then for so many seconds disturbed, beginning it anew when it is finished.

    Args:
        job: its corpus is one that this machine reaches.
        folder: a new one, for the runs and all logs.
        workers: that train, one on each node that they need; what is not needed is a spare.
        seed: of the faults.
        say: is told each fault.

    Raises:
        UserError: if the job does not train even undisturbed, or does not get on between two faults.
    """
    for place in ("runs", "logs"):
        (folder / place).mkdir()
    job_file = folder / "job.yaml"
    job_file.write_text(dump_job(job))
    with tempfile.TemporaryDirectory(prefix="lg", dir="/tmp", ignore_cleanup_errors=True) as temporary:
        cluster, disk = SmallCluster(nodes, folder / "logs", Path(temporary)), _Disk(folder)

        def training(name: str) -> _RestartedTraining:
            return _RestartedTraining(cluster, job_file, disk.mount / name, workers, folder / "logs" / f"{name}.log")

        try:
            say(f"Starting a cluster of {nodes} nodes, and on it the undisturbed run.")
            cluster.start()
            whole, begun = training("undisturbed"), time.monotonic()
            while not whole.is_finished():
                time.sleep(_SECONDS_BETWEEN_LOOKS)
            found = DrillFindings(job.name, workers, nodes, seed, time.monotonic() - begun)
            say(f"It took {found.undisturbed_seconds:.0f} s. Now it is disturbed, for {seconds:.0f} s.")
            _Drill(found, cluster, disk, training, seconds, random.Random(seed), say).hold()
        finally:
            cluster.end()
    return found


class _Drill:
    """The disturbed part."""

    def __init__(
        self,
        found: DrillFindings,
        cluster: SmallCluster,
        disk: _Disk,
        training: Callable[[str], _RestartedTraining],
        seconds: float,
        draw: random.Random,
        say: Callable[[str], None],
    ) -> None:
        self._found, self._cluster, self._disk, self._training = found, cluster, disk, training
        self._seconds, self._draw, self._say = seconds, draw, say
        self._begun = time.monotonic()
        self._deck = self._kinds()

    def _kinds(self) -> Iterator[str]:
        """Kinds of faults, in an order of chance, each as often as the others."""
        while True:
            yield from self._draw.sample(sorted(FAULTS), len(FAULTS))

    def _now(self) -> float:
        return time.monotonic() - self._begun

    def hold(self) -> None:
        while not self._found.runs or self._now() < self._seconds:
            self._train(f"disturbed-{len(self._found.runs) + 1}")

    def _train(self, name: str) -> None:
        """One run, to its end."""
        training, began = self._training(name), self._now()
        fault: Fault | None = None
        due, reached = self._due(), 0
        while not training.is_finished():
            time.sleep(_SECONDS_BETWEEN_LOOKS)
            if fault and self._now() < fault.second + _SECONDS_OF_ECHO:
                reached = training.furthest
            elif fault and training.furthest > reached:
                self._made_up(fault)
                fault, due = None, self._due()
            elif not fault and training.furthest and due <= self._now() < self._seconds:
                fault, reached = self._disturb(training, name), training.furthest
        if fault:
            self._made_up(fault)
        files, differing = compare(self._disk.folder / "undisturbed", self._disk.folder / name)
        self._found.runs.append(DisturbedRun(name, began, self._now() - began, files, differing))
        self._found.curves[name] = self._curve(self._disk.folder / name)
        equal = f"and {len(differing)} of its files are not" if differing else f"and all {files} of its files are"
        self._say(f"{name} is finished, {equal} those of the undisturbed run.")

    def _due(self) -> float:
        return self._now() + self._draw.uniform(0, _MOST_SECONDS_OF_PEACE)

    def _disturb(self, training: _RestartedTraining, name: str) -> Fault | None:
        kind = next(self._deck)
        step, second = training.furthest, self._now()
        if not FAULTS[kind](_Scene(self._cluster, training, self._disk, self._draw)):
            return None  # there was nothing of that kind just then
        fault = Fault(kind, name, second, step)
        self._found.faults.append(fault)
        self._say(f"{second:.0f} of {self._seconds:.0f} s, {name}, step {step}: {kind}.")
        return fault

    def _made_up(self, fault: Fault) -> None:
        fault.made_up_after = self._now() - fault.second

    def _curve(self, run: Path) -> list[tuple[float, int]]:
        begun = time.time() - self._now()
        lines = read_lines(Folder(run), TIMES)
        return [(datetime.fromisoformat(line["time"]).timestamp() - begun, line["step"]) for line in lines]


# --- what can be disturbed -------------------------------------------------------------------------------------------


class _Disk:
    """Storage that can be taken away: `mount` leads to `folder`, or for a while to nowhere."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "runs"
        self.mount = folder / "mount"
        self._nowhere = folder / "nowhere"
        self._nowhere.write_bytes(b"")
        self.mend()

    def take_away(self) -> None:
        self._lead_to(self._nowhere / "runs")  # below a file nothing can be read or written

    def mend(self) -> None:
        self._lead_to(self.folder)

    def _lead_to(self, place: Path) -> None:
        link = self.mount.with_suffix(".new")
        link.symlink_to(place)
        os.replace(link, self.mount)


class _RestartedTraining:
    """A run on the cluster, begun again whenever its driver has ended too early."""

    def __init__(self, cluster: SmallCluster, job_file: Path, run: Path, workers: int, log: Path) -> None:
        self._cluster, self._run, self._log = cluster, run, log
        self._command = [sys.executable, "-m", "lstmgan_dist", "train", str(job_file), "--run", str(run)]
        self._command += ["--workers", str(workers), "--cpus-per-worker", "1"]
        self._command += ["--timeout", str(_SECONDS_UNTIL_A_WORKER_IS_LOST)]
        self._barren, self._reached = 0, -1
        self.furthest = 0
        self._driver = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with open(self._log, "ab") as log:
            return subprocess.Popen(
                [*self._command, "--address", self._cluster.address],
                env=self._cluster.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def is_finished(self) -> bool:
        """Whether the run has reached its end; to be asked often, for this is what begins it again."""
        with suppress(OSError):
            self.furthest = max([self.furthest, *(line["step"] for line in read_lines(Folder(self._run), TIMES))])
        code = self._driver.poll()
        if code is None:
            return False
        if code == 0:
            return True
        self._barren = self._barren + 1 if self.furthest == self._reached else 0
        self._reached = self.furthest
        if self._barren >= _MOST_BARREN_DRIVERS or (code == 2 and not self.furthest):
            last = (self._log.read_text().strip().splitlines() or ["its log is empty"])[-1]
            raise UserError(f"{self._run.name} does not get on: {last.removeprefix('Error: ')}")
        self._driver = self._start()
        return False

    def kill_driver(self) -> None:
        self._driver.kill()
        self._driver.wait()


@dataclass
class _Scene:
    """Where a fault happens."""

    cluster: SmallCluster
    training: _RestartedTraining
    disk: _Disk
    draw: random.Random

    def a_worker(self) -> psutil.Process | None:
        workers = self.cluster.training_workers()
        return self.draw.choice(workers) if workers else None


def _kill_worker(scene: _Scene) -> bool:
    if worker := scene.a_worker():
        worker.kill()
    return worker is not None


def _freeze_worker(scene: _Scene) -> bool:
    if worker := scene.a_worker():
        worker.suspend()
    return worker is not None


def _lose_node(scene: _Scene) -> bool:
    nodes = scene.cluster.nodes_that_train()
    if nodes:
        scene.draw.choice(nodes).end()
        scene.cluster.complete()
    return bool(nodes)


def _kill_driver(scene: _Scene) -> bool:
    scene.training.kill_driver()
    return True


def _take_storage(scene: _Scene) -> bool:
    scene.disk.take_away()
    time.sleep(_SECONDS_OF_OUTAGE)
    scene.disk.mend()
    return True


def _cut_power(scene: _Scene) -> bool:
    scene.cluster.end()
    scene.training.kill_driver()
    scene.cluster.start()
    return True


# Each says whether there was something to do it to.
FAULTS: Mapping[str, Callable[[_Scene], bool]] = {
    "a worker is killed": _kill_worker,
    "a worker freezes": _freeze_worker,
    "a node is lost": _lose_node,
    "the driver is killed": _kill_driver,
    "the storage is away for 5 s": _take_storage,
    "the power is cut everywhere": _cut_power,
}


# --- what a run leaves -----------------------------------------------------------------------------------------------


def compare(whole: Path, other: Path) -> tuple[int, list[str]]:
    """How many files of a run were compared with those of an undisturbed one, and the names of those that differ.

    Not event files, leases and times, which hold clock times, nor what a kill has left half written, which nobody
    reads. Of checkpoints the last one, and whichever else both have kept.
    """
    mine, theirs = _files(whole), _files(other)
    last = f"checkpoints/step-{Checkpoints(Folder(whole / 'checkpoints'), keep=1).steps()[-1]:08d}/"
    may_be_absent = {name for name in {*mine} ^ {*theirs} if name.startswith("checkpoints/") and last not in name}
    compared = {*mine, *theirs} - may_be_absent
    return len(compared), sorted(name for name in compared if mine.get(name) != theirs.get(name))


def _files(run: Path) -> dict[str, str]:
    """Digests of what must not depend on faults, by name."""
    return {
        path.relative_to(run).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in run.rglob("*")
        if path.is_file() and not {TENSORBOARD, LEASE, TIMES} & {*path.parts} and path.suffix != ".part"
    }
