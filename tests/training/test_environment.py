"""A run knows what it was trained with, and says when it goes on with something else."""

import json
from dataclasses import replace
from functools import partial

import pytest
import torch
from rich.console import Console

from lstmgan_dist.runs.train import train
from lstmgan_dist.runtime.local import LocalRuntime, two_threads_or_more
from lstmgan_dist.storage import Folder
from lstmgan_dist.training import environment
from lstmgan_dist.training.environment import ENVIRONMENT, Environment, note_environment
from lstmgan_dist.training.run import Run, prepared_corpus
from lstmgan_dist.training.screen import Terminal
from tests.training.tiny_jobs import CONTINUOUS, StoppingRuntime, job_of

CPU = torch.device("cpu")


class Listener(Terminal):
    """A screen that keeps what it is told."""

    def __init__(self):
        super().__init__(Console(quiet=True))
        self.said = []

    def say(self, sentence):
        self.said.append(sentence)


def go_on(job, folder, *, steps=2, threads=1):
    """Train a run for some steps with so many threads; gives what was said of the environment."""
    torch.set_num_threads(threads)
    corpus = prepared_corpus(job.corpus, str(folder), lambda progress: None)
    run, screen = Run.create_or_resume(str(folder), job, corpus), Listener()
    train(run, corpus, StoppingRuntime(torch.device("cpu"), steps), screen)
    return [sentence for sentence in screen.said if "trained with" in sentence]


def records(folder):
    return [(record["from_step"], record["processor"]) for record in json.loads((folder / ENVIRONMENT).read_text())]


@pytest.fixture
def other_processor(monkeypatch):
    """From now on this process has it."""

    def change(name):
        monkeypatch.setattr(environment, "environment_of", lambda device: Environment(name, torch.__version__))

    return change


def test_a_run_that_goes_on_with_another_processor_says_so_and_the_number_of_cores_does_not_matter(
    text, tmp_path, other_processor
):
    job, folder, version = job_of(CONTINUOUS, text), tmp_path / "run", torch.__version__
    other_processor("one kind")
    assert go_on(job, folder) == []
    assert go_on(job, folder, threads=2) == []
    assert records(folder) == [(0, "one kind")]
    other_processor("another")
    assert go_on(job, folder) == [
        f"This run was trained with one kind and torch {version} and goes on with another and torch {version}: "
        "numbers will differ in the last bits."
    ]
    assert go_on(job, folder) == []
    assert records(folder) == [(0, "one kind"), (4, "another")]


class OneOfThree(LocalRuntime):
    """The first of three workers, of which the last has other numbers."""

    def exchange(self, own):
        return [own, own, replace(own, torch="8.0")]


def test_workers_that_differ_are_named(tmp_path):
    said = []
    note_environment(Folder(tmp_path), OneOfThree(CPU), step=0, say=said.append)
    own = environment.environment_of(CPU)
    assert said == [
        f"Some workers have {own}, others {own.processor} and torch 8.0: numbers will differ in the last bits from "
        "those of one kind."
    ]


def test_what_came_after_the_checkpoint_is_forgotten_and_another_torch_is_named(tmp_path, monkeypatch, other_processor):
    said = []
    note = partial(note_environment, Folder(tmp_path), LocalRuntime(CPU), say=said.append)
    other_processor("left behind")
    note(step=0)
    monkeypatch.undo()
    note(step=0)  # killed before its first checkpoint, so that nothing is left of the first attempt
    (record,) = records(tmp_path)
    monkeypatch.setattr(torch, "__version__", "9.0")
    note(step=8)
    assert "and torch 9.0: numbers" in said.pop()
    monkeypatch.undo()
    note(step=5)
    assert said == []
    assert records(tmp_path) == [record]


def test_a_run_of_an_older_version_begins_to_know(tmp_path):
    version = str(torch.__version__)
    (tmp_path / ENVIRONMENT).write_text(json.dumps([{"from_step": 0, "threads": 2, "torch": version}]))
    note_environment(Folder(tmp_path), LocalRuntime(CPU), step=7, say=pytest.fail)


def test_one_core_takes_two_threads_and_more_cores_keep_theirs():
    for threads, taken in ((1, 2), (2, 2), (3, 3)):
        torch.set_num_threads(threads)
        with two_threads_or_more():
            assert torch.get_num_threads() == taken
        assert torch.get_num_threads() == threads


@pytest.fixture(autouse=True)
def _threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
