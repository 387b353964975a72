"""Counting n-grams.

Shapes: B texts of at most T tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor


def distinct(tokens_BT: Tensor, lengths_B: Tensor, n: int) -> float:
    """Distinct-n (Li et al. 2016): different n-grams over all n-grams of the texts, 0 to 1; 0 if there are none.

    tokens_BT: int64, of which the first lengths_B of each row count.
    """
    windows_BWN = tokens_BT.unfold(1, n, 1) if tokens_BT.shape[1] >= n else tokens_BT.new_empty(len(tokens_BT), 0, n)
    starts_W = torch.arange(windows_BWN.shape[1], device=tokens_BT.device)
    ngrams_MN = windows_BWN[starts_W + n <= lengths_B[:, None]]
    return len(torch.unique(ngrams_MN, dim=0)) / len(ngrams_MN) if len(ngrams_MN) else 0.0
