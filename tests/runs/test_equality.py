"""Whether two runs are equal: what is told of weights, of measurements and of jobs."""

import json

import pytest

from lstmgan_dist.errors import UserError
from lstmgan_dist.runs.equality import compare_runs
from lstmgan_dist.training.run_log import METRICS
from tests.command_line import in_process
from tests.training.tiny_jobs import SENTENCES, job_of, run_in_pieces, run_job


@pytest.fixture(scope="module")
def runs(text, tmp_path_factory):
    """One run, the same in pieces, and one that has another learning rate in its last phase."""
    folder = tmp_path_factory.mktemp("runs")
    job = job_of(SENTENCES, text)
    run_job(job, folder / "whole")
    run_in_pieces(job, folder / "pieces", steps=5)
    run_job(job_of(SENTENCES, text, "phases.2.generator_optimizer.learning_rate=0.01"), folder / "other")
    return folder


def test_a_run_in_pieces_is_equal_to_the_whole_one(runs):
    found = compare_runs(str(runs / "whole"), str(runs / "pieces"))
    assert found.holds
    assert {3, 6, 9, 11, 14, 17} <= set(found.checkpoints), "beside them those that were the best of their phase"
    assert 5 not in found.checkpoints, "a stop adds none"
    assert found.sentences() == [
        f"The weights are equal at all {len(found.checkpoints)} checkpoints of both.",
        f"All {found.figures} lines of measurements that both have are equal.",
    ]


def test_runs_that_part_are_told_from_when_and_what_differs(runs):
    found = compare_runs(str(runs / "whole"), str(runs / "other"))
    assert not found.holds
    assert found.parted == 14
    job, weights, figures = found.sentences()
    assert job == "The jobs differ: phases.2.generator_optimizer.learning_rate: 0.0001 -> 0.01."
    assert weights == "The weights are equal to step 11 and not from step 14 on."
    assert figures.startswith("The first measurement that differs: step 13, ")


def test_a_run_that_is_behind_is_not_equal_yet(runs, text, tmp_path):
    run_in_pieces(job_of(SENTENCES, text), tmp_path / "run", steps=20)
    lines = (tmp_path / "run" / METRICS).read_text().splitlines()
    kept = [line for line in lines if json.loads(line)["step"] <= 9]
    (tmp_path / "run" / METRICS).write_text("\n".join(kept) + "\n")
    found = compare_runs(str(tmp_path / "run"), str(runs / "whole"))
    assert not found.holds
    assert found.sentences()[-1] == "One of them is 8 steps ahead."
    assert found.parted is found.first_other is None


def test_what_cannot_be_compared_is_a_sentence(runs, tmp_path, text):
    run_job(job_of(SENTENCES, text), tmp_path / "older")
    metrics = tmp_path / "older" / METRICS
    metrics.write_text("".join(line + "\n" for line in metrics.read_text().splitlines() if "weights/" not in line))
    with pytest.raises(UserError, match="did not write digests of weights"):
        compare_runs(str(runs / "whole"), str(tmp_path / "older"))


def test_the_command_says_it_and_its_exit_code_too(runs):
    code, output = in_process("inspect", runs / "whole", "--against", runs / "pieces")
    assert (code, "equal at all" in output) == (0, True)
    code, output = in_process("inspect", runs / "whole", "--against", runs / "other")
    assert (code, "not from step 14 on" in output) == (1, True)
