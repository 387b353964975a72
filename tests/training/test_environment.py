"""A run knows what it was trained with, and says when it goes on with something else."""

import json
from functools import partial

import pytest
import torch
from rich.console import Console

from lstmgan_dist.runs.train import train
from lstmgan_dist.runtime.local import two_threads_or_more
from lstmgan_dist.storage import Folder
from lstmgan_dist.training.environment import ENVIRONMENT, note_environment
from lstmgan_dist.training.run import Run, prepared_corpus
from lstmgan_dist.training.screen import Terminal
from tests.training.tiny_jobs import CONTINUOUS, StoppingRuntime, job_of


class Listener(Terminal):
    """A screen that keeps what it is told."""

    def __init__(self):
        super().__init__(Console(quiet=True))
        self.said = []

    def say(self, sentence):
        self.said.append(sentence)


@pytest.fixture(autouse=True)
def _threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def go_on(job, folder, *, threads, steps):
    """Train a run for some steps with so many threads; gives what was said of them."""
    torch.set_num_threads(threads)
    corpus = prepared_corpus(job.corpus, str(folder), lambda progress: None)
    run, screen = Run.create_or_resume(str(folder), job, corpus), Listener()
    train(run, corpus, StoppingRuntime(torch.device("cpu"), steps), screen)
    return [sentence for sentence in screen.said if "thread" in sentence]


def records(folder):
    return [(record["from_step"], record["threads"]) for record in json.loads((folder / ENVIRONMENT).read_text())]


def test_a_run_that_goes_on_with_other_threads_says_so(text, tmp_path):
    job, folder, version = job_of(CONTINUOUS, text), tmp_path / "run", torch.__version__
    assert go_on(job, folder, threads=1, steps=2) == []
    assert go_on(job, folder, threads=1, steps=2) == []
    assert records(folder) == [(0, 1)]
    assert go_on(job, folder, threads=2, steps=2) == [
        f"This run was trained with 1 thread and torch {version} and goes on with 2 threads and torch {version}: "
        "numbers will differ in the last bits."
    ]
    assert go_on(job, folder, threads=2, steps=2) == []
    assert records(folder) == [(0, 1), (4, 2)]


def test_what_came_after_the_checkpoint_is_forgotten_and_another_torch_is_named(tmp_path, monkeypatch):
    said = []
    note = partial(note_environment, Folder(tmp_path), say=said.append)
    note(step=0, rank=1)
    assert not (tmp_path / ENVIRONMENT).exists()
    torch.set_num_threads(2)
    note(step=0, rank=0)
    torch.set_num_threads(1)
    note(step=0, rank=0)  # killed before its first checkpoint, so that nothing is left of the two threads
    assert records(tmp_path) == [(0, 1)]
    monkeypatch.setattr(torch, "__version__", "9.0")
    note(step=8, rank=0)
    assert "goes on with 1 thread and torch 9.0" in said.pop()
    monkeypatch.undo()
    note(step=5, rank=0)
    assert said == []
    assert records(tmp_path) == [(0, 1)]


def test_a_run_of_an_older_version_begins_to_know(tmp_path):
    note_environment(Folder(tmp_path), step=7, rank=0, say=pytest.fail)
    assert records(tmp_path) == [(7, torch.get_num_threads())]


def test_one_core_takes_two_threads_and_more_cores_keep_theirs():
    for threads, taken in ((1, 2), (2, 2), (3, 3)):
        torch.set_num_threads(threads)
        with two_threads_or_more():
            assert torch.get_num_threads() == taken
        assert torch.get_num_threads() == threads
