"""The commands that cluster/ shows are commands of this program."""

import re
import shlex
from pathlib import Path

import pytest

from lstmgan_dist.config import load_job
from tests.cluster.commands import CLUSTER, ROOT, commands_in, local_path, parse, shown_in_readme

FILES = sorted(path for path in CLUSTER.rglob("*") if path.suffix in (".yaml", ".yml", ".md", ".sbatch"))
COMMANDS = [(path.relative_to(ROOT).as_posix(), command) for path in FILES for command in commands_in(path)]
README = (CLUSTER / "README.md").read_text()


@pytest.mark.parametrize(("path", "command"), COMMANDS)
def test_every_command_is_one_of_ours(path, command):
    name, parameters = parse(command)
    if name in ("train", "submit"):
        assert load_job(local_path(str(parameters["job"])), tuple(parameters["overrides"] or ()))
    if name in ("submit", "status", "logs", "stop"):
        assert parameters["address"].startswith("http://")


def test_every_launcher_shows_a_command():
    for path in (
        "README.md",
        "kuberay/raycluster.yaml",
        "ray-up/aws.yaml",
        "ray-up/gcp.yaml",
        "ray-up/on-premises.yaml",
    ):
        assert any(shown == f"cluster/{path}" for shown, _ in COMMANDS), path


def test_commands_that_do_not_exist_are_noticed():
    with pytest.raises(AssertionError, match="no command"):
        parse("lstmgan teach jobs/quickstart.yaml")
    with pytest.raises(Exception, match="--wrokers"):
        parse("lstmgan train jobs/quickstart.yaml --wrokers 2")


def test_every_launcher_has_three_commands_in_the_readme():
    sections = re.split(r"^## ", README, flags=re.MULTILINE)[2:-1]
    assert [section.split("\n")[0] for section in sections] == [
        "This machine",
        "KubeRay: one job",
        "KubeRay: a cluster that stays",
        "ray up: AWS, GCP, own machines",
        "Slurm",
    ]
    for section in sections:
        blocks = re.findall(r"(?:^    .+\n)+", section, flags=re.MULTILINE)
        assert any(block.count("\n") == 3 for block in blocks), section


# There is nothing to run these on, or ours are parsed above; and the last two want GPUs.
NOT_TYPED = ("lstmgan", "export", "pip", "docker", "kubectl", "sed", "sbatch cluster/", "sbatch --nodes=4 --gpus")


def test_what_is_not_ours_is_typed_on_the_real_program():
    typed = [
        part
        for path in Path(__file__).parent.glob("test_real_*.py")
        for part in re.findall(r'"((?:ray|sbatch|scancel|prometheus) [^"]+)"', path.read_text())
    ]
    lines = {line for line in shown_in_readme() if len(line.split()) > 2 or "JOBID" in line}
    wanted = {line for line in lines if not line.startswith(NOT_TYPED)}
    assert len(wanted) >= 8
    assert {line for line in wanted if not any(part in line for part in typed)} == set()


def test_files_that_the_readme_names_exist():
    named = set(re.findall(r"(?<![/\w])(?:cluster/)?((?:kuberay|ray-up|slurm|monitoring)/[\w.-]+)", README))
    named |= {word.removeprefix("cluster/") for word in shlex.split(README, posix=False) if word.startswith("cluster/")}
    assert {path.relative_to(CLUSTER).as_posix() for path in FILES if path.parent != CLUSTER} <= named
    for path in named:
        assert (CLUSTER / path.strip("`.,")).exists(), path
