"""Pieces, stretches of text that no token can cross: what words and byte pairs are counted and looked up by.

Each distinct piece is cut into tokens only once. Shapes: N rows; P pieces, D distinct ones; T tokens.
"""

from __future__ import annotations

from abc import abstractmethod
from array import array
from collections.abc import Iterable, Iterator
from typing import cast

import numpy as np
import pyarrow as pa
import tokenizers

from lstmgan_dist.corpus.bulk import JoinedRows, distinct_pieces, gather_index, lengths_to
from lstmgan_dist.corpus.tokenizer import Counted, Encoded, Tokenizer
from lstmgan_dist.corpus.views import Views
from lstmgan_dist.tokens import END_ID

_MOST_CACHED_PIECES = 500_000
_LONGEST_CACHED_PIECE = 64

# Distinct pieces that are counted at a time, and their bytes; beyond either the rarest half is forgotten.
MOST_DISTINCT, MOST_DISTINCT_BYTES = 1_000_000, 96 * 2**20
# Pieces waiting to be merged into the counts.
MOST_PENDING = 2_000_000


class PieceTokenizer(Tokenizer):
    """A kind of tokenizer that looks text up by the piece."""

    def __init__(self, library: tokenizers.Tokenizer, views: Views) -> None:
        super().__init__(library, views)
        self._typecode = np.dtype(self.token_type).char
        self._pieces: dict[str, bytes] = {}

    @classmethod
    def count(cls, texts: pa.StringArray) -> pa.StructArray:
        return distinct_pieces(texts)

    @abstractmethod
    def _ids_of(self, pieces: list[str]) -> Iterable[list[int]]:
        """The ids of each of some pieces."""

    def _encode(self, text: JoinedRows) -> Encoded:
        starts = text.piece_starts()
        pieces = text.pieces(starts).dictionary_encode()
        lengths_D, tokens = self._encode_distinct(pieces.dictionary)
        # The end mark stands behind the tokens of the distinct pieces, so that marks are gathered like pieces.
        source = np.append(tokens, self.token_type(END_ID))
        offsets_D = np.cumsum(lengths_D) - lengths_D
        index_P = pieces.indices.to_numpy(zero_copy_only=False)
        lengths_P, offsets_P = lengths_D[index_P], offsets_D[index_P]
        marks = np.searchsorted(starts, text.marks_N)
        lengths_P[marks], offsets_P[marks] = 1, len(source) - 1
        stops_P = np.cumsum(lengths_P)
        tokens_T = source[gather_index(offsets_P, lengths_P)]
        return Encoded(tokens_T, lengths_to(stops_P[marks] - 1))

    def _encode_distinct(self, pieces: pa.StringArray) -> tuple[np.ndarray, np.ndarray]:
        """Token counts of each piece, and their tokens end to end."""
        words: list[str] = pieces.to_pylist()
        found = list(map(self._pieces.get, words))
        missing = [index for index, ids in enumerate(found) if ids is None]
        for index, ids in zip(missing, self._ids_of([words[index] for index in missing]), strict=True):
            found[index] = packed = array(self._typecode, ids).tobytes()
            # Long pieces hardly ever come again; and what is kept must stay bounded.
            if len(words[index]) <= _LONGEST_CACHED_PIECE and len(self._pieces) < _MOST_CACHED_PIECES:
                self._pieces[words[index]] = packed
        joined = b"".join(cast(list[bytes], found))
        lengths = np.fromiter(map(len, cast(list[bytes], found)), np.int64, len(found))
        return lengths // np.dtype(self.token_type).itemsize, np.frombuffer(joined, self.token_type)


class PieceCounter:
    """Counts the pieces of a text in bounded memory, chunk by chunk and in the chunks' order.

    may_stop: whether to count no further where most of the text would be forgotten. forgotten: no forgotten piece
    occurred more often than this, and no count is further off.
    """

    def __init__(self, chunks: Iterable[Counted], *, may_stop: bool = False) -> None:
        self.forgotten = 0
        self._may_stop = may_stop
        self._is_full = False
        self._pieces = pa.table({"values": pa.array([], pa.string()), "counts": pa.array([], pa.int64())})
        pending: list[pa.Table] = []
        for counted in chunks:
            assert isinstance(counted, pa.StructArray)
            if self._is_full:
                continue
            pending.append(pa.Table.from_struct_array(counted))
            if sum(map(len, pending)) > MOST_PENDING or sum(map(_bytes, pending)) > MOST_DISTINCT_BYTES:
                self._merge(pending)
                pending = []
        self._merge(pending)

    @property
    def total(self) -> int:
        """Pieces counted, equal ones included."""
        return int(self._pieces["counts"].to_numpy().sum())

    def pieces(self) -> Iterator[tuple[str, int]]:
        """Each piece with its count, in the order of first occurrence."""
        return _pairs(self._pieces)

    def most_frequent(self) -> Iterator[tuple[str, int]]:
        """Each piece with its count, the most frequent first."""
        self._pieces = self._pieces.take(pa.array(np.argsort(-self._pieces["counts"].to_numpy(), kind="stable")))
        return _pairs(self._pieces)

    def _merge(self, pending: list[pa.Table]) -> None:
        table = pa.concat_tables([self._pieces, *pending])
        # Without threads, so that the order is that of first occurrence.
        merged = table.group_by("values", use_threads=False).aggregate([("counts", "sum")])
        self._pieces = pa.table({"values": merged["values"], "counts": merged["counts_sum"]})
        if len(self._pieces) > MOST_DISTINCT or _bytes(self._pieces) > MOST_DISTINCT_BYTES:
            self._forget_rare()

    def _forget_rare(self) -> None:
        """Lossy counting (Manku and Motwani 2002): the frequent ones are never lost."""
        counts = self._pieces["counts"].to_numpy()
        rare = int(np.partition(counts, len(counts) // 2)[len(counts) // 2])
        if self._may_stop and counts[counts > rare].sum() < counts.sum() / 2:
            self._is_full = True
            return
        self.forgotten += rare
        self._pieces = self._pieces.filter(pa.array(counts > rare))


def _pairs(pieces: pa.Table) -> Iterator[tuple[str, int]]:
    for batch in pieces.to_batches(max_chunksize=65536):
        yield from zip(batch["values"].to_pylist(), batch["counts"].to_pylist(), strict=True)


def _bytes(pieces: pa.Table) -> int:
    return pieces["values"].nbytes
