"""cluster/slurm/train.sbatch on a real Slurm of two hosts: what its users do, and what happens to their jobs."""

import pytest

from lstmgan_dist.training.run import Run
from lstmgan_dist.training.run_log import read_metrics
from tests.bare_workers import train_undisturbed
from tests.cluster.commands import CLUSTER, from_readme
from tests.cluster.real_slurm import Slurm, cannot_run_slurm
from tests.training.comparison import final_state
from tests.training.tiny_jobs import SENTENCES, job_of
from tests.waiting import wait_until

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

SCRIPT = CLUSTER / "slurm" / "train.sbatch"
# Long enough for something to happen on the way, a time limit last.
SETTINGS = (
    *("phases.0.steps=3000", "phases.1.steps=20", "phases.2.steps=20"),
    *("evaluate.every=1000 steps", "checkpoint.every=20 steps", "log.every=20 steps"),
)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory, text):
    reason = cannot_run_slurm()
    if reason:
        pytest.skip(reason)
    made = Slurm(tmp_path_factory.mktemp("slurm"))
    (made.folder / "job.yaml").write_text(SENTENCES.replace("SOURCE", str(text)))
    try:
        yield made
    finally:
        made.end()


def submit(slurm, name, *options, shown="sbatch --gpus-per-node=0", settings=SETTINGS, **environment):
    """The number of a job that trains the run of this name, by a command of the README, as these hosts need it."""
    variables, words = from_readme(shown, file=SCRIPT, job="job.yaml", run=slurm.folder / name, _nodes_4="--nodes=2")
    sets = [word for setting in settings for word in ("--set", setting)]
    return slurm.submit(*words[:1], "--cpus-per-task=1", *options, *words[1:], *sets, **{**variables, **environment})


def checkpoints(slurm, name):
    return sorted(path.parent.name for path in (slurm.folder / name).glob("checkpoints/*/manifest.json"))


def await_checkpoint_after(slurm, name, before):
    wait_until(lambda: checkpoints(slurm, name)[-1:] > before, seconds=300, what="a checkpoint")
    return checkpoints(slurm, name)[-1:]


def await_state(slurm, number, *states):
    def state():
        return slurm.job(number)["JobState"]

    wait_until(lambda: state() in states, seconds=200, what=lambda: f"{states}, not {state()}")


def run_again_at_once(slurm, number):
    """Slurm lets two minutes pass before a job that was put back."""
    await_state(slurm, number, "PENDING")
    slurm("scontrol", "update", f"JobId={number}", "StartTime=now")


def test_a_job_put_back_by_its_time_limit_and_by_the_loss_of_a_host_equals_the_undisturbed_one(slurm, text):
    name, whole = "disturbed", slurm.folder / "undisturbed"
    number = submit(slurm, name, "--time=4")  # the script asks for notice three minutes before
    seen = await_checkpoint_after(slurm, name, [])
    await_state(slurm, number, "PENDING")
    slurm("scontrol", "update", f"JobId={number}", "TimeLimit=60")
    run_again_at_once(slurm, number)
    seen = await_checkpoint_after(slurm, name, checkpoints(slurm, name)[-1:])
    slurm.kill("two")
    run_again_at_once(slurm, number)
    slurm.boot("two")
    train_undisturbed(job_of(SENTENCES, text, *SETTINGS), whole, workers=2)
    await_state(slurm, number, "COMPLETED")
    assert checkpoints(slurm, name)[-1:] > seen
    assert slurm.job(number)["Restarts"] == "2"
    assert final_state(slurm.folder / name) == final_state(whole)
    log = (slurm.folder / f"lstmgan-{number}.log").read_text()
    assert "Asked to stop: writing a checkpoint." in log
    assert "Stopped after step" in log
    assert "scripts.py" not in log, "Ray's own words are in a file of their own"


@pytest.mark.parametrize(
    ("shown", "state"), [("scancel JOBID", "CANCELLED"), ("scancel --batch", "FAILED")], ids=["at once", "saved first"]
)
def test_a_cancelled_job_is_not_put_back(slurm, shown, state):
    name = f"cancelled-{state}"
    number = submit(slurm, name)
    await_checkpoint_after(slurm, name, [])
    slurm(*from_readme(shown, job_id=number)[1])
    await_state(slurm, number, state)
    assert slurm.job(number)["Restarts"] == "0"
    said = "Stopped after step" in (slurm.folder / f"lstmgan-{number}.log").read_text()
    assert said or state == "CANCELLED", "a checkpoint was written"


def test_a_range_of_workers_goes_on_without_a_lost_host_to_the_end_of_one_process(slurm, text):
    name, alone = "elastic", slurm.folder / "alone"
    settings = ("phases.0.steps=600", *SETTINGS[1:])
    number = submit(slurm, name, "--gpus-per-node=0", shown="sbatch --nodes=4 --no-kill", settings=settings)
    await_checkpoint_after(slurm, name, [])
    slurm.kill("two")
    await_state(slurm, number, "COMPLETED")
    assert slurm.job(number)["Restarts"] == "0"
    slurm.boot("two")
    train_undisturbed(job_of(SENTENCES, text, *settings), alone, workers=1)
    assert final_state(slurm.folder / name) == final_state(alone)
    assert read_metrics(Run.open(str(alone)).folder)[-1]["step"] == 640
    assert slurm(*from_readme("lstmgan generate /shared", run=slurm.folder / name)[1]).strip()


def test_hosts_without_a_default_route_are_told_what_to_name(slurm):
    number = submit(slurm, "nowhere", LSTMGAN_INTERFACE="")
    await_state(slurm, number, "FAILED")
    assert slurm.job(number)["ExitCode"] == "2:0"
    assert "LSTMGAN_INTERFACE=eth0 sbatch" in (slurm.folder / f"lstmgan-{number}.log").read_text()
