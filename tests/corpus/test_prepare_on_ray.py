"""Preparing on a Ray cluster gives the bytes that preparing in one process gives."""

import bz2
import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lstmgan_dist.corpus import chunks
from lstmgan_dist.corpus.prepare import PreparationProgress, PreparedCorpus, prepare
from lstmgan_dist.corpus.settings import Corpus
from lstmgan_dist.errors import UserError
from lstmgan_dist.runtime.tasks import LOCAL_THREADS
from lstmgan_dist.storage import Folder
from tests.corpus.numbered import numbered_sentences

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(200), pytest.mark.usefixtures("local_ray")]

Write = Callable[..., str]
Prepare = Callable[..., PreparedCorpus]

_CHUNK = 2000


class Cluster:
    """Tasks on the cluster, that read in chunks so small that a small text has many."""

    def map_in_order(self, function: Callable[[Any], Any], items: Any) -> Iterator[Any]:
        from lstmgan_dist.runtime.ray_tasks import RayTasks

        return RayTasks().map_in_order(function, items)

    def map_parts_in_order(
        self, read: Callable[[Any], Iterator[Any]], function: Callable[[Any], Any], items: Sequence[Any]
    ) -> Iterator[Any]:
        from lstmgan_dist.runtime.ray_tasks import RayTasks

        return RayTasks().map_parts_in_order(partial(_read_in_small_chunks, read), function, items)


def _read_in_small_chunks(read: Callable[[Any], Iterator[Any]], item: Any) -> Iterator[Any]:
    chunks.CHUNK_BYTES = _CHUNK
    return read(item)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_BYTES", _CHUNK)


def everything_in(corpus: PreparedCorpus) -> dict[str, bytes]:
    return {name: corpus.folder.read(name) for name in corpus.folder.list()}


def stored(folder: Path, kind: str) -> str:
    """A folder of files of sentences, each stored as one kind of source."""
    folder.mkdir()
    for number in range(5):
        lines = numbered_sentences(150 + 50 * number).replace("number", f"File {number} éa, number")
        path = folder / f"{number}"
        if kind == "text":
            path.with_suffix(".txt").write_text(lines)
        elif kind == "gzip":
            path.with_suffix(".txt.gz").write_bytes(gzip.compress(lines.encode()))
        elif kind == "JSON lines, bzip2":
            records = "".join(json.dumps({"text": line}) + "\n" for line in lines.splitlines())
            path.with_suffix(".jsonl.bz2").write_bytes(bz2.compress(records.encode()))
        else:
            pq.write_table(pa.table({"text": lines.splitlines()}), path.with_suffix(".parquet"))
    if kind == "text":
        (folder / "empty.txt").write_text("")
    return str(folder)


KINDS = [("text", tokenizer) for tokenizer in ("character", "byte", "word", "bpe")]
KINDS += [(kind, "word") for kind in ("gzip", "JSON lines, bzip2", "parquet")]


@pytest.mark.parametrize("layout", ["sentences", "continuous"])
@pytest.mark.parametrize(("kind", "tokenizer"), KINDS)
def test_the_bytes_are_those_of_one_process(prepared: Prepare, tmp_path: Path, kind: str, tokenizer: str, layout: str):
    settings: dict[str, Any] = {
        "source": stored(tmp_path / "text", kind),
        "heldout_fraction": 0.2,
        "layout": layout,
        "tokenizer": {"kind": tokenizer, "lower": True, **({} if tokenizer == "byte" else {"vocabulary_size": 400})},
        "on_long_text": "truncate",
        "max_length": 14,
    }
    here = everything_in(prepared(f"{tmp_path}/here", **settings))
    assert everything_in(prepared(f"{tmp_path}/there", workers=Cluster(), **settings)) == here
    assert len(here) == 4


@pytest.mark.parametrize("tokenizer", [{"segmenter": "chinese"}, {"stem": "english", "mark_numbers": True}], ids=str)
def test_text_is_seen_there_as_here(text_file: Write, prepared: Prepare, tmp_path: Path, tokenizer: dict[str, Any]):
    lines = "".join(f"第{n}次我来到北京清华大学, running {n} times {'and more ' * (n % 20)}\n" for n in range(300))
    settings: dict[str, Any] = {"source": text_file(lines), "heldout_fraction": 0.2, "tokenizer": tokenizer}
    here = everything_in(prepared(f"{tmp_path}/here", **settings))
    assert everything_in(prepared(f"{tmp_path}/there", workers=Cluster(), **settings)) == here


def test_heldout_files_are_read_there_too(prepared: Prepare, tmp_path: Path):
    settings: dict[str, Any] = {
        "source": stored(tmp_path / "text", "text"),
        "heldout_source": stored(tmp_path / "heldout", "gzip"),
        "on_long_text": "skip",
    }
    here = everything_in(prepared(f"{tmp_path}/here", **settings))
    assert everything_in(prepared(f"{tmp_path}/there", workers=Cluster(), **settings)) == here


MISTAKES = {
    "bad text": (b"good\n" * 2000 + b"b\xffd\n", {}, "line 2001: this is not valid UTF-8"),
    "long text": (b"good\n" * 2000 + b"a " * 90 + b"\n", {}, "line 2001: this sentence has 91 tokens"),
    "a binary file": (bytes(range(256)) * 100, {}, "binary file"),
    "a torn file": (b"\x1f\x8b\x08 this is no gzip", {"name": "text.gz"}, "the gzip data is damaged"),
    "an empty file": (b"", {}, "gives no text to train on"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_told_as_in_one_process(text_file: Write, prepared: Prepare, tmp_path: Path, case: str):
    content, named, message = MISTAKES[case]
    path = text_file(content, **named)
    told = []
    for workers in (LOCAL_THREADS, Cluster()):
        with pytest.raises(UserError, match=message) as raised:
            prepared(source=path, workers=workers)
        told.append(str(raised.value))
        assert not (tmp_path / "corpus").exists()
    assert told[0] == told[1]


def test_killed_workers_change_nothing(prepared: Prepare, tmp_path: Path):
    settings = Corpus(source=stored(tmp_path / "text", "text"))
    here = everything_in(prepare(settings, Folder(tmp_path / "here"), report=lambda progress: None))
    reports: list[PreparationProgress] = []
    killed: list[int] = []

    def report(progress: PreparationProgress) -> None:
        reports.append(progress)
        if len(reports) in (15, 60):
            working = (one for one in psutil.Process().children(recursive=True) if _is_working(one))
            for process in islice(working, 3):
                process.kill()
                killed.append(process.pid)

    there = prepare(settings, Folder(tmp_path / "there"), report=report, workers=Cluster())
    assert everything_in(there) == here
    assert len(killed) > 2
    done = [report.bytes_done for report in reports]
    assert done == sorted(done)
    assert done[-1] == reports[-1].bytes_total


def _is_working(process: psutil.Process) -> bool:
    try:
        return process.cmdline()[:1] in (["ray::_apply"], ["ray::_parts"])
    except psutil.NoSuchProcess:
        return False
