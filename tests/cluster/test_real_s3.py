"""A real S3 that dies: Ceph's gateway, killed in the middle of an upload.

All tests of S3 run on it, too: `make real` gives them the option --real-s3.
"""

import random

import pytest

from lstmgan_dist import storage
from lstmgan_dist.storage import Folder
from lstmgan_dist.storage_settings import Storage
from tests.cluster.real_ceph import cannot_run_ceph, ceph_gateway

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

LARGE = random.Random(1).randbytes(24 * 2**20)


@pytest.fixture(scope="module")
def gateway():
    if reason := cannot_run_ceph():
        pytest.skip(reason)
    with ceph_gateway() as made, made.as_environment():
        yield made


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "at once"])
def test_a_gateway_that_is_killed_in_the_middle_of_an_upload_leaves_what_was_there(gateway, streamed, monkeypatch):
    monkeypatch.setattr(storage, "_PART_BYTES", 5 * 2**20)
    folder = Folder(f"{gateway.url}/killed", Storage(timeout=2, patience=2))
    folder.write("a.bin", b"good")

    def upload():
        with folder.create("a.bin") as file:
            file.write(LARGE[: len(LARGE) // 2])
            gateway.kill()
            file.write(LARGE[len(LARGE) // 2 :])

    def upload_at_once():
        gateway.kill()
        folder.write("a.bin", LARGE)

    with pytest.raises(OSError, match=r"(cannot be reached|the connection to .* broke) \(tried \d+ times in \d s\)"):
        upload() if streamed else upload_at_once()
    gateway.start()
    assert folder.read("a.bin") == b"good"
    folder.write("a.bin", LARGE)
    assert folder.read("a.bin") == LARGE
