"""Writing text with a run's generator."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from lstmgan_dist.commands.options import (
    CheckpointName,
    CpusPerWorker,
    Device,
    GpusPerWorker,
    Processes,
    RayAddress,
    RunUrl,
    defaults_of,
)
from lstmgan_dist.commands.terminal import warn, watch
from lstmgan_dist.runs.opened import OpenedRun, open
from lstmgan_dist.runs.workers import pool_of, wanted_size

_DEFAULT, _OPENED, _WRITTEN = map(defaults_of, (OpenedRun.generate, open, OpenedRun.write))

TopP = Annotated[
    float | None, typer.Option(min=0, max=1, help="Draw from the fewest tokens whose probabilities reach p.")
]
OnUnknown = Annotated[
    Literal["error", "skip", "replace"], typer.Option(help="What to do with unknown text in the prompt.")
]
Prompts = Annotated[
    str | None,
    typer.Option(
        help="File or URL of prompts, one a line: `count` texts of each, in their order, instead of --prompt."
    ),
]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        "--label", help="Label of the texts, where a run has labels; repeatable: by turns.  (default: all, by turns)"
    ),
]
NoUnknown = Annotated[
    bool, typer.Option("--no-unknown", help="Never draw <unk>; figures of evaluate are of text with it.")
]
Out = Annotated[
    str | None,
    typer.Option(
        help="File or URL: .txt, .jsonl, .parquet, .arrow, the first two also with .gz. Without a suffix, or "
        "with / at the end, a folder of shards, which the same command completes if it was stopped."
    ),
]
ShardFormat = Annotated[Literal["text", "json", "parquet", "arrow"], typer.Option("--format", help="Format of shards.")]


def generate(
    run: RunUrl,
    count: Annotated[int, typer.Option(min=1, help="Texts to generate, of each prompt.")] = _DEFAULT.count,
    prompt: Annotated[str, typer.Option(help="Text that every one continues, or answers.")] = "",
    prompts: Prompts = None,
    label: Labels = _DEFAULT.label,
    temperature: Annotated[
        float, typer.Option(min=0, help="Below 1 safer, above 1 bolder; 0: the likeliest.")
    ] = _DEFAULT.temperature,
    top_k: Annotated[int | None, typer.Option(min=1, help="Draw from the k likeliest tokens only.")] = _DEFAULT.top_k,
    top_p: TopP = _DEFAULT.top_p,
    seed: Annotated[
        int, typer.Option(min=0, help="The same seed gives the same texts, with as many threads.")
    ] = _DEFAULT.seed,
    max_length: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="Most tokens of a text.  (default: the job's)")
    ] = _DEFAULT.max_length,
    checkpoint: CheckpointName = _OPENED.checkpoint,
    unknown: OnUnknown = _DEFAULT.unknown,
    no_unknown: NoUnknown = _DEFAULT.no_unknown,
    out: Out = None,
    shards: ShardFormat = _WRITTEN.shards,
    device: Device = _OPENED.device,
    workers: Processes = 0,
    gpus_per_worker: GpusPerWorker = None,
    cpus_per_worker: CpusPerWorker = None,
    address: RayAddress = None,
) -> None:
    """Write new text with a run's generator.

    [dim]
    lstmgan generate runs/quickstart\n
    lstmgan generate runs/char-lm --prompt 'ROMEO:' --max-length 1000 --count 1 --temperature 0.8\n
    lstmgan generate s3://bucket/runs/captions --count 10000 --out captions.txt --checkpoint latest\n
    lstmgan generate runs/news --label sport\n
    lstmgan generate runs/dialogue --prompts questions.txt --count 1 --out answers.txt\n
    lstmgan generate runs/captions --count 1000000 --out s3://bucket/texts/ --workers 8 --address auto
    [/dim]
    """
    from lstmgan_dist.corpus.texts import format_of
    from lstmgan_dist.runs.generation import check_out, read_prompts

    if out is not None:
        check_out(out)
    size = wanted_size(workers, cpus=cpus_per_worker, gpus=gpus_per_worker, address=address)
    opened = open(run, checkpoint, device="cpu" if size.most else device, say=warn)
    for sentence in opened.tokenizer.views.notes():
        warn(f"Note: {sentence}")
    pool = pool_of(size, device, address, say=warn)
    asked = {
        "count": count,
        "prompt": read_prompts(prompt, prompts),
        "label": label or None,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "seed": seed,
        "max_length": max_length,
        "unknown": unknown,
        "no_unknown": no_unknown,
    }
    if out is None:
        labels = label or opened.tokenizer.labels
        for number, text in enumerate(opened.stream(workers=pool, **asked)):
            typer.echo(f"[{labels[number % len(labels)]}] {text}" if len(labels) > 1 else text)
        return
    written = opened.write(out, shards=shards, workers=pool, watch=watch, **asked)
    found = f", {written.found} of them from before" if written.found else ""
    typer.echo(f"{written.count} texts are in {out}{found}.")
    if written.broken and written.count > 1 and format_of(out) == "text":
        broken = f"Note: {written.broken} of them hold line breaks, so that not each line is a text"
        warn(f"{broken}: .jsonl keeps them apart.")
