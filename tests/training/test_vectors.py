"""An embedding that starts from what its own text tells of words; and a run of stems, as a person sees it."""

import pytest
import torch
from typer.testing import CliRunner

from lstmgan_dist.cli import app
from lstmgan_dist.models.vectors import Vectors
from lstmgan_dist.runs.brief import evaluate_briefly
from lstmgan_dist.runs.inspection import describe
from lstmgan_dist.runs.result import load_result
from lstmgan_dist.storage import Folder
from lstmgan_dist.training.run import START, Run
from lstmgan_dist.training.vectors import read_learnt, what_they_know
from tests.bare_workers import train_undisturbed
from tests.training.tiny_jobs import SENTENCES, StoppingRuntime, job_of, run_job

ONE = "phases=[{kind: likelihood, steps: 2, optimizer: {kind: sgd, learning_rate: 1e-12}}]"
LEARNT = "generator.pretrained_vectors=corpus"


@pytest.fixture(scope="module")
def run(text, tmp_path_factory):
    """A run whose embedding starts from vectors of its text, of stems, and stays as it starts."""
    job = job_of(SENTENCES, text, ONE, LEARNT, "corpus.tokenizer={stem: english, lower: true}")
    return run_job(job, tmp_path_factory.mktemp("vectors") / "run")[0]


def test_the_embedding_starts_from_the_vectors_of_its_text(run):
    vectors = read_learnt(run.folder / START)
    weight = run.checkpoints.open(2).load("generator")["embedding.weight"]
    found = vectors.found_V
    assert vectors.coverage > 0.8
    assert not found[0]
    scale = weight[found].norm() / vectors.matrix_VE[found].norm()
    torch.testing.assert_close(weight[found], vectors.matrix_VE[found] * scale)


def test_the_same_text_gives_the_same_vectors_also_when_it_begins_again(run, text, tmp_path):
    stopped = StoppingRuntime(torch.device("cpu"), 1)
    again, _ = run_job(run.job, tmp_path / "run", runtime=stopped)
    name = "vectors.safetensors"
    assert (again.folder / START).read(name) == (run.folder / START).read(name)
    run_job(run.job, tmp_path / "run")
    assert again.checkpoints.open(2).digest("generator") == run.checkpoints.open(2).digest("generator")


@pytest.mark.slow
def test_two_workers_start_from_the_same_vectors_as_one(run, tmp_path):
    train_undisturbed(run.job, tmp_path / "run", workers=2)
    together = Run.open(str(tmp_path / "run"))
    assert together.checkpoints.open(2).digest("generator") == run.checkpoints.open(2).digest("generator")


def test_inspect_tells_how_much_they_know_and_what_is_near(run):
    told = describe(str(run.folder), warn=print)
    assert told["learnt from the text"].startswith("vectors for ")
    assert told["text is seen in"].startswith("lower, stem english (PyStemmer ")
    assert "stems for words (english)" in told["what is lost"]


def test_words_that_stand_in_the_same_places_are_near():
    words = ("<end>", *(f"frequent{'x' * n}" for n in range(20)), "cat", "dog", "fish", "meat")
    matrix = torch.eye(len(words))[:, :24].clone()
    matrix[22] = matrix[21] + 0.1
    told = what_they_know(Vectors(matrix, torch.arange(len(words)) > 0), words)
    assert told.startswith("vectors for 96.0% of the vocabulary; words and those nearest to them: cat (dog, ")


def test_generate_says_that_texts_are_of_stems_and_takes_prompts_of_words(run):
    result = CliRunner().invoke(
        app, ["generate", str(run.folder), "--count", "2", "--prompt", "the Cats", "--unknown", "replace"]
    )
    assert result.exit_code == 0
    assert result.stderr.count("Note: Texts are written as the model sees them: with stems for words (english).") == 1
    assert all(line.startswith("the cat") for line in result.stdout.splitlines())


def test_stems_have_no_bits_per_character(run):
    result = load_result(str(run.folder), "latest", device="cpu", say=print)
    figures = evaluate_briefly(result, samples=2, seed=1, watch=lambda items, total, description: iter(items))
    assert (figures.heldout_unknown_share, figures.bits_per_character) == (0, None)


def test_vectors_of_the_text_need_no_file_that_workers_see(run):
    assert run.job.generator.vectors_file is None
    assert Folder(f"{run.folder}/{START}").list() == ["vectors.safetensors"]
