"""Distinct-n against counting by hand."""

import random

import pytest
import torch

from lstmgan_dist.evaluation.ngrams import distinct


def by_hand(texts, n):
    ngrams = [tuple(text[i : i + n]) for text in texts for i in range(len(text) - n + 1)]
    return len(set(ngrams)) / len(ngrams) if ngrams else 0.0


@pytest.mark.parametrize("n", [1, 2, 3, 5, 9])
def test_distinct_equals_counting_by_hand(n):
    draw = random.Random(n)
    texts = [[draw.randrange(5) for _ in range(draw.randrange(1, 9))] for _ in range(40)]
    # Padding must not count, whatever it holds.
    tokens_BT = torch.tensor([text + [7] * (8 - len(text)) for text in texts])
    assert distinct(tokens_BT, torch.tensor([len(text) for text in texts]), n) == pytest.approx(by_hand(texts, n))
