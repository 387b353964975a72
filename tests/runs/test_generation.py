"""Texts by the thousand: the same for a seed, whoever writes them and however often they are stopped."""

import gzip
import json
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from lstmgan_dist.cli import app
from lstmgan_dist.corpus import texts as text_files
from lstmgan_dist.errors import UserError
from lstmgan_dist.evaluation.sampling import BLOCK
from lstmgan_dist.runs import brief, generation
from lstmgan_dist.runs.brief import evaluate_briefly
from lstmgan_dist.runs.generation import generate, request_texts, write_one_file, write_shards
from lstmgan_dist.runs.result import load_result
from lstmgan_dist.runtime.tasks import IN_PROCESS, Workers
from lstmgan_dist.runtime.worker_size import WorkerSize
from lstmgan_dist.storage import Folder
from tests.training.tiny_jobs import CONTINUOUS, SENTENCES, job_of, run_job

COUNT, SHARD = 250, 100
LATENT = ("generator.latent={size: 3}", "phases=[{kind: likelihood, steps: 6}]")


@pytest.fixture(scope="module")
def runs(text, tmp_path_factory):
    """Folders of finished runs."""
    folder = tmp_path_factory.mktemp("runs")
    run_job(job_of(SENTENCES, text, *LATENT), folder / "sentences")
    run_job(job_of(CONTINUOUS, text), folder / "continuous")
    return folder


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch):
    monkeypatch.setattr(generation, "TEXTS_PER_SHARD", SHARD)


def request(runs, *, name: str = "sentences", **changed: Any):
    asked: dict[str, Any] = {"count": COUNT, "temperature": 1.0, "top_k": None, "top_p": None, "seed": 1}
    asked |= {"max_length": None, "on_unknown": "error", "without_unknown": False, **changed}
    return request_texts(load(runs / name), **asked)


def load(run):
    return load_result(str(run), "best", device="cpu", say=print)


def unwatched(items, total, description):
    return iter(items)


def files_in(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def shards(asked, folder, workers: Workers = IN_PROCESS, format_: text_files.Format = "parquet"):
    return write_shards(asked, Folder(folder), format_, workers, unwatched)


@pytest.fixture(scope="module")
def expected(runs):
    """The texts of the request that most tests make."""
    return list(chain.from_iterable(generate(request(runs), IN_PROCESS)))


def read_shards(folder, format_):
    if format_ in ("parquet", "arrow"):
        return ds.dataset(folder, format=format_).to_table()["text"].to_pylist()
    parts = sorted(path for path in folder.iterdir() if path.name.startswith("part-"))
    lines = chain.from_iterable(path.read_text().splitlines() for path in parts)
    return [json.loads(line)["text"] for line in lines] if format_ == "json" else list(lines)


@pytest.mark.parametrize("format_", text_files.SUFFIXES)
def test_shards_of_every_format_hold_the_texts_in_order(format_, runs, expected, tmp_path):
    assert shards(request(runs), tmp_path / "out", format_=format_) == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    suffix = text_files.SUFFIXES[format_]
    assert names == ["_SUCCESS", "_request.json", *(f"part-0000{number}{suffix}" for number in range(3))]
    assert read_shards(tmp_path / "out", format_) == expected


READERS = {
    "t.txt": lambda path: path.read_text().splitlines(),
    "t.txt.gz": lambda path: gzip.decompress(path.read_bytes()).decode().splitlines(),
    "t.jsonl": lambda path: [json.loads(line)["text"] for line in path.read_text().splitlines()],
    "t.parquet": lambda path: pq.read_table(path)["text"].to_pylist(),
    "t.arrow": lambda path: pa.ipc.open_file(path).read_all()["text"].to_pylist(),
}


@pytest.mark.parametrize("name", READERS)
def test_one_file_of_every_format_holds_the_texts_and_is_the_same_every_time(name, runs, expected, tmp_path):
    for folder in ("one", "two"):
        write_one_file(request(runs), str(tmp_path / folder / name), IN_PROCESS, unwatched)
    assert READERS[name](tmp_path / "one" / name) == expected
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_texts_with_line_breaks_are_counted_and_lines_of_text_are_said_not_to_be_texts(runs, tmp_path):
    asked = request(runs, name="continuous", max_length=40)
    texts = list(chain.from_iterable(generate(asked, IN_PROCESS)))
    broken = write_one_file(asked, str(tmp_path / "t.jsonl"), IN_PROCESS, unwatched)
    assert 0 < broken == sum("\n" in text for text in texts)
    for name, notes in (("t.txt", 1), ("t.txt.gz", 1), ("t.jsonl", 0)):
        done = CliRunner().invoke(app, ["generate", str(runs / "continuous"), "--out", str(tmp_path / name)])
        assert (done.exit_code, done.stderr.count("hold line breaks")) == (0, notes), done.output


def test_a_compression_that_is_not_written_is_refused():
    for name in ("t.parquet.gz", "t.txt.zst"):
        with pytest.raises(UserError, match="texts are written as"):
            text_files.check_name(name)


class StoppingWorkers:
    """One process that is stopped after so many items."""

    def __init__(self, items):
        self.items = items

    def map_in_order(self, function, items):
        for number, item in enumerate(items):
            if number == self.items:
                raise KeyboardInterrupt
            yield function(item)


def test_a_stopped_generation_goes_on_where_it_was(runs, tmp_path):
    shards(request(runs), tmp_path / "whole")
    folder = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        shards(request(runs), folder, StoppingWorkers(1))
    assert sorted(files_in(folder)) == ["_request.json", "part-00000.parquet"]
    (folder / ".part-00001.parquet.123.part").write_bytes(b"torn")
    before = (folder / "part-00000.parquet").stat().st_mtime_ns
    assert shards(request(runs), folder) == SHARD
    assert (folder / "part-00000.parquet").stat().st_mtime_ns == before
    assert files_in(folder) == files_in(tmp_path / "whole")
    assert shards(request(runs), folder, StoppingWorkers(0)) == COUNT


def test_a_folder_of_other_texts_is_refused(runs, tmp_path):
    shards(request(runs), tmp_path / "out")
    with pytest.raises(UserError, match="seed 1 there, 2 here"):
        shards(request(runs, seed=2), tmp_path / "out")
    with pytest.raises(UserError, match=r"temperature 1\.0 there, 0\.5 here"):
        shards(request(runs, temperature=0.5), tmp_path / "out")
    with pytest.raises(UserError, match="format parquet there, text here"):
        shards(request(runs), tmp_path / "out", format_="text")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="mine holds other files"):
        shards(request(runs), tmp_path / "mine")


# --- on workers ------------------------------------------------------------------------------------------------------


def pool(workers):
    from lstmgan_dist.runtime.ray_tasks import RayProcesses

    return RayProcesses(WorkerSize(workers, workers, 1, 0))


@pytest.mark.cluster
@pytest.mark.timeout(200)
@pytest.mark.usefixtures("local_ray")
def test_texts_and_figures_are_the_same_for_any_number_of_workers(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(generation, "TEXTS_PER_SHARD", BLOCK)
    monkeypatch.setattr(brief, "_SHARE_SENTENCES", 10)
    monkeypatch.setattr(brief, "_SHARE_TOKENS", 200)
    asked = request(runs, count=2 * BLOCK + 500)
    shards(asked, tmp_path / "alone")
    assert len(files_in(tmp_path / "alone")) == 2 + 3
    texts = list(generate(asked, IN_PROCESS))
    loaded = [load(runs / name) for name in ("sentences", "continuous")]
    figures = [evaluate_briefly(one, samples=BLOCK + 500, seed=1, watch=unwatched) for one in loaded]
    for workers in (1, 2, 3):
        with pool(workers) as processes:
            assert list(generate(asked, processes)) == texts
            shards(asked, tmp_path / f"{workers}", processes)
            assert files_in(tmp_path / f"{workers}") == files_in(tmp_path / "alone")
            for one, alone in zip(loaded, figures, strict=True):
                assert evaluate_briefly(one, samples=BLOCK + 500, seed=1, watch=unwatched, workers=processes) == alone


@pytest.mark.cluster
@pytest.mark.timeout(200)
@pytest.mark.usefixtures("local_ray")
def test_a_run_that_workers_cannot_reach_is_one_line(runs):
    asked = request(runs)
    with pool(1) as processes:
        (runs / "sentences").rename(runs / "moved")
        try:
            with pytest.raises(UserError, match=r"^On .* is not a run") as raised:
                list(generate(asked, processes))
            assert "\n" not in str(raised.value)
        finally:
            (runs / "moved").rename(runs / "sentences")
