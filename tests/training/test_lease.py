"""One training writes to a run at a time, whoever else tries, on folders and on S3."""

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
import torch

from lstmgan_dist.config import Job
from lstmgan_dist.errors import UserError
from lstmgan_dist.runs.train import train
from lstmgan_dist.runtime.local import LocalRuntime
from lstmgan_dist.storage import Folder
from lstmgan_dist.training import lease
from lstmgan_dist.training.lease import Lease, Times, check, taken
from lstmgan_dist.training.run import Run, prepared_corpus
from lstmgan_dist.training.run_log import RunLog, read_metrics
from tests.command_line import lstmgan
from tests.training.comparison import final_state
from tests.training.tiny_jobs import CONTINUOUS, job_of, run_job
from tests.waiting import wait_until

QUICK = Times(renewal=0.05, silence=0.5, settling=0.2)


def told(sentences: list[str] | None = None) -> Callable[[str], None]:
    return [].append if sentences is None else sentences.append


@contextmanager
def without_locks(folder: Folder, take_over: bool) -> Iterator[None]:
    """What `lease._locked` is where the file system has no locks, and between machines."""
    yield None


@pytest.fixture
def far_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every owner is on a machine of its own."""
    monkeypatch.setattr(lease, "_locked", without_locks)


def test_the_second_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    run = Folder(tmp_path / "run")
    with taken(run, say=told()) as first:
        with (
            pytest.raises(UserError, match=r"is being trained by process \d+ on .*--take-over"),
            taken(run, say=told()),
        ):
            pass
        check(run, first)
    with taken(run, say=told()) as second:
        assert second == first + 1
        assert [name for name in (run / "lease").list() if name.endswith(".json")] == [f"{second:08d}.json"]


HOLD = """
import sys, time
from lstmgan_dist.storage import Folder
from lstmgan_dist.training.lease import taken
with taken(Folder(sys.argv[1]), say=print):
    print("holding", flush=True)
    time.sleep(600)
"""


@contextmanager
def holder(run: Folder) -> Iterator["subprocess.Popen[str]"]:
    """Another process that has the run."""
    with subprocess.Popen([sys.executable, "-c", HOLD, run.url], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "holding\n"
        yield process
        process.kill()


def test_a_killed_process_of_this_machine_holds_nothing(tmp_path: Path) -> None:
    run = Folder(tmp_path / "run")
    with holder(run) as process:
        with pytest.raises(UserError, match=f"by process {process.pid} on "), taken(run, say=told()):
            pass
        process.send_signal(signal.SIGSTOP)  # it gives no sign of life, but it is there
        with pytest.raises(UserError, match=f"by process {process.pid} on "), taken(run, say=told()):
            pass
        process.kill()
        process.wait()
        begun, said = time.monotonic(), []
        with taken(run, say=told(said)):
            assert time.monotonic() - begun < lease.Times().silence / 2
        assert not said


@pytest.mark.usefixtures("far_apart")
def test_an_owner_elsewhere_is_gone_after_its_silence_and_not_before(tmp_path: Path) -> None:
    run, said = Folder(tmp_path / "run"), []
    with taken(run, say=told(), times=QUICK) as first:
        with pytest.raises(UserError, match="is being trained by"), taken(run, say=told(said), times=QUICK):
            pass
        assert any("looking for up to 0.5 s whether it goes on" in sentence for sentence in said)
    silent = lease.Owner("elsewhere", 12, "a1")
    (run / "lease").write(f"{first + 1:08d}.json", lease._content(silent))
    begun = time.monotonic()
    with taken(run, say=told(), times=QUICK):
        assert time.monotonic() - begun >= QUICK.silence
        with pytest.raises(UserError, match="was taken over by process"):
            check(run, first)


@pytest.mark.slow
def test_whoever_was_taken_over_is_told_and_writes_no_more(tmp_path: Path, text: Path) -> None:
    """A training that another one takes the run from, in the middle; and what the other makes of it is whole."""
    job = job_of(CONTINUOUS, text, "phases.0={kind: likelihood, steps: 40}")
    run_job(job, tmp_path / "whole")
    url = str(tmp_path / "run")
    corpus = prepared_corpus(job.corpus, url, lambda progress: None)
    folder, second = Folder(url), threading.Event()

    class Waiting(LocalRuntime):
        steps = 0

        def stop_request(self):
            self.steps += 1
            if self.steps == 10:
                second.set()
                wait_until(lambda: not thread.is_alive())
            return super().stop_request()

    def take_over() -> None:
        second.wait()
        with taken(folder, say=told(), take_over=True) as number:
            run = Run.create_or_resume(url, job, corpus, lease_number=number)
            train(run, corpus, LocalRuntime(torch.device("cpu")), screen())

    thread = threading.Thread(target=take_over)
    thread.start()
    with taken(folder, say=told()) as number:
        run = Run.create_or_resume(url, job, corpus, lease_number=number)
        with pytest.raises(UserError, match="was taken over by process"):
            train(run, corpus, Waiting(torch.device("cpu")), screen())
    assert final_state(tmp_path / "run") == final_state(tmp_path / "whole")


def screen():
    from rich.console import Console

    from lstmgan_dist.training.screen import Terminal

    return Terminal(Console(quiet=True))


def test_a_second_command_is_refused_in_one_line(tmp_path: Path, text: Path) -> None:
    run = Folder(tmp_path / "run")
    with holder(run) as process:
        (tmp_path / "job.yaml").write_text(CONTINUOUS.replace("SOURCE", str(text)))
        complaint = lstmgan("train", tmp_path / "job.yaml", "--run", run.url, code=2)
        assert f"is being trained by process {process.pid} on" in complaint
        assert not run.exists("job.yaml")


def test_a_storage_without_conditional_writes_is_said_and_still_has_one_owner(server, monkeypatch) -> None:
    """Such as old object stores: whatever comes is taken, and the last one has it."""

    def claim(self: Folder, name: str, content: bytes) -> bool:
        self.write(name, content)
        return True

    monkeypatch.setattr(Folder, "claim", claim)
    monkeypatch.setattr(lease, "_locked", without_locks)
    together = threading.Barrier(3)

    def one(said: list[str]) -> int | None:
        together.wait()
        try:
            with taken(Folder(f"{server.url}/old"), say=told(said), times=QUICK) as number:
                time.sleep(3)
                return number
        except UserError:
            return None

    said: list[list[str]] = [[], [], []]
    with server.as_environment(), ThreadPoolExecutor(3) as pool:
        numbers = list(pool.map(one, said))
    assert [number for number in numbers if number] == [1]
    assert any("without conditional writes" in sentence for sentences in said for sentence in sentences)


# --- many at once ----------------------------------------------------------------------------------------------------

ROWS = 12


class KilledError(BaseException):
    """The process is gone, and gives nothing back."""


class Dying(threading.local):
    now = False


@pytest.fixture
def mortal(monkeypatch: pytest.MonkeyPatch) -> Dying:
    """Threads may die like processes: without a further word."""
    dying, write, publish = Dying(), Lease._write, RunLog.publish
    monkeypatch.setattr(Lease, "_write", lambda self, what: None if dying.now else write(self, what))
    monkeypatch.setattr(RunLog, "publish", lambda self: None if dying.now else publish(self))
    return dying


def rehearse(url: str, job: Job, draw: random.Random, mortal: Dying, *, dies_at: int | None, take_over: bool) -> str:
    """What a training does to a run, without the training: a row each step, and a checkpoint every third."""
    number = None
    try:
        with taken(Folder(url), say=told(), take_over=take_over, times=QUICK) as number:
            run = Run(Folder(url), job, lease_number=number)
            newest = run.checkpoints.newest(warn=told())
            done = newest.step if newest else 0
            with RunLog(run, step=done, warn=told()) as log:
                for step in range(done + 1, ROWS + 1):
                    time.sleep(draw.uniform(0, 0.01))
                    if step == dies_at:
                        mortal.now = True
                        raise KilledError
                    log.scalars(step, {"figure": float(step)}, phase=0)
                    if step % 3 == 0:
                        run.check_lease()
                        log.publish()
                        run.checkpoints.save(step, {"network": {"weight": torch.tensor([float(step)])}}, {})
        return "finished"
    except UserError as error:
        return "refused" if number is None else f"told: {error}"
    except KilledError:
        return "killed"


@pytest.mark.slow
@pytest.mark.usefixtures("far_apart")
@pytest.mark.parametrize(("where", "games"), [("folder", 80), ("s3", 20)])
def test_any_interleaving_loses_no_row(where, games, tmp_path, text, request, mortal) -> None:
    """Games of four trainings each, of which one is killed and one may take over, in whatever order."""
    job = job_of(CONTINUOUS, text, "log.publish_seconds=0.1")
    server = request.getfixturevalue("server") if where == "s3" else None
    draw, seen = random.Random(games), set()
    with server.as_environment() if server else nullcontext():
        for game in range(games):
            url = f"{server.url}/{game}" if server else str(tmp_path / str(game))

            def one(delay: float, dies_at: int | None, take_over: bool, url=url) -> str:
                time.sleep(delay)
                chance = random.Random(delay)
                return rehearse(url, job, chance, mortal, dies_at=dies_at, take_over=take_over)

            roles = [(draw.randrange(1, ROWS), False), (None, False), (None, False), (None, draw.random() < 0.5)]
            with ThreadPoolExecutor(len(roles)) as pool:
                begun = [pool.submit(one, draw.uniform(0, 0.25), *role) for role in roles]
            outcomes = [training.result() for training in begun]
            seen |= {outcome.partition(":")[0] for outcome in outcomes}
            if "finished" not in outcomes:  # whoever was refused tries again, as a person would
                time.sleep(QUICK.silence)
                outcomes.append(rehearse(url, job, draw, mortal, dies_at=None, take_over=False))
            assert "finished" in outcomes, outcomes
            rows = read_metrics(Folder(url))
            assert [row["step"] for row in rows] == list(range(1, ROWS + 1)), outcomes
            assert Run(Folder(url), job).checkpoints.newest(warn=told()).step == ROWS  # type: ignore[union-attr]
    assert seen == {"finished", "killed", "refused", "told"}
