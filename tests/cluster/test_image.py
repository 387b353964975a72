"""cluster/Dockerfile, as far as it can be checked without building it."""

import re
import subprocess
import tomllib

import pytest

from tests.cluster.commands import CLUSTER, ROOT

TEXT = (CLUSTER / "Dockerfile").read_text()
INSTRUCTIONS = [
    (match[1], " ".join(match[2].split()))
    for match in re.finditer(r"^([A-Z]+) ((?:.*\\\n)*.*)$", TEXT.replace("\\\n", " "), flags=re.MULTILINE)
]


def stages():
    """The instructions of each stage."""
    found = []
    for name, rest in INSTRUCTIONS:
        if name == "FROM":
            found.append([])
        found[-1].append((name, rest))
    return found


def test_there_are_two_slim_stages_and_only_the_last_one_stays():
    assert [stage[0][1] for stage in stages()] == [
        "python:3.11-slim-bookworm AS build",
        "python:3.11-slim-bookworm",
    ]
    assert {name for name, _ in INSTRUCTIONS} <= {"FROM", "WORKDIR", "RUN", "COPY", "ENV", "USER"}


def test_the_container_runs_as_the_user_of_the_manifests():
    users = [rest for name, rest in stages()[-1] if name == "USER"]
    assert users == ["1000"]
    assert "useradd --uid 1000" in TEXT
    after = [name for name, _ in stages()[-1]]
    assert not {"RUN", "COPY"} & set(after[after.index("USER") :])


def test_every_source_exists_and_is_let_through():
    allowed = set(re.findall(r"^!(\S+)$", (CLUSTER / "Dockerfile.dockerignore").read_text(), flags=re.MULTILINE))
    sources = set()
    for name, rest in INSTRUCTIONS:
        if name == "COPY" and not rest.startswith("--from"):
            sources |= set(rest.split()[:-1])
    assert sources == allowed
    for source in sources:
        assert (ROOT / source).exists(), source


def test_the_package_is_installed_with_what_a_cluster_needs():
    (extras,) = re.findall(r"'\.\[([a-z0-9,]+)\]'", TEXT)
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras.split(",")) == {"cluster", "s3", "gcs", "chinese", "stemming", "sentences"} <= known.keys()


def test_nothing_but_the_base_image_and_the_packages_comes_from_outside():
    assert not re.search(r"https?://|--index-url|--extra-index|curl |ADD ", TEXT)


def test_the_constraints_are_the_versions_of_the_lock():
    """The image's `sed` leaves one pinned requirement a line, and no hash."""
    (script,) = re.findall(r"RUN (sed .*) requirements\.lock > constraints\.txt", TEXT)
    made = subprocess.run(
        f"{script} requirements.lock", shell=True, cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = [line for line in made.stdout.splitlines() if not line.startswith("#")]
    assert len(lines) > 50
    for line in lines:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[^\s;]+( ; .+)?", line), line
    assert any(line.startswith("ray==") for line in lines)


@pytest.mark.parametrize("tool", ["wget", "rsync", "openssh-client"])
def test_what_launchers_call_inside_the_container_is_there(tool):
    assert re.search(rf"apt-get install .*\b{tool}\b", TEXT)
