"""Judging runs."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from lstmgan_dist import config
from lstmgan_dist.commands.options import (
    CheckpointName,
    CpusPerWorker,
    Device,
    GpusPerWorker,
    Processes,
    RayAddress,
    wanted_size,
)
from lstmgan_dist.commands.terminal import print_rows, print_table, warn, watch
from lstmgan_dist.commands.workers import result_and_workers, workers_and_device
from lstmgan_dist.errors import UserError
from lstmgan_dist.runtime.worker_size import WorkerSize

if TYPE_CHECKING:
    from lstmgan_dist.evaluation.findings import ContestFindings, Estimate
    from lstmgan_dist.runtime.local import DeviceChoice
    from lstmgan_dist.storage import Folder

EncoderName = Annotated[
    str | None, typer.Option(metavar="sentence-transformers:MODEL", help="Embeds texts.  (default: the judge)")
]


def evaluate(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Folders or URLs of runs of one corpus.")],
    temperatures: Annotated[
        str, typer.Option(metavar="A..B|T,T,...", help="Temperatures to sample at: a range, in tenths, or a list.")
    ] = "0.6..1.3",
    seeds: Annotated[int, typer.Option(min=1, help="Times that everything is drawn and learnt anew.")] = 3,
    samples: Annotated[int, typer.Option(min=2, help="Texts drawn for each temperature and seed.")] = 10_000,
    checkpoint: CheckpointName = "best",
    heldout: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="More held-out text, which no run has seen; repeatable.")
    ] = None,
    encoder: EncoderName = None,
    brief: Annotated[
        bool,
        typer.Option("--brief", help="Only held-out likelihood and n-grams of one run: under a minute, and no judges."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    device: Device = "auto",
    workers: Processes = 0,
    gpus_per_worker: GpusPerWorker = None,
    cpus_per_worker: CpusPerWorker = None,
    address: RayAddress = None,
) -> None:
    """Judge runs: quality against diversity over temperatures, beside likelihood training alone and real text.

    A judge that learnt real text which no run has seen reads the samples; models that learnt the samples read real
    text. Whoever is better at equal diversity is better: the verdict comes with its margin in nats, and a report to
    look at in the evaluation/ of each run. What was measured is kept with the corpus: the same command goes on where it
    stopped.

    [dim]
    lstmgan evaluate runs/quickstart\n
    lstmgan evaluate runs/coco-scratchgan runs/coco-relgan --temperatures 0.7,0.8,0.9,1,1.1 --seeds 1\n
    lstmgan evaluate runs/quickstart --heldout more.txt\n
    lstmgan evaluate s3://bucket/runs/captions --workers 8 --address auto\n
    lstmgan evaluate runs/char-lm --brief --json
    [/dim]
    """
    if brief and len(runs) > 1:
        raise UserError("--brief takes one run: leave it out to compare several.")
    if brief and heldout:
        raise UserError("--brief scores the corpus's own held-out text: leave out --heldout.")
    size = wanted_size(workers, cpus=cpus_per_worker, gpus=gpus_per_worker, address=address)
    if brief:
        _evaluate_briefly(runs[0], checkpoint, samples, as_json, device, size, address)
        return
    settings = config.check_frontier(temperatures=_temperatures(temperatures), seeds=seeds, samples=samples)
    try:
        found, folders = _judge(runs, checkpoint, settings, encoder, heldout or (), device, size, address)
    except KeyboardInterrupt:
        warn("Stopped. What was measured so far is kept with the corpus: the same command goes on from there.")
        raise typer.Exit(130) from None
    if as_json:
        typer.echo(found.to_json().decode(), nl=False)
    else:
        _print_findings(found)
        for folder in folders:
            typer.echo(f"Report: {folder.path('evaluation/report.html')}")


def _judge(
    runs: Sequence[str],
    checkpoint: str,
    settings: config.Frontier,
    encoder: str | None,
    heldout: Sequence[str],
    device: DeviceChoice,
    size: WorkerSize,
    address: str | None,
) -> tuple[ContestFindings, list[Folder]]:
    """What judges find, once it is written to the folders of the runs."""
    from lstmgan_dist.evaluation.embedding import encoder_called
    from lstmgan_dist.runs import contest

    embedding = encoder_called(encoder) if encoder else None
    entries = contest.enter_all(runs, checkpoint, say=warn)
    with workers_and_device(device, size, address) as (pool, their_device):
        found = contest.hold(
            entries,
            settings,
            encoder=embedding,
            workers=pool,
            watch=watch,
            device=their_device,
            heldout=heldout,
            say=lambda sentence: warn(f"Note: {sentence}"),
        )
    contest.write(entries, found)
    return found, [entry.run.folder for entry in entries]


def _evaluate_briefly(
    run: str,
    checkpoint: str,
    samples: int,
    as_json: bool,
    device: DeviceChoice,
    size: WorkerSize,
    address: str | None,
) -> None:
    from lstmgan_dist.runs import brief

    with result_and_workers(run, checkpoint, device, size, address) as (loaded, pool):
        figures = brief.evaluate_briefly(loaded, samples=samples, seed=1, watch=watch, workers=pool).to_json()
    if as_json:
        typer.echo(json.dumps(figures))
    else:
        print_rows({name.replace("_", " "): value for name, value in figures.items() if value is not None})


def _temperatures(wanted: str) -> tuple[float, ...]:
    """The temperatures of `0.6..1.3`, in tenths, or of `0.7,1`."""
    number = r"\d+(?:\.\d+)?"
    if match := re.fullmatch(rf"({number})\.\.({number})", wanted):
        first, last = float(match[1]), float(match[2])
        if last < first:
            raise UserError(f"--temperatures {wanted}: a range begins with its lower end: {match[2]}..{match[1]}.")
        return tuple(round(first + step / 10, 6) for step in range(round((last - first) * 10) + 1))
    if re.fullmatch(rf"{number}(?:,{number})*", wanted):
        return tuple(map(float, wanted.split(",")))
    raise UserError(f"--temperatures {wanted}: write a range such as 0.6..1.3, or a list such as 0.7,0.85,1.")


def _print_findings(found: ContestFindings) -> None:
    """The figures as a table, and the verdicts."""
    from lstmgan_dist.evaluation.metrics import METRICS

    measured = {name for place in found.places for name in place.figures}
    shown = {name: metric for name, metric in METRICS.items() if metric.column and name in measured}

    def cell(estimate: Estimate | None, decimals: int) -> str:
        if estimate is None:
            return ""
        half = (estimate.high - estimate.low) / 2
        return f"{estimate.value:.{decimals}f}" + (f" ±{half:.{decimals}f}" if half else "")

    print_table(
        ("sampler", "T", *(metric.column for metric in shown.values())),
        [
            (
                place.sampler,
                "" if place.temperature is None else f"{place.temperature:g}",
                *(cell(place.figures.get(name), metric.decimals) for name, metric in shown.items()),
            )
            for place in found.places
        ],
    )
    typer.echo(
        "LM score (quality) and reverse LM score (diversity): nats per token, low is good. ±: to the 95 % limits. NLL: "
        "of held-out sentences that training has not looked at.\n"
    )
    for sentence in found.warnings:
        typer.echo(f"Note: {sentence}")
    for sentence in (*(verdict.sentence for verdict in found.verdicts), *found.chosen.values()):
        typer.echo(f"- {sentence}")
