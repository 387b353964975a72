"""Word vectors learnt from a text by itself, by how much more often than by chance words are near each other.

The singular vectors of positive pointwise mutual information are as good as skip-gram's vectors (Levy and Goldberg
2014); the weights within a window and the smoothing of frequencies are those of Levy, Goldberg and Dagan 2015. Counts
are whole numbers, and the rest has one thread: the same text gives the same bits.

Shapes: T tokens, P pairs of words, V vocabulary, E dimensions, K of the subspace that is looked for, a little more.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lstmgan_dist.models.initialise import stream
from lstmgan_dist.models.vectors import Vectors
from lstmgan_dist.runtime.units import one_thread
from lstmgan_dist.tokens import END_ID

# Tokens to either side; the nearest counts that often, the farthest once.
WINDOW = 5
# Pairs that are counted at a time; beyond that the rarest are forgotten.
MOST_PAIRS = 2**24
_TOKENS_AT_ONCE = 2**20
_SMOOTHING = 0.75
_MORE_DIMENSIONS, _ROUNDS = 10, 4


class Cooccurrences:
    """Counts how often words are near each other within a sentence, in bounded memory."""

    def __init__(self, vocabulary_size: int) -> None:
        self._size = vocabulary_size
        self._pairs_P, self._counts_P = np.array([], np.int64), np.array([], np.int64)

    def add(self, tokens_T: np.ndarray) -> None:
        """Count in some tokens, in which `<end>` parts sentences."""
        for start in range(0, len(tokens_T), _TOKENS_AT_ONCE):
            self._add(tokens_T[start : start + _TOKENS_AT_ONCE].astype(np.int64))

    def _add(self, tokens_T: np.ndarray) -> None:
        sentence_T = np.cumsum(tokens_T == END_ID)
        found = [(self._pairs_P, self._counts_P)]
        for distance in range(1, WINDOW + 1):
            left, right = tokens_T[:-distance], tokens_T[distance:]
            # A mark is of the sentence behind it.
            together = (sentence_T[:-distance] == sentence_T[distance:]) & (left != END_ID)
            low, high = np.minimum(left, right)[together], np.maximum(left, right)[together]
            pairs, counts = np.unique(low * self._size + high, return_counts=True)
            found.append((pairs, counts * (WINDOW + 1 - distance)))
        self._pairs_P, self._counts_P = _added_up(
            np.concatenate([pairs for pairs, _ in found]), np.concatenate([counts for _, counts in found])
        )
        if len(self._pairs_P) > MOST_PAIRS:
            kept = self._counts_P > np.partition(self._counts_P, len(self._counts_P) // 2)[len(self._counts_P) // 2]
            self._pairs_P, self._counts_P = self._pairs_P[kept], self._counts_P[kept]

    def matrix(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What is not zero of the symmetric (V, V) matrix of counts, row by row: rows, columns, counts, int64."""
        low, high = np.divmod(self._pairs_P, self._size)
        other = low != high
        rows, columns = np.append(low, high[other]), np.append(high, low[other])
        counts = np.append(np.where(other, self._counts_P, 2 * self._counts_P), self._counts_P[other])
        order = np.argsort(rows * self._size + columns)
        return rows[order], columns[order], counts[order]


def _added_up(keys: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])) if len(keys) else np.array([], np.int64)
    return keys[starts], np.add.reduceat(counts, starts) if len(keys) else counts


def learn_vectors(counted: Cooccurrences, vocabulary_size: int, dimensions: int) -> Vectors:
    """The vectors of every word that was near another one, of length 1."""
    rows, columns, counts = counted.matrix()
    row_sums_V = np.bincount(rows, counts, vocabulary_size)
    found_V = row_sums_V > 0
    smoothed_V = row_sums_V**_SMOOTHING
    with np.errstate(divide="ignore"):
        information_P = np.log(counts * smoothed_V.sum() / (row_sums_V[rows] * smoothed_V[columns]))
    positive = information_P > 0
    matrix_VE = np.zeros((vocabulary_size, dimensions), np.float32)
    if positive.any():
        with one_thread():
            left_VE = _left_singular_vectors(
                rows[positive],
                columns[positive],
                information_P[positive].astype(np.float32),
                vocabulary_size,
                dimensions,
            )
            # Of one length, as the network's own are: in COCO captions by 0.03 nats better than longer ones for some.
            matrix_VE[:, : left_VE.shape[1]] = F.normalize(left_VE, dim=1).numpy()
    matrix_VE[~found_V] = 0
    return Vectors(torch.from_numpy(matrix_VE), torch.from_numpy(found_V & matrix_VE.any(axis=1)))


def _left_singular_vectors(
    rows: np.ndarray, columns: np.ndarray, values: np.ndarray, size: int, dimensions: int
) -> Tensor:
    """The first left singular vectors of a sparse matrix, each times the square root of its singular value.

    By iterations on a random subspace (Halko, Martinsson and Tropp 2011, algorithm 4.4 and 5.1).
    """
    matrix_VV = _compressed(rows, columns, values, size)
    order = np.argsort(columns, kind="stable")
    transposed_VV = _compressed(columns[order], rows[order], values[order], size)
    wanted = min(dimensions, size)
    draw = torch.empty(size, min(dimensions + _MORE_DIMENSIONS, size))
    basis_VK = matrix_VV @ draw.normal_(generator=stream(0, "vectors"))
    for _ in range(_ROUNDS):
        basis_VK = torch.linalg.qr(transposed_VV @ torch.linalg.qr(basis_VK).Q).Q
        basis_VK = matrix_VV @ basis_VK
    basis_VK = torch.linalg.qr(basis_VK).Q
    within_KK, values_K, _ = torch.linalg.svd((transposed_VV @ basis_VK).T, full_matrices=False)
    return (basis_VK @ within_KK)[:, :wanted] * values_K[:wanted].sqrt()


def _compressed(rows: np.ndarray, columns: np.ndarray, values: np.ndarray, size: int) -> Tensor:
    starts = np.append(0, np.cumsum(np.bincount(rows, minlength=size)))
    starts_V1, columns_N, values_N = (torch.from_numpy(part) for part in (starts, columns, values))
    with warnings.catch_warnings():
        # A product with a matrix is all that is asked of it.
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state")
        return torch.sparse_csr_tensor(starts_V1, columns_N, values_N, (size, size), check_invariants=True)
