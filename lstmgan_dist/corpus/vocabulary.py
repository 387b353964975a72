"""Counting what a text is made of, in bounded memory, and making a tokenizer of it."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer as LibraryTokenizer
from tokenizers import models, pre_tokenizers, trainers

from lstmgan_dist.corpus.bulk import code_points, distinct_pieces
from lstmgan_dist.corpus.settings import TokenizerSettings
from lstmgan_dist.corpus.tokenizer import (
    END,
    UNKNOWN,
    Tokenizer,
    byte_alphabet,
    character_tokenizer,
    pair_tokenizer,
    split_words,
    word_tokenizer,
)
from lstmgan_dist.errors import UserError

# Distinct pieces that are counted at a time, and their bytes; beyond either the rarest half is forgotten.
MOST_DISTINCT, MOST_DISTINCT_BYTES = 1_000_000, 96 * 2**20
# Pieces waiting to be merged into the counts.
MOST_PENDING = 2_000_000
# Byte pairs are learnt from counts scaled down to this many pieces, beyond which nothing is gained but time, and from
# so many bytes of distinct pieces, of each of which the library needs some dozens for itself.
_MOST_PIECES_LEARNT_FROM, _MOST_BYTES_LEARNT_FROM = 3_000_000, 12 * 2**20
_BPE_DEFAULT_SIZE = 8192


# What a chunk holds: pieces with their counts, or the count of every code point.
Counted = pa.StructArray | np.ndarray


class Counter(Protocol):
    """Counts of a corpus, gathered chunk by chunk and in the chunks' order."""

    def add(self, counted: Counted) -> None:
        """Take in what `count` found in one chunk."""
        ...

    def tokenizer(self) -> Tokenizer:
        """The tokenizer that these counts make."""
        ...


def counter_for(settings: TokenizerSettings) -> Counter | None:
    """The counter that a tokenizer is made from; None for bytes, which need none.

    Raises:
        UserError: if the vocabulary size cannot hold what it must.
    """
    if settings.kind == "byte":
        return None
    if settings.kind == "bpe" and (settings.vocabulary_size or _BPE_DEFAULT_SIZE) < 257:
        raise UserError(
            f"corpus.tokenizer.vocabulary_size {settings.vocabulary_size} is too small for bpe, "
            "which starts from 256 bytes and an end mark: try 1000 or more."
        )
    return CharacterCounter(settings) if settings.kind == "character" else PieceCounter(settings)


def count(texts: pa.StringArray, kind: str) -> Counted:
    """What a counter wants to know of one chunk: a pure function."""
    return code_points(texts) if kind == "character" else distinct_pieces(texts)


class CharacterCounter:
    """Counts code points."""

    def __init__(self, settings: TokenizerSettings) -> None:
        self._settings = settings
        self._counts = np.zeros(0x110000, np.int64)

    def add(self, counted: Counted) -> None:
        assert isinstance(counted, np.ndarray)
        self._counts[: len(counted)] += counted

    def tokenizer(self) -> Tokenizer:
        counts = {chr(code): int(self._counts[code]) for code in np.flatnonzero(self._counts)}
        return character_tokenizer(_most_frequent(counts, self._settings), lower=self._settings.lower)


class PieceCounter:
    """Counts pieces, which words and byte pairs are then counted from."""

    def __init__(self, settings: TokenizerSettings) -> None:
        self._settings = settings
        self._pieces = pa.table({"values": pa.array([], pa.string()), "counts": pa.array([], pa.int64())})
        self._pending: list[pa.Table] = []
        self._is_full = False
        self._forgotten = 0  # no forgotten piece occurred more often than this, and no count is further off

    def add(self, counted: Counted) -> None:
        assert isinstance(counted, pa.StructArray)
        if self._is_full:
            return
        self._pending.append(pa.Table.from_struct_array(counted))
        if sum(map(len, self._pending)) > MOST_PENDING or sum(map(_bytes, self._pending)) > MOST_DISTINCT_BYTES:
            self._merge()

    def tokenizer(self) -> Tokenizer:
        self._merge()
        if self._settings.kind == "bpe":
            return self._pair_tokenizer()
        words = _most_frequent(self._words(), self._settings)
        room = (self._settings.vocabulary_size or sys.maxsize) - 2 - len(words)
        if room and self._settings.min_count <= self._forgotten:
            raise UserError(
                f"This text has more than {MOST_DISTINCT:,} different words, too many to count all of them: "
                "set corpus.tokenizer.vocabulary_size, 50000 for example."
            )
        return word_tokenizer(words, lower=self._settings.lower)

    def _merge(self) -> None:
        table = pa.concat_tables([self._pieces, *self._pending])
        self._pending = []
        # Without threads, so that the order is that of first occurrence.
        merged = table.group_by("values", use_threads=False).aggregate([("counts", "sum")])
        self._pieces = pa.table({"values": merged["values"], "counts": merged["counts_sum"]})
        if len(self._pieces) > MOST_DISTINCT or _bytes(self._pieces) > MOST_DISTINCT_BYTES:
            self._forget_rare()

    def _forget_rare(self) -> None:
        """Lossy counting (Manku and Motwani 2002): the frequent ones are never lost."""
        counts = self._pieces["counts"].to_numpy()
        rare = int(np.partition(counts, len(counts) // 2)[len(counts) // 2])
        if self._settings.kind == "bpe" and counts[counts > rare].sum() < counts.sum() / 2:
            # Without spaces hardly a piece comes twice: byte pairs are learnt from the text so far.
            self._is_full = True
            return
        self._forgotten += rare
        self._pieces = self._pieces.filter(pa.array(counts > rare))

    def _counted(self) -> Iterator[tuple[str, int]]:
        for batch in self._pieces.to_batches(max_chunksize=65536):
            yield from zip(batch["values"].to_pylist(), batch["counts"].to_pylist(), strict=True)

    def _words(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for piece, times in self._counted():
            for word in split_words(piece):
                counts[word] = counts.get(word, 0) + times
        counts.pop(UNKNOWN, None)  # text in which somebody has marked unknown words already
        return counts

    def _pair_tokenizer(self) -> Tokenizer:
        size = self._settings.vocabulary_size or _BPE_DEFAULT_SIZE
        learner = LibraryTokenizer(models.BPE())
        learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(
            vocab_size=size - 1,  # the end mark is added afterwards, so that no text can encode to it
            min_frequency=max(2, self._settings.min_count),
            initial_alphabet=byte_alphabet(),
            show_progress=False,
        )
        learner.train_from_iterator(self._sample(), trainer)
        merges = [(left, right) for left, right in json.loads(learner.to_str())["model"]["merges"]]
        return pair_tokenizer(merges, lower=self._settings.lower)

    def _sample(self) -> Iterator[str]:
        """Pieces as often as they occur, or in that proportion; of too many the most frequent."""
        counts = self._pieces["counts"].to_numpy()
        self._pieces = self._pieces.take(pa.array(np.argsort(-counts, kind="stable")))
        scale = -(-int(counts.sum()) // _MOST_PIECES_LEARNT_FROM)
        room = _MOST_BYTES_LEARNT_FROM
        for piece, times in self._counted():
            room -= len(piece.encode())
            if times < scale or room < 0:
                return
            # A merge that spells the end mark would take its id.
            if END not in piece:
                yield from itertools.repeat(piece, times // scale)


def _bytes(pieces: pa.Table) -> int:
    return pieces["values"].nbytes


def _most_frequent(counts: dict[str, int], settings: TokenizerSettings) -> list[str]:
    """The most frequent first, ties in the order of code points."""
    kept = sorted(token for token, times in counts.items() if times >= settings.min_count)
    kept.sort(key=counts.__getitem__, reverse=True)  # stable
    return kept if settings.vocabulary_size is None else kept[: settings.vocabulary_size - 2]
