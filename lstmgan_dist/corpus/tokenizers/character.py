"""Every character is a token: table look-ups by code point."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from tokenizers import decoders

from lstmgan_dist.corpus.bulk import JoinedRows, character_counts, code_points, lengths_to
from lstmgan_dist.corpus.settings import TokenizerSettings
from lstmgan_dist.corpus.tokenizer import Counted, Encoded, Tokenizer, most_frequent, splitter_at, whole_tokens
from lstmgan_dist.corpus.views import Views
from lstmgan_dist.tokens import END_ID, UNKNOWN_ID

_CHARACTERS = r"[\s\S]"


class CharacterTokenizer(Tokenizer):
    """Every character is a token; those outside the vocabulary are `<unk>`."""

    kind = "character"
    unknown_id = UNKNOWN_ID

    @classmethod
    def recognises(cls, model: dict[str, Any], splitter: dict[str, Any]) -> bool:
        return model["type"] == "WordLevel" and splitter.get("pattern") == {"Regex": _CHARACTERS}

    @classmethod
    def count(cls, texts: pa.StringArray) -> np.ndarray:
        return code_points(texts)

    @classmethod
    def choose(cls, settings: TokenizerSettings, chunks: Iterable[Counted]) -> CharacterTokenizer:
        totals = np.zeros(0x110000, np.int64)
        for counted in chunks:
            assert isinstance(counted, np.ndarray)
            totals[: len(counted)] += counted
        counts = {chr(code): int(totals[code]) for code in np.flatnonzero(totals)}
        library = whole_tokens(most_frequent(counts, settings), splitter_at(_CHARACTERS))
        library.decoder = decoders.Fuse()
        return cls(library, Views.of(settings))

    def _text_of(self, ids: Sequence[int]) -> str:
        return "".join("\ufffd" if token == UNKNOWN_ID else self.tokens[token] for token in ids)

    def _encode(self, text: JoinedRows) -> Encoded:
        if text.is_ascii:
            marks_N, table = text.marks_N, self._ascii_table
            if table is not None:
                tokens_T = np.frombuffer(text.data.tobytes().translate(table), np.uint8).astype(self.token_type)
            else:
                tokens_T = self._code_point_table[text.data]
        else:
            marks_N = np.cumsum(character_counts(text.rows) + 1) - 1
            tokens_T = self._code_point_table[text.code_points()]
        tokens_T[marks_N] = END_ID
        return Encoded(tokens_T, lengths_to(marks_N))

    @cached_property
    def _code_point_table(self) -> np.ndarray:
        table = np.full(0x110000, UNKNOWN_ID, self.token_type)
        for token, character in enumerate(self.tokens):
            if len(character) == 1:
                table[ord(character)] = token
        return table

    @cached_property
    def _ascii_table(self) -> bytes | None:
        """For `bytes.translate`, the fastest look-up there is, where every ASCII character's id fits into a byte."""
        ids = self._code_point_table[:128]
        return ids.astype(np.uint8).tobytes() + bytes(128) if ids.max() < 256 else None
