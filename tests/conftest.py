"""What the tests share, and how this process, those that it starts and Ray know each other."""

import os
import signal

import pytest

from lstmgan_dist.runtime.ray_cluster import connected, own_token
from tests.cluster.real_ceph import cannot_run_ceph, ceph_gateway
from tests.servers import s3_server
from tests.toy_text import toy_sentences, toy_talk

# Networks this small learn no faster with a second thread, and threads that wait by spinning slow down whatever else
# runs. Both are read when torch is imported, here and in every process that is started.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Ray reads this when it is first imported, whichever test that is.
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": own_token()}

# A shell's background jobs ignore Ctrl-C, and so would the commands that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    parser.addoption("--real-s3", action="store_true", help="S3 is a gateway of Debian's Ceph, not a stand-in")


@pytest.fixture(scope="session")
def text(tmp_path_factory):
    """A file of sentences of a toy grammar."""
    path = tmp_path_factory.mktemp("text") / "toy.txt"
    path.write_text("\n".join(toy_sentences(200)) + "\n")
    return path


@pytest.fixture(scope="session")
def talk(tmp_path_factory):
    """A CSV file of pairs, said and answer, each with its mood."""
    path = tmp_path_factory.mktemp("talk") / "talk.csv"
    path.write_text(toy_talk(300))
    return path


@pytest.fixture(scope="session")
def local_ray():
    """This process drives a Ray of its own, as `lstmgan train --workers` does."""
    with connected(None, cpus=4):
        yield


@pytest.fixture(scope="session")
def shared_s3_server(request):
    """One process that is an S3 server; ask for `server`, and be alone in a bucket of it."""
    is_real = request.config.getoption("--real-s3")
    if is_real and (reason := cannot_run_ceph()):
        pytest.skip(reason)
    with ceph_gateway() if is_real else s3_server() as server:
        yield server


@pytest.fixture(scope="module")
def server(shared_s3_server, request):
    """An S3 server with an empty bucket, which is this module's own."""
    bucket = request.module.__name__.rpartition(".")[2].replace("_", "-")
    return shared_s3_server.with_bucket(bucket)


@pytest.fixture(scope="session")
def strict_server(request):
    """An S3 server that checks credentials, as real ones do."""
    if request.config.getoption("--real-s3"):
        yield request.getfixturevalue("shared_s3_server")
        return
    with s3_server(checks_credentials=True) as server:
        yield server


@pytest.fixture(scope="module")
def site(text, tmp_path_factory):
    """A cluster of one node, and somebody outside it who submits jobs to it."""
    from tests.ray_site import Site  # which imports torch

    made = Site(tmp_path_factory.mktemp("site"), text)
    try:
        yield made
    finally:
        made.end()


def pytest_collection_modifyitems(items):
    """Tests that share a Ray come last, for a process can be with one at a time, and others start one of their own."""
    items.sort(key=lambda item: "local_ray" in item.fixturenames)
