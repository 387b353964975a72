"""Corpora for the tests, made from nothing but arithmetic."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lstmgan_dist.corpus.prepare import PreparedCorpus, prepare
from lstmgan_dist.corpus.settings import Corpus
from lstmgan_dist.runtime.tasks import LOCAL_THREADS, ReadingWorkers
from lstmgan_dist.storage import Folder


@pytest.fixture
def text_file(tmp_path: Path) -> Callable[..., str]:
    """Writes a file and returns its path."""

    def write(content: str | bytes, name: str = "text.txt") -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write


@pytest.fixture
def prepared(tmp_path: Path) -> Callable[..., PreparedCorpus]:
    """Prepares a corpus with the settings given; all sentences train unless these say otherwise."""

    def make(out: str | None = None, *, workers: ReadingWorkers = LOCAL_THREADS, **settings: Any) -> PreparedCorpus:
        wanted = Corpus.model_validate({"heldout_fraction": 0.0, **settings})
        return prepare(wanted, Folder(out or tmp_path / "corpus"), report=lambda progress: None, workers=workers)

    return make
