"""Writing text with a run's generator."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lstmgan_dist.commands.options import (
    CheckpointName,
    CpusPerWorker,
    Device,
    GpusPerWorker,
    Processes,
    RayAddress,
    RunUrl,
    wanted_size,
)
from lstmgan_dist.commands.terminal import warn, watch
from lstmgan_dist.commands.workers import result_and_workers

if TYPE_CHECKING:
    from lstmgan_dist.corpus.texts import Format
    from lstmgan_dist.runs.generation import Request
    from lstmgan_dist.runtime.tasks import Workers

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
Label = Annotated[
    str | None, typer.Option(help="Label of the texts, where a run has labels.  (default: all, by turns)")
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
    count: Annotated[int, typer.Option(min=1, help="Texts to generate.")] = 10,
    prompt: Annotated[str, typer.Option(help="Text that every one continues, or answers.")] = "",
    prompts: Prompts = None,
    label: Label = None,
    temperature: Annotated[float, typer.Option(min=0, help="Below 1 safer, above 1 bolder; 0: the likeliest.")] = 1.0,
    top_k: Annotated[int | None, typer.Option(min=1, help="Draw from the k likeliest tokens only.")] = None,
    top_p: TopP = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same texts, with as many threads.")] = 1,
    max_length: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="Most tokens of a text.  (default: the job's)")
    ] = None,
    checkpoint: CheckpointName = "best",
    unknown: OnUnknown = "error",
    no_unknown: NoUnknown = False,
    out: Out = None,
    shards: ShardFormat = "parquet",
    device: Device = "auto",
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
    from lstmgan_dist.corpus.texts import check_name
    from lstmgan_dist.runs.generation import read_prompts, request_texts

    is_folder = out is not None and (out.endswith("/") or not posixpath.splitext(out)[1])
    if out is not None and not is_folder:
        check_name(out)
    size = wanted_size(workers, cpus=cpus_per_worker, gpus=gpus_per_worker, address=address)
    with result_and_workers(run, checkpoint, device, size, address) as (loaded, pool):
        for sentence in loaded.tokenizer.views.notes():
            warn(f"Note: {sentence}")
        request = request_texts(
            loaded,
            count=count,
            prompts=read_prompts(prompt, prompts),
            label=label,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            max_length=max_length,
            on_unknown=unknown,
            without_unknown=no_unknown,
        )
        _write(request, out, shards, pool, is_folder=is_folder)


def _write(request: Request, out: str | None, shards: Format, workers: Workers, *, is_folder: bool) -> None:
    from lstmgan_dist.corpus.texts import format_of
    from lstmgan_dist.runs import generation
    from lstmgan_dist.storage import Folder

    if out is None:
        for texts in generation.generate(request, workers):
            for text in texts:
                typer.echo(text)
    elif is_folder:
        found = generation.write_shards(request, Folder(out, request.result.run.storage), shards, workers, watch)
        typer.echo(f"{request.texts} texts are in {out}" + (f", {found} of them from before." if found else "."))
    else:
        broken = generation.write_one_file(request, out, workers, watch)
        typer.echo(f"{request.texts} texts are in {out}.")
        if broken and request.texts > 1 and format_of(out) == "text":
            warn(f"Note: {broken} of them hold line breaks, so that not each line is a text: .jsonl keeps them apart.")
