"""How far training scales, on paper, and what the remedies for a slow network cost, measured.

Without an argument it prints the tables of SCALING.md that are computed. `measure 4` trains on four processes of this
machine and prints the table of losses, which takes a quarter of an hour a seed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from lstmgan_dist.adversarial.work import BatchWork, Work
from lstmgan_dist.config import Job, load_job
from lstmgan_dist.training.game import Vocabulary, build_discriminator, build_generator

JOBS = Path(__file__).parents[1] / "jobs"

# --- the model -------------------------------------------------------------------------------------------------------

WORKERS = (8, 64, 512)
NETWORKS = (10e9, 25e9, 100e9)  # bit/s of each machine's port; one GPU a machine, so all traffic takes it
MESSAGE = 20e-6  # s for a message between two machines, whatever its size: TCP in one data centre
SUSTAINED = 10e12  # FLOP/s of a GPU at matrix products of these sizes
POSITION = 15e-6  # s that one position of an LSTM takes at least, for it waits for the position before
STORAGE = 100e6  # bytes/s of one stream to an object store
H100 = 100e12  # FLOP/s of one at the large products of language models, in TF32
START = 20.0  # s from the submission of a run to its first step: Ray's processes, PyTorch, the text
NVLINK, PORT = 3.6e12, 400e9  # bit/s of one, within a machine of eight and to the other machines
_FLOAT, _TOKEN, _OFFSET = 4, 2, 4  # bytes: a parameter, a token id below 65,536, a row's place in its block


@dataclass(frozen=True)
class Text:
    """vocabulary: tokens. length: mean tokens of a sequence, end mark included; None: a whole stretch of max_length.

    sequences: to train on, where it is known.
    """

    vocabulary: int
    length: float | None
    sequences: int = 0


# As `lstmgan prepare` counts them with the recipes' settings.
TEXTS = {
    "builtin:python-docs": Text(5000, 15.06, 10_156),
    "builtin:python-docs, characters": Text(83, 31.72, 10_972),  # the first 32 of each sentence
    "oracle:length=20,seed=1": Text(5002, 21.0),
    "train.txt": Text(2585, 12.56, 10_000),  # COCO captions, 10,000 of them
    "input.txt": Text(67, None),  # tinyshakespeare
}


def text_of(job: Job) -> Text:
    """What a recipe's text is like."""
    source, kind = job.corpus.sources[0], job.corpus.tokenizer.kind
    return TEXTS.get(f"{source}, {kind}s", TEXTS[source])


@dataclass(frozen=True)
class Update:
    """What one update of a player takes on one worker.

    parameters: of the network that moves, whose gradients travel. rows, tokens: of real text.
    """

    parameters: int
    work: Work
    rows: int
    tokens: float

    @property
    def seconds(self) -> float:
        """How long a GPU computes."""
        return self.work.operations / SUSTAINED + self.work.positions * POSITION

    def times(self, factor: int) -> Update:
        """The same with a batch so many times as large, in as many units."""
        return Update(
            self.parameters,
            Work(self.work.operations * factor, self.work.positions * factor),
            self.rows * factor,
            self.tokens * factor,
        )


@dataclass(frozen=True)
class Remedy:
    """What is sent less: bytes of each number of a gradient, batches an update, updates a synchronisation."""

    bytes: float = _FLOAT
    batches: int = 1
    every: int = 1


REMEDIES = {
    "none": Remedy(),
    "`compression: bf16`": Remedy(bytes=2),
    "batch × 4, in units as before": Remedy(batches=4),
    "`every: 4`": Remedy(every=4),
    "`every: 16`": Remedy(every=16),
}
_MOMENTS = 2  # of Adam, averaged with the weights


def communication(update: Update, workers: int, bits: float, remedy: Remedy) -> float:
    """Seconds that the messages of one update take, none of which can hide behind computing.

    Of a gradient every worker sends a shard to each of the others, adds up its own in the order of the tree, and sends
    it to all: 2 (n - 1) / n times its bytes, as round a ring, in one round there and one back, of n - 1 messages at a
    time. Compressed ones and rare averages go round a ring, whose first byte goes up and down a tree: 2 log2(n)
    messages one after another. The numbers that an update adds up beside go in one message, log2(n) rounds.
    """
    if workers == 1:
        return 0.0
    doubling = math.ceil(math.log2(workers))
    size, rounds = remedy.bytes * update.parameters, 2.0
    if remedy.bytes < _FLOAT:
        rounds = 2 * doubling
    if remedy.every > 1:
        size, rounds = (1 + _MOMENTS) * _FLOAT * update.parameters / remedy.every, 2 * doubling / remedy.every
    return 2 * (workers - 1) / workers * size * 8 / bits + MESSAGE * (doubling + rounds)


def exchange_table() -> str:
    """The tree's exchange of one gradient beside a ring's, for workers of one unit each."""
    rows = []
    for workers in (2, 8, 64, 512):
        share, others = f"{2 * (workers - 1) / workers:.3f}", workers - 1
        rows.append((str(workers), share, share, "2", str(2 * others), str(2 * others), str(2 * others), str(others)))
    head = ["workers", "bytes sent, of the gradient's", "ring", "rounds", "ring", "messages sent", "ring"]
    head.append("additions of a shard")
    return _table(head, rows)


def efficiency(updates: list[tuple[int, Update]], workers: int, bits: float, remedy: Remedy) -> float:
    """The share of a step that is not spent waiting; updates: how often each one happens in a step."""
    updates = [(count, update.times(remedy.batches)) for count, update in updates]
    computing = sum(count * update.seconds for count, update in updates)
    waiting = sum(count * communication(update, workers, bits, remedy) for count, update in updates)
    return computing / (computing + waiting)


# --- the recipes, read from jobs/ ------------------------------------------------------------------------------------


def recipes() -> Iterator[tuple[str, Job]]:
    """Every recipe, in the sizes for a GPU where its header names some; but for those of texts that are made."""
    for path in sorted(JOBS.glob("*.yaml")):
        job = load_job(path)
        if job.corpus.sources[0] not in TEXTS:
            continue
        sizes = paper_sizes(path)
        if any(name.startswith(("batch", "generator", "discriminator")) for name in sizes):
            yield f"{path.stem}, paper's sizes", load_job(path, sizes)
        else:
            yield path.stem, job


def paper_sizes(path: Path) -> tuple[str, ...]:
    """The --set options behind the words "for a GPU" of a recipe's header."""
    header = " ".join(line.removeprefix("#") for line in path.read_text().splitlines() if line.startswith("#"))
    return tuple(re.findall(r"--set (\S+)", header.partition("for a GPU:")[2]))


def phases(job: Job) -> Iterator[tuple[str, list[tuple[int, str, Update]]]]:
    """Each kind of phase, and its updates: how many in a step, of which player, and what one takes."""
    text = text_of(job)
    rows = job.batch.size
    length = text.length or job.corpus.max_length
    longest = min(job.corpus.max_length, 2 * length) if text.length else job.corpus.max_length
    tokens = rows * length
    batch = BatchWork(
        read=Work(tokens * job.generator.operations(text.vocabulary), longest * job.generator.depth),
        score=Work(rows * job.discriminator.operations(length), longest * job.discriminator.depth)
        if job.discriminator
        else Work(),
        rows=rows,
        tokens=tokens,
        vocabulary_size=text.vocabulary,
        seen=job.discriminator.embedding_size if job.discriminator else 0,
    )
    parameters = {"generator": size(build_generator(job, Vocabulary(text.vocabulary)))}
    if job.discriminator:
        parameters["discriminator"] = size(build_discriminator(job, Vocabulary(text.vocabulary)))
    for phase in job.phases:
        yield (
            phase.kind,
            [
                (count, player, Update(parameters[player], work, rows, tokens))
                for count, player, work in phase.updates(batch)
            ],
        )


def size(network: nn.Module) -> int:
    """Parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


# --- the tables ------------------------------------------------------------------------------------------------------


def tables() -> str:
    """Everything that SCALING.md shows and this program computes."""
    made = (
        update_table(),
        exchange_table(),
        checkpoint_table(),
        efficiency_table(),
        remedy_table(),
        large_table(),
        sweep_table(),
    )
    return "\n\n".join(made)


def update_table() -> str:
    """What one update takes."""
    rows = []
    for name, job in recipes():
        for kind, updates in phases(job):
            for count, player, update in updates:
                every = f", {count} a step" if count > 1 else ""
                rows.append(
                    (
                        name,
                        f"{kind}: {player}{every}",
                        f"{update.parameters / 1e6:.2f} M",
                        f"{_FLOAT * update.parameters / 1e6:.1f} MB",
                        f"{update.work.operations / 1e9:.0f} G",
                        f"{update.seconds * 1e3:.1f} ms",
                        f"{reading(update) / 1e3:.0f} kB/s",
                    )
                )
    head = ["recipe", "update of", "parameters", "exchanged", "FLOP a worker", "computes", "reads"]
    return _table(head, rows)


def reading(update: Update) -> float:
    """Bytes of text that a worker reads in a second in which it does nothing but such updates."""
    return (_TOKEN * update.tokens + _OFFSET * update.rows) / update.seconds


def checkpoint_table() -> str:
    """What a checkpoint weighs: both networks, and Adam's two moments of each that moves."""
    rows = []
    for name, job in recipes():
        text = text_of(job)
        generator = size(build_generator(job, Vocabulary(text.vocabulary)))
        discriminator = size(build_discriminator(job, Vocabulary(text.vocabulary))) if job.discriminator else 0
        likelihood = (1 + _MOMENTS) * generator + discriminator
        game = (1 + _MOMENTS) * (generator + discriminator)
        cells = []
        for parameters in (likelihood, game if discriminator else 0):
            total = _FLOAT * parameters
            cells += [f"{total / 1e6:.0f} MB", f"{total / STORAGE:.1f} s"] if total else ["", ""]
        rows.append((name, *cells))
    return _table(["recipe", "likelihood", "upload", "game", "upload"], rows)


def efficiency_table() -> str:
    """Weak scaling: every worker has the recipe's batch."""
    head = ["recipe", "phase", *(f"{workers} at {bits / 1e9:.0f}" for bits in NETWORKS for workers in WORKERS)]
    rows = []
    for name, job in recipes():
        for kind, updates in phases(job):
            step = [(count, update) for count, _, update in updates]
            cells = [efficiency(step, workers, bits, Remedy()) for bits in NETWORKS for workers in WORKERS]
            rows.append((name, kind, *(f"{cell:.0%}" for cell in cells)))
    return _table(head, rows)


def remedy_table() -> str:
    """The same for what a job can do about it, where it is worst."""
    rows = []
    for name, job in recipes():
        for kind, updates in phases(job):
            step = [(count, update) for count, _, update in updates]
            cells = [efficiency(step, WORKERS[-1], NETWORKS[0], remedy) for remedy in REMEDIES.values()]
            rows.append((name, kind, *(f"{cell:.0%}" for cell in cells)))
    return _table(["recipe", "phase", *REMEDIES], rows)


# What language models of the size of WikiText-103 need: units, and words or pieces of words.
LARGE = {
    "2,048 units, 267,735 words": (2048, 267_735),
    "4,096 units, 267,735 words": (4096, 267_735),
    "4,096 units, 32,000 pieces (BPE)": (4096, 32_000),
}


def large_table() -> str:
    """Likelihood of large models on 8 and on 8 × 8 H100: 128 rows of 100 tokens a GPU, embeddings of 1,024, tied."""
    rows = []
    for name, (units, vocabulary) in LARGE.items():
        sizes = (f"generator={{embedding: 1024, hidden: {units}}}", "corpus.tokenizer={kind: word}")
        job = load_job(JOBS / "char_lm.yaml", sizes)
        with torch.device("meta"):
            parameters = size(build_generator(job, Vocabulary(vocabulary)))
        tokens = job.batch.size * job.corpus.max_length
        operations = 3 * tokens * job.generator.operations(vocabulary)
        computing = operations / H100 + 3 * job.corpus.max_length * job.generator.depth * POSITION
        update = Update(parameters, Work(operations, 0), job.batch.size, tokens)
        cells = []
        for workers, bits in ((8, NVLINK), (64, PORT)):
            for remedy in (Remedy(), REMEDIES["`compression: bf16`"]):
                cells.append(computing / (computing + communication(update, workers, bits, remedy)))
        weights = (2 + _MOMENTS) * _FLOAT * parameters
        logits = 2 * _FLOAT * tokens * vocabulary
        rows.append(
            (
                name,
                f"{parameters / 1e6:.0f} M",
                f"{weights / 1e9:.1f} GB",
                f"{logits / 1e9:.1f} GB",
                f"{computing * 1e3:.0f} ms",
                *(f"{cell:.0%}" for cell in cells),
            )
        )
    head = ["model", "parameters", "with Adam", "logits", "computes", "8 GPUs", "in bf16", "8 × 8", "in bf16"]
    return _table(head, rows)


SWEEP_RUNS, SWEEP_GPUS, SHARES = 1000, 64, (1, 4, 16)


def sweep_table() -> str:
    """A thousand runs of one worker each, some at a time on a GPU, where they wait beside each other."""
    rows = []
    for name in ("quickstart", "lstm_gan", "coco_scratchgan"):
        job = load_job(JOBS / f"{name}.yaml")
        steps, alone, busy = 0, 0.0, 0.0
        for phase, (_, updates) in zip(job.phases, phases(job), strict=True):
            batches = text_of(job).sequences / job.batch.size
            taken = phase.steps or round((phase.epochs or 0) * batches)
            steps += taken
            alone += taken * sum(count * update.seconds for count, _, update in updates)
            busy += taken * sum(count * update.work.operations / SUSTAINED for count, _, update in updates)
        hours = [
            math.ceil(SWEEP_RUNS / (SWEEP_GPUS * share)) * (START + max(alone, share * busy)) / 60 for share in SHARES
        ]
        rows.append((name, f"{steps:,}", f"{alone:.1f} s", f"{busy:.1f} s", *(f"{each:.1f} min" for each in hours)))
    return _table(["recipe", "steps", "computes", "busy", *(f"{share} a GPU" for share in SHARES)], rows)


def _table(head: list[str], rows: list[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


# --- what it does to the loss ----------------------------------------------------------------------------------------

# The quickstart recipe made smaller, in its first two kinds of phase that matter; every setting reads the same text.
SMALLER = (
    "generator.embedding=64",
    "generator.hidden=128",
    "corpus.tokenizer.vocabulary_size=2000",
    "phases.0.epochs=3",
    "evaluate={every: 1000 epochs, samples: 100, show: 1}",
    "checkpoint.every=1000 epochs",
    "log.every=1000 epochs",
)
LARGER_BATCH = ("batch.size=256", "batch.units=4", "phases.1.steps=15", "phases.2.steps=25")
TWICE_THE_RATE = ("phases.0.optimizer.learning_rate={start: 8.0e-3, end: 8.0e-4, shape: cosine}",)
SETTINGS: dict[str, tuple[str, ...]] = {
    "none": (),
    "none, learning rate × 2": TWICE_THE_RATE,
    "`compression: bf16`": ("synchronisation.compression=bf16",),
    "`every: 4`": ("synchronisation.every=4",),
    "`every: 16`": ("synchronisation.every=16",),
    "`every: 16`, learning rate × 2": ("synchronisation.every=16", *TWICE_THE_RATE),
    "batch × 4, in units as before": LARGER_BATCH,
    "batch × 4, in units as before, learning rate × 2": (*LARGER_BATCH, *TWICE_THE_RATE),
}


def measure(workers: int, seeds: int, only: str) -> str:
    """Train the smaller recipe with each setting whose name contains `only`, and compare held-out losses."""
    from torch.multiprocessing.spawn import spawn

    with tempfile.TemporaryDirectory() as folder:
        spawn(_measure_on, (workers, seeds, only, folder), nprocs=workers)
        losses = json.loads(Path(folder, "losses.json").read_text())
    rows = []
    for name, results in losses.items():
        after = list(zip(*results, strict=True))
        rows.append((name, *(f"{statistics.mean(phase):.3f} ({_spread(phase)})" for phase in after)))
    return _table([f"{workers} workers", "after likelihood", "after the game"], rows)


def _spread(values: tuple[float, ...]) -> str:
    return f"± {statistics.stdev(values):.3f}" if len(values) > 1 else "one seed"


def _measure_on(rank: int, workers: int, seeds: int, only: str, folder: str) -> None:
    import torch.distributed as dist
    from rich.console import Console

    from lstmgan_dist.runs.train import train
    from lstmgan_dist.runtime.distributed import DistributedRuntime
    from lstmgan_dist.runtime.signals import StopRequest
    from lstmgan_dist.training.run import Run, prepared_corpus
    from lstmgan_dist.training.screen import Terminal

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=workers)
    runtime = DistributedRuntime(torch.device("cpu"), lambda: StopRequest.NONE)
    settings = {name: overrides for name, overrides in SETTINGS.items() if only in name}
    losses: dict[str, list[list[float]]] = {name: [] for name in settings}
    for seed in range(1, seeds + 1):
        for number, (name, overrides) in enumerate(settings.items()):
            job = load_job(JOBS / "quickstart.yaml", (*SMALLER, *overrides, f"seed={seed}"))
            url = f"{folder}/runs/{seed}-{number}"
            if rank == 0:
                Run.create_or_resume(url, job, prepared_corpus(job.corpus, url, lambda _: None))
            runtime.barrier()
            run = Run.open(url)
            train(run, run.corpus(), runtime, Terminal(Console(quiet=True)))
            runtime.barrier()
            if rank == 0:
                lines = [json.loads(line) for line in Path(url, "metrics.jsonl").read_text().splitlines()]
                heldout = [line["heldout/nll"] for line in lines if "heldout/nll" in line]
                losses[name].append([heldout[0], heldout[-1]])
                print(f"{workers} workers, seed {seed}, {name}: {heldout}", flush=True)
    if rank == 0:
        Path(folder, "losses.json").write_text(json.dumps(losses))
    runtime.barrier()
    dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["tables", "measure"], default="tables")
    parser.add_argument("workers", nargs="?", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", default="", help="part of the names of the settings to measure")
    arguments = parser.parse_args()
    measured = arguments.what == "measure"
    print(measure(arguments.workers, arguments.seeds, arguments.only) if measured else tables())


if __name__ == "__main__":
    main()
