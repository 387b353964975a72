"""Texts end to end against lists of lists."""

import numpy as np
import pytest
import torch

from lstmgan_dist.corpus.tokenizer import Encoded
from lstmgan_dist.evaluation.texts import Texts, join_texts
from lstmgan_dist.models.drawing import Drawn

ROWS = [[3, 1], [], [2], [5, 5, 5, 4], []]
TEXTS = Texts.of(ROWS)


def test_texts_are_their_rows():
    assert len(TEXTS) == 5
    assert TEXTS.rows() == ROWS
    assert TEXTS.starts_N.tolist() == [0, 2, 2, 3, 7]
    assert Texts.of([]).rows() == []


@pytest.mark.parametrize(
    "which",
    [
        np.array([3, 0, 3, 1]),
        np.array([False, True, False, True, True]),
        np.zeros(5, bool),
        slice(1, 4),
        slice(4, None),
        slice(9, 20),
    ],
)
def test_taken_texts_are_those_that_an_index_takes(which):
    assert TEXTS.take(which).rows() == [ROWS[number] for number in np.arange(5)[which]]


def test_joined_texts_are_one_after_the_other():
    assert join_texts([TEXTS, Texts.of([]), Texts.of([[7]])]).rows() == [*ROWS, [7]]
    assert join_texts([]).rows() == []


def test_padded_texts_all_end():
    assert TEXTS.padded().tolist() == [
        [3, 1, 0, 0, 0],
        [0, 0, 0, 0, 0],
        [2, 0, 0, 0, 0],
        [5, 5, 5, 4, 0],
        [0, 0, 0, 0, 0],
    ]
    assert Texts.of([]).padded().shape == (0, 1)


def test_drawn_texts_lose_their_end_mark_if_they_have_one():
    drawn = Drawn(torch.tensor([[3, 1, 0], [0, 0, 0], [5, 5, 4]]), torch.tensor([3, 1, 3]))
    assert Texts.drawn(drawn).rows() == [[3, 1], [], [5, 5, 4]]
    assert Texts.drawn(Drawn(torch.zeros(0, 3, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))).rows() == []


def test_sentences_of_a_corpus_lose_their_end_mark():
    texts = Texts.encoded(Encoded(np.array([3, 1, 0, 0, 2, 0], np.uint16), np.array([3, 1, 2])))
    assert texts.rows() == [[3, 1], [], [2]]
    assert texts.tokens_T.dtype == texts.lengths_N.dtype == np.int64
    with pytest.raises(AssertionError, match="every sentence ends"):
        Texts.encoded(Encoded(np.array([3, 1, 0, 2], np.uint16), np.array([3, 1])))
