"""Judging runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from lstmgan_dist.commands.options import (
    CheckpointName,
    CpusPerWorker,
    Device,
    GpusPerWorker,
    Processes,
    RayAddress,
    defaults_of,
)
from lstmgan_dist.commands.terminal import print_rows, print_table, warn, watch
from lstmgan_dist.errors import UserError
from lstmgan_dist.runs.judging import judge
from lstmgan_dist.runs.opened import open
from lstmgan_dist.runs.workers import pool_of, wanted_size

if TYPE_CHECKING:
    from lstmgan_dist.evaluation.findings import ContestFindings, Estimate

_DEFAULT = defaults_of(judge)

EncoderName = Annotated[
    str | None, typer.Option(metavar="sentence-transformers:MODEL", help="Embeds texts.  (default: the judge)")
]


def evaluate(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Folders or URLs of runs of one corpus.")],
    temperatures: Annotated[
        str, typer.Option(metavar="A..B|T,T,...", help="Temperatures to sample at: a range, in tenths, or a list.")
    ] = _DEFAULT.temperatures,
    seeds: Annotated[int, typer.Option(min=1, help="Times that everything is drawn and learnt anew.")] = _DEFAULT.seeds,
    samples: Annotated[int, typer.Option(min=2, help="Texts drawn for each temperature and seed.")] = _DEFAULT.samples,
    checkpoint: CheckpointName = _DEFAULT.checkpoint,
    heldout: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="More held-out text, which no run has seen; repeatable.")
    ] = None,
    encoder: EncoderName = _DEFAULT.encoder,
    brief: Annotated[
        bool,
        typer.Option("--brief", help="Only held-out likelihood and n-grams of one run: under a minute, and no judges."),
    ] = False,
    dynamic: Annotated[
        bool,
        typer.Option(
            "--dynamic",
            help="With --brief: also the likelihood of one long text while it is learnt. Minutes.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    device: Device = _DEFAULT.device,
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
    if dynamic and not brief:
        raise UserError("--dynamic is beside the held-out likelihood of --brief: add --brief.")
    size = wanted_size(workers, cpus=cpus_per_worker, gpus=gpus_per_worker, address=address)
    pool = pool_of(size, device, address, say=warn)
    if brief:
        opened = open(runs[0], checkpoint, device="cpu" if size.most else device, say=warn)
        figures = opened.evaluate(samples, workers=pool, watch=watch, dynamic=dynamic).to_json()
        if as_json:
            typer.echo(json.dumps(figures))
        else:
            print_rows({name.replace("_", " "): value for name, value in figures.items() if value is not None})
        return
    try:
        found = judge(
            runs,
            temperatures=temperatures,
            seeds=seeds,
            samples=samples,
            checkpoint=checkpoint,
            heldout=heldout or (),
            encoder=encoder,
            device=device,
            workers=pool,
            watch=watch,
            say=warn,
        )
    except KeyboardInterrupt:
        warn("Stopped. What was measured so far is kept with the corpus: the same command goes on from there.")
        raise typer.Exit(130) from None
    if as_json:
        typer.echo(found.to_json().decode(), nl=False)
        return
    from lstmgan_dist.storage import Folder

    _print_findings(found)
    for run in runs:
        typer.echo(f"Report: {Folder(run).path('evaluation/report.html')}")


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
