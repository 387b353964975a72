"""Any stop at any time changes nothing: weights, optimisers, metrics, samples, bit for bit."""

import pytest
import torch

from lstmgan_dist.errors import UserError
from lstmgan_dist.training.run import Run
from tests.cases import cases
from tests.training.comparison import everything_in, final_state
from tests.training.tiny_jobs import CONTINUOUS, GUMBEL, SENTENCES, StoppingRuntime, job_of, run_job

JOBS = {"score function": SENTENCES, "continuous": CONTINUOUS}
JOBS["gumbel softmax"] = SENTENCES.replace(
    SENTENCES[SENTENCES.index("  - kind: adversarial") : SENTENCES.index("evaluate:")], GUMBEL.lstrip("\n")
).replace("scores: per_token", "scores: per_sentence, embedding_from_generator: true")


@pytest.fixture(scope="module")
def text(text, tmp_path_factory):
    """Some of the sentences: two epochs of them are read in forty steps."""
    path = tmp_path_factory.mktemp("text") / "some.txt"
    path.write_text("".join(text.read_text().splitlines(keepends=True)[:90]))
    return path


@pytest.fixture(scope="module")
def uninterrupted(text, tmp_path_factory):
    folders = {}
    for name, template in JOBS.items():
        folders[name] = tmp_path_factory.mktemp("whole") / "run"
        run_job(job_of(template, text), folders[name])
    return folders


@pytest.mark.parametrize("name", cases(JOBS, quick=["score function"]))
@pytest.mark.parametrize("stride", cases([1, 2, 5, 7], quick=[7]))
def test_run_stopped_every_few_steps_equals_uninterrupted_run(name, stride, text, tmp_path, uninterrupted):
    job = job_of(JOBS[name], text)
    finished = False
    while not finished:
        runtime = StoppingRuntime(torch.device("cpu"), stride)
        _, outcome = run_job(job, tmp_path / "run", runtime=runtime)
        finished = outcome.finished
    assert final_state(tmp_path / "run") == final_state(uninterrupted[name])


@pytest.mark.parametrize("name", cases(JOBS, quick=["score function"]))
@pytest.mark.parametrize("step", cases([1, 4, 6, 8, 11, 13, 16], quick=[13]))
def test_run_killed_between_checkpoints_equals_uninterrupted_run(
    name, step, text, tmp_path, uninterrupted, monkeypatch
):
    """A kill leaves whatever was written until then, and no checkpoint of its own."""
    from lstmgan_dist.phases.player import Player

    learn, updates = Player.learn, [0]

    def learn_until_killed(self, *arguments, **keywords):
        updates[0] += 1
        if updates[0] > step:
            raise KeyboardInterrupt
        return learn(self, *arguments, **keywords)

    monkeypatch.setattr(Player, "learn", learn_until_killed)
    job = job_of(JOBS[name], text)
    with pytest.raises(KeyboardInterrupt):
        run_job(job, tmp_path / "run")
    monkeypatch.undo()
    run_job(job, tmp_path / "run")
    assert final_state(tmp_path / "run") == final_state(uninterrupted[name])


def test_a_finished_run_is_left_alone(text, uninterrupted):
    before = everything_in(uninterrupted["continuous"])
    _, outcome = run_job(job_of(CONTINUOUS, text), uninterrupted["continuous"])
    assert outcome.finished
    assert everything_in(uninterrupted["continuous"]) == before


def test_a_different_job_is_refused_with_the_difference(text, uninterrupted):
    with pytest.raises(UserError, match=r"batch\.size: 8 -> 16"):
        run_job(job_of(SENTENCES, text, "batch.size=16"), uninterrupted["score function"])


def test_a_run_that_never_reached_a_checkpoint_may_start_over_with_another_job(text, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("lstmgan_dist.training.trainer.Game.begin_phase", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_job(job_of(CONTINUOUS, text), tmp_path / "run")
    run, outcome = run_job(job_of(CONTINUOUS, text, "seed=9"), tmp_path / "run")
    assert outcome.finished
    assert Run.open(str(tmp_path / "run")).job.seed == run.job.seed == 9


def test_a_changed_text_is_refused(text, tmp_path):
    copy = tmp_path / "copy.txt"
    copy.write_text(text.read_text())
    job = job_of(SENTENCES, copy, "phases=[{kind: likelihood, steps: 1}]")
    run_job(job, tmp_path / "run")
    copy.write_text(text.read_text() + "the cat sees snow\n")
    with pytest.raises(UserError, match="fingerprint"):
        run_job(job, tmp_path / "run")


def test_a_folder_that_holds_something_else_is_refused(text, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="not empty and holds no run"):
        run_job(job_of(SENTENCES, text), tmp_path / "run")
