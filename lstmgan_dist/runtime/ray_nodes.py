"""Nodes of Ray on this machine, each a family of processes that can be ended at once: a cluster to try things on."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from lstmgan_dist.errors import UserError

# Of the environment that this program runs in, also where nobody has activated it.
_BIN = Path(sys.executable).parent
_SECONDS_TO_START = 120.0
# What cluster/ recommends: a node that has fallen silent is given up after 20 s.
_HEALTH_CHECKS = {
    "RAY_health_check_period_ms": "2000",
    "RAY_health_check_timeout_ms": "5000",
    "RAY_health_check_failure_threshold": "3",
}


class Node:
    """One `ray start --block`, until `end` is called.

    arguments: of `ray start`. environment: of the node, and so of what runs on it. log: the file for what it prints.
    within: a command that runs the rest in another place, such as a network namespace.
    """

    def __init__(
        self, arguments: Sequence[str], environment: Mapping[str, str], *, log: Path, within: Sequence[str] = ()
    ) -> None:
        command = [*within, str(_BIN / "ray"), "start", "--block", "--disable-usage-stats"]
        sizes = ["--object-store-memory", "80000000", "--num-gpus", "0"]
        with open(log, "ab") as file:
            self._process = subprocess.Popen(
                [*command, *sizes, *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.log = Path(log)
        self.pid = self._process.pid

    def is_up(self) -> bool:
        """Whether it has joined its cluster."""
        return "Ray runtime started" in self.log.read_text(errors="replace")

    def has_ended(self) -> bool:
        """Whether it has, for whatever reason."""
        return self._process.poll() is not None

    def processes(self) -> list[psutil.Process]:
        """It and what it has started, parents first; none where it has ended."""
        with suppress(psutil.NoSuchProcess):
            if not self.has_ended():
                itself = psutil.Process(self.pid)
                return [itself, *itself.children(recursive=True)]
        return []

    def end(self) -> None:
        """End it with all that it has started; a polite end takes Ray a quarter of a minute."""
        # Parents first, so that they start nothing anew.
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()


class SmallCluster:
    """A head without cores and nodes of one core each, on loopback addresses, behind a token of its own.

    address: for whoever joins it. environment: of theirs. folder: for the logs of its nodes. temporary: a folder for
    what Ray keeps, whose name is short, for paths of sockets must be.

    Raises:
        UserError: if the head does not start.
    """

    def __init__(self, nodes: int, folder: Path, temporary: Path) -> None:
        self._folder, self._temporary = folder, temporary
        self._size = nodes
        self._head: Node | None = None
        self._nodes: list[Node] = []
        self._started = 0
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        self.environment = kept | _HEALTH_CHECKS
        self.environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        # Workers of one core each, which find this program.
        self.environment |= {"OMP_NUM_THREADS": "1", "PATH": f"{_BIN}{os.pathsep}{os.environ.get('PATH', '')}"}
        self.address = ""

    def start(self) -> None:
        """Start the head, and then what nodes are lacking."""
        port, client = free_ports(2)
        self.address = f"127.0.0.1:{port}"
        words = ("--head", "--port", port, "--ray-client-server-port", client, "--num-cpus", 0)
        self._head = self._node(1, *words, "--include-dashboard", "false")
        until = time.monotonic() + _SECONDS_TO_START
        while not listens(port):
            if self._head.has_ended() or time.monotonic() > until:
                raise UserError(f"Ray did not start on this machine: {self._head.log} says why.")
            time.sleep(0.1)
        self.complete()

    def complete(self) -> None:
        """Start nodes in the place of those that are lost."""
        self._nodes = [node for node in self._nodes if not node.has_ended()]
        while len(self._nodes) < self._size:
            # Starting takes a core for seconds, and Ray gives up what takes too long.
            while sum(not node.is_up() for node in self._nodes) > (os.cpu_count() or 1):
                time.sleep(0.1)
                self._nodes = [node for node in self._nodes if not node.has_ended()]
            # An address of its own, which no node had before, so that nobody takes it for one of those.
            self._nodes.append(self._node(2 + self._started % 250, "--address", self.address, "--num-cpus", 1))

    def _node(self, number: int, *words: object) -> Node:
        self._started += 1
        # Nodes that start at one time in one folder get into each other's way.
        place = ["--node-ip-address", f"127.0.0.{number}", "--temp-dir", str(self._temporary / str(self._started))]
        log = self._folder / f"node-{self._started}.log"
        return Node([*map(str, words), *place], self.environment, log=log)

    def nodes_that_train(self) -> list[Node]:
        """Those on which there are training workers."""
        return [node for node in self._nodes if _training(node)]

    def training_workers(self) -> list[psutil.Process]:
        """The processes that train."""
        return [process for node in self._nodes for process in _training(node)]

    def end(self) -> None:
        """End all nodes at once."""
        for node in (*self._nodes, *filter(None, [self._head])):
            node.end()
        self._nodes = []


def _training(node: Node) -> list[psutil.Process]:
    found = []
    for process in node.processes():
        with suppress(psutil.NoSuchProcess):
            if "RayTrainWorker" in " ".join(process.cmdline()):
                found.append(process)
    return found


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def listens(port: int) -> bool:
    """Whether somebody does on a loopback port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
