"""Nodes that vanish, nodes that are about to, and nodes that come, under an elastic group.

How a group of one size outlives them is tested with every other fault, in tests/runs/test_drill.py.
"""

import os
import signal
import threading
import time
from functools import partial

import psutil
import pytest

from lstmgan_dist.errors import UserError
from lstmgan_dist.runs.train import train_on_worker
from lstmgan_dist.runtime import ray_cluster
from lstmgan_dist.runtime.ray_cluster import own_token
from lstmgan_dist.runtime.ray_nodes import Node
from lstmgan_dist.runtime.worker_size import WorkerSize
from lstmgan_dist.training.run import Run
from lstmgan_dist.training.run_log import TIMES, read_lines
from tests.ray_nodes import node_environment
from tests.runtime.ray_workers import Progress, launch, make_run, workers_of
from tests.training.comparison import final_state
from tests.training.tiny_jobs import GAMES, SENTENCES, job_of, run_job
from tests.waiting import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

PHASES = tuple(f"phases.{phase}.steps=60" for phase in range(4))
SETTINGS = (*PHASES, "log.every=1 steps", "evaluate.every=60 steps", "checkpoint.every=20 steps")
# What cluster/ recommends for the head: a silent node is given up after three seconds, not thirteen.
HEALTH_CHECKS = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 1000}
HEALTH_CHECKS |= {"health_check_timeout_ms": 2000, "health_check_failure_threshold": 3}


@pytest.fixture(scope="module")
def cluster():
    """A head without cores, where the driver is, and as many nodes of one core as a test asks for."""
    from lstmgan_dist.runtime.ray_cluster import connected

    with connected(None, cpus=1):
        pass  # settles how this process authenticates
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": HEALTH_CHECKS})
    with connected(nodes.address):
        yield nodes
    nodes.shutdown()


def with_nodes(cluster, count):
    """The cluster with so many nodes."""
    while len(cluster.worker_nodes) < count:
        cluster.add_node(num_cpus=1)
    return cluster


def node_of(cluster, worker: psutil.Process):
    """The node that a worker runs on."""
    for node in cluster.worker_nodes:
        if node.all_processes["raylet"][0].process.pid in [parent.pid for parent in worker.parents()]:
            return node
    raise AssertionError("the worker runs on none of the nodes")


@pytest.fixture(scope="module")
def whole(text, tmp_path_factory):
    """The job, and a run of it in one process."""
    job, folder = job_of(GAMES, text, *SETTINGS), tmp_path_factory.mktemp("whole") / "run"
    run_job(job, folder)
    return job, folder


def test_nodes_that_are_still_joining_are_waited_for_and_those_that_never_come_are_not(cluster, monkeypatch):
    size, said = WorkerSize(1, 1, 1, 0), []
    waiting = threading.Thread(target=ray_cluster.await_room, args=(size,), kwargs={"say": said.append, "seconds": 200})
    waiting.start()
    wait_until(lambda: said)
    with_nodes(cluster, 1)  # in this thread: it handles signals
    waiting.join()
    assert said == ["Waiting for nodes: 1 worker with 1 CPU each need 1 CPUs, but this cluster can only give 0 so far."]
    # A range is content with its fewest, after a little while.
    monkeypatch.setattr(ray_cluster, "_SECONDS_FOR_MORE", 1)
    ray_cluster.await_room(WorkerSize(1, 50, 1, 0), say=said.append, seconds=60)
    assert len(said) == 2
    with pytest.raises(UserError, match=r"need 50 CPUs, but this cluster can only give 1, also after 1 s"):
        ray_cluster.await_room(WorkerSize(50, 50, 1, 0), say=said.append, seconds=1)
    with pytest.raises(UserError, match=r"can only give 1: ask for fewer or smaller workers\.$"):
        ray_cluster.await_room(WorkerSize(50, 50, 1, 0), say=said.append, seconds=0)
    assert len(said) == 3


def test_an_elastic_run_goes_on_without_a_node(cluster, whole, tmp_path, capsys):
    job, folder = whole
    run, said, seconds = tmp_path / "run", [], []
    url, progress = make_run(job, run), Progress(run)
    with_nodes(cluster, 2)

    def kill():
        wait_until(lambda: progress.step() > 50 and len(workers_of()) == 2)
        node = node_of(cluster, workers_of()[0])
        node.all_processes["raylet"][0].process.kill()
        seconds.append(progress.seconds_to_next_step())
        cluster.worker_nodes.remove(node)
        node.kill_all_processes(check_alive=False)

    killer = threading.Thread(target=kill)
    killer.start()
    launch(partial(train_on_worker, url, job), (1, 2), cpus=1, said=said, furthest=progress.step)
    killer.join()
    with capsys.disabled():
        print(f"\nfrom the node's end to the next step: {seconds[0]:.1f} s (at most 45 s on two quiet cores)")
    assert any("Starting again" in sentence for sentence in said)
    assert final_state(run) == final_state(folder)


def test_checkpoints_are_written_for_a_newcomer_and_at_notice_of_preemption(cluster, text, tmp_path, capsys):
    # It ends when both have been seen; nothing else calls for a checkpoint.
    rare = ("log.every=1 steps", "evaluate.every=1000000 steps", "checkpoint.every=1000000 steps")
    job = job_of(SENTENCES, text, "phases=[{kind: likelihood, steps: 1000000}]", *rare)
    run, said, newcomers, grace = tmp_path / "run", [], [], 12
    url, progress = make_run(job, run), Progress(run)
    with_nodes(cluster, 1)
    for node in [*cluster.worker_nodes][1:]:
        cluster.remove_node(node)

    def come_and_go():
        (leaving,) = cluster.worker_nodes
        wait_until(lambda: progress.step() > 50)
        words = ["--address", cluster.address, "--num-cpus", "1"]
        newcomers.append(Node(words, node_environment(own_token()), log=tmp_path / "newcomer.log"))
        wait_until(lambda: len(workers_of()) == 2)
        more_steps(progress)
        before = checkpoints(run)
        announce(leaving.node_id, grace)
        wait_until(lambda: checkpoints(run) > before, seconds=grace)
        cluster.worker_nodes.remove(leaving)
        leaving.kill_all_processes(check_alive=False)
        wait_until(lambda: len(workers_of()) == 1)
        more_steps(progress)
        os.kill(os.getpid(), signal.SIGTERM)

    friend = threading.Thread(target=come_and_go)
    friend.start()
    try:
        launch(partial(train_on_worker, url, job), (1, 2), cpus=1, said=said, furthest=progress.step)
    finally:
        friend.join()
        newcomers[0].end()
    with capsys.disabled():
        print(f"\na newcomer, and then one node less: {' '.join(said)}")
    assert "There is room for 2 workers: they start again, from a checkpoint of this step." in said
    assert any("Starting again" in sentence for sentence in said)
    steps = [line["step"] for line in read_lines(Run.open(url).folder, TIMES)]
    assert steps.count(1) == 1, "it never began anew, as without a checkpoint it would have"


def more_steps(progress):
    """Wait until the run has gone on for a while."""
    before = progress.step()
    wait_until(lambda: progress.step() > before + 50)


def checkpoints(run):
    """The steps of a run's whole checkpoints."""
    return sorted(int(path.parent.name.removeprefix("step-")) for path in run.glob("checkpoints/*/manifest.json"))


def announce(node_id: str, seconds: float) -> None:
    """What a cloud's notice of preemption makes of a node."""
    import ray
    from ray._raylet import GcsClient  # pyright: ignore[reportAttributeAccessIssue]
    from ray.core.generated import autoscaler_pb2

    client = GcsClient(address=ray.get_runtime_context().gcs_address)
    reason = autoscaler_pb2.DRAIN_NODE_REASON_PREEMPTION  # pyright: ignore[reportAttributeAccessIssue]
    accepted, why = client.drain_node(node_id, reason, "a test", int((time.time() + seconds) * 1000))
    assert accepted, why
