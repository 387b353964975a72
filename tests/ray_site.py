"""A Ray cluster of one node, somebody outside it who submits jobs, and a folder that both reach."""

import json
import secrets
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from lstmgan_dist.runtime.ray_nodes import Node, free_ports
from tests.ray_nodes import answers, client_environment, node_environment
from tests.training.tiny_jobs import SENTENCES
from tests.waiting import wait_until

COMMAND = [sys.executable, "-m", "lstmgan_dist"]


class Site:
    """A cluster, somebody outside it, and a folder that both reach."""

    def __init__(self, folder, text):
        self.folder = folder
        self.job = folder / "job.yaml"
        self.job.write_text(SENTENCES.replace("SOURCE", str(text)))
        self.token = secrets.token_hex(32)
        self.secrets = {self.token, secrets.token_hex(20), secrets.token_hex(20)}
        of_nodes, of_user = self.secrets - {self.token}
        gcs, dashboard, agent, client = free_ports(4)
        self.address = f"http://127.0.0.1:{dashboard}"
        # Sockets live below it, and their paths must be short.
        self._temporary = tempfile.TemporaryDirectory(prefix="lj", dir="/tmp", ignore_cleanup_errors=True)
        self.ray_folder = Path(self._temporary.name)
        ports = ["--port", gcs, "--dashboard-port", dashboard, "--dashboard-agent-listen-port", agent]
        where = ["--node-ip-address", "127.0.0.2", "--dashboard-host", "127.0.0.1", "--ray-client-server-port", client]
        self._head = Node(
            ["--head", *map(str, ports), *map(str, where), "--num-cpus", "3", "--temp-dir", self._temporary.name],
            node_environment(self.token, AWS_ACCESS_KEY_ID="nodes", AWS_SECRET_ACCESS_KEY=of_nodes),
            log=folder / "head.log",
        )
        self.user = client_environment(
            self.token,
            RAY_API_SERVER_ADDRESS=self.address,
            AWS_ACCESS_KEY_ID="user",
            AWS_SECRET_ACCESS_KEY=of_user,
        )
        wait_until(lambda: answers(self.address, self.token), seconds=150, what=self._head.log.read_text)

    def end(self):
        self._head.end()
        self._temporary.cleanup()

    def start(self, *arguments, **variables):
        """A command of the user's, begun."""
        return subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            env={**self.user, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *arguments, code=0, **variables):
        """A command of the user's, to its end, and what it printed."""
        return self.ended(self.start(*arguments, **variables), code=code)

    def ended(self, process, code=0):
        out, error = process.communicate(timeout=240)
        assert process.returncode == code, out + error
        return out if code == 0 else error

    def submit(self, run, settings, *more, **options):
        return self(*self.submission(run, settings), *more, **options)

    def submission(self, run, settings):
        """The words that submit a run on two workers."""
        sets = [word for setting in settings for word in ("--set", setting)]
        return ["submit", self.job, "--run", run, "--workers", 2, *sets]

    def metrics(self):
        """What the nodes' endpoints, which Ray lists for Prometheus, say of our runs: lines in its text format."""
        lines = []
        for group in json.loads((self.ray_folder / "prom_metrics_service_discovery.json").read_text()):
            for target in group["targets"]:
                with urllib.request.urlopen(f"http://{target}/metrics", timeout=10) as reply:
                    lines += reply.read().decode().splitlines()
        return [line for line in lines if "lstmgan_" in line]

    def jobs(self):
        """What the cluster says of its jobs to who asks with a token."""
        request = urllib.request.Request(f"{self.address}/api/jobs/", headers={"Authorization": f"Bearer {self.token}"})
        with urllib.request.urlopen(request) as reply:
            return reply.read().decode()
