"""The files that names of sources stand for, and those that are no text."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from lstmgan_dist.corpus.settings import Corpus
from lstmgan_dist.corpus.sources import check_columns, find_sources
from lstmgan_dist.errors import UserError
from tests.corpus.raw_text import lines_of, read

Write = Callable[..., str]


def test_folders_globs_and_urls_stand_for_their_files_in_order(tmp_path: Path):
    for name in ("b.txt", "a.txt", "deep/c.txt", ".hidden"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert lines_of(str(tmp_path)) == ["a.txt", "b.txt", "deep/c.txt"]
    assert lines_of(f"{tmp_path}/*.txt") == ["a.txt", "b.txt"]
    assert lines_of(f"file://{tmp_path}/a.txt") == ["a.txt"]
    assert read([f"{tmp_path}/b.txt", str(tmp_path)])[0] == ["b.txt", "a.txt", "deep/c.txt"]


def test_sources_may_lie_on_any_fsspec_file_system(tmp_path: Path):
    memory = fsspec.filesystem("memory")
    memory.pipe("/sources/a.txt", b"one\ntwo\n")
    memory.pipe("/sources/b.txt.gz", gzip.compress(b"three\n"))
    try:
        assert lines_of("memory://sources") == ["one", "two", "three"]
        assert lines_of("memory://sources/a.txt") == ["one", "two"]
        assert lines_of("memory://sources/*.gz") == ["three"]
    finally:
        memory.rm("/sources", recursive=True)


def test_a_missing_file_is_an_error():
    with pytest.raises(UserError, match=r"The source nowhere/at/all.txt matches no file"):
        lines_of("nowhere/at/all.txt")


def test_an_unknown_built_in_corpus_is_an_error():
    with pytest.raises(UserError, match=r"builtin:poems: there is no such built-in corpus: try builtin:python-docs"):
        lines_of("builtin:poems")


def test_a_prepared_corpus_is_no_raw_text(tmp_path: Path):
    (tmp_path / "manifest.json").write_text(json.dumps({}))
    (tmp_path / "tokenizer.json").write_text(json.dumps({}))
    with pytest.raises(UserError, match="is a corpus that prepare made already"):
        lines_of(str(tmp_path))


def test_what_lies_beside_text_is_left_out_and_named(tmp_path: Path):
    names = ["a.txt", "README.md", "LICENSE", "scan.pdf", "photo.JPG", "old.tar.gz", "essay.md", "notes"]
    for name in names:
        (tmp_path / name).write_text(name)
    found = find_sources([str(tmp_path)])
    assert [Path(source.url).name for source in found.files] == ["a.txt", "essay.md", "notes"]
    assert [Path(url).name for url in found.left_out] == ["LICENSE", "README.md", "old.tar.gz", "photo.JPG", "scan.pdf"]
    assert [Path(source.url).name for source in find_sources([f"{tmp_path}/*.md"]).files] == ["essay.md"]


def test_a_readme_that_is_named_is_text(tmp_path: Path):
    (tmp_path / "README.md").write_text("read me")
    assert lines_of(f"{tmp_path}/README.md") == ["read me"]
    (tmp_path / "a.txt").write_text("a")
    found = find_sources([str(tmp_path), f"{tmp_path}/README.md"])
    assert ([Path(source.url).name for source in found.files], found.left_out) == (["a.txt", "README.md"], [])


@pytest.mark.parametrize(
    ("names", "given", "message"),
    [
        (["a.pdf"], "a.pdf", r"a\.pdf holds no plain text \(\.pdf\): save it as text first"),
        (["a.png", "b.docx"], "", r"holds no plain text \(\.docx and \.png\)"),
        (["README.md"], "", r"holds only files about text, such as .*README\.md: name the file itself"),
        ([".hidden"], "", r"matches no file"),
    ],
)
def test_a_source_without_text_says_what_it_has(tmp_path: Path, names: list[str], given: str, message: str):
    for name in names:
        (tmp_path / name).write_text(name)
    with pytest.raises(UserError, match=message):
        find_sources([str(tmp_path / given)])


def test_hidden_folders_and_the_cache_of_corpora_are_no_text(tmp_path: Path):
    for name in ("a.txt", ".git/b.txt", "runs/.corpora/key/manifest.json", "runs/c.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    assert lines_of(str(tmp_path)) == ["a.txt", "runs/c.txt"]
    assert lines_of(f"{tmp_path}/.git/*") == [".git/b.txt"]  # who names it wants it
    with pytest.raises(UserError, match="holds corpora that runs were trained on"):
        find_sources([f"{tmp_path}/runs/.corpora"])


def test_a_column_is_for_sources_that_have_some(text_file: Write, tmp_path: Path):
    plain, lines = text_file("a\n"), text_file('{"body": "x"}\n', "u.jsonl")
    check_columns(Corpus(source=plain, column="body"), find_sources([plain, lines]).files)
    check_columns(Corpus(source=plain), find_sources([plain]).files)
    for name in (plain, "builtin:python-docs"):
        with pytest.raises(UserError, match=r"is plain text and has no column 'body': leave out corpus.column"):
            check_columns(Corpus(source=name, column="body"), find_sources([name]).files)
