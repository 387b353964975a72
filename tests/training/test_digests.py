"""What must not change with the house: weights, figures and samples of every recipe, on one process and on two workers.

The two are stopped every few steps and resumed, so that every recipe shows both promises.

`digests.json` holds them for machines by name, for kernels round differently, and their held-out losses for all. After
a change that is meant to change numbers: `python -m tests.training.test_digests` writes those of this machine anew, and
forgets all others.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import yaml
from rich.console import Console

from lstmgan_dist.config import Job, parse_job
from lstmgan_dist.corpus.made import MADE
from lstmgan_dist.runs.train import train
from lstmgan_dist.runtime.distributed import DistributedRuntime
from lstmgan_dist.runtime.local import LocalRuntime
from lstmgan_dist.training.environment import environment_of
from lstmgan_dist.training.run import Run, prepared_corpus
from lstmgan_dist.training.screen import Terminal
from tests.bare_workers import side_by_side
from tests.toy_text import toy_sentences
from tests.training.test_exactness import StoppingWorker
from tests.training.tiny_jobs import small_sizes

pytestmark = pytest.mark.slow

RECIPES = sorted((Path(__file__).parents[2] / "jobs").glob("*.yaml"))
PINNED = Path(__file__).parent / "digests.json"
CPU = torch.device("cpu")
# The same settings wherever a recipe has a block that knows them.
SMALL = {
    "corpus": {"max_length": 12},
    "batch": {"size": 16, "lanes": 4, "units": 2},
    "evaluate": {"every": "3 steps", "samples": 16, "show": 2, "sample_length": 10, "heldout_sequences": 40},
    "checkpoint": {"every": "4 steps"},
    "log": {"every": "1 step"},
}


def shrunken(recipe: Path, texts: Path) -> Job:
    """A recipe with everything that it says, but small, and of text that is the same everywhere."""
    tree: dict[str, Any] = yaml.safe_load(recipe.read_text())
    tree |= {name: tree.get(name, {}) | settings for name, settings in SMALL.items() if name in tree or name == "log"}
    corpus = tree["corpus"]
    if corpus["source"].startswith("oracle:"):
        corpus |= {"source": "oracle:length=11,seed=1,count=200,vocabulary=30"}
    elif corpus["source"] in MADE:
        corpus |= {"on_long_text": "truncate"}
    else:
        corpus |= {"source": str(texts / "train.txt")}
    if "heldout_source" in corpus:
        corpus["heldout_source"] = str(texts / "test.txt")
    else:
        corpus["heldout_fraction"] = 0.2
    for block in ("generator", "discriminator"):
        if block in tree:
            tree[block] |= small_sizes(block, tree[block].get("kind", "lstm"), tree[block])
    for phase in tree["phases"]:
        phase.pop("epochs", None)
        phase["steps"] = 8
    return parse_job(yaml.safe_dump(tree, sort_keys=False), name=recipe.name)


def texts_in(folder: Path) -> Path:
    for name, seed in ("train.txt", 1), ("test.txt", 2):
        (folder / name).write_text("\n".join(toy_sentences(200, seed)) + "\n")
    return folder


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def digests_of(run: Path) -> dict[str, Any]:
    """Digests of the last checkpoint's tensors, of each figure's course, and of all samples; the held-out losses."""
    newest = max((run / "checkpoints").iterdir(), key=lambda path: int(re.sub(r"\D", "", path.name)))
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    names = {name for row in rows for name in row if "/" in name and not name.startswith("throughput")}
    courses = {name: [(row["step"], row[name]) for row in rows if name in row] for name in sorted(names)}
    return {
        "weights": {path.name: digest(path.read_bytes()) for path in sorted(newest.glob("*.safetensors"))},
        "figures": {name: digest(json.dumps(course).encode()) for name, course in courses.items()},
        "samples": digest(b"".join(path.read_bytes() for path in sorted((run / "samples").iterdir()))),
        "heldout": [value for _, value in courses["heldout/nll"]],
    }


def play(job: Job, folder: Path, begin: Callable[[], LocalRuntime | DistributedRuntime]) -> None:
    """A whole run. begin: gives the runtime of each attempt."""
    torch.set_num_threads(1)
    runtime = begin()
    if runtime.rank == 0:
        Run.create_or_resume(str(folder), job, prepared_corpus(job.corpus, str(folder), lambda progress: None))
    runtime.barrier()
    run = Run.open(str(folder))
    while not train(run, run.corpus(), runtime, Terminal(Console(quiet=True))).finished:
        runtime.barrier()  # the first one has saved
        runtime = begin()
    runtime.barrier()


def _worker(rank: int, folder: str, texts: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    for recipe in RECIPES:
        play(shrunken(recipe, Path(texts)), Path(folder) / recipe.stem, lambda: StoppingWorker(5))
    dist.destroy_process_group()


def digests(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Those of every recipe."""
    texts = texts_in(folder)
    for recipe in RECIPES:
        play(shrunken(recipe, texts), folder / recipe.stem, lambda: LocalRuntime(CPU))
        yield recipe.stem, digests_of(folder / recipe.stem)


def machine() -> str:
    """What rounding depends on."""
    return str(environment_of(CPU))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    threads = torch.get_num_threads()
    yield dict(digests(tmp_path_factory.mktemp("digests")))
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def pinned():
    return json.loads(PINNED.read_text())


@pytest.mark.parametrize("name", [recipe.stem for recipe in RECIPES])
def test_weights_figures_and_samples_are_those_that_are_pinned(name, found, pinned):
    here, there = found[name], pinned["machines"].get(machine())
    assert here["heldout"] == pytest.approx(pinned["heldout"][name], rel=1e-3)
    if there:
        assert here["weights"] == there[name]["weights"]
        assert here["samples"] == there[name]["samples"]
        assert here["figures"].items() >= there[name]["figures"].items()  # others may have come


def test_two_workers_that_are_stopped_every_five_steps_and_go_on_have_them_too(found, tmp_path):
    side_by_side(_worker, str(tmp_path), str(texts_in(tmp_path)), workers=2)
    for recipe in RECIPES:
        assert digests_of(tmp_path / recipe.stem) == found[recipe.stem], recipe.stem


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = dict(digests(Path(folder)))
    pinned = {"heldout": {name: one.pop("heldout") for name, one in found.items()}, "machines": {machine(): found}}
    PINNED.write_text(json.dumps(pinned, indent=1) + "\n")


if __name__ == "__main__":
    main()
