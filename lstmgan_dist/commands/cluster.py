"""Runs on a Ray cluster, asked for and watched from outside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lstmgan_dist import config
from lstmgan_dist.commands.options import JobFile, Overrides, TakeOver
from lstmgan_dist.commands.terminal import clock, print_rows, print_table
from lstmgan_dist.errors import UserError
from lstmgan_dist.runtime.worker_size import WorkerSize

if TYPE_CHECKING:
    from lstmgan_dist.runtime.ray_jobs import Cluster

ClusterAddress = Annotated[
    str | None, typer.Option(help="The cluster's dashboard, http://HEAD:8265.  (default: RAY_API_SERVER_ADDRESS)")
]
SubmissionName = Annotated[str | None, typer.Argument(metavar="[ID]", help="ID of a submission, or its run.")]


def submit(
    job: JobFile,
    address: ClusterAddress = None,
    run: Annotated[str | None, typer.Option(help="URL of the run, or its path on a mount that all nodes have.")] = None,
    overrides: Overrides = None,
    workers: Annotated[
        str, typer.Option(metavar="N|MIN..MAX", help="Workers; MIN..MAX takes what there is; 0 is one plain process.")
    ] = "1",
    gpus_per_worker: Annotated[float | None, typer.Option(min=0, help="GPUs of each worker.")] = None,
    cpus_per_worker: Annotated[float | None, typer.Option(min=0, help="CPU cores of each worker.")] = None,
    timeout: Annotated[
        float | None, typer.Option(min=1, help="Seconds after which a silent worker is replaced.")
    ] = None,
    take_over: TakeOver = False,
    follow: Annotated[bool, typer.Option("--follow", help="Show what it prints until it ends.")] = False,
) -> None:
    """Have a Ray cluster train what a job file describes, or resume it there.

    The job file and this package's source are sent, and nothing else: text, vectors and the run are at addresses that
    every node reaches, with the credentials that the nodes have. A run that is being trained is not started twice.

    [dim]
    lstmgan submit jobs/coco_relgan.yaml --address http://head:8265 --run s3://bucket/runs/coco --workers 4 --follow\n
    lstmgan submit jobs/char_lm.yaml --run /mnt/shared/runs/char-lm --workers 2..8 --gpus-per-worker 1
    [/dim]
    """
    settings = config.load_job(job, tuple(overrides or ()))
    size = WorkerSize.parse(workers, cpus=cpus_per_worker, gpus=gpus_per_worker)

    from lstmgan_dist.runtime import job_submission, ray_jobs

    url = job_submission.shared_run_url(run, settings)
    job_submission.check(settings, size)
    cluster = ray_jobs.Cluster(address)
    submission, state = cluster.submit(settings, url, size, timeout=timeout, take_over=take_over)
    name = submission.name
    if state == "finished":
        typer.echo(f"{url} is finished already, by {name}. To train it anew, choose another --run.")
        return
    if state == "unfinished":
        typer.echo(f"{url} is being trained already, by {name} ({submission.status.lower()}).")
    elif submission.attempt > 1:
        typer.echo(f"{name} is submitted: attempt {submission.attempt}, which resumes {url}.")
    else:
        typer.echo(f"{name} is submitted.")
    if follow:
        _follow_submission(cluster, name, address)
    else:
        typer.echo("   ".join(_commands_for(name, address, "logs", "status", "stop")))


def status(name: SubmissionName = None, address: ClusterAddress = None) -> None:
    """List what has been submitted to a cluster, or say all about one submission.

    [dim]
    lstmgan status --address http://head:8265\n
    lstmgan status coco-1a2b3c-1
    [/dim]
    """
    from lstmgan_dist.runtime import ray_jobs
    from lstmgan_dist.training.screen import duration

    cluster = ray_jobs.Cluster(address)
    if name is None:
        submissions = cluster.submissions()
        if not submissions:
            typer.echo(f"Nothing has been submitted to {cluster.address} yet.")
            return
        print_table(
            ("ID", "status", "workers", "started", "duration", "run"),
            [
                (one.name, one.status.lower(), one.workers, clock(one.started), duration(one.seconds), one.run)
                for one in submissions
            ],
        )
        return
    one = cluster.find(name)
    rows = {
        "ID": one.name,
        "run": one.run,
        "attempt": one.attempt,
        "status": one.status.lower(),
        "reason": one.reason,
        "started": clock(one.started),
        "ended": clock(one.ended),
        "duration": duration(one.seconds),
        "workers": one.workers,
        "phases": one.phases,
        "printed last": "" if one.reason else cluster.last_line(one.name),
        "curves": one.curves,
        "command": one.entrypoint,
        "node": one.node,
    }
    print_rows({key: value for key, value in rows.items() if value not in (None, "")})


def logs(
    name: SubmissionName = None,
    address: ClusterAddress = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the submission ends.")] = False,
) -> None:
    """Show what a submission prints; without an ID, the latest one.

    [dim]
    lstmgan logs --address http://head:8265 --follow\n
    lstmgan logs coco-1a2b3c-1
    [/dim]
    """
    from lstmgan_dist.runtime import ray_jobs

    cluster = ray_jobs.Cluster(address)
    found = cluster.find(name).name
    if follow:
        _follow_submission(cluster, found, address)
    else:
        typer.echo(cluster.log(found), nl=False)


def stop(name: SubmissionName = None, address: ClusterAddress = None) -> None:
    """Have a submission write a checkpoint and end; without an ID, the only one that runs.

    [dim]
    lstmgan stop --address http://head:8265\n
    lstmgan stop coco-1a2b3c-1
    [/dim]
    """
    from lstmgan_dist.runtime import ray_jobs

    cluster = ray_jobs.Cluster(address)
    found = cluster.find(name) if name else cluster.only_unfinished()
    if found.is_over:
        typer.echo(f"{found.name} is over already: {found.status.lower()}.")
        return
    typer.echo(f"{found.name} is asked to write a checkpoint and end ...")
    stopped = cluster.stop(found.name)
    last = cluster.last_line(found.name)
    if not stopped.is_over:
        raise UserError(f"{found.name} has not ended yet: look at lstmgan logs {found.name}.")
    typer.echo(f"{found.name} is {stopped.status.lower()}. It said: {last}" if last else f"{found.name} is stopped.")


def _commands_for(name: str, address: str | None, *commands: str) -> list[str]:
    """The commands for a submission as they have to be typed."""
    where = f" --address {address}" if address else ""
    return [f"lstmgan {command} {name}{where}{' --follow' * (command == 'logs')}" for command in commands]


def _follow_submission(cluster: Cluster, name: str, address: str | None) -> None:
    """Show what a submission prints until it is over; the exit code is 0 if it succeeded and 2 if not."""
    from lstmgan_dist.training.screen import duration

    try:
        ended = cluster.follow(name, lambda line: typer.echo(line, nl=False))
    except KeyboardInterrupt:
        look, stop = _commands_for(name, address, "logs", "stop")
        typer.echo(f"\n{name} goes on without you: {look}, or {stop}.", err=True)
        raise typer.Exit(130) from None
    if ended.status == "STOPPED":
        raise UserError(f"{name} was stopped: submit it again to resume it.")
    if not ended.succeeded:
        raise UserError(f"{name} failed ({ended.reason}). Submit it again to resume it.")
    typer.echo(f"{name} has succeeded, after {duration(ended.seconds)}.")
