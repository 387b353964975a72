"""A real Slurm on this machine: a controller and two hosts, each with a network and processes of its own.

Debian's packages slurmctld, slurmd and slurm-client; root, and network and process namespaces.
"""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

from tests.hosts import Hosts, cannot_make_hosts
from tests.ray_nodes import BIN
from tests.waiting import wait_until

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "scancel", "scontrol")
CONTROLLER = "controller"
NODES = ("one", "two")

# Nobody else is in these networks, so nobody has to prove who they are.
CONFIGURATION = """
ClusterName=test
SlurmctldHost=controller
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdTimeout=10
KillWait=15
SchedulerParameters=sched_interval=2
SlurmdParameters=config_overrides
NodeName=one,two CPUs=2 RealMemory=4000 State=UNKNOWN
PartitionName=all Nodes=one,two Default=YES State=UP
"""


def cannot_run_slurm():
    """Why this machine cannot run Slurm; empty if it can."""
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing:
        return f"{missing[0]} is not installed: apt-get install slurmctld slurmd slurm-client"
    return cannot_make_hosts()


class Slurm:
    """Up when made, until `end`. A host that was killed is up again after `boot`."""

    def __init__(self, folder):
        self.folder = Path(folder)
        for name in ("state", *(f"spool-{node}" for node in NODES)):
            (self.folder / name).mkdir()
        # Where Ray keeps its sockets unless it is told otherwise: one folder a host, as on real ones.
        disk = Path("/tmp/ray")
        disk.mkdir(exist_ok=True)
        self._hosts = Hosts([CONTROLLER, *NODES], folder, disk=str(disk))
        self._daemons = {}
        configuration = self.folder / "slurm.conf"
        configuration.write_text(CONFIGURATION.format(folder=self.folder))
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")  # named, so that it is not looked for
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AWS_", "SLURM"))}
        self._environment = {
            **kept,
            "SLURM_CONF": str(configuration),
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.folder),
            "OMP_NUM_THREADS": "1",
            "LSTMGAN_INTERFACE": "eth0",
        }
        try:
            self._daemons[CONTROLLER] = self._start(CONTROLLER, "slurmctld", "-D")
            for name in NODES:
                self.boot(name)
            wait_until(lambda: set(self.nodes().values()) == {"idle"}, seconds=60, what="idle hosts")
        except BaseException:
            self.end()
            raise

    def _start(self, host, *command):
        with open(self.folder / f"{host}.log", "ab") as log:
            return subprocess.Popen(
                [*self._hosts.within(host, boots=True), *command],
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def boot(self, name):
        """Start a host."""
        self._daemons[name] = self._start(name, "slurmd", "-D", "-N", name)

    def kill(self, name):
        """A host is gone, with all its processes."""
        daemon = self._daemons.pop(name)
        os.killpg(daemon.pid, signal.SIGKILL)
        daemon.wait()

    def __call__(self, *command, **environment):
        """A command of the user's, and what it printed."""
        done = subprocess.run(
            [*self._hosts.within(CONTROLLER), *map(str, command)],
            env={**self._environment, **environment},
            capture_output=True,
            text=True,
            cwd=self.folder,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def nodes(self):
        """The state of each host: idle, allocated, down …"""
        lines = self("sinfo", "--noheader", "--Node", "--format=%N %T").split()
        return dict(zip(lines[::2], (state.rstrip("*") for state in lines[1::2]), strict=True))

    def submit(self, *arguments, **environment):
        """Type a command that puts a job into the queue; its number."""
        return int(re.findall(r"\d+", self(*arguments, **environment))[0])

    def job(self, number):
        """What Slurm says of a job: JobState, Restarts, Reason …"""
        return dict(re.findall(r"(\w+)=(\S*)", self("scontrol", "show", "job", number)))

    def end(self):
        """Take all hosts down."""
        for name in list(self._daemons):
            self.kill(name)
        self._hosts.down()
