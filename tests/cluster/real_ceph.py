"""A Ceph on this machine with an S3 gateway, all in memory: Debian's packages radosgw, ceph-mon and ceph-osd; root."""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.servers import S3Server, client_environment, free_port, wait_for
from tests.waiting import wait_until

PROGRAMS = ("ceph-mon", "ceph-osd", "radosgw")

# One copy of everything, nobody has to prove who they are, and no disk.
CONFIGURATION = """
[global]
fsid = {fsid}
mon host = v1:127.0.0.1:{monitor}
public addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
run dir = {folder}
admin socket = {folder}/$name.asok
pid file = {folder}/$name.pid
log file = {folder}/$name.log
mon data = {folder}/mon
mon allow pool size one = true
mon warn on pool no redundancy = false
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 4294967296
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd class load list = *
osd class default list = *
rgw frontends = beast endpoint=127.0.0.1:{gateway}
rgw data = {folder}/gateway
"""


def cannot_run_ceph():
    """Why this machine cannot run Ceph; empty if it can."""
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing:
        return f"{missing[0]} is not installed: apt-get install radosgw ceph-mon ceph-osd"
    return "" if os.geteuid() == 0 else "Ceph's programs start as root"


@dataclass(frozen=True)
class Gateway(S3Server):
    """Ceph's, whose users are made by a program of its own and get their rights from the bucket."""

    configuration: str = ""
    start: Callable[[], None] = lambda: None

    def kill(self) -> None:
        """The gateway is gone, in the middle of whatever it does; what is stored is elsewhere."""
        for process in psutil.process_iter(["cmdline"]):
            if process.info["cmdline"][:1] == ["radosgw"] and self.configuration in process.info["cmdline"]:
                process.kill()
                process.wait()

    def add_user(self, name: str, policy: str) -> dict[str, str]:
        environment = _user(self.configuration, name, self.endpoint)
        (statement,) = json.loads(policy)["Statement"]
        resources = [f"arn:aws:s3:::{self.bucket}", f"arn:aws:s3:::{self.bucket}/*"]
        statement |= {"Principal": {"AWS": [f"arn:aws:iam:::user/{name}"]}, "Resource": resources}
        whole = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self.client().put_bucket_policy(Bucket=self.bucket, Policy=whole)
        return environment


@contextlib.contextmanager
def ceph_gateway():
    """The gateway, up after a quarter of a minute, with an empty bucket."""
    monitor, gateway = free_port(), free_port()
    daemons = []
    # Sockets live in it, and their paths must be short.
    with tempfile.TemporaryDirectory(prefix="lc", dir="/tmp", ignore_cleanup_errors=True) as short:
        folder, fsid, disk = Path(short), str(uuid.uuid4()), str(uuid.uuid4())
        configuration = folder / "ceph.conf"
        configuration.write_text(CONFIGURATION.format(folder=folder, fsid=fsid, monitor=monitor, gateway=gateway))
        for name in ("mon", "osd", "gateway"):
            (folder / name).mkdir()

        def run(*words, seconds=60):
            return subprocess.run(
                [*words, "-c", str(configuration)], check=True, capture_output=True, text=True, timeout=seconds
            )

        def start(*words):
            with open(folder / f"{words[0]}.out", "wb") as out:
                words = [*words, "-f", "-c", str(configuration)]
                daemons.append(subprocess.Popen(words, stdout=out, stderr=subprocess.STDOUT))

        def answers():
            with contextlib.suppress(subprocess.SubprocessError):
                return run("ceph", "status", seconds=5)

        try:
            chart = str(folder / "monmap")
            run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"v1:127.0.0.1:{monitor}", chart)
            run("ceph-mon", "-i", "a", "--mkfs", "--monmap", chart)
            start("ceph-mon", "-i", "a")
            wait_until(answers, seconds=60, what="Ceph's monitor")
            run("ceph", "osd", "create", disk)
            run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", disk)
            start("ceph-osd", "-i", "0")
            endpoint = f"http://127.0.0.1:{gateway}"
            environment = _user(str(configuration), "owner", endpoint)

            def start_gateway():
                start("radosgw", "-n", "client.gateway")
                wait_for(gateway, daemons[-1])

            start_gateway()
            server = Gateway(
                endpoint, environment, pid=daemons[-1].pid, configuration=str(configuration), start=start_gateway
            )
            server.client().create_bucket(Bucket=server.bucket)
            yield server
        finally:
            for daemon in reversed(daemons):
                daemon.kill()
                daemon.wait()


def _user(configuration, name, endpoint):
    """The environment of a new user."""
    words = ["radosgw-admin", "-c", configuration, "user", "create", f"--uid={name}", f"--display-name={name}"]
    key = json.loads(subprocess.run(words, check=True, capture_output=True, text=True, timeout=180).stdout)["keys"][0]
    return client_environment(endpoint, key["access_key"], key["secret_key"])
