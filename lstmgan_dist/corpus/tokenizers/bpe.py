"""Byte-level byte-pair encoding (Sennrich et al. 2016; GPT-2's alphabet and cuts): bytes, then merges in order."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from lstmgan_dist.corpus.pieces import PieceCounter, PieceTokenizer
from lstmgan_dist.corpus.settings import TokenizerSettings
from lstmgan_dist.corpus.tokenizer import END, Counted, Tokenizer
from lstmgan_dist.corpus.tokenizers.byte import byte_alphabet, byte_tokenizer, bytes_of, merged_bytes, text_of_bytes
from lstmgan_dist.corpus.views import Views
from lstmgan_dist.errors import UserError

_DEFAULT_SIZE, _SMALLEST_SIZE = 8192, 257
# Byte pairs are learnt from counts scaled down to this many pieces, beyond which nothing is gained but time, and from
# so many bytes of distinct pieces, of each of which the library needs some dozens for itself.
_MOST_PIECES_LEARNT_FROM, _MOST_BYTES_LEARNT_FROM = 3_000_000, 12 * 2**20


class PairTokenizer(PieceTokenizer):
    """Frequent sequences of bytes are tokens, and every byte by itself."""

    kind = "bpe"
    unknown_id = None

    @classmethod
    def recognises(cls, model: dict[str, Any], splitter: dict[str, Any]) -> bool:
        return model["type"] == "BPE" and bool(model["merges"])

    @classmethod
    def choose(cls, settings: TokenizerSettings, chunks: Iterable[Counted]) -> Tokenizer:
        size = settings.vocabulary_size or _DEFAULT_SIZE
        if size < _SMALLEST_SIZE:
            raise UserError(
                f"corpus.tokenizer.vocabulary_size {size} is too small for bpe, "
                "which starts from 256 bytes and an end mark: try 1000 or more."
            )
        # Without spaces hardly a piece comes twice: byte pairs are then learnt from the beginning of the text.
        counter = PieceCounter(chunks, may_stop=True)
        learner = tokenizers.Tokenizer(models.BPE())
        learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(
            vocab_size=size - 1,  # the end mark is added afterwards, so that no text can encode to it
            min_frequency=max(2, settings.min_count),
            initial_alphabet=byte_alphabet(),
            show_progress=False,
        )
        learner.train_from_iterator(_sample(counter), trainer)
        merges = [(left, right) for left, right in json.loads(learner.to_str())["model"]["merges"]]
        # Where no pair comes twice, nothing is left but bytes.
        views = Views.of(settings)
        return cls(merged_bytes(merges), views) if merges else byte_tokenizer(views)

    def _text_of(self, ids: Sequence[int]) -> str:
        return text_of_bytes(self._bytes_of, ids)

    @cached_property
    def _bytes_of(self) -> list[bytes]:
        return bytes_of(self.tokens)

    def _ids_of(self, pieces: list[str]) -> Iterable[list[int]]:
        return (encoding.ids for encoding in self.library.encode_batch_fast(pieces, add_special_tokens=False))


def _sample(counter: PieceCounter) -> Iterator[str]:
    """Pieces as often as they occur, or in that proportion; of too many the most frequent."""
    scale = -(-counter.total // _MOST_PIECES_LEARNT_FROM)
    room = _MOST_BYTES_LEARNT_FROM
    for piece, times in counter.most_frequent():
        room -= len(piece.encode())
        if times < scale or room < 0:
            return
        # A merge that spells the end mark would take its id.
        if END not in piece:
            yield from itertools.repeat(piece, times // scale)
