"""Nodes of real Ray clusters, started by `ray start` and ended by process id."""

import os
import socket
import subprocess
import sys
import urllib.request
from contextlib import suppress
from pathlib import Path

import psutil

# Of the virtual environment, also where nobody has activated it: jobs are started with `python`.
BIN = str(Path(sys.executable).parent)


def free_ports(count):
    """Ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def node_environment(token, **more):
    """The environment of a node that asks for a token; nothing of a developer's own Ray gets in."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AWS_"))}
    return {
        **kept,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "RAY_USAGE_STATS_ENABLED": "0",
        **more,
    }


def client_environment(token=None, **more):
    """The environment of somebody outside the cluster."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AWS_"))}
    tokens = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if token else {}
    return {**kept, "OMP_NUM_THREADS": "1", **tokens, **more}


class RayNode:
    """One `ray start --block`, until `end` is called.

    Args:
        arguments: of `ray start`.
        environment: of the node, and so of what runs on it.
        within: a command that runs the rest in another place, such as a network namespace.
        log: the file for what it prints.
    """

    def __init__(self, arguments, environment, *, log, within=()):
        command = [*within, f"{BIN}/ray", "start", "--block", "--disable-usage-stats"]
        sizes = ["--object-store-memory", "80000000", "--num-gpus", "0"]
        with open(log, "wb") as file:
            self._process = subprocess.Popen(
                [*command, *sizes, *arguments],
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.log = Path(log)
        self.pid = self._process.pid

    def has_ended(self):
        """Whether it has, for whatever reason."""
        return self._process.poll() is not None

    def end(self):
        """End it with all that it has started; a polite end takes Ray a quarter of a minute."""
        family = [psutil.Process(self.pid)] if self._process.poll() is None else []
        # Parents first, so that they start nothing anew.
        for process in [*family, *(child for one in family for child in one.children(recursive=True))]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()


def answers(url, token):
    """Whether a dashboard takes jobs."""
    request = urllib.request.Request(f"{url}/api/jobs/", headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=2) as reply:
            return reply.status == 200
    except OSError:
        return False
