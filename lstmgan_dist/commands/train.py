"""Training a job: here, or on workers of a Ray cluster that this machine is a node of."""

from __future__ import annotations

import math
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from lstmgan_dist import config
from lstmgan_dist.addresses import is_remote
from lstmgan_dist.commands.options import (
    CpusPerWorker,
    GpusPerWorker,
    JobFile,
    Overrides,
    RayAddress,
    TakeOver,
    wanted_size,
)
from lstmgan_dist.commands.terminal import preparation_bar, stdout_console, warn, watch
from lstmgan_dist.commands.workers import readers
from lstmgan_dist.runtime.worker_size import WorkerSize

if TYPE_CHECKING:
    from lstmgan_dist.corpus.manifest import PreparedCorpus
    from lstmgan_dist.runtime.signals import StopSignal
    from lstmgan_dist.training.run import Run
    from lstmgan_dist.training.screen import Terminal
    from lstmgan_dist.training.start import Start
    from lstmgan_dist.training.trainer import Outcome


def train(
    job: JobFile,
    run: Annotated[str | None, typer.Option(help="Folder or URL of the run.  (default: runs/<name>)")] = None,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the job, prepare its corpus, show the plan, and start nothing.")
    ] = False,
    full: Annotated[bool, typer.Option("--full", help="With --dry-run: also the whole job, defaults and all.")] = False,
    workers: Annotated[
        str, typer.Option(metavar="N|MIN..MAX", help="Workers on Ray; MIN..MAX takes what there is; 0: no Ray.")
    ] = "0",
    gpus_per_worker: GpusPerWorker = None,
    cpus_per_worker: CpusPerWorker = None,
    address: RayAddress = None,
    take_over: TakeOver = False,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds after which a worker that answers no other is replaced.")
    ] = 120,
    check_determinism: Annotated[
        int | None,
        typer.Option(min=1, metavar="K", help="Compute every Kth update twice, and stop if a bit differs; costs 2/K."),
    ] = None,
) -> None:
    """Train what a job file describes, or resume it where it stopped.

    [dim]
    lstmgan train jobs/quickstart.yaml\n
    lstmgan train jobs/char_lm_small.yaml --set corpus.source=input.txt\n
    lstmgan train jobs/lstm_gan.yaml --set phases.0.epochs=2 --run runs/shorter --dry-run\n
    lstmgan train jobs/quickstart.yaml --set phases.2.steps=300\n
    lstmgan train jobs/quickstart.yaml --set start_from=runs/quickstart@likelihood --run runs/another-game\n
    lstmgan train jobs/quickstart.yaml --workers 2\n
    lstmgan train jobs/quickstart.yaml --workers 2 --check-determinism 100\n
    lstmgan train jobs/coco_relgan.yaml --workers 2..4 --address auto --run s3://bucket/runs/coco
    [/dim]
    """
    repeated = () if check_determinism is None else (f"guard.repeat_every={check_determinism}",)
    settings = config.load_job(job, (*(overrides or ()), *repeated))
    url = run or f"runs/{settings.name}"
    size = wanted_size(workers, cpus=cpus_per_worker, gpus=gpus_per_worker, address=address)
    size.check_units(settings.batch.units)

    start, corpus = _checked(settings, url, address)
    if dry_run:
        _show_plan(url, settings, corpus, is_full=full)
    _say_doubts(settings, corpus, address)
    if not dry_run:
        _train(settings, url, start, corpus, size, address, timeout=timeout, take_over=take_over)


def _checked(settings: config.Job, url: str, address: str | None) -> tuple[Start | None, PreparedCorpus]:
    """What the run starts from, and its text, once everything fits."""
    from lstmgan_dist.storage import Folder
    from lstmgan_dist.training.run import check_fit, check_place
    from lstmgan_dist.training.start import start_from

    Folder(url, settings.storage).check_writable()
    check_place(url, settings.storage)
    start = start_from(settings, url, say=warn)
    corpus = _corpus(settings, url, start, address)
    check_fit(settings, corpus)
    if start:
        start.check(settings, corpus)
    return start, corpus


def _say_doubts(settings: config.Job, corpus: PreparedCorpus, address: str | None) -> None:
    """What a person should know before training; nothing is known of the machines at another address."""
    from lstmgan_dist.runtime import local
    from lstmgan_dist.training.doubts import doubts_about
    from lstmgan_dist.training.plan import memory_warning

    sentences: list[str | None] = list(doubts_about(settings, corpus))
    if not address:
        memory = local.memory_of(local.choose_device(settings.device))
        sentences.append(memory_warning(settings, corpus.tokenizer, memory, max_context=corpus.max_context))
    for sentence in filter(None, sentences):
        warn(f"Note: {sentence}")


def _train(
    settings: config.Job,
    url: str,
    start: Start | None,
    corpus: PreparedCorpus,
    size: WorkerSize,
    address: str | None,
    *,
    timeout: float,
    take_over: bool,
) -> None:
    """Take the run, create or resume it, and train it; then say where to look."""
    from lstmgan_dist.storage import Folder
    from lstmgan_dist.training.lease import taken
    from lstmgan_dist.training.run import Run
    from lstmgan_dist.training.screen import Terminal

    with Terminal(stdout_console()) as screen, ExitStack() as meanwhile:
        if size.most:
            from lstmgan_dist.runtime.ray_cluster import connected_for

            granted = connected_for(size, device=settings.device, address=address, say=screen.say)
            size = meanwhile.enter_context(granted)
        lease = meanwhile.enter_context(taken(Folder(url, settings.storage), say=screen.say, take_over=take_over))
        write_start = start.copy_to if start else None
        opened = Run.create_or_resume(
            url, settings, corpus, lease_number=lease, say=screen.say, write_start=write_start, watch=watch
        )
        outcome = _train_to_the_end(opened, lease, corpus, screen, size, timeout)
    _say_where_to_look(opened, corpus, outcome)


def _train_to_the_end(
    opened: Run, lease: int, corpus: PreparedCorpus, screen: Terminal, size: WorkerSize, timeout: float
) -> Outcome:
    """Train to the end of the job; whoever stops it is told what was saved."""
    try:
        if size.most:
            outcome, stop = _train_on_ray(opened, lease, screen, size, timeout)
        else:
            outcome, stop = _train_here(opened, corpus, screen)
    except KeyboardInterrupt:  # the second one: the first asks for a checkpoint
        screen.say(_what_was_saved(opened))
        raise typer.Exit(130) from None
    if not outcome.finished:
        assert stop.number is not None
        screen.say(
            f"Stopped after step {outcome.progress.step}, and the checkpoint is written. The same command resumes it."
        )
        raise typer.Exit(128 + stop.number)
    return outcome


def _corpus(settings: config.Job, url: str, start: Start | None, address: str | None) -> PreparedCorpus:
    from lstmgan_dist.training.run import prepared_corpus
    from lstmgan_dist.training.start import tokenizer_of

    tokenizer = tokenizer_of(settings, url, start)
    # The cluster reads what its nodes reach as this machine does; a file may be on this one alone.
    sources = (*settings.corpus.sources, *settings.corpus.heldout_sources)
    who = partial(readers, address if all(map(is_remote, sources)) else None)
    with preparation_bar() as report:
        return prepared_corpus(settings.corpus, url, report, settings.storage, tokenizer=tokenizer, readers=who)


def _show_plan(url: str, settings: config.Job, corpus: PreparedCorpus, *, is_full: bool) -> None:
    from lstmgan_dist.training.plan import plan
    from lstmgan_dist.training.run import what_is_there

    lines = [plan(settings, corpus), what_is_there(url, settings)]
    if is_full:
        lines.append(f"\n{config.dump_job(settings)}")
    stdout_console().print("\n".join(lines), markup=False, highlight=False)


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


def _last_loss(outcome: Outcome) -> float:
    """Held-out nats per token at the last evaluation; 0 where there was none."""
    return outcome.last_evaluation.scalars["heldout/nll"] if outcome.last_evaluation else 0.0


def _what_was_saved(run: Run) -> str:
    newest = run.checkpoints.newest(warn=warn)
    if newest is None:
        return f"Stopped at once, before the first checkpoint of {run.folder}: the same command starts it anew."
    return f"Stopped at once: the same command resumes {run.folder} after step {newest.step}, its last checkpoint."


def _say_where_to_look(run: Run, corpus: PreparedCorpus, outcome: Outcome) -> None:
    from lstmgan_dist.runs.inspection import examples, told_of_game

    best = outcome.progress.best_of_last_phase
    typer.echo("\nReal text that was held out:")
    for text in examples(corpus, 4):
        typer.echo(f"  {text}")
    if outcome.last_evaluation:
        typer.echo("Generated text:")
        for text in outcome.last_evaluation.texts[:4]:
            typer.echo(f"  {text}")
    nll, knowing_nothing = _last_loss(outcome), math.log(corpus.tokenizer.vocabulary_size)
    if nll > knowing_nothing:
        warn(
            f"\nThis run has learnt nothing: held-out text has {nll:,.3f} nats per token, and to a model that takes "
            f"all tokens for equally likely {knowing_nothing:.3f}. Lower the learning rate, and train it anew with "
            "another --run."
        )
    if best:
        typer.echo(f"\nThe best of the last phase is step {best.step}: {best}.")
    if effect := told_of_game(run, outcome.progress):
        typer.echo(effect)
    typer.echo(f"Curves: lstmgan monitor {run.folder}   More text: lstmgan generate {run.folder}")
