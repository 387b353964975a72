"""The commands that share their work with a Ray cluster, as a person runs them on a node of it."""

import json
import secrets
import subprocess
import sys
import tempfile
from types import SimpleNamespace

import pytest

from lstmgan_dist.runtime.ray_nodes import Node, free_ports, listens
from tests.ray_nodes import client_environment, node_environment
from tests.servers import s3_server
from tests.training.tiny_jobs import SENTENCES, job_of, run_job
from tests.waiting import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

COMMAND = [sys.executable, "-m", "lstmgan_dist"]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A cluster of one node that asks for a token, an S3 server that it can reach, and a user's environment."""
    token, folder = secrets.token_hex(32), tmp_path_factory.mktemp("cluster")
    port, client = free_ports(2)
    # Sockets live below it, and their paths must be short.
    with s3_server() as s3, tempfile.TemporaryDirectory(prefix="lr", dir="/tmp", ignore_cleanup_errors=True) as short:
        arguments = ["--head", "--port", port, "--node-ip-address", "127.0.0.1", "--include-dashboard", "false"]
        arguments += ["--ray-client-server-port", client, "--num-cpus", 2, "--temp-dir", short]
        node = Node(list(map(str, arguments)), node_environment(token, **s3.environment), log=folder / "head.log")
        try:
            wait_until(lambda: listens(port), seconds=100, what=node.log.read_text)
            yield SimpleNamespace(
                address=f"127.0.0.1:{port}",
                environment=client_environment(token, **s3.environment),
                s3=s3,
            )
        finally:
            node.end()


def lstmgan(site, *arguments, code=0):
    """Run a command to its end, and give what it printed."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, env=site.environment, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def test_preparing_generating_and_evaluating_on_a_cluster_with_everything_on_s3(site, text, tmp_path):
    run_job(job_of(SENTENCES, text), tmp_path / "run")
    for name, lines in (("a", 120), ("b", 200)):
        content = "".join(text.read_text().splitlines(keepends=True)[:lines])
        site.s3.client().put_object(Bucket=site.s3.bucket, Key=f"text/{name}.txt", Body=content.encode())

    prepare = ["prepare", f"{site.s3.url}/text", "--heldout-fraction", 0.2, "--max-length", 12]
    lstmgan(site, *prepare, "--out", tmp_path / "corpus")
    printed = lstmgan(site, *prepare, "--out", f"{site.s3.url}/corpus", "--address", site.address)
    assert "fingerprint" in printed
    here = {f"corpus/{path.name}": path.read_bytes() for path in (tmp_path / "corpus").iterdir()}
    assert site.s3.objects("corpus/") == here

    shared = ["--workers", 2, "--cpus-per-worker", 1, "--address", site.address]
    generate = ["generate", tmp_path / "run", "--count", 500, "--format", "text", "--out"]
    lstmgan(site, *generate, tmp_path / "texts.txt")
    lstmgan(site, *generate, f"{site.s3.url}/texts/", *shared)
    objects = site.s3.objects("texts/")
    assert sorted(objects) == ["texts/_SUCCESS", "texts/_request.json", "texts/part-00000.txt"]
    assert objects["texts/part-00000.txt"] == (tmp_path / "texts.txt").read_bytes()

    evaluate = ["evaluate", tmp_path / "run", "--brief", "--json", "--samples", 100]
    assert json.loads(lstmgan(site, *evaluate, *shared)) == json.loads(lstmgan(site, *evaluate))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["prepare", "TEXT", "--out", "OUT", "--address", "127.0.0.1:1"], "No Ray cluster can be reached"),
        (["generate", "absent", "--workers", "2"], "absent is not a run"),
        (["evaluate", "absent", "--address", "auto"], "needs --workers"),
        (["generate", "absent", "--out", "texts.parquet.gz"], "texts are written as .txt"),
    ],
)
def test_a_mistake_is_one_line_before_anything_starts(arguments, words, site, text, tmp_path):
    named = {"TEXT": text, "OUT": tmp_path / "corpus"}
    error = lstmgan(site, *(named.get(argument, argument) for argument in arguments), code=2)
    assert words in error
    assert len(error.strip().splitlines()) == 1
