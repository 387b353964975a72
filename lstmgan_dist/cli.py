"""The commands: parse, call, print. Heavy imports wait until a command needs them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from lstmgan_dist.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

    from lstmgan_dist.config import Job
    from lstmgan_dist.corpus.manifest import PreparedCorpus
    from lstmgan_dist.corpus.prepare import Progress as PreparationProgress
    from lstmgan_dist.training.run import Run
    from lstmgan_dist.training.trainer import Outcome

app = typer.Typer(
    name="lstmgan",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Train an LSTM that writes text like yours: by maximum likelihood, then against a discriminator.",
)

Item = TypeVar("Item")

RunUrl = Annotated[str, typer.Argument(metavar="RUN", help="Folder or URL of a run.")]
CheckpointName = Annotated[str, typer.Option("--checkpoint", help="best, latest, or the number of a step.")]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="auto takes a GPU where there is one.")]


@app.callback()
def _options(debug: Annotated[bool, typer.Option(help="Show tracebacks of mistakes.")] = False) -> None:
    _DEBUG.append(debug)


# What --debug said, for `main`, which typer does not tell.
_DEBUG: list[bool] = []


@app.command()
def train(
    job: Annotated[Path, typer.Argument(metavar="JOB", help="A job file, such as jobs/quickstart.yaml.")],
    run: Annotated[str | None, typer.Option(help="Folder or URL of the run.  (default: runs/<name>)")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the job; repeatable.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the job, prepare its corpus, show the plan, and start nothing.")
    ] = False,
) -> None:
    """Train what a job file describes, or resume it where it stopped.

    [dim]
    lstmgan train jobs/quickstart.yaml\n
    lstmgan train jobs/char_lm_small.yaml --set corpus.source=input.txt\n
    lstmgan train jobs/lstm_gan.yaml --set phases.0.epochs=2 --run runs/shorter --dry-run
    [/dim]
    """
    from lstmgan_dist.config import dump_job, load_job

    settings = load_job(job, tuple(overrides or ()))
    url = run or f"runs/{settings.name}"
    console = _console()
    corpus = _corpus(settings, url)

    from lstmgan_dist.runtime import local
    from lstmgan_dist.training.plan import plan
    from lstmgan_dist.training.run import Run, check_fit
    from lstmgan_dist.training.trainer import train as run_training

    if dry_run:
        check_fit(settings, corpus)
        console.print(dump_job(settings), markup=False, highlight=False)
        console.print(plan(settings, corpus), markup=False, highlight=False)
        return

    def create_and_train(runtime: local.LocalRuntime) -> tuple[Run, Outcome, int | None]:
        opened = Run.create_or_resume(url, settings, corpus)
        return opened, run_training(opened, corpus, runtime, console), runtime.stop_signal

    opened, outcome, stop_signal = local.launch(create_and_train, settings.device)
    if not outcome.finished:
        assert stop_signal is not None
        console.print(
            f"Stopped after step {outcome.progress.step}, and the checkpoint is written. The same command resumes it.",
            highlight=False,
        )
        raise typer.Exit(128 + stop_signal)
    _say_where_to_look(opened, corpus, outcome)


@app.command()
def prepare(
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE...", help="Files, folders, globs or URLs.")],
    out: Annotated[str, typer.Option(help="Folder or URL of the corpus to make.")],
    heldout: Annotated[list[str] | None, typer.Option(help="Separate held-out text; repeatable.")] = None,
    heldout_fraction: Annotated[float, typer.Option(min=0, max=0.99, help="Share held out without --heldout.")] = 0.05,
    layout: Annotated[Literal["sentences", "continuous"], typer.Option(help="One sequence a line, or one text.")] = (
        "sentences"
    ),
    tokenizer: Annotated[Literal["character", "byte", "word", "bpe"], typer.Option(help="What a token is.")] = "word",
    lower: Annotated[bool, typer.Option("--lower", help="Lower-case the text first.")] = False,
    vocabulary_size: Annotated[int | None, typer.Option(min=3, help="Most tokens kept.")] = None,
    min_count: Annotated[int, typer.Option(min=1, help="Rarer words or characters become <unk>.")] = 1,
    max_length: Annotated[int, typer.Option(min=2, help="Most tokens of a sentence, end mark included.")] = 64,
    column: Annotated[str | None, typer.Option(help="Text column of JSON lines, Parquet and Arrow.")] = None,
    on_bad_text: Annotated[Literal["error", "skip", "replace"], typer.Option(help="Invalid UTF-8 and NUL.")] = "error",
    on_long_text: Annotated[
        Literal["error", "skip", "truncate"], typer.Option(help="Sentences over --max-length.")
    ] = "error",
) -> None:
    """Turn text into a corpus of token shards that jobs can name as their source.

    [dim]
    lstmgan prepare captions.txt --out corpora/captions --lower --max-length 32\n
    lstmgan prepare 'books/*.txt.gz' --out corpora/books --layout continuous --tokenizer character\n
    lstmgan prepare data.parquet --column text --out s3://bucket/corpus --tokenizer bpe --vocabulary-size 8192
    [/dim]
    """
    from lstmgan_dist import config
    from lstmgan_dist.corpus import prepare as preparing
    from lstmgan_dist.storage import Folder
    from lstmgan_dist.training.inspection import describe_corpus

    folder = Folder(out)
    if preparing.is_prepared(folder):
        raise UserError(f"{out} holds a corpus already: choose another folder with --out, or delete it.")
    if not all(preparing.is_corpus_file(name) for name in folder.list()):
        raise UserError(f"{out} holds other files: choose another folder with --out.")
    settings = config.Corpus(
        source=tuple(sources),
        heldout_source=tuple(heldout) if heldout else None,
        heldout_fraction=heldout_fraction,
        column=column,
        layout=layout,
        max_length=max_length,
        on_long_text=on_long_text,
        on_bad_text=on_bad_text,
        tokenizer=config.Tokenizer(kind=tokenizer, lower=lower, vocabulary_size=vocabulary_size, min_count=min_count),
    )
    with _preparation_bar() as report:
        corpus = preparing.prepare(settings, folder, report=report)
    _print(describe_corpus(corpus))


@app.command()
def generate(
    run: RunUrl,
    count: Annotated[int, typer.Option(min=1, help="Texts to generate.")] = 10,
    prompt: Annotated[str, typer.Option(help="Text that every one continues.")] = "",
    temperature: Annotated[float, typer.Option(min=0, help="Below 1 safer, above 1 bolder; 0: the likeliest.")] = 1.0,
    top_k: Annotated[int | None, typer.Option(min=1, help="Draw from the k likeliest tokens only.")] = None,
    top_p: Annotated[
        float | None, typer.Option(min=0, max=1, help="Draw from the fewest tokens whose probabilities reach p.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same texts.")] = 1,
    max_length: Annotated[int | None, typer.Option(min=1, help="Most tokens of a text.  (default: the job's)")] = None,
    checkpoint: CheckpointName = "best",
    unknown: Annotated[
        Literal["error", "skip", "replace"], typer.Option(help="What to do with unknown text in the prompt.")
    ] = "error",
    out: Annotated[str | None, typer.Option(help="File or URL to write to, one text a line.")] = None,
    device: Device = "auto",
) -> None:
    """Write new text with a run's generator.

    [dim]
    lstmgan generate runs/quickstart\n
    lstmgan generate runs/char-lm --prompt 'ROMEO:' --max-length 1000 --count 1 --temperature 0.8\n
    lstmgan generate s3://bucket/runs/captions --count 10000 --out captions.txt --checkpoint latest
    [/dim]
    """
    from lstmgan_dist.storage import write_file
    from lstmgan_dist.training import result

    loaded = result.load_result(run, checkpoint, device=device, warn=_warn)
    texts = result.generate(
        loaded,
        count=count,
        prompt=prompt,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        max_length=max_length,
        on_unknown=unknown,
    )
    if out is None:
        for text in texts:
            typer.echo(text)
        return
    with write_file(out) as file:
        for text in _watch(texts, count, "generating"):
            file.write(f"{text}\n".encode())
    typer.echo(f"{count} texts are in {out}.")


@app.command()
def evaluate(
    run: RunUrl,
    checkpoint: CheckpointName = "best",
    samples: Annotated[int, typer.Option(min=2, help="Texts generated for the distinct-n figures.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of these texts.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    device: Device = "auto",
) -> None:
    """Measure a run's generator on all held-out text.

    [dim]
    lstmgan evaluate runs/quickstart\n
    lstmgan evaluate s3://bucket/runs/captions --checkpoint latest --json
    [/dim]
    """
    from lstmgan_dist.training import result

    loaded = result.load_result(run, checkpoint, device=device, warn=_warn)
    figures = result.evaluate(loaded, samples=samples, seed=seed, watch=_watch).to_json()
    if as_json:
        typer.echo(json.dumps(figures))
    else:
        _print({name.replace("_", " "): value for name, value in figures.items() if value is not None})


@app.command()
def inspect(path: Annotated[str, typer.Argument(metavar="PATH", help="A run, a corpus or a checkpoint.")]) -> None:
    """Say what a folder or URL holds, and verify it.

    [dim]
    lstmgan inspect runs/quickstart\n
    lstmgan inspect runs/quickstart/checkpoints/step-00000120\n
    lstmgan inspect s3://bucket/corpus
    [/dim]
    """
    from lstmgan_dist.training.inspection import describe

    _print(describe(path, warn=_warn))


@app.command()
def monitor(
    run: RunUrl,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on localhost; 0 takes a free one.")] = 6006,
) -> None:
    """Open TensorBoard on localhost for a run, or for a folder of runs to compare.

    [dim]
    lstmgan monitor runs/quickstart\n
    lstmgan monitor runs --port 7007
    [/dim]
    """
    from lstmgan_dist.storage import Folder

    if not Folder(run).list():
        raise UserError(f"{run} is empty or absent: monitor takes the folder of a run, or a folder of runs.")
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", run, "--host", "localhost", "--port", str(port)]
    # TensorBoard takes this process's place, so that whoever stops the command stops it.
    os.execv(sys.executable, command)


@app.command()
def schema() -> None:
    """Print the JSON schema of job files, with which editors check and complete them.

    [dim]
    lstmgan schema > jobs/schema.json
    [/dim]
    """
    from lstmgan_dist.config import Job

    typer.echo(json.dumps(Job.model_json_schema(), indent=1))


def main() -> None:
    """Run a command; what the user can mend ends in one line and exit code 2."""
    # Threads that wait by spinning gain nothing here, and slow two runs on one machine down tenfold. The variable is
    # read when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except (UserError, OSError) as error:
        if _DEBUG and _DEBUG[-1]:
            raise
        print(f"Error: {_sentence(error)}", file=sys.stderr)
        sys.exit(2)


def _sentence(error: UserError | OSError) -> str:
    if isinstance(error, UserError) or not error.strerror:
        return str(error)
    return f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror}."


@contextmanager
def _preparation_bar() -> Iterator[Callable[[PreparationProgress], None]]:
    """A bar with MB/s and time left for each stage, or a line for each where there is no terminal."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), DownloadColumn(), TransferSpeedColumn())
    console = _console()
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        tasks: dict[str, TaskID] = {}

        def report(progress: PreparationProgress) -> None:
            if progress.stage not in tasks:
                tasks[progress.stage] = bar.add_task(progress.stage)
            bar.update(tasks[progress.stage], completed=progress.bytes_done, total=progress.bytes_total)

        yield report


def _corpus(settings: Job, url: str) -> PreparedCorpus:
    from lstmgan_dist.training.run import prepared_corpus

    with _preparation_bar() as report:
        return prepared_corpus(settings.corpus, url, report)


def _console() -> Console:
    from rich.console import Console

    return Console(soft_wrap=True)


def _warn(sentence: str) -> None:
    typer.echo(sentence, err=True)


def _print(rows: Mapping[str, Any]) -> None:
    width = max(map(len, rows))
    for name, value in rows.items():
        shown = f"{value:.4f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value
        typer.echo(f"{name:<{width}}  {shown}")


def _watch(items: Iterable[Item], total: int, description: str) -> Iterator[Item]:
    from rich.console import Console
    from rich.progress import track

    # On standard error: standard output may be somebody's JSON.
    console = Console(stderr=True)
    yield from track(
        items, total=total, description=description, console=console, transient=True, disable=not console.is_terminal
    )


def _say_where_to_look(run: Run, corpus: PreparedCorpus, outcome: Outcome) -> None:
    from lstmgan_dist.training.inspection import examples

    best = outcome.progress.best
    typer.echo("\nReal text that was held out:")
    for text in examples(corpus, 4):
        typer.echo(f"  {text}")
    if outcome.last_review:
        typer.echo("Generated text:")
        for text in outcome.last_review.texts[:4]:
            typer.echo(f"  {text}")
    if best:
        typer.echo(f"\nBest held-out loss: {best.heldout_nll:.4f} nats per token, at step {best.step}.")
    typer.echo(f"Curves: lstmgan monitor {run.folder}   More text: lstmgan generate {run.folder}")
