"""Training a job: here, or on workers of a Ray cluster that this machine is a node of."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import typer

from lstmgan_dist import config
from lstmgan_dist.commands.options import (
    CpusPerWorker,
    GpusPerWorker,
    JobFile,
    Overrides,
    RayAddress,
    TakeOver,
    defaults_of,
)
from lstmgan_dist.commands.terminal import preparation_bar, stdout_console, warn, watch
from lstmgan_dist.errors import Stopped
from lstmgan_dist.runs import launch

if TYPE_CHECKING:
    from lstmgan_dist.corpus.manifest import PreparedCorpus
    from lstmgan_dist.training.trainer import Outcome

_DEFAULT = defaults_of(launch.train)


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
    ] = str(_DEFAULT.workers),
    gpus_per_worker: GpusPerWorker = None,
    cpus_per_worker: CpusPerWorker = None,
    address: RayAddress = None,
    take_over: TakeOver = False,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds after which a worker that answers no other is replaced.")
    ] = _DEFAULT.timeout,
    check_determinism: Annotated[
        int | None,
        typer.Option(min=1, metavar="K", help="Compute every Kth update twice, and stop if a bit differs; costs 2/K."),
    ] = _DEFAULT.check_determinism,
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
    asked = launch.ask(
        job,
        run=run,
        changed=overrides or (),
        workers=workers,
        cpus=cpus_per_worker,
        gpus=gpus_per_worker,
        address=address,
        check_determinism=check_determinism,
    )
    with preparation_bar() as report:
        checked = launch.check(asked, report=report, say=warn)
    if dry_run:
        _show_plan(asked, checked.corpus, is_full=full)
    for sentence in checked.doubts():
        warn(f"Note: {sentence}")
    if not dry_run:
        _train(checked, timeout=timeout, take_over=take_over)


def _train(checked: launch.Checked, *, timeout: float, take_over: bool) -> None:
    """Train to the end of the job and say where to look; whoever stops it is told what was saved."""
    from lstmgan_dist.training.screen import Terminal

    try:
        trained = launch.train_checked(
            checked, Terminal(stdout_console()), timeout=timeout, take_over=take_over, watch=watch
        )
    except Stopped as stopped:
        typer.echo(stopped)
        raise typer.Exit(128 + stopped.number) from None
    except KeyboardInterrupt as interrupt:
        typer.echo(interrupt)
        raise typer.Exit(130) from None
    _say_where_to_look(trained)


def _show_plan(asked: launch.Asked, corpus: PreparedCorpus, *, is_full: bool) -> None:
    from lstmgan_dist.training.plan import plan
    from lstmgan_dist.training.run import what_is_there

    lines = [plan(asked.job, corpus), what_is_there(asked.url, asked.job)]
    if is_full:
        lines.append(f"\n{config.dump_job(asked.job)}")
    stdout_console().print("\n".join(lines), markup=False, highlight=False)


def _last_loss(outcome: Outcome) -> float:
    """Held-out nats per token at the last evaluation; 0 where there was none."""
    return outcome.last_evaluation.scalars["heldout/nll"] if outcome.last_evaluation else 0.0


def _say_where_to_look(trained: launch.Trained) -> None:
    from lstmgan_dist.runs.inspection import examples, generating, told_of_game

    run, corpus, outcome = trained.run, trained.corpus, trained.outcome
    best = outcome.progress.best_of_last_phase
    if outcome.last_evaluation:  # not of a run that had ended before
        typer.echo("\nReal text that was held out:")
        for text in examples(corpus, 4):
            typer.echo(f"  {text}")
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
    if effect := told_of_game(run, corpus, outcome.progress):
        typer.echo(effect)
    typer.echo(f"Curves: lstmgan monitor {run.folder}   More text: {generating(run, corpus)}")
