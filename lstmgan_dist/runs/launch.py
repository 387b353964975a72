"""Training a job from its beginning or wherever its run stands: here, or on workers of a Ray cluster.

The command and Python programs ask for it in the same way; they differ in who looks on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from lstmgan_dist import config
from lstmgan_dist.addresses import is_remote
from lstmgan_dist.errors import Stopped
from lstmgan_dist.runs.opened import OpenedRun, open
from lstmgan_dist.runs.preparation import not_reported
from lstmgan_dist.runs.workers import quiet, readers, wanted_size
from lstmgan_dist.runtime.tasks import Watch, unwatched
from lstmgan_dist.runtime.worker_size import WorkerSize

if TYPE_CHECKING:
    from lstmgan_dist.corpus.manifest import PreparedCorpus
    from lstmgan_dist.corpus.prepare import PreparationProgress
    from lstmgan_dist.runtime.signals import StopSignal
    from lstmgan_dist.training.run import Run
    from lstmgan_dist.training.screen import Terminal
    from lstmgan_dist.training.start import Start
    from lstmgan_dist.training.trainer import Outcome

JobLike = str | os.PathLike[str] | Mapping[str, Any] | config.Job


def train(
    job: JobLike,
    *,
    run: str | os.PathLike[str] | None = None,
    set: Mapping[str, Any] | Sequence[str] = (),
    workers: str | int = 0,
    gpus_per_worker: float | None = None,
    cpus_per_worker: float | None = None,
    address: str | None = None,
    take_over: bool = False,
    timeout: float = 120,
    check_determinism: int | None = None,
    report: Callable[[PreparationProgress], None] = not_reported,
    say: Callable[[str], None] = quiet,
) -> OpenedRun:
    """Train what a job says, or resume it where it stopped, and open it at its best checkpoint.

    Ctrl-C (in a notebook: Interrupt) has a checkpoint written, and then `lstmgan.Stopped` is raised, which is a
    KeyboardInterrupt; the same call goes on from there. A second one stops at once.

    Args:
        job: a job file, the settings that one holds, or a `lstmgan.Job`.
        run: Folder or URL of the run; runs/<name> without.
        set: settings to change, `{"phases.0.epochs": 8}` or `["phases.0.epochs=8"]`.
        workers: Workers on Ray; `2..4` takes what there is; 0: this process, no Ray.
        gpus_per_worker, cpus_per_worker: what each takes; without, a GPU where the cluster has them, and one core or
            its share of this machine.
        address: Ray cluster to join, `auto` or HOST:PORT; one of its own, here, without.
        take_over: take the run from a training that is writing to it, which then ends.
        timeout: seconds after which a worker that answers no other is replaced.
        check_determinism: compute every so manieth update twice, and stop if a bit differs.
        report: is told how far the preparation of the text is.
        say: is told what `lstmgan train` prints as it goes, such as `print`.

    Raises:
        UserError: if the job, its text or the folder will not do, or the numbers went wrong.

    >>> job = {
    ...     "name": "tiny",
    ...     "corpus": {"source": "grammar:seed=1,count=400", "max_length": 40},
    ...     "batch": {"size": 16, "lanes": 4, "units": 4},
    ...     "generator": {"embedding": 16, "hidden": 16},
    ...     "discriminator": {"kind": "lstm", "scores": "per_sentence", "embedding": 8, "hidden": 8},
    ...     "phases": [
    ...         {"kind": "likelihood", "steps": 20, "optimizer": {"learning_rate": 0.02}},
    ...         {"kind": "discriminator", "steps": 4},
    ...         {"kind": "adversarial", "steps": 4, "estimator": {"kind": "score_function"}},
    ...     ],
    ...     "evaluate": {"every": "10 steps", "samples": 50},
    ... }
    >>> run = lstmgan.train(job, run="runs/tiny", say=print)
    Note: Of 400 held-out sentences ...
    runs/tiny is finished, after step 28.
    tiny: step 28, of phase 3 of 3 (adversarial), the best of this phase: held-out ... nats per token.
    >>> lstmgan.train(job, run="runs/tiny", set={"batch.size": 18})
    Traceback (most recent call last):
    lstmgan_dist.errors.UserError: the job: batch: size 18 must be divisible by 4 lanes: try size 16 or 20.
    """
    asked = ask(
        job,
        run=None if run is None else os.fspath(run),
        changed=set,
        workers=workers,
        cpus=cpus_per_worker,
        gpus=gpus_per_worker,
        address=address,
        check_determinism=check_determinism,
    )
    checked = check(asked, report=report, say=say)
    for sentence in checked.doubts():
        say(f"Note: {sentence}")
    from lstmgan_dist.training.screen import Sentences

    train_checked(checked, Sentences(say), timeout=timeout, take_over=take_over)
    return open(asked.url, device=asked.job.device, say=say)


@dataclass(frozen=True)
class Asked:
    """A job, the address of its run, and who is to train it."""

    job: config.Job
    url: str
    size: WorkerSize
    address: str | None


@dataclass(frozen=True)
class Checked:
    """What was asked for and can be done. start: what the run starts from, if it does. corpus: its text."""

    asked: Asked
    start: Start | None
    corpus: PreparedCorpus

    def doubts(self) -> Iterator[str]:
        """What a person should know before training; nothing is known of the machines at another address."""
        from lstmgan_dist.runtime import local
        from lstmgan_dist.training.doubts import doubts_about
        from lstmgan_dist.training.plan import memory_warning

        job = self.asked.job
        yield from doubts_about(job, self.corpus)
        if not self.asked.address:
            memory = local.memory_of(local.choose_device(job.device))
            warning = memory_warning(job, self.corpus.tokenizer, memory, max_context=self.corpus.max_context)
            if warning:
                yield warning


@dataclass(frozen=True)
class Trained:
    """A run that has come to the end of its job."""

    run: Run
    corpus: PreparedCorpus
    outcome: Outcome


def ask(
    job: JobLike,
    *,
    run: str | None,
    changed: Mapping[str, Any] | Sequence[str],
    workers: str | int,
    cpus: float | None,
    gpus: float | None,
    address: str | None,
    check_determinism: int | None,
) -> Asked:
    """What is to be trained, where and by whom, once that makes sense; see `train`.

    Raises:
        UserError: if it does not.
    """
    if check_determinism is not None:
        key = "guard.repeat_every"
        is_named = isinstance(changed, Mapping)
        changed = {**changed, key: check_determinism} if is_named else (*changed, f"{key}={check_determinism}")
    settings = config.read_job(job, changed)
    size = wanted_size(workers, cpus=cpus, gpus=gpus, address=address)
    size.check_units(settings.batch.units)
    return Asked(settings, run or f"runs/{settings.name}", size, address)


def check(asked: Asked, *, report: Callable[[PreparationProgress], None], say: Callable[[str], None]) -> Checked:
    """What the run starts from, and its text, which is prepared if need be, once everything fits.

    Raises:
        UserError: if something does not.
    """
    from lstmgan_dist.storage import Folder
    from lstmgan_dist.training.run import check_fit, check_place
    from lstmgan_dist.training.start import start_from

    job, url = asked.job, asked.url
    Folder(url, job.storage).check_writable()
    check_place(url, job.storage)
    start = start_from(job, url, say=say)
    corpus = corpus_of(job, url, start, asked.address, report=report, say=say)
    check_fit(job, corpus)
    if start:
        start.check(job, corpus)
    return Checked(asked, start, corpus)


def corpus_of(
    job: config.Job,
    url: str,
    start: Start | None,
    address: str | None,
    *,
    report: Callable[[PreparationProgress], None],
    say: Callable[[str], None],
) -> PreparedCorpus:
    """The text of a job, prepared by this process, or by the cluster at the address if that reaches it."""
    from lstmgan_dist.training.run import prepared_corpus
    from lstmgan_dist.training.start import tokenizer_of

    tokenizer = tokenizer_of(job, url, start)
    # The cluster reads what its nodes reach as this machine does; a file may be on this one alone.
    sources = (*job.corpus.sources, *job.corpus.heldout_sources)
    who = partial(readers, address if all(map(is_remote, sources)) else None, say=say)
    return prepared_corpus(job.corpus, url, report, job.storage, tokenizer=tokenizer, readers=who)


def train_checked(
    checked: Checked, screen: Terminal, *, timeout: float, take_over: bool, watch: Watch = unwatched
) -> Trained:
    """Take the run, create or resume it, and train it to the end of its job.

    Raises:
        Stopped: if a signal asks for it, once the checkpoint is written.
        KeyboardInterrupt: if another one does before that; its text says what was saved.
        UserError: if the run is another's, or the numbers went wrong.
    """
    from lstmgan_dist.storage import Folder
    from lstmgan_dist.training.lease import taken
    from lstmgan_dist.training.run import Run

    job, url, size = checked.asked.job, checked.asked.url, checked.asked.size
    with screen, ExitStack() as meanwhile:
        if size.most:
            from lstmgan_dist.runtime.ray_cluster import connected_for

            granted = connected_for(size, device=job.device, address=checked.asked.address, say=screen.say)
            size = meanwhile.enter_context(granted)
        lease = meanwhile.enter_context(taken(Folder(url, job.storage), say=screen.say, take_over=take_over))
        write_start = checked.start.copy_to if checked.start else None
        run = Run.create_or_resume(
            url, job, checked.corpus, lease_number=lease, say=screen.say, write_start=write_start, watch=watch
        )
        try:
            if size.most:
                outcome, stop = _train_on_ray(run, lease, screen, size, timeout)
            else:
                outcome, stop = _train_here(run, checked.corpus, screen)
        except KeyboardInterrupt:  # the second one: the first asks for a checkpoint
            raise KeyboardInterrupt(_what_was_saved(run, say=screen.say)) from None
    if not outcome.finished:
        assert stop.number is not None
        raise Stopped(
            f"Stopped after step {outcome.progress.step}, and the checkpoint is written. The same command resumes it.",
            stop.number,
        )
    return Trained(run, checked.corpus, outcome)


def _train_here(run: Run, corpus: PreparedCorpus, screen: Terminal) -> tuple[Outcome, StopSignal]:
    from lstmgan_dist.runs.train import train as run_training
    from lstmgan_dist.runtime import local

    return local.launch(lambda runtime: run_training(run, corpus, runtime, screen), run.job.device)


def _train_on_ray(
    run: Run, lease_number: int, screen: Terminal, size: WorkerSize, timeout: float
) -> tuple[Outcome, StopSignal]:
    from lstmgan_dist.runs.train import train_on_worker
    from lstmgan_dist.runtime import ray_gauges, ray_train
    from lstmgan_dist.training.gauges import GAUGES, RunGauges
    from lstmgan_dist.training.screen import Message, replay, tells_of_checkpoint

    gauges = RunGauges()

    def listen(message: Message) -> None:
        for each in (screen, gauges):
            replay(message, each)

    def lost(sentence: str) -> None:
        screen.say(sentence)
        gauges.restarted()

    url = str(run.folder.local_path or run.folder)  # absolute, for workers run in folders of their own
    with ray_gauges.exported(GAUGES, gauges.readings, run=str(run.folder)):
        return ray_train.launch(
            partial(train_on_worker, url, run.job, lease_number=lease_number),
            size=size,
            timeout=timeout,
            listen=listen,
            tells_of_checkpoint=tells_of_checkpoint,
            say=screen.say,
            lost=lost,
            furthest=lambda: screen.furthest,
        )


def _what_was_saved(run: Run, *, say: Callable[[str], None]) -> str:
    newest = run.checkpoints.newest(warn=say)
    if newest is None:
        return f"Stopped at once, before the first checkpoint of {run.folder}: the same command starts it anew."
    return f"Stopped at once: the same command resumes {run.folder} after step {newest.step}, its last checkpoint."
