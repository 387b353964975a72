"""Preemption drills: a job on a small cluster of this machine, disturbed at random, and compared with itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lstmgan_dist import config
from lstmgan_dist.commands.options import JobFile, Overrides
from lstmgan_dist.commands.terminal import print_table, warn
from lstmgan_dist.errors import UserError


def drill(
    job: JobFile,
    overrides: Overrides = None,
    folder: Annotated[Path, typer.Option(help="A new folder for runs, logs and the report.")] = Path("runs/drill"),
    minutes: Annotated[float, typer.Option(min=0.1, help="How long runs are disturbed.")] = 3,
    workers: Annotated[int, typer.Option(min=1, help="Workers that train; each has a node of one core.")] = 2,
    spares: Annotated[int, typer.Option(min=0, help="Nodes beside those of the workers.")] = 1,
    seed: Annotated[int, typer.Option(help="Of what happens when.")] = 0,
) -> None:
    """Kill workers, nodes, the driver, the storage and the power at random, and see that nothing is lost.

    A cluster of this machine's own trains the job undisturbed, and then disturbed, again and again for some minutes;
    every file of a disturbed run must equal that of the undisturbed one. drill.html in the folder shows it. Exit code 1
    says that one did not. The job should take a minute or so undisturbed, with checkpoints every few seconds.

    [dim]
    lstmgan drill jobs/quickstart.yaml --set phases.0.epochs=1\n
    lstmgan drill my-job.yaml --minutes 30 --workers 4 --seed 1 --folder drills/monday
    [/dim]
    """
    settings = config.load_job(job, tuple(overrides or ()))
    if folder.exists():
        raise UserError(f"{folder} exists already: name a new folder with --folder, or remove it.")
    from lstmgan_dist.runtime.ray_cluster import check_installed

    check_installed()
    from lstmgan_dist.runs.drill import hold_drill
    from lstmgan_dist.runs.drill_report import costs, report_html, verdict
    from lstmgan_dist.runtime.worker_size import WorkerSize

    WorkerSize(workers, workers, 1, 0).check_units(settings.batch.units)
    folder.mkdir(parents=True)
    found = hold_drill(
        settings,
        folder.absolute(),
        workers=workers,
        nodes=workers + spares,
        seconds=60 * minutes,
        seed=seed,
        say=warn,
    )
    (folder / "drill.json").write_text(found.to_json(), encoding="utf-8")
    (folder / "drill.html").write_text(report_html(found), encoding="utf-8")
    rows = [
        (kind, str(count), *("–" if seconds is None else f"{seconds:.1f} s" for seconds in (half, most)))
        for kind, count, half, most in costs(found)
    ]
    print_table(("fault", "times", "made up for after", "at most"), rows)
    typer.echo(f"\n{verdict(found)}\nReport: {folder}/drill.html")
    if not found.is_passed:
        raise typer.Exit(1)
