"""A run that is extended equals the longer job in one go, or says why it cannot; also for config/extension.py."""

import pytest
import torch

from lstmgan_dist.config import changes
from lstmgan_dist.errors import UserError
from lstmgan_dist.training.run import what_is_there
from tests.cases import cases
from tests.training.comparison import final_state
from tests.training.tiny_jobs import CONTINUOUS, SENTENCES, StoppingRuntime, job_of, run_job

ADVERSARIAL = SENTENCES[SENTENCES.index("  - {kind: discriminator") : SENTENCES.index("evaluate:")]
# The first job of a run, and what it is extended to.
EXTENSIONS = {
    "more steps": ((SENTENCES, "phases.2.steps=7"), (SENTENCES, "phases.2.steps=13")),
    "steps for epochs": ((CONTINUOUS, "phases.0.epochs=1"), (CONTINUOUS, "phases.0.epochs=2")),
    "phases": (
        (SENTENCES.replace(ADVERSARIAL, ""),),
        (SENTENCES,),
    ),
    "best weights": (
        (SENTENCES, "phases.2.finish_with=best", "phases.2.steps=7"),
        (SENTENCES, "phases.2.finish_with=best", "phases.2.steps=13"),
    ),
    "a longer phase and another": (
        (SENTENCES.replace(ADVERSARIAL, ""), "phases.0.optimizer={}", "phases.0.steps=5"),
        (SENTENCES, "phases.0.optimizer={}", "phases.0.steps=9"),
    ),
}


@pytest.mark.parametrize("name", cases([*EXTENSIONS, "best weights, stopped", "phases, stopped"], quick=["more steps"]))
def test_an_extended_run_equals_the_longer_job_in_one_go(name, text, tmp_path):
    name, stopped, _ = name.partition(", stopped")
    short, long = (job_of(template, text, *overrides) for template, *overrides in EXTENSIONS[name])
    assert changes(short, long).extending
    assert not changes(short, long).inexact
    run_job(long, tmp_path / "whole")
    run_job(short, tmp_path / "run")
    finished = False
    while not finished:
        runtime = StoppingRuntime(torch.device("cpu"), 3 if stopped else 1000)
        _, outcome = run_job(long, tmp_path / "run", runtime=runtime)
        finished = outcome.finished
    assert final_state(tmp_path / "run") == final_state(tmp_path / "whole")


def test_a_discriminator_may_come_with_a_game(text, tmp_path):
    likelihood = SENTENCES.replace(ADVERSARIAL, "")
    alone = job_of(
        likelihood.replace(
            "discriminator: {kind: lstm, scores: per_token, embedding: 8, hidden: 8, dropout: 0.1}\n", ""
        ),
        text,
    )
    game = job_of(SENTENCES, text)
    assert changes(alone, game).extending[-1] == "discriminator: absent -> lstm"
    run_job(alone, tmp_path / "run")
    run_job(game, tmp_path / "run")
    run_job(game, tmp_path / "whole")
    one, other = (final_state(tmp_path / name) for name in ("run", "whole"))
    weights = [name for name in one if name.endswith(".safetensors")]
    assert {name: one[name] for name in weights} == {name: other[name] for name in weights}


def test_what_is_looked_at_may_change(text, tmp_path):
    job = job_of(SENTENCES, text, "phases.0.finish_with=latest")
    run_job(job, tmp_path / "run", runtime=StoppingRuntime(torch.device("cpu"), 7))
    often = job_of(SENTENCES, text, "phases.0.finish_with=latest", "evaluate.every=1 steps", "log.every=1 steps")
    run_job(often, tmp_path / "run")
    run_job(job, tmp_path / "whole")
    one, other = (final_state(tmp_path / name) for name in ("run", "whole"))
    weights = [name for name in one if name.endswith("generator.safetensors")]
    assert weights
    assert {name: one[name] for name in weights} == {name: other[name] for name in weights}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["phases.2.steps=3"], r"has 6 steps in phase 3, and a run can only be extended: 3 are fewer"),
        (["phases.0.steps=9"], r"different job.*phases.0.steps: 6 -> 9"),
        (["phases.2.steps=9", "batch.size=16"], r"different job.*: batch.size: 8 -> 16. Choose"),
    ],
)
def test_what_does_not_extend_a_run_is_refused(text, tmp_path, overrides, message):
    run_job(job_of(SENTENCES, text), tmp_path / "run")
    with pytest.raises(UserError, match=message):
        run_job(job_of(SENTENCES, text, *overrides), tmp_path / "run")


def test_an_extension_is_told_and_where_it_is_not_exact(text, tmp_path):
    schedule = "phases.2.generator_optimizer.learning_rate={start: 0.01, end: 0.001}"
    old = job_of(SENTENCES, text, schedule, "phases.2.finish_with=best")
    new = job_of(SENTENCES, text, schedule, "phases.2.finish_with=best", "phases.2.steps=9", "evaluate.every=2 steps")
    run_job(old, tmp_path / "run")
    said = what_is_there(str(tmp_path / "run"), new)
    assert "The run is extended: phases.2.steps: 6 -> 9; evaluate.every: 4 steps -> 2 steps." in said
    assert "phases.2.generator_optimizer.learning_rate is a schedule over the whole phase, which was shorter" in said
    assert "which checkpoint was the best until now was decided by other evaluations" in said
    fixed = schedule.replace("}", ", steps: 6}")
    assert not changes(job_of(SENTENCES, text, fixed), job_of(SENTENCES, text, fixed, "phases.2.steps=9")).inexact
