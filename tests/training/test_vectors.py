"""An embedding that starts from what its own text tells of words; and a run of stems, as a person sees it."""

import pytest
import torch
from typer.testing import CliRunner

from lstmgan_dist.cli import app
from lstmgan_dist.config import dump_job
from lstmgan_dist.errors import UserError
from lstmgan_dist.models.vectors import Vectors
from lstmgan_dist.runs.brief import evaluate_briefly
from lstmgan_dist.runs.inspection import describe
from lstmgan_dist.runs.result import load_result
from lstmgan_dist.storage import Folder
from lstmgan_dist.training.run import START, Run
from lstmgan_dist.training.vectors import read_learnt, what_they_know
from tests.bare_workers import train_undisturbed
from tests.command_line import in_process
from tests.training.comparison import final_state
from tests.training.tiny_jobs import SENTENCES, StoppingRuntime, job_of, run_in_pieces, run_job

ONE = "phases=[{kind: likelihood, steps: 2, optimizer: {kind: sgd, learning_rate: 1e-12}}]"
LEARNT = "generator.pretrained_vectors=corpus"
# ScratchGAN in small: no likelihood, and a fixed part in both players.
FROM_SCRATCH = (
    LEARNT,
    "generator.trainable_dimensions=3",
    "discriminator.embedding_from_generator=true",
    "discriminator.trainable_dimensions=3",
    "phases=[{kind: adversarial, steps: 5, loss: probability, generator_optimizer: {learning_rate: 1e-2, weight_decay: "
    "0.1}, discriminator_optimizer: {kind: adamw, learning_rate: 1e-2, weight_decay: 0.1}, estimator: {kind: "
    "score_function, credit: discounted}}]",
)


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


@pytest.fixture(scope="module")
def scratch(text, tmp_path_factory):
    """A game without likelihood whose players share word vectors that never move."""
    return run_job(job_of(SENTENCES, text, *FROM_SCRATCH), tmp_path_factory.mktemp("scratch") / "run")[0]


def test_the_fixed_part_of_both_players_is_that_of_the_vectors_after_any_game(scratch):
    vectors, checkpoint = read_learnt(scratch.folder / START), scratch.checkpoints.open(5)
    generator, discriminator = checkpoint.load("generator"), checkpoint.load("discriminator")
    fixed, found = generator["embedding.vectors"], vectors.found_V
    assert fixed.shape[1] == vectors.matrix_VE.shape[1] == 8 - 3
    scale = fixed[found].norm() / vectors.matrix_VE[found].norm()
    torch.testing.assert_close(fixed[found], vectors.matrix_VE[found] * scale)
    assert torch.equal(discriminator["embedding.vectors"], fixed)
    assert not torch.isclose(discriminator["embedding.learnt"], generator["embedding.learnt"]).all()


def test_a_game_over_vectors_that_is_stopped_and_resumed_is_the_same(scratch, tmp_path):
    run_in_pieces(scratch.job, tmp_path / "run", steps=2)
    assert final_state(tmp_path / "run") == final_state(scratch.folder)


@pytest.mark.slow
def test_a_game_over_vectors_is_the_same_on_two_workers(scratch, tmp_path):
    train_undisturbed(scratch.job, tmp_path / "run", workers=2)
    assert final_state(tmp_path / "run") == final_state(scratch.folder)


def test_a_run_may_start_from_one_with_vectors_and_keeps_them(scratch, text, tmp_path):
    start = f"start_from={scratch.folder}"
    again = job_of(SENTENCES, text, *FROM_SCRATCH, "generator.pretrained_vectors=null", start)
    (tmp_path / "job.yaml").write_text(dump_job(again))
    code, output = in_process("train", tmp_path / "job.yaml", "--run", tmp_path / "run")
    assert code == 0, output
    fixed = scratch.checkpoints.open(5).load("generator")["embedding.vectors"]
    assert torch.equal(
        Run.open(str(tmp_path / "run")).checkpoints.open(5).load("generator")["embedding.vectors"], fixed
    )


def test_a_file_of_vectors_has_the_dimensions_that_stay_fixed(text, tmp_path):
    (tmp_path / "five.txt").write_text("cat 1 2 3 4 5\n")
    phase = "phases=[{kind: likelihood, steps: 2}]"
    settings = (phase, f"generator.pretrained_vectors={tmp_path / 'five.txt'}", "generator.trainable_dimensions=3")
    run, _ = run_job(job_of(SENTENCES, text, *settings), tmp_path / "run")
    cat = run.checkpoints.open(2).load("generator")["embedding.vectors"][run.tokenizer().tokens.index("cat")]
    torch.testing.assert_close(cat / cat[0], torch.tensor([1.0, 2, 3, 4, 5]))
    with pytest.raises(UserError, match=r"generator\.embedding \(less trainable_dimensions\) says, 6 numbers"):
        run_job(job_of(SENTENCES, text, *settings, "generator.trainable_dimensions=2"), tmp_path / "other")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (
            ["generator.trainable_dimensions=3"],
            "keeps the other dimensions as word vectors have them: set generator.pre",
        ),
        ([LEARNT, "generator.trainable_dimensions=8"], "leave none for pretrained_vectors: try embedding 16"),
        (
            ["discriminator.trainable_dimensions=3"],
            "keeps the others as the generator has them: set embedding_from_gen",
        ),
        (
            ["discriminator.embedding_from_generator=true", "discriminator.trainable_dimensions=3"],
            "discriminator.trainable_dimensions 3 must equal generator.trainable_dimensions (none)",
        ),
    ],
)
def test_dimensions_that_nothing_is_to_fix_are_refused_with_the_reason(settings, reason, text):
    with pytest.raises(UserError) as error:
        job_of(SENTENCES, text, *settings)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)
