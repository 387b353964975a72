"""Nodes that vanish, and nodes that are about to."""

import threading
import time
from functools import partial

import psutil
import pytest

from lstmgan_dist.errors import UserError
from lstmgan_dist.runs.train import train_on_worker
from lstmgan_dist.runtime import ray_cluster
from lstmgan_dist.runtime.worker_size import WorkerSize
from tests.runtime.ray_workers import Progress, launch, make_run, workers_of
from tests.training.comparison import agree
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


@pytest.mark.parametrize(
    ("nodes", "workers", "limit"), [(3, 2, 30), (2, (1, 2), 45)], ids=["fixed, with a spare", "elastic, without"]
)
def test_a_run_outlives_a_node(cluster, whole, tmp_path, capsys, nodes, workers, limit):
    job, folder = whole
    run, said, seconds = tmp_path / "run", [], []
    url, progress = make_run(job, run), Progress(run)
    with_nodes(cluster, nodes)

    def kill():
        wait_until(lambda: progress.step() > 50 and len(workers_of()) == 2)
        node = node_of(cluster, workers_of()[0])
        node.all_processes["raylet"][0].process.kill()
        seconds.append(progress.seconds_to_next_step())
        cluster.worker_nodes.remove(node)
        node.kill_all_processes(check_alive=False)

    killer = threading.Thread(target=kill)
    killer.start()
    launch(partial(train_on_worker, url, job), workers, cpus=1, said=said, furthest=progress.step)
    killer.join()
    with capsys.disabled():
        print(f"\nfrom the node's end to the next step: {seconds[0]:.1f} s (at most {limit} s on two quiet cores)")
    assert any("Starting again" in sentence for sentence in said)
    agree(folder, run, relative=1e-4)


def test_notice_of_preemption_is_answered_with_a_checkpoint(cluster, text, tmp_path):
    # Long enough for the notice to arrive; nothing else calls for a checkpoint.
    rare = ("log.every=1 steps", "evaluate.every=9999 steps", "checkpoint.every=9999 steps")
    job = job_of(SENTENCES, text, "phases=[{kind: likelihood, steps: 2500}]", *rare)
    run_job(job, tmp_path / "whole")
    run, said, saved = tmp_path / "run", [], []
    url, progress = make_run(job, run), Progress(run)
    with_nodes(cluster, 2)
    grace = 12

    def drain():
        wait_until(lambda: progress.step() > 50)
        node = node_of(cluster, workers_of()[0])
        announce(node.node_id, grace)
        saved.extend(wait_until(lambda: list((run / "checkpoints").glob("*/manifest.json")), seconds=grace))
        cluster.worker_nodes.remove(node)
        node.kill_all_processes(check_alive=False)

    watcher = threading.Thread(target=drain)
    watcher.start()
    launch(partial(train_on_worker, url, job), 1, cpus=1, said=said, furthest=progress.step)
    watcher.join()
    assert int(saved[0].parent.name.removeprefix("step-")) < 2500
    assert any("Starting again" in sentence for sentence in said)
    agree(tmp_path / "whole", run)


def announce(node_id: str, seconds: float) -> None:
    """What a cloud's notice of preemption makes of a node."""
    import ray
    from ray._raylet import GcsClient  # pyright: ignore[reportAttributeAccessIssue]
    from ray.core.generated import autoscaler_pb2

    client = GcsClient(address=ray.get_runtime_context().gcs_address)
    reason = autoscaler_pb2.DRAIN_NODE_REASON_PREEMPTION  # pyright: ignore[reportAttributeAccessIssue]
    accepted, why = client.drain_node(node_id, reason, "a test", int((time.time() + seconds) * 1000))
    assert accepted, why
