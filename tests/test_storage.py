"""Files that appear whole or not at all, on any file system."""

import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
import yaml

from lstmgan_dist import drivers
from lstmgan_dist.config import differences, dump_job, parse_job
from lstmgan_dist.errors import UserError
from lstmgan_dist.storage import Folder, matching_files, write_file

MINIMAL = {
    "name": "small",
    "corpus": {"source": "builtin:python-docs"},
    "phases": [{"kind": "likelihood", "steps": 1}],
}


@pytest.fixture(params=["local", "memory"])
def folder(request, tmp_path):
    return Folder(tmp_path / "run") if request.param == "local" else Folder(f"memory://{uuid.uuid4().hex}/run")


def test_what_is_written_can_be_read_listed_and_deleted(folder):
    assert folder.list() == []
    folder.write("b/c.txt", b"text")
    folder.write("a.txt", b"more text")
    assert folder.list() == ["a.txt", "b"]
    assert (folder / "b").read("c.txt") == b"text"
    assert folder.size("a.txt") == 9
    folder.delete("b")
    folder.delete("b")
    assert folder.list() == ["a.txt"]


def test_a_write_that_fails_leaves_the_earlier_file(folder):
    folder.write("a.txt", b"good")

    def fail_half_way():
        with folder.create("a.txt") as file:
            file.write(b"half")
            raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space left"):
        fail_half_way()
    assert folder.read("a.txt") == b"good"
    assert folder.list() == ["a.txt"]


def test_threads_write_and_fail_side_by_side(folder):
    def work(number):
        for _ in range(20):
            if number % 3 == 0:
                with suppress(KeyError), folder.create(f"{number}.txt") as file:
                    file.write(b"half")
                    raise KeyError
            else:
                content = f"{number} ".encode() * 100
                with folder.create(f"{number}.txt") as file:
                    file.write(content[:10])
                    time.sleep(0.0005)
                    file.write(content[10:])
                assert folder.read(f"{number}.txt") == content

    with ThreadPoolExecutor(9) as pool:
        list(pool.map(work, range(9)))
    assert folder.list() == sorted(f"{number}.txt" for number in range(9) if number % 3)


@pytest.mark.parametrize("url", ["s3://bucket/run", "gs://bucket/run"])
def test_a_storage_without_its_driver_names_the_extra(url, monkeypatch):
    for driver in ("s3fs", "gcsfs"):
        monkeypatch.setitem(sys.modules, driver, None)
    drivers._s3.cache_clear()
    for protocol in ("gs", "gcs"):
        monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, protocol, raising=False)
    with pytest.raises(UserError, match=r"pip install 'lstmgan-dist\[(s3|gcs)\]'"):
        Folder(url)


@pytest.mark.parametrize(
    "endpoint", ["http://key:password@host", "host:9000", "http://host/bucket", "https://host?token=password"]
)
def test_a_job_names_an_endpoint_and_holds_no_secret(endpoint):
    with pytest.raises(UserError, match=r"storage\.endpoint: write it as http://host:port") as refused:
        parse_job(yaml.safe_dump(MINIMAL | {"storage": {"endpoint": endpoint}}), name="job.yaml")
    assert "password" not in str(refused.value)
    with pytest.raises(UserError, match=r"storage\.secret: there is no such key"):
        parse_job(yaml.safe_dump(MINIMAL | {"storage": {"secret": "password"}}), name="job.yaml")


def test_how_the_storage_is_reached_is_no_difference_between_jobs():
    here, there = (
        parse_job(yaml.safe_dump(MINIMAL | {"storage": {"endpoint": f"http://{host}"}}), name="job.yaml")
        for host in ("here", "there:9000")
    )
    assert differences(here, there) == []
    assert parse_job(dump_job(there), name="job.yaml") == there


def test_a_missing_driver_is_named_with_the_extra_that_brings_it():
    with pytest.raises(UserError, match=r"no driver for nosuch://"):
        Folder("nosuch://bucket/run")


def test_files_are_found_by_path_folder_and_glob(tmp_path):
    for name in ("b.txt", "a.txt", "c.md"):
        write_to = tmp_path / "texts" / name
        with write_file(str(write_to)) as file:
            file.write(b"x")
    root = str(tmp_path / "texts")
    assert matching_files(f"{root}/a.txt") == [f"{root}/a.txt"]
    assert matching_files(root) == [f"{root}/a.txt", f"{root}/b.txt", f"{root}/c.md"]
    assert matching_files(f"{root}/*.txt") == [f"{root}/a.txt", f"{root}/b.txt"]
    assert matching_files(f"{root}/absent") == []
