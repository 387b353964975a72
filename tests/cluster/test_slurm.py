"""cluster/slurm/train.sbatch, really run, with stand-ins for Slurm, Ray and lstmgan that record their arguments."""

import os
import re
import signal
import subprocess
import time

import pytest

from tests.cluster.commands import CLUSTER, parse

SCRIPT = CLUSTER / "slurm" / "train.sbatch"

STAND_INS = {
    "srun": """
        printf '%s\\n' "$@" > "$RECORD/srun"
        while [[ $1 == --* ]]; do shift; done
        exec "$@"
    """,
    "ray": """
        printf '%s\\n' "$@" > "$RECORD/ray-$1"
        [ "$1" = symmetric-run ] || { echo secret; exit 0; }
        env > "$RECORD/environment"
        while [ "$1" != -- ]; do shift; done
        shift
        "$@"  # a child, as with the real one
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
            *route*) echo 'default via 10.0.0.1 dev eth7 proto dhcp' ;;
            *'addr show dev eth7') echo '2: eth7    inet 10.0.0.5/24 brd 10.0.0.255 scope global eth7' ;;
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
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def recorded(tmp_path, name):
    return (tmp_path / name).read_text().splitlines()


def finish(process):
    output, _ = process.communicate(timeout=20)
    return process.returncode, output


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
    assert parameters["address"] == "auto"
    assert str(parameters["workers"]) == "8"
    assert (float(parameters["gpus_per_worker"]), float(parameters["cpus_per_worker"])) == (1, 8)
    assert not (tmp_path / "scontrol").exists()
    assert "secret" not in output
    assert not list(tmp_path.glob("tmp.*")), "the file with the driver's process id is removed"


def test_workers_can_be_chosen_and_nodes_without_gpus_have_one_each(slurm, tmp_path):
    arguments = "jobs/quickstart.yaml", "/shared/runs/a"
    finish(slurm(*arguments, SLURM_GPUS_ON_NODE="0"))
    _, parameters = parse(recorded(tmp_path, "lstmgan"))
    assert (str(parameters["workers"]), float(parameters["gpus_per_worker"])) == ("2", 0)
    finish(slurm(*arguments, LSTMGAN_WORKERS="1..4"))
    assert str(parse(recorded(tmp_path, "lstmgan"))[1]["workers"]) == "1..4"


def test_ray_takes_the_arguments_of_symmetric_run(slurm, tmp_path):
    from ray.scripts.symmetric_run import curate_and_validate_ray_start_args

    finish(slurm("jobs/quickstart.yaml", "/shared/runs/a"))
    _, *arguments = recorded(tmp_path, "ray-symmetric-run")
    own = arguments[: arguments.index("--")]
    assert own[:4] == ["--address", "10.0.0.5:6379", "--min-nodes", "2"]
    assert curate_and_validate_ray_start_args(own) == ["--num-cpus=32", "--num-gpus=4"]
    assert "--kill-on-bad-exit=1" in recorded(tmp_path, "srun")


def test_every_node_gets_the_token_mode_and_the_interface(slurm, tmp_path):
    finish(slurm("jobs/quickstart.yaml", "/shared/runs/a"))
    assert recorded(tmp_path, "ray-get-auth-token") == ["get-auth-token", "--generate"]
    environment = set(recorded(tmp_path, "environment"))
    assert {"RAY_AUTH_MODE=token", "GLOO_SOCKET_IFNAME=eth7", "NCCL_SOCKET_IFNAME=eth7"} <= environment
    assert "SRUN_CPUS_PER_TASK=32" in environment


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_notice_of_the_end_saves_a_checkpoint_requeues_and_resumes_the_same_run(number, slurm, tmp_path):
    arguments = "jobs/quickstart.yaml", "/shared/runs/a", "--set", "seed=2"
    process = slurm(*arguments, WAIT="yes")
    wait_for(tmp_path / "lstmgan")
    time.sleep(0.2)
    process.send_signal(number)  # to the batch shell only, as B: says
    status, output = finish(process)
    assert status == 143, output
    assert "writing a checkpoint" in output
    assert (tmp_path / "checkpoint").exists(), "the driver was asked to stop"
    assert recorded(tmp_path, "scontrol") == ["requeue", "42"]
    first = recorded(tmp_path, "lstmgan")
    (tmp_path / "scontrol").unlink()
    status, _ = finish(slurm(*arguments))
    assert status == 0
    assert recorded(tmp_path, "lstmgan") == first
    assert not (tmp_path / "scontrol").exists()


def test_a_mistake_is_not_requeued(slurm, tmp_path):
    status, _ = finish(slurm("jobs/quickstart.yaml", "/shared/runs/a", EXIT="2"))
    assert status == 2
    assert not (tmp_path / "scontrol").exists()


def test_the_job_and_the_run_must_be_named(slurm):
    status, output = finish(slurm("jobs/quickstart.yaml"))
    assert status != 0
    assert "which run?" in output
