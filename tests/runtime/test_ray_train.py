"""The same job on Ray: the same numbers, whatever the number of workers; and who is told what when work fails.

That it is the same whatever happens to workers is tested by a drill, in tests/runs/test_drill.py.
"""

import shutil
from functools import partial

import pytest

from lstmgan_dist.errors import UserError
from lstmgan_dist.runs.train import train_on_worker
from lstmgan_dist.runtime.signals import StopRequest
from lstmgan_dist.training.run import Run
from lstmgan_dist.training.run_log import read_metrics
from tests.runtime.ray_workers import launch, make_run
from tests.training.comparison import everything_in, final_state
from tests.training.tiny_jobs import CONTINUOUS, GAMES, GUMBEL, SENTENCES, job_of, run_job

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

PAIRED_GAMES = (
    SENTENCES.replace("evaluate:", GUMBEL.lstrip("\n") + "evaluate:")
    .replace("scores: per_token", "scores: per_sentence")
    .replace("credit: discounted, discount: 0.5", "credit: sentence")
)
TEN = (*(f"phases.{phase}.steps=10" for phase in range(4)), "log.every=1 steps")
PACE = ("evaluate.every=5 steps", "checkpoint.every=5 steps")


@pytest.fixture(scope="module")
def jobs(text):
    """Every kind of phase, over sentences and over one long text; ten updates of each."""
    sentences = job_of(GAMES, text, *TEN, *PACE)
    overrides = ("phases.0={kind: likelihood, steps: 10}", "log.every=1 steps", *PACE)
    paired = job_of(PAIRED_GAMES, text, *TEN, *PACE)
    return {"sentences": sentences, "paired": paired, "text": job_of(CONTINUOUS, text, *overrides)}


def train_all(tasks, stop_after, runtime, send):
    """Train one run after the other in one group of workers, and stop some of them early."""
    stop_request = runtime.stop_request
    for url, job in tasks:
        steps_left = [stop_after.get(url, 0)]

        def stop_early(steps_left=steps_left):
            steps_left[0] -= 1
            return StopRequest.STOP if steps_left[0] == 0 else stop_request()

        runtime.stop_request = stop_early
        train_on_worker(url, job, runtime, send)


@pytest.fixture(scope="module")
def runs(jobs, local_ray, tmp_path_factory):
    """Two jobs on 2 and 4 workers, and a run of the third that 2 workers began and 1 and 4 finished."""
    root = tmp_path_factory.mktemp("runs")
    for name, job in jobs.items():
        run_job(job, root / f"{name}-0")
    moved = make_run(jobs["paired"], root / "moved-2")
    for workers, names in (2, ("sentences", "text")), (1, ()), (4, ("sentences", "text")):
        tasks = [(make_run(jobs[name], root / f"{name}-{workers}"), jobs[name]) for name in names]
        tasks.append((str(root / f"moved-{workers}"), jobs["paired"]))
        launch(partial(train_all, tasks, {moved: 25} if workers == 2 else {}), workers)
        if workers == 2:
            shutil.copytree(moved, root / "moved-1")
            shutil.copytree(moved, root / "moved-4")
    return root


@pytest.mark.parametrize("workers", [2, 4])
@pytest.mark.parametrize("name", ["sentences", "text"])
def test_any_number_of_workers_leaves_the_files_of_one_process(runs, name, workers):
    assert everything_in(runs / f"{name}-{workers}") == everything_in(runs / f"{name}-0")


@pytest.mark.parametrize("workers", [1, 4])
def test_a_run_of_two_workers_goes_on_with_another_number(runs, workers):
    assert len(read_metrics(Run.open(str(runs / "moved-2")).folder)) < 45
    assert final_state(runs / f"moved-{workers}") == final_state(runs / "paired-0")


def test_the_first_worker_alone_writes(runs):
    assert len(list((runs / "sentences-4" / "tensorboard").glob("*/events*"))) == 1
    assert len(list((runs / "moved-4" / "tensorboard").glob("*/events*"))) == 2  # one for each attempt


# --- work that fails ------------------------------------------------------------------------------------------------


def test_work_that_fails_again_and_again_at_the_same_place_is_given_up(local_ray, monkeypatch):
    from lstmgan_dist.runtime import ray_train

    monkeypatch.setattr(ray_train, "_MOST_BARREN_ATTEMPTS", 1)

    def fail(runtime, send):
        raise RuntimeError("the moon is full")

    with pytest.raises(UserError, match=r"2 attempts in a row failed at the same place; .*the moon is full"):
        launch(fail, 1)


def test_what_a_user_can_mend_ends_the_work_at_once(local_ray):
    def fail(runtime, send):
        if runtime.rank:
            raise UserError("The second worker has no bread.")
        runtime.barrier()

    with pytest.raises(UserError, match="no bread"):
        launch(fail, 2)
