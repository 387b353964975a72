import gzip
from pathlib import Path

import pytest
import torch

from lstmgan_dist.errors import UserError
from lstmgan_dist.models.vectors import read_vectors

VOCABULARY = ["<end>", "cat", "1999", "naïve", "dog"]
GLOVE = "the 9 9 9\ncat 1 2 3\n1999 4 5 6\n. . . 7 7 7\nnaïve -1 0.5 1e-1\ncat 8 8 8\n"


def write(path: Path, text: str) -> str:
    content = text.encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return str(path)


@pytest.mark.parametrize("header", ["", "6 3\n"], ids=["GloVe", "word2vec"])
@pytest.mark.parametrize("name", ["v.txt", "v.vec.gz"])
def test_vectors_are_read_from_either_format(tmp_path: Path, header: str, name: str) -> None:
    vectors = read_vectors(write(tmp_path / name, header + GLOVE), VOCABULARY, 3)
    expected = [[0, 0, 0], [1, 2, 3], [4, 5, 6], [-1, 0.5, 0.1], [0, 0, 0]]
    torch.testing.assert_close(vectors.matrix_VE, torch.tensor(expected))
    assert vectors.found_V.tolist() == [False, True, True, True, False]
    assert vectors.coverage == pytest.approx(0.6)


def test_vectors_are_read_from_a_url(tmp_path: Path) -> None:
    write(tmp_path / "v.txt", GLOVE)
    assert read_vectors(f"file://{tmp_path}/v.txt", VOCABULARY, 3).coverage == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("cat 1 2\n", 1),
        ("cat 1 2 3 4\n", 1),
        ("6 2\ncat 1 2\n", 2),
        ("the 1 2 3\ncat 1 two 3\n", 2),
        ("the 1 2 3\n\ncat 1 2 3\n", 2),
        ("the 1 2 3\ncat 1 nan 3\n", 2),
    ],
)
def test_a_line_that_does_not_fit_is_named(tmp_path: Path, text: str, line: int) -> None:
    with pytest.raises(UserError, match=f"v.txt, line {line}: expected a word and, .* 3 numbers, but found"):
        read_vectors(write(tmp_path / "v.txt", text), VOCABULARY, 3)


def test_an_absent_or_broken_file_is_an_error_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_vectors(str(tmp_path / "absent.txt"), VOCABULARY, 3)
    whole = gzip.compress(GLOVE.encode())
    (tmp_path / "torn.txt.gz").write_bytes(whole[:-12])
    with pytest.raises(UserError, match="cannot be read"):
        read_vectors(str(tmp_path / "torn.txt.gz"), VOCABULARY, 3)


def test_copying_keeps_the_scale_and_the_tokens_without_vector(tmp_path: Path) -> None:
    vectors = read_vectors(write(tmp_path / "v.txt", GLOVE), VOCABULARY, 3)
    embedding = torch.nn.Embedding(5, 3)
    before = embedding.weight.detach().clone()
    vectors.copy_to(embedding.weight)
    after = embedding.weight.detach()
    assert torch.equal(after[[0, 4]], before[[0, 4]])
    torch.testing.assert_close(after[2] / after[2].norm(), torch.tensor([4.0, 5, 6]) / 77**0.5)
    torch.testing.assert_close(after[[1, 2, 3]].square().mean(), before.square().mean())
