"""Training over several hosts, each with a network of its own, submitted from outside, through a cable that is cut."""

import os
import secrets
import subprocess
import sys
import tempfile
import time

import psutil
import pytest

from lstmgan_dist.runtime.ray_nodes import Node
from tests.bare_workers import train_undisturbed
from tests.hosts import Hosts, cannot_make_hosts
from tests.ray_nodes import client_environment, node_environment
from tests.training.comparison import final_state
from tests.training.tiny_jobs import SENTENCES, job_of
from tests.waiting import wait_until

pytestmark = pytest.mark.cluster

SETTINGS = (
    *("phases.0.steps=80", "phases.1.steps=20", "phases.2.steps=40"),
    *("evaluate.every=50 steps", "checkpoint.every=5 steps", "log.every=10 steps"),
)
PORT, DASHBOARD = 6379, 8265  # free: every host has its own

# With Ray's own settings a silent host is missed after a minute: it asks for 10 s, five times, and waits in between.
ASK_OFTEN = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "4000",
    "RAY_health_check_failure_threshold": "3",
}

COUNT_NODES = """
import json, os, sys, urllib.request
request = urllib.request.Request(sys.argv[1], headers={"Authorization": "Bearer " + os.environ["RAY_AUTH_TOKEN"]})
nodes = json.load(urllib.request.urlopen(request, timeout=5))["data"]["result"]["result"]
print(sum(node["state"] == "ALIVE" for node in nodes))
"""


class Cluster:
    """A head and two more hosts with one core each, and a user on a fourth."""

    def __init__(self, folder):
        self.folder = folder
        # Sockets live below it, and their paths must be short. Ray's nodes delete there what they no longer need.
        self._temporary = tempfile.TemporaryDirectory(prefix="lh", dir="/tmp", ignore_cleanup_errors=True)
        self.hosts = Hosts(["head", "one", "two", "user"], folder, disk=self._temporary.name)
        token = secrets.token_hex(32)
        self._nodes = node_environment(token, GLOO_SOCKET_IFNAME="eth0", **ASK_OFTEN)
        self._user = client_environment(token, RAY_API_SERVER_ADDRESS=f"http://head:{DASHBOARD}")
        self.raylets = {}

    def start(self, name):
        """Start Ray on a host."""
        address = self.hosts.addresses[name]
        if name == "head":
            where = ["--head", "--port", PORT, "--dashboard-host", address, "--dashboard-port", DASHBOARD]
            where += ["--temp-dir", self._temporary.name]
        else:
            where = ["--address", f"head:{PORT}"]
        arguments = [str(word) for word in (*where, "--node-ip-address", address, "--num-cpus", 1)]
        log = self.folder / f"{name}-{time.monotonic_ns()}.log"
        self.raylets[name] = Node(arguments, self._nodes, within=self.hosts.within(name), log=log)

    def begin(self, *words):
        """A command of the user's, begun."""
        command = [*self.hosts.within("user"), sys.executable, "-m", "lstmgan_dist", *map(str, words)]
        return subprocess.Popen(
            command, env=self._user, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=self.folder
        )

    def nodes(self):
        """How many hosts the cluster counts, as an outsider sees it."""
        command = [
            *self.hosts.within("user"),
            sys.executable,
            "-c",
            COUNT_NODES,
            f"http://head:{DASHBOARD}/api/v0/nodes",
        ]
        counted = subprocess.run(command, env=self._user, capture_output=True, text=True, check=False).stdout
        return int(counted or 0)

    def end(self):
        for node in reversed(self.raylets.values()):
            node.end()
        self.hosts.down()
        self._temporary.cleanup()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    reason = cannot_make_hosts()
    if reason:
        pytest.skip(reason)
    made = Cluster(tmp_path_factory.mktemp("hosts"))
    try:
        started = time.monotonic()
        # One after the other: Ray gives a node 30 s to start, also on a machine that has much to do.
        for number, name in enumerate(("head", "one", "two"), 1):
            made.start(name)
            wait_until(lambda number=number: made.nodes() == number, seconds=120, what=name)
        print(f"\n3 hosts: {time.monotonic() - started:.1f} s")
        yield made
    finally:
        made.end()


def workers_of(cluster):
    """The host of each training worker: process id to name."""
    spaces = {os.readlink(f"/proc/{node.pid}/ns/net"): name for name, node in cluster.raylets.items()}
    found = {}
    for process in psutil.process_iter():
        try:
            if "RayTrainWorker" in " ".join(process.cmdline()):
                found[process.pid] = spaces.get(os.readlink(f"/proc/{process.pid}/ns/net"))
        except (psutil.Error, OSError):
            continue
    return {pid: host for pid, host in found.items() if host}


def newest_step(run):
    steps = [int(path.parent.name.removeprefix("step-")) for path in run.glob("checkpoints/*/manifest.json")]
    return max(steps, default=0)


def test_a_run_over_two_hosts_goes_on_through_cut_cables_and_equals_the_undisturbed_one(cluster, text):
    job = cluster.folder / "job.yaml"
    job.write_text(SENTENCES.replace("SOURCE", str(text)))
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    run = cluster.folder / "disturbed"
    following = cluster.begin("submit", job, "--workers", 2, *settings, "--follow", "--run", run)
    wait_until(lambda: len(workers_of(cluster)) == 2, seconds=150, what="two workers")
    workers = workers_of(cluster)
    assert len(set(workers.values())) == 2
    victim = max(set(workers.values()) - {"head"})
    wait_until(lambda: newest_step(run), seconds=150, what="a checkpoint")

    # A checkpoint may still be on its way to the disk while the cable is cut; the one after it cannot be.
    #
    # A cable that is soon plugged in again: TCP sends again what was lost, and the same workers go on.
    cluster.hosts.cut(victim)
    time.sleep(1)
    before = newest_step(run)
    cluster.hosts.mend(victim)
    mended = time.monotonic()
    wait_until(lambda: newest_step(run) > before + 5, seconds=60, what="a step after a short cut")

    # One that stays cut: the third host takes over.
    cluster.hosts.cut(victim)
    cut, went_on = time.monotonic(), time.monotonic() - mended
    assert following.poll() is None
    assert workers_of(cluster) == workers
    print(f"cut for 1 s at step {before}: a checkpoint {went_on:.1f} s after it was mended")
    before = newest_step(run)
    wait_until(lambda: newest_step(run) > before + 5, seconds=120, what="a step after a cut")
    print(f"cut at step {before}: next checkpoint after {time.monotonic() - cut:.1f} s")

    printed = following.communicate(timeout=200)[0]
    assert following.returncode == 0, printed
    assert "Starting again from the newest checkpoint" in printed
    whole = cluster.folder / "undisturbed"
    train_undisturbed(job_of(SENTENCES, text, *SETTINGS), whole, workers=2)
    assert final_state(run) == final_state(whole)

    # Ray has given the host up, so its raylet ends when it hears so, and whatever watches over the host starts another.
    cluster.hosts.mend(victim)
    mended = time.monotonic()
    wait_until(cluster.raylets[victim].has_ended, seconds=60, what="the host to hear that it was given up")
    cluster.start(victim)
    wait_until(lambda: cluster.nodes() == 3, seconds=60, what="the host to join again")
    print(f"a mended host takes part again after {time.monotonic() - mended:.1f} s")
