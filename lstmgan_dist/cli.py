"""The commands: parse, call, print. Heavy imports wait until a command needs them."""

from __future__ import annotations

import json
import os
import posixpath
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from lstmgan_dist import config
from lstmgan_dist.errors import UserError, sentence_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

    from lstmgan_dist.corpus.manifest import PreparedCorpus
    from lstmgan_dist.corpus.prepare import PreparationProgress
    from lstmgan_dist.evaluation.assessment import Assessment, Estimate
    from lstmgan_dist.runtime.local import DeviceChoice
    from lstmgan_dist.runtime.ray_jobs import Cluster
    from lstmgan_dist.runtime.signals import StopSignal
    from lstmgan_dist.runtime.tasks import ReadingWorkers, Workers
    from lstmgan_dist.training.result import Result
    from lstmgan_dist.training.run import Run
    from lstmgan_dist.training.screen import Terminal
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

_SECONDS_BETWEEN_LINES = 30.0

JobFile = Annotated[Path, typer.Argument(metavar="JOB", help="A job file, such as jobs/quickstart.yaml.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the job; repeatable.")
]
RunUrl = Annotated[str, typer.Argument(metavar="RUN", help="Folder or URL of a run.")]
CheckpointName = Annotated[
    str,
    typer.Option(
        "--checkpoint",
        help="best (of the last phase, by the job's checkpoint.best_by), latest, likelihood (what the game started "
        "from), or the number of a step.",
    ),
]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="auto takes a GPU where there is one.")]
Processes = Annotated[
    int, typer.Option("--workers", min=0, help="Processes on Ray that share the work; 0: this one, no Ray.")
]
GpusPerWorker = Annotated[
    float | None, typer.Option(min=0, help="GPUs of each worker.  (default: 1 where the cluster has them)")
]
CpusPerWorker = Annotated[
    float | None, typer.Option(min=0, help="CPU cores of each worker.  (default: 1, or its share of this machine)")
]
RayAddress = Annotated[
    str | None, typer.Option(help="Ray cluster to join: auto or HOST:PORT.  (default: one of its own, here)")
]

ClusterAddress = Annotated[
    str | None, typer.Option(help="The cluster's dashboard, http://HEAD:8265.  (default: RAY_API_SERVER_ADDRESS)")
]
SubmissionName = Annotated[str | None, typer.Argument(metavar="[ID]", help="ID of a submission, or its run.")]


@app.callback()
def _options(debug: Annotated[bool, typer.Option(help="Show tracebacks of mistakes.")] = False) -> None:
    _DEBUG.append(debug)


# What --debug said, for `main`, which typer does not tell.
_DEBUG: list[bool] = []


@app.command()
def train(
    job: JobFile,
    run: Annotated[str | None, typer.Option(help="Folder or URL of the run.  (default: runs/<name>)")] = None,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the job, prepare its corpus, show the plan, and start nothing.")
    ] = False,
    workers: Annotated[
        str, typer.Option(metavar="N|MIN..MAX", help="Workers on Ray; MIN..MAX takes what there is; 0: no Ray.")
    ] = "0",
    gpus_per_worker: GpusPerWorker = None,
    cpus_per_worker: CpusPerWorker = None,
    address: RayAddress = None,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds after which a worker that answers no other is replaced.")
    ] = 120,
) -> None:
    """Train what a job file describes, or resume it where it stopped.

    [dim]
    lstmgan train jobs/quickstart.yaml\n
    lstmgan train jobs/char_lm_small.yaml --set corpus.source=input.txt\n
    lstmgan train jobs/lstm_gan.yaml --set phases.0.epochs=2 --run runs/shorter --dry-run\n
    lstmgan train jobs/quickstart.yaml --workers 2\n
    lstmgan train jobs/coco_relgan.yaml --workers 2..8 --address auto --run s3://bucket/runs/coco
    [/dim]
    """
    settings = config.load_job(job, tuple(overrides or ()))
    url = run or f"runs/{settings.name}"
    fewest, most = _workers(workers)
    _check_address(address, most)
    if most:
        from lstmgan_dist.runtime.base import check_workers

        check_workers(fewest, most, settings.batch.lanes)
    console = _console()

    from lstmgan_dist.storage import Folder

    Folder(url, settings.storage).check_writable()
    corpus = _corpus(settings, url)

    from lstmgan_dist.runtime import local
    from lstmgan_dist.training.plan import plan
    from lstmgan_dist.training.run import Run, check_fit
    from lstmgan_dist.training.screen import Terminal
    from lstmgan_dist.training.trainer import train as run_training

    if dry_run:
        check_fit(settings, corpus)
        console.print(config.dump_job(settings), markup=False, highlight=False)
        console.print(plan(settings, corpus), markup=False, highlight=False)
        return
    local.choose_device(settings.device if not address else "auto")
    with Terminal(console) as screen:
        if most:
            size = fewest, most, cpus_per_worker, gpus_per_worker
            opened, (outcome, stop) = _train_on_ray(url, settings, corpus, screen, size, address, timeout)
        else:
            opened = Run.create_or_resume(url, settings, corpus)
            outcome, stop = local.launch(lambda runtime: run_training(opened, corpus, runtime, screen), settings.device)
    if not outcome.finished:
        assert stop.number is not None
        console.print(
            f"Stopped after step {outcome.progress.step}, and the checkpoint is written. The same command resumes it.",
            highlight=False,
        )
        raise typer.Exit(128 + stop.number)
    _say_where_to_look(opened, corpus, outcome)


def _train_on_ray(
    url: str,
    settings: config.Job,
    corpus: PreparedCorpus,
    screen: Terminal,
    size: tuple[int, int, float | None, float | None],
    address: str | None,
    timeout: float,
) -> tuple[Run, tuple[Outcome, StopSignal]]:
    from functools import partial

    from lstmgan_dist.runtime.ray_cluster import connected_for
    from lstmgan_dist.storage import Folder
    from lstmgan_dist.training.run import Run
    from lstmgan_dist.training.screen import replay
    from lstmgan_dist.training.trainer import train_on_worker

    fewest, most, cpus, gpus = size
    folder = Folder(url, settings.storage)
    url = str(folder.local_path or folder)  # absolute, for workers run in folders of their own
    with connected_for(fewest, most, cpus=cpus, gpus=gpus, device=settings.device, address=address) as workers:
        from lstmgan_dist.runtime import ray_train

        opened = Run.create_or_resume(url, settings, corpus)
        return opened, ray_train.launch(
            partial(train_on_worker, url, settings),
            workers=workers,
            timeout=timeout,
            listen=lambda message: replay(message, screen),
            say=screen.say,
            furthest=lambda: screen.furthest,
        )


@app.command()
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
    fewest, most = _workers(workers)

    from lstmgan_dist.runtime import base, ray_jobs

    url = ray_jobs.shared_run_url(run, settings)
    resources = ray_jobs.Resources((fewest, most), gpus_per_worker, cpus_per_worker, timeout)
    ray_jobs.check(settings, resources)
    if most:
        base.check_workers(fewest, most, settings.batch.lanes)
    cluster = ray_jobs.Cluster(address)
    submission, state = cluster.submit(settings, url, resources)
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
        _follow_submission(cluster, name)
    else:
        typer.echo(f"lstmgan logs {name} --follow   lstmgan status {name}   lstmgan stop {name}")


@app.command()
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
        _print_table(
            ("ID", "status", "workers", "started", "duration", "run"),
            [
                (one.name, one.status.lower(), one.workers, _clock(one.started), duration(one.seconds), one.run)
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
        "started": _clock(one.started),
        "ended": _clock(one.ended),
        "duration": duration(one.seconds),
        "workers": one.workers,
        "command": one.entrypoint,
        "node": one.node,
    }
    _print({key: value for key, value in rows.items() if value not in (None, "")})


@app.command()
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
        _follow_submission(cluster, found)
    else:
        typer.echo(cluster.log(found), nl=False)


@app.command()
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
    last = next((line for line in reversed(cluster.log(found.name).splitlines()) if line.strip()), "")
    if not stopped.is_over:
        raise UserError(f"{found.name} has not ended yet: look at lstmgan logs {found.name}.")
    typer.echo(f"{found.name} is {stopped.status.lower()}. It said: {last}" if last else f"{found.name} is stopped.")


# What the settings of a corpus are called on a command line, and their defaults.
_CORPUS_OPTIONS = {
    "source": "SOURCE",
    "heldout_source": "--heldout",
    "heldout_fraction": "--heldout-fraction",
    "layout": "--layout",
    "tokenizer.kind": "--tokenizer",
    "tokenizer.lower": "--lower",
    "tokenizer.vocabulary_size": "--vocabulary-size",
    "tokenizer.min_count": "--min-count",
    "max_length": "--max-length",
    "column": "--column",
    "on_bad_text": "--on-bad-text",
    "on_long_text": "--on-long-text",
}
_CORPUS = config.Corpus(source="SOURCE")


def _setting(key: str, *names: str) -> Any:
    """An option for a setting of a corpus, described as in job files; `prepare` has it checked as theirs are."""
    fields = config.Tokenizer.model_fields if key.startswith("tokenizer.") else config.Corpus.model_fields
    return typer.Option(*names, help=fields[key.removeprefix("tokenizer.")].description)


@app.command()
def prepare(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...", help="Files, folders, globs or URLs; or oracle: or grammar:, synthetic text."
        ),
    ],
    out: Annotated[str, typer.Option(help="Folder or URL of the corpus to make.")],
    heldout: Annotated[list[str] | None, typer.Option(help="Separate held-out text; repeatable.")] = None,
    heldout_fraction: Annotated[float, _setting("heldout_fraction")] = _CORPUS.heldout_fraction,
    layout: Annotated[config.Layout, _setting("layout")] = _CORPUS.layout,
    tokenizer: Annotated[config.TokenizerKind, _setting("tokenizer.kind")] = _CORPUS.tokenizer.kind,
    lower: Annotated[bool, _setting("tokenizer.lower", "--lower")] = _CORPUS.tokenizer.lower,
    vocabulary_size: Annotated[int | None, _setting("tokenizer.vocabulary_size")] = _CORPUS.tokenizer.vocabulary_size,
    min_count: Annotated[int, _setting("tokenizer.min_count")] = _CORPUS.tokenizer.min_count,
    max_length: Annotated[int, _setting("max_length")] = _CORPUS.max_length,
    column: Annotated[str | None, _setting("column")] = _CORPUS.column,
    on_bad_text: Annotated[config.OnBadText, _setting("on_bad_text")] = _CORPUS.on_bad_text,
    on_long_text: Annotated[config.OnLongText, _setting("on_long_text")] = _CORPUS.on_long_text,
    address: Annotated[
        str | None,
        typer.Option(help="Ray cluster whose nodes read the text: auto or HOST:PORT.  (default: this process)"),
    ] = None,
) -> None:
    """Turn text into a corpus of token shards that jobs can name as their source.

    [dim]
    lstmgan prepare captions.txt --out corpora/captions --lower --max-length 32\n
    lstmgan prepare 'books/*.txt.gz' --out corpora/books --layout continuous --tokenizer character\n
    lstmgan prepare data.parquet --column text --out s3://bucket/corpus --tokenizer bpe --vocabulary-size 8192\n
    lstmgan prepare s3://bucket/text --out s3://bucket/corpus --address auto\n
    lstmgan prepare oracle:length=20,seed=1 --out corpora/oracle\n
    lstmgan prepare grammar:seed=1,count=10000 --out corpora/grammar
    [/dim]
    """
    of_tokenizer = {"kind": tokenizer, "lower": lower, "vocabulary_size": vocabulary_size, "min_count": min_count}
    of_corpus = {
        "heldout_source": tuple(heldout) if heldout else None,
        "heldout_fraction": heldout_fraction,
        "layout": layout,
        "max_length": max_length,
        "column": column,
        "on_bad_text": on_bad_text,
        "on_long_text": on_long_text,
    }
    # Defaults are not given: which of them have no use depends on the others.
    given = {
        "source": tuple(sources),
        **{key: value for key, value in of_corpus.items() if value != getattr(_CORPUS, key)},
        "tokenizer": {key: value for key, value in of_tokenizer.items() if value != getattr(_CORPUS.tokenizer, key)},
    }
    settings = config.from_options(config.Corpus, given, _CORPUS_OPTIONS)

    from lstmgan_dist.corpus import prepare as preparing
    from lstmgan_dist.evaluation.synthetic import is_synthetic, prepare_synthetic
    from lstmgan_dist.storage import Folder
    from lstmgan_dist.training.inspection import describe_corpus

    folder = Folder(out)
    if preparing.is_prepared(folder):
        raise UserError(f"{out} holds a corpus already: choose another folder with --out, or delete it.")
    if not all(preparing.is_corpus_file(name) for name in folder.list()):
        raise UserError(f"{out} holds other files: choose another folder with --out.")
    if len(sources) == 1 and is_synthetic(sources[0]) and not heldout:
        with _preparation_bar() as report:
            _print(describe_corpus(prepare_synthetic(sources[0], folder, report=report)))
        return
    with _readers(address) as workers, _preparation_bar() as report:
        corpus = preparing.prepare(settings, folder, report=report, workers=workers)
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
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same texts, with as many threads.")] = 1,
    max_length: Annotated[int | None, typer.Option(min=1, help="Most tokens of a text.  (default: the job's)")] = None,
    checkpoint: CheckpointName = "best",
    unknown: Annotated[
        Literal["error", "skip", "replace"], typer.Option(help="What to do with unknown text in the prompt.")
    ] = "error",
    no_unknown: Annotated[
        bool, typer.Option("--no-unknown", help="Never draw <unk>; figures of evaluate are of text with it.")
    ] = False,
    out: Annotated[
        str | None,
        typer.Option(
            help="File or URL: .txt, .jsonl, .parquet, .arrow, the first two also with .gz. Without a suffix, or "
            "with / at the end, a folder of shards, which the same command completes if it was stopped."
        ),
    ] = None,
    shards: Annotated[
        Literal["text", "json", "parquet", "arrow"], typer.Option("--format", help="Format of shards.")
    ] = "parquet",
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
    lstmgan generate runs/captions --count 1000000 --out s3://bucket/texts/ --workers 8 --address auto
    [/dim]
    """
    from lstmgan_dist.corpus.texts import check_name
    from lstmgan_dist.storage import Folder
    from lstmgan_dist.training import generation

    is_folder = out is not None and (out.endswith("/") or not posixpath.splitext(out)[1])
    if out is not None and not is_folder:
        check_name(out)
    size = workers, cpus_per_worker, gpus_per_worker
    with _result_and_workers(run, checkpoint, device, size, address) as (loaded, hands):
        request = generation.request_texts(
            loaded,
            count=count,
            prompt=prompt,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            max_length=max_length,
            on_unknown=unknown,
            without_unknown=no_unknown,
        )
        if out is None:
            for texts in generation.generate(request, hands):
                for text in texts:
                    typer.echo(text)
            return
        if not is_folder:
            generation.write_one_file(request, out, hands, _watch)
            typer.echo(f"{count} texts are in {out}.")
            return
        found = generation.write_shards(request, Folder(out, loaded.run.storage), shards, hands, _watch)
    typer.echo(f"{count} texts are in {out}" + (f", {found} of them from before." if found else "."))


@app.command()
def evaluate(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Folders or URLs of runs of one corpus.")],
    temperatures: Annotated[
        str, typer.Option(metavar="A..B|T,T,...", help="Temperatures to sample at: a range, in tenths, or a list.")
    ] = "0.6..1.3",
    seeds: Annotated[int, typer.Option(min=1, help="Times that everything is drawn and learnt anew.")] = 3,
    samples: Annotated[int, typer.Option(min=2, help="Texts drawn for each temperature and seed.")] = 10_000,
    checkpoint: CheckpointName = "best",
    encoder: Annotated[
        str | None,
        typer.Option(metavar="sentence-transformers:MODEL", help="Embeds texts.  (default: the judge)"),
    ] = None,
    brief: Annotated[
        bool, typer.Option("--brief", help="Only held-out likelihood and n-grams of one run: seconds, and no judges.")
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
    lstmgan evaluate s3://bucket/runs/captions --workers 8 --address auto\n
    lstmgan evaluate runs/char-lm --brief --json
    [/dim]
    """
    size = workers, cpus_per_worker, gpus_per_worker
    if brief:
        if len(runs) > 1:
            raise UserError("--brief takes one run: leave it out to compare several.")
        _evaluate_briefly(runs[0], checkpoint, samples, as_json, device, size, address)
        return
    _check_address(address, workers)
    settings = config.check_frontier(temperatures=_temperatures(temperatures), seeds=seeds, samples=samples)

    from lstmgan_dist.evaluation.embedding import encoder_called
    from lstmgan_dist.training import assessing

    embedding = encoder_called(encoder) if encoder else None
    entries = assessing.enter_all(runs, checkpoint, say=_warn)
    with _hands(device, size, address) as (hands, elsewhere):
        found = assessing.judge(entries, settings, encoder=embedding, workers=hands, watch=_watch, device=elsewhere)
    assessing.write(entries, found)
    if as_json:
        typer.echo(found.to_json().decode(), nl=False)
        return
    _print_assessment(found)
    for entry in entries:
        typer.echo(f"Report: {entry.run.folder.path('evaluation/report.html')}")


def _evaluate_briefly(
    run: str,
    checkpoint: str,
    samples: int,
    as_json: bool,
    device: DeviceChoice,
    size: tuple[int, float | None, float | None],
    address: str | None,
) -> None:
    from lstmgan_dist.training import result

    with _result_and_workers(run, checkpoint, device, size, address) as (loaded, hands):
        figures = result.evaluate(loaded, samples=samples, seed=1, watch=_watch, workers=hands).to_json()
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
    # TensorBoard reads s3:// with boto3, which finds AWS_ENDPOINT_URL itself but knows no AWS_REGION.
    if "AWS_REGION" in os.environ:
        os.environ.setdefault("AWS_DEFAULT_REGION", os.environ["AWS_REGION"])
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
    typer.echo(json.dumps(config.Job.model_json_schema(), indent=1))


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
        print(f"Error: {sentence_of(error)}", file=sys.stderr)
        sys.exit(2)


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


@contextmanager
def _readers(address: str | None) -> Iterator[ReadingWorkers]:
    """Who prepares text: threads of this process, or the cluster at an address."""
    from lstmgan_dist.runtime.tasks import LOCAL_THREADS

    if address is None:
        yield LOCAL_THREADS
        return
    from lstmgan_dist.runtime.ray_cluster import connected

    with connected(address):
        from lstmgan_dist.runtime.ray_tasks import RayTasks

        yield RayTasks()


@contextmanager
def _result_and_workers(
    run: str,
    checkpoint: str,
    device: DeviceChoice,
    wanted: tuple[int, float | None, float | None],
    address: str | None,
) -> Iterator[tuple[Result, Workers]]:
    """A run's result and who works with it."""
    from dataclasses import replace

    from lstmgan_dist.training.result import load_result

    _check_address(address, wanted[0])
    # What is wrong with the run is found out before anything is started.
    loaded = load_result(run, checkpoint, device="cpu" if wanted[0] else device, say=_warn)
    with _hands(device, wanted, address) as (hands, elsewhere):
        yield replace(loaded, elsewhere=elsewhere), hands


@contextmanager
def _hands(
    device: DeviceChoice, wanted: tuple[int, float | None, float | None], address: str | None
) -> Iterator[tuple[Workers, DeviceChoice]]:
    """Who works: this process, or so many on Ray as `wanted`, with CPUs and GPUs each; and the device they take."""
    from lstmgan_dist.runtime.tasks import IN_PROCESS

    workers, cpus, gpus = wanted
    if not workers:
        yield IN_PROCESS, device
        return
    from lstmgan_dist.runtime.ray_cluster import connected_for

    with connected_for(workers, workers, cpus=cpus, gpus=gpus, device=device, address=address) as size:
        from lstmgan_dist.runtime.ray_tasks import RayProcesses

        with RayProcesses(size) as processes:
            yield processes, device if size.gpus else "cpu"


def _check_address(address: str | None, workers: int) -> None:
    if address and not workers:
        raise UserError(f"--address {address} needs --workers, which says how many workers to start there.")


def _temperatures(wanted: str) -> tuple[float, ...]:
    """The temperatures of `0.6..1.3`, in tenths, or of `0.7,1`."""
    number = r"\d+(?:\.\d+)?"
    if match := re.fullmatch(rf"({number})\.\.({number})", wanted):
        first, last = float(match[1]), float(match[2])
        return tuple(round(first + step / 10, 6) for step in range(round((last - first) * 10) + 1))
    if re.fullmatch(rf"{number}(?:,{number})*", wanted):
        return tuple(map(float, wanted.split(",")))
    raise UserError(f"--temperatures {wanted}: write a range such as 0.6..1.3, or a list such as 0.7,0.85,1.")


def _print_assessment(found: Assessment) -> None:
    """The figures as a table, and the verdicts."""
    shown = {
        name: title for name, title in _SHOWN_FIGURES.items() if any(name in place.figures for place in found.places)
    }

    def cell(estimate: Estimate | None) -> str:
        if estimate is None:
            return ""
        half = (estimate.high - estimate.low) / 2
        return f"{estimate.value:.3f}" + (f" ±{half:.3f}" if half else "")

    _print_table(
        ("sampler", "T", *shown.values()),
        [
            (
                place.sampler,
                "" if place.temperature is None else f"{place.temperature:g}",
                *(cell(place.figures.get(name)) for name in shown),
            )
            for place in found.places
        ],
    )
    typer.echo(
        "LM score (quality) and reverse LM score (diversity): nats per token, low is good. ±: to the 95 % limits.\n"
    )
    for sentence in found.warnings:
        typer.echo(f"Note: {sentence}")
    for sentence in (*(verdict.sentence for verdict in found.verdicts), *found.chosen.values()):
        typer.echo(f"- {sentence}")


_SHOWN_FIGURES = {
    "lm": "LM score",
    "reverse_lm": "reverse LM score",
    "bleu_4": "BLEU-4",
    "self_bleu_4": "self-BLEU-4",
    "frechet": "Fréchet",
    "oracle_nll": "NLL oracle",
    "test_nll": "held-out NLL",
    "grammatical": "grammatical",
    "covered": "covered",
}


def _corpus(settings: config.Job, url: str) -> PreparedCorpus:
    from lstmgan_dist.training.run import prepared_corpus

    with _preparation_bar() as report:
        return prepared_corpus(settings.corpus, url, report, settings.storage)


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


def _print_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    for row in (heads, *rows):
        typer.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _clock(seconds: float | None) -> str:
    return "" if seconds is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _workers(wanted: str) -> tuple[int, int]:
    """Fewest and most workers, from `4` or `2..8`."""
    match = re.fullmatch(r"(\d+)(?:\.\.(\d+))?", wanted)
    fewest, most = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if fewest > most or (most and not fewest):
        raise UserError(f"--workers {wanted}: write a number such as 4, or a range such as 2..8.")
    return fewest, most


def _follow_submission(cluster: Cluster, name: str) -> None:
    """Show what a submission prints until it is over; the exit code is 0 if it succeeded and 2 if not."""
    from lstmgan_dist.training.screen import duration

    try:
        ended = cluster.follow(name, lambda line: typer.echo(line, nl=False))
    except KeyboardInterrupt:
        typer.echo(f"\n{name} goes on without you: lstmgan logs {name} --follow, or lstmgan stop {name}.", err=True)
        raise typer.Exit(130) from None
    if ended.status == "STOPPED":
        raise UserError(f"{name} was stopped: submit it again to resume it.")
    if not ended.succeeded:
        raise UserError(f"{name} failed ({ended.reason}). Submit it again to resume it.")
    typer.echo(f"{name} has succeeded, after {duration(ended.seconds)}.")


def _watch(items: Iterable[Item], total: int, description: str) -> Iterator[Item]:
    from rich.console import Console
    from rich.progress import track

    # On standard error: standard output may be somebody's JSON.
    console = Console(stderr=True)
    if console.is_terminal:
        yield from track(items, total=total, description=description, console=console, transient=True)
        return
    # A log gets a line now and then.
    from lstmgan_dist.training.screen import duration

    started = said = time.monotonic()
    for done, item in enumerate(items, start=1):
        now = time.monotonic()
        if now - said > _SECONDS_BETWEEN_LINES:
            said = now
            left = duration((now - started) / done * (total - done))
            typer.echo(f"{description} {done}/{total}, {left} left", err=True)
        yield item


def _say_where_to_look(run: Run, corpus: PreparedCorpus, outcome: Outcome) -> None:
    from lstmgan_dist.training.inspection import examples

    best = outcome.progress.best_of_last_phase
    typer.echo("\nReal text that was held out:")
    for text in examples(corpus, 4):
        typer.echo(f"  {text}")
    if outcome.last_review:
        typer.echo("Generated text:")
        for text in outcome.last_review.texts[:4]:
            typer.echo(f"  {text}")
    if best:
        typer.echo(f"\nThe best of the last phase is step {best.step}: {best}.")
    typer.echo(f"Curves: lstmgan monitor {run.folder}   More text: lstmgan generate {run.folder}")
