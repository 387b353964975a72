"""Machines of one's own, for `ray up`: hosts with processes, users and a real SSH of their own, and one where you type.

Debian's packages openssh-server and rsync; root, and network and process namespaces. In Docker's place they have
`containers.py`.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import yaml

from tests.cluster.commands import CLUSTER
from tests.hosts import Hosts, cannot_make_hosts
from tests.ray_nodes import BIN, client_environment
from tests.waiting import wait_until

PROGRAMS = {"sshd": "openssh-server", "ssh": "openssh-client", "rsync": "rsync"}
USER = "laptop"
NODES = ("head", "one")

# A user `ray` comes first, so this is who types, and who logs in.
BOOT = """
set -e
mount --bind "$1/tmp-$2" /tmp/ray_tmp_mount
mount --bind "$1/passwd" /etc/passwd
mount -t tmpfs none /run
mkdir /run/sshd
shift 2
exec "$@"
"""

SSHD = """
HostKey {folder}/home/.ssh/id_ed25519
AuthorizedKeysFile {folder}/home/.ssh/id_ed25519.pub
UsePAM no
StrictModes no
PasswordAuthentication no
PermitRootLogin yes
PidFile none
"""


def cannot_have_machines():
    """Why this machine cannot have others for `ray up`; empty if it can."""
    missing = [package for program, package in PROGRAMS.items() if not shutil.which(program)]
    if missing:
        return f"{missing[0]} is not installed: apt-get install openssh-server openssh-client rsync"
    return cannot_make_hosts()


class Machines:
    """Up when made, until `end`: a head and one more, and a laptop that reaches them by SSH."""

    def __init__(self, folder):
        self.folder = Path(folder)
        # Where Ray keeps what is a host's own.
        for place in ("/tmp/ray", "/tmp/ray_tmp_mount"):
            Path(place).mkdir(exist_ok=True)
        self._hosts = Hosts([USER, *NODES], folder, disk="/tmp/ray")
        self._inits = {}
        self._write_files()
        try:
            for name in NODES:
                self._boot(name, shutil.which("sshd"), "-D", "-e", "-f", str(self.folder / "sshd_config"))
            self._boot(USER, "sleep", "infinity")
        except BaseException:
            self.end()
            raise

    def _write_files(self):
        home, programs = self.folder / "home", self.folder / "programs"
        for made in (home, home / ".ssh", programs, *(self.folder / f"tmp-{name}" for name in (USER, *NODES))):
            made.mkdir(mode=0o700)
        (self.folder / "passwd").write_text(f"ray:*:0:0::{home}:/bin/bash\n" + Path("/etc/passwd").read_text())
        (self.folder / "sshd_config").write_text(SSHD.format(folder=self.folder))
        (home / ".bashrc").write_text(f"export PATH={programs}:$PATH\n")
        key = home / ".ssh" / "id_ed25519"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        image = self.folder / "image.json"
        image.write_text(json.dumps(_image()))
        docker = programs / "docker"
        docker.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).parent}/containers.py {image} "$@"\n')
        docker.chmod(0o755)

    def _boot(self, name, *command):
        with open(self.folder / f"{name}.log", "ab") as log:
            outside = subprocess.Popen(
                [*self._hosts.within(name, boots=True), "bash", "-c", BOOT, "boot", str(self.folder), name, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._inits[name] = outside
        wait_until(lambda: self._booted(outside, command[0]), seconds=30, what=name)

    def _booted(self, outside, program):
        assert outside.poll() is None, [path.read_text() for path in self.folder.glob("*.log")]
        return any(program in " ".join(child.cmdline()[:2]) for child in psutil.Process(outside.pid).children())

    def begin(self, *command):
        """A command that is typed on the laptop, begun."""
        (init,) = psutil.Process(self._inits[USER].pid).children()
        home = self.folder / "home"
        spaces = ["nsenter", f"--target={init.pid}", "--mount", "--pid", "--net", "--uts", f"--wd={self.folder}"]
        return subprocess.Popen(
            [*spaces, *map(str, command)],
            env=client_environment(HOME=str(home), PATH=f"{BIN}:{os.environ['PATH']}", RAY_AUTH_MODE="token"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __call__(self, *command):
        """A command that is typed on the laptop, and what it printed."""
        process = self.begin(*command)
        printed = process.communicate(timeout=240)[0]
        assert process.returncode == 0, printed
        return printed

    def interrupt(self, process):
        """End a command that goes on until it is ended."""
        for one in psutil.Process(process.pid).children(recursive=True):
            one.kill()
        process.communicate()

    def processes(self):
        """What runs on the head and the other machine, beside what was there at first."""
        return [
            " ".join(process.cmdline())
            for name in NODES
            for init in psutil.Process(self._inits[name].pid).children()
            for process in init.children(recursive=True)
        ]

    def cluster_file(self):
        """The file of cluster/ray-up for these machines, with what its header says to change first."""
        config = yaml.safe_load((CLUSTER / "ray-up" / "on-premises.yaml").read_text())
        config["provider"] |= {"head_ip": self._hosts.addresses["head"], "worker_ips": [self._hosts.addresses["one"]]}
        options = config["docker"]["run_options"]
        options[options.index("--volume /shared:/shared")] = f"--volume {self.folder}:{self.folder}"
        path = self.folder / "on-premises.yaml"
        path.write_text(yaml.safe_dump(config))
        return path

    def end(self):
        """Take all machines down."""
        for init in self._inits.values():
            os.killpg(init.pid, signal.SIGKILL)
            init.wait()
        self._hosts.down()


def _image():
    """What cluster/Dockerfile says of an image, with our own environment in the place of its."""
    text = (CLUSTER / "Dockerfile").read_text()
    profile = re.search(r"echo '(.*)' > /etc/profile\.d/", text)
    return {
        "name": yaml.safe_load((CLUSTER / "ray-up" / "on-premises.yaml").read_text())["docker"]["image"],
        "profile": profile[1].replace("/opt/lstmgan/bin", BIN) if profile else "",
        "environment": {"PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin", **dict(re.findall(r" (\w+_\w+)=(\w+)", text))},
    }
