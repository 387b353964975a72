"""cluster/ray-up/on-premises.yaml with Ray's own autoscaler, over a real SSH between hosts of their own."""

import pytest

from tests.bare_workers import train_undisturbed
from tests.cluster.commands import from_readme
from tests.cluster.real_machines import Machines, cannot_have_machines
from tests.training.comparison import final_state
from tests.training.tiny_jobs import SENTENCES, job_of
from tests.waiting import wait_until

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def machines(tmp_path_factory):
    reason = cannot_have_machines()
    if reason:
        pytest.skip(reason)
    made = Machines(tmp_path_factory.mktemp("ray-up"))
    try:
        yield made
    finally:
        made.end()


def test_a_cluster_comes_up_trains_what_is_submitted_at_once_and_goes_without_a_trace(machines, text):
    cluster, run, whole = machines.cluster_file(), machines.folder / "run", machines.folder / "undisturbed"
    job = machines.folder / "job.yaml"
    job.write_text(SENTENCES.replace("SOURCE", str(text)))
    at_first = machines.processes()
    machines(*from_readme("ray get-auth-token")[1])
    machines(*from_readme("ray up cluster", file=cluster)[1], "--yes")
    tunnel = machines.begin(*from_readme("ray dashboard cluster", file=cluster)[1])
    try:
        wait_until(lambda: answers(machines), seconds=60, what="the dashboard through SSH")
        _, words = from_readme("--workers 3 --gpus-per-worker 1 --follow", job=job, run=run, _3=1, _1=0)
        printed = machines(*words)
    finally:
        machines.interrupt(tunnel)
    assert "Waiting for nodes" in printed, "the worker came after the job"
    assert "has succeeded" in printed
    train_undisturbed(job_of(SENTENCES, text), whole, workers=1)
    assert final_state(run) == final_state(whole)
    machines(*from_readme("ray down cluster", file=cluster)[1], "--yes")
    wait_until(lambda: machines.processes() == at_first, seconds=30, what=lambda: str(machines.processes()))


def answers(machines):
    """Whether the port that `ray dashboard` brings to the laptop leads somewhere."""
    process = machines.begin("bash", "-c", ": < /dev/tcp/127.0.0.1/8265")
    process.communicate()
    return process.returncode == 0
