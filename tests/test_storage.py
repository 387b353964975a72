"""Files that appear whole or not at all, on any file system."""

import uuid

import pytest

from lstmgan_dist.errors import UserError
from lstmgan_dist.storage import Folder, matching_files, write_file


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
