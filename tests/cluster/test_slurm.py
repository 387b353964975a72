"""cluster/slurm/train.sbatch, really run, with stand-ins for Slurm, Ray and lstmgan that record their arguments.

What needs GPUs is seen here only; for the rest there is a real Slurm, in test_real_slurm.py.
"""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from lstmgan_dist.runtime.ray_nodes import free_ports
from tests.cluster.commands import CLUSTER, parse

SCRIPT = CLUSTER / "slurm" / "train.sbatch"

STAND_INS = {
    "srun": """
        printf '%s\\n' "$@" > "$RECORD/srun"
        while [[ $1 == --* ]]; do shift; done
        SLURM_NODEID=0 exec "$@"
    """,
    "ray": """
        printf '%s\\n' "$@" > "$RECORD/ray-$1"
        [ "$1" = start ] || { echo secret; exit 0; }
        env > "$RECORD/environment"
        [ -z "$BROKEN" ] || exit 1
        exec "$PYTHON" -m http.server --bind 127.0.0.1 "$LSTMGAN_PORT"
    """,
    "lstmgan": """
        printf '%s\\n' lstmgan "$@" > "$RECORD/lstmgan"
        trap 'echo checkpoint > "$RECORD/checkpoint"; exit 143' TERM
        [ -z "$WAIT" ] || while true; do sleep 0.05; done
        exit "${EXIT:-0}"
    """,
    "scontrol": """
        printf '%s\\n' "$@" > "$RECORD/scontrol"
    """,
    "ip": """
        case "$*" in
            *route*) [ -n "$NO_ROUTE" ] || echo 'default via 127.0.0.1 dev eth7 proto dhcp' ;;
            *'addr show dev eth7') echo '2: eth7    inet 127.0.0.1/24 brd 127.0.0.255 scope global eth7' ;;
            *) exit 1 ;;
        esac
    """,
}


@pytest.fixture
def slurm(tmp_path):
    """Starts the script as a batch shell would: `slurm(arguments, **environment)`."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, body in STAND_INS.items():
        (programs / name).write_text(f"#!/bin/bash\n{body}")
        (programs / name).chmod(0o755)
    started = []

    def start(*arguments, **environment):
        log = tmp_path / f"output-{len(started)}"
        process = subprocess.Popen(
            ["bash", str(SCRIPT), *arguments],
            env={
                "PATH": f"{programs}:{os.environ['PATH']}",
                "HOME": str(tmp_path),
                "RECORD": str(tmp_path),
                "TMPDIR": str(tmp_path),
                "WAIT": "",
                "SLURM_JOB_ID": "42",
                "SLURM_JOB_NUM_NODES": "2",
                "SLURM_GPUS_ON_NODE": "4",
                "SLURM_CPUS_PER_TASK": "32",
                "LSTMGAN_PORT": str(free_ports(1)[0]),
                "PYTHON": sys.executable,
                "BROKEN": "",
                "NO_ROUTE": "",
                **environment,
            },
            stdout=log.open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=tmp_path,
        )
        process.stdout = log.open("rb")
        started.append(process)
        return process

    yield start
    for process in started:
        with suppress(ProcessLookupError):  # Slurm ends what a script leaves behind
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def recorded(tmp_path, name):
    return (tmp_path / name).read_text().splitlines()


def finish(process):
    """Its exit status and what it printed."""
    return process.wait(timeout=20), process.stdout.read().decode()


def wait_for(path):
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.02)


def test_bash_can_read_the_script():
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)


def test_slurm_is_asked_to_requeue_and_to_give_notice():
    options = dict(re.findall(r"^#SBATCH --([\w-]+)(?:=(\S+))?$", SCRIPT.read_text(), flags=re.MULTILINE))
    assert {"requeue", "exclusive"} <= options.keys()
    assert options["open-mode"] == "append", "a requeued attempt must not erase the log of the one before"
    assert options["ntasks-per-node"] == "1"
    shell, name, seconds = re.split("[:@]", options["signal"])
    assert (shell, name) == ("B", "USR1")
    assert int(seconds) >= 120
    before_commands = SCRIPT.read_text().split("set -euo")[0]
    assert before_commands.count("#SBATCH") == SCRIPT.read_text().count("#SBATCH"), "Slurm reads no later ones"


def test_the_job_runs_on_all_gpus_of_all_nodes(slurm, tmp_path):
    status, output = finish(slurm("jobs/quickstart.yaml", "/shared/runs/a b", "--set", "batch.size=128"))
    assert status == 0, output
    name, parameters = parse(recorded(tmp_path, "lstmgan"))
    assert name == "train"
    assert str(parameters["job"]) == "jobs/quickstart.yaml"
    assert parameters["run"] == "/shared/runs/a b"
    assert parameters["overrides"] == ["batch.size=128"]
    assert parameters["address"].startswith("127.0.0.1:")
    assert str(parameters["workers"]) == "8"
    assert (float(parameters["gpus_per_worker"]), float(parameters["cpus_per_worker"])) == (1, 8)
    assert not (tmp_path / "scontrol").exists()
    assert "secret" not in output


def test_workers_can_be_chosen_and_nodes_without_gpus_have_one_each(slurm, tmp_path):
    arguments = "jobs/quickstart.yaml", "/shared/runs/a"
    finish(slurm(*arguments, SLURM_GPUS_ON_NODE="0"))
    _, parameters = parse(recorded(tmp_path, "lstmgan"))
    assert (str(parameters["workers"]), float(parameters["gpus_per_worker"])) == ("2", 0)
    finish(slurm(*arguments, LSTMGAN_WORKERS="1..4"))
    assert str(parse(recorded(tmp_path, "lstmgan"))[1]["workers"]) == "1..4"


def test_ray_takes_the_arguments_of_its_start(slurm, tmp_path):
    from ray.scripts.scripts import cli

    finish(slurm("jobs/quickstart.yaml", "/shared/runs/a"))
    words = recorded(tmp_path, "ray-start")
    start = cli.commands["start"].make_context("start", words[1:])
    assert (start.params["head"], start.params["block"], start.params["node_ip_address"]) == (True, True, "127.0.0.1")
    assert (start.params["num_cpus"], start.params["num_gpus"]) == (32, 4)
    assert "--kill-on-bad-exit=1" in recorded(tmp_path, "srun")
    finish(slurm("jobs/quickstart.yaml", "/shared/runs/a", LSTMGAN_WORKERS="1..4"))
    assert "--no-kill" in recorded(tmp_path, "srun")


def test_what_keeps_ray_from_starting_is_one_sentence(slurm, tmp_path):
    status, output = finish(slurm("jobs/quickstart.yaml", "/shared/runs/a", BROKEN="yes"))
    assert (status, output.strip()) == (1, "Error: Ray did not start: see lstmgan-42-ray.log.")
    status, output = finish(slurm("jobs/quickstart.yaml", "/shared/runs/a", NO_ROUTE="yes"))
    assert status == 2
    assert "LSTMGAN_INTERFACE=eth0 sbatch" in output
    assert not (tmp_path / "lstmgan").exists()


def test_every_node_gets_the_token_mode_and_the_interface(slurm, tmp_path):
    finish(slurm("jobs/quickstart.yaml", "/shared/runs/a"))
    assert recorded(tmp_path, "ray-get-auth-token") == ["get-auth-token", "--generate"]
    environment = set(recorded(tmp_path, "environment"))
    assert {"RAY_AUTH_MODE=token", "GLOO_SOCKET_IFNAME=eth7", "NCCL_SOCKET_IFNAME=eth7"} <= environment
    assert "SRUN_CPUS_PER_TASK=32" in environment


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_notice_of_the_end_saves_a_checkpoint_and_requeues_and_cancelling_only_saves(number, slurm, tmp_path):
    process = slurm("jobs/quickstart.yaml", "/shared/runs/a", "--set", "seed=2", WAIT="yes")
    wait_for(tmp_path / "lstmgan")
    time.sleep(0.2)
    process.send_signal(number)  # to the batch shell only, as B: says
    status, output = finish(process)
    assert status == 143, output
    assert "writing a checkpoint" in output
    assert (tmp_path / "checkpoint").exists(), "the driver was asked to stop"
    if number == signal.SIGUSR1:
        assert recorded(tmp_path, "scontrol") == ["requeue", "42"]
    else:
        assert not (tmp_path / "scontrol").exists()


def test_a_mistake_is_not_requeued(slurm, tmp_path):
    status, _ = finish(slurm("jobs/quickstart.yaml", "/shared/runs/a", EXIT="2"))
    assert status == 2
    assert not (tmp_path / "scontrol").exists()


def test_the_job_and_the_run_must_be_named(slurm):
    status, output = finish(slurm("jobs/quickstart.yaml"))
    assert status != 0
    assert "which run?" in output
