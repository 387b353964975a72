"""Every byte of the UTF-8 text is a token: byte b has id b + 1."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from lstmgan_dist.corpus.bulk import JoinedRows, lengths_to
from lstmgan_dist.corpus.settings import TokenizerSettings
from lstmgan_dist.corpus.tokenizer import END, Counted, Encoded, Tokenizer
from lstmgan_dist.corpus.views import Views
from lstmgan_dist.tokens import END_ID


class ByteTokenizer(Tokenizer):
    """Every byte is a token, and no text decides on the vocabulary."""

    kind = "byte"
    unknown_id = None

    @classmethod
    def recognises(cls, model: dict[str, Any], splitter: dict[str, Any]) -> bool:
        return model["type"] == "BPE" and not model["merges"]

    @classmethod
    def choose(cls, settings: TokenizerSettings, chunks: Iterable[Counted]) -> ByteTokenizer:
        return byte_tokenizer(Views.of(settings))

    def _text_of(self, ids: Sequence[int]) -> str:
        return text_of_bytes(self._bytes_of, ids)

    @cached_property
    def _bytes_of(self) -> list[bytes]:
        return bytes_of(self.tokens)

    def _encode(self, text: JoinedRows) -> Encoded:
        tokens_T = text.data.astype(self.token_type)
        tokens_T += 1
        tokens_T[text.marks_N] = END_ID
        return Encoded(tokens_T, lengths_to(text.marks_N))


def byte_tokenizer(views: Views) -> ByteTokenizer:
    """The tokenizer of bytes."""
    return ByteTokenizer(merged_bytes([]), views)


def merged_bytes(merges: Sequence[tuple[str, str]]) -> tokenizers.Tokenizer:
    """Gives ids to the bytes (GPT-2's alphabet and cuts), then to merges of two tokens in their order."""
    tokens = [END, *byte_alphabet(), *(left + right for left, right in merges)]
    library = tokenizers.Tokenizer(models.BPE({token: id_ for id_, token in enumerate(tokens)}, list(merges)))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=bool(merges))
    library.decoder = decoders.ByteLevel()
    return library


def byte_alphabet() -> list[str]:
    """The printable letter that stands for each byte, as in GPT-2: itself where printable, else one from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def bytes_of(tokens: Sequence[str]) -> list[bytes]:
    """The bytes of each token that is written in the alphabet; none of the end mark, the first."""
    value = {letter: byte for byte, letter in enumerate(byte_alphabet())}
    return [b"", *(bytes(value[letter] for letter in token) for token in tokens[1:])]


def text_of_bytes(tokens: Sequence[bytes], ids: Sequence[int]) -> str:
    """The text of some ids, whose bytes need not be whole characters."""
    return b"".join(tokens[token] for token in ids).decode("utf-8", errors="replace")
