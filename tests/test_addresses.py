"""What addresses mean, which all code asks one function."""

import re
from pathlib import Path

import pytest

import lstmgan_dist
from lstmgan_dist.addresses import path_of, scheme_of
from lstmgan_dist.errors import UserError
from lstmgan_dist.storage import Folder, matching_files


@pytest.mark.parametrize(
    ("address", "scheme"),
    [
        ("builtin:python-docs", "builtin"),
        ("oracle:length=20,seed=1", "oracle"),
        ("oracle:", "oracle"),
        ("grammar:seed=1", "grammar"),
        ("s3://bucket/text", "s3"),
        ("gs://bucket/text", "gs"),
        ("https://host:8080/text", "https"),
        ("memory://text", "memory"),
        ("simplecache::s3://bucket/text", "simplecache"),
        ("file:///mnt/text", "file"),
        ("local:///mnt/text", "file"),
        ("/mnt/text", "file"),
        ("text.txt", "file"),
        ("", "file"),
        ("oracle", "file"),
        ("oracle/length:20", "file"),
        ("./oracle:1.txt", "file"),
        ("notes:1.txt", "file"),
        ("data:1.txt", "file"),
        (r"C:\texts\a.txt", "file"),
        ("C://texts/a.txt", "file"),
        ("a b://c", "file"),
    ],
)
def test_the_scheme_of_an_address(address, scheme):
    assert scheme_of(address) == scheme


def test_the_path_of_a_file():
    assert path_of("file:///mnt/text") == path_of("local:///mnt/text") == path_of("/mnt/text") == "/mnt/text"


def test_a_file_may_have_a_colon_in_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("data:1.txt", "notes:1.txt", "C:text.txt", "oracle:1.txt"):
        (tmp_path / name).write_text("text")
    for name in ("data:1.txt", "notes:1.txt", "C:text.txt", "./oracle:1.txt"):
        assert matching_files(name) == [str(tmp_path / name.removeprefix("./"))]


@pytest.mark.parametrize("address", ["oracle:length=20", "grammar:", "builtin:python-docs"])
def test_text_without_a_file_is_no_folder(address):
    with pytest.raises(UserError, match="is text that is made, not a place"):
        Folder(address)


def test_nobody_else_tells_schemes_apart():
    """A colon in a condition or a split is where such code goes astray."""
    telling = re.compile(
        r"""["']://["'] (?:not )?in|(?<!r)split\(["']:|["'](?:builtin|oracle|grammar):["']|partition\(["']:"""
    )
    package = Path(lstmgan_dist.__file__).parent
    found = {
        f"{file.relative_to(package)}: {line.strip()}"
        for file in package.rglob("*.py")
        for line in file.read_text(encoding="utf-8").splitlines()
        if file.name not in ("addresses.py", "embedding.py")  # the latter names models, which are no addresses
        and telling.search(line)
    }
    assert found == {'evaluation/synthetic.py: _, _, text = source.partition(":")'}
