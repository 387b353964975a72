"""Text to token ids and back: characters, bytes, words or byte-pair encoding, saved as one tokenizer.json.

The file is the `tokenizers` library's own, and its encoding is the truth. What is here makes the same ids several times
faster, by looking at text in bulk: characters and bytes are table look-ups, and words and byte pairs are looked up by
the *piece*, a stretch of text that no token can cross, so that the library sees each distinct piece only once.

Shapes: N rows of text; T tokens in all of them.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, cast

import numpy as np
import pyarrow as pa
import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers

from lstmgan_dist.corpus.bulk import JoinedRows, character_counts, gather_index, lengths_to, lowered
from lstmgan_dist.corpus.detokenize import join_words
from lstmgan_dist.errors import UserError
from lstmgan_dist.tokens import END_ID, UNKNOWN_ID

END, UNKNOWN = "<end>", "<unk>"

Kind = Literal["character", "byte", "word", "bpe"]

# A word keeps what ties it together (don't, close-up, e.g, 10:30, and/or, 1,000); a contraction that the text has cut
# off already ('s) stays whole; line ends, dashes, dots, quotes and () are tokens; so is every other sign by itself.
_WORDS = r"\n|<unk>|\w+(?:[-'’./:]\w+|,\d+)*|['’](?:s|re|ve|ll|d|m|t)\b|\.{2,}|-{2,}|``|''|\(\)|\S"
_CHARACTERS = r"[\s\S]"

# Most pieces are one plain word, perhaps with a sign behind it: no need to ask the library.
_PLAIN = re.compile(r"[ \t\r]?([A-Za-z0-9]+)([,.;:!?)]?)")

_MOST_CACHED_PIECES = 500_000
_LONGEST_CACHED_PIECE = 64


@dataclass(frozen=True)
class Encoded:
    """The tokens of some rows, end to end.

    tokens_T: unsigned integers. lengths_N: tokens of each row, int64, the end mark included.
    """

    tokens_T: np.ndarray
    lengths_N: np.ndarray


class Tokenizer:
    """A vocabulary and the rule that cuts text into it.

    Id 0 is `<end>`, which no text encodes to. Characters and words have `<unk>`, id 1; bytes and byte pairs cover every
    text.
    """

    def __init__(self, library: tokenizers.Tokenizer) -> None:
        self.library = library
        state = json.loads(library.to_str())
        model, splitter = state["model"], state["pre_tokenizer"]
        self.kind: Kind
        if model["type"] == "BPE":
            self.kind = "bpe" if model["merges"] else "byte"
        else:
            self.kind = "character" if splitter["pattern"]["Regex"] == _CHARACTERS else "word"
        self.lower: bool = state["normalizer"] is not None
        self.vocabulary_size: int = library.get_vocab_size()
        self.unknown_id: int | None = UNKNOWN_ID if self.kind in ("character", "word") else None
        self.token_type = np.uint16 if self.vocabulary_size <= 2**16 else np.uint32
        self._typecode = np.dtype(self.token_type).char
        self._pieces: dict[str, bytes] = {}

    @classmethod
    def from_json(cls, content: bytes) -> Tokenizer:
        """The tokenizer that a tokenizer.json of ours holds."""
        return cls(tokenizers.Tokenizer.from_buffer(content))

    def to_json(self) -> bytes:
        """What tokenizer.json holds; `tokenizers.Tokenizer.from_file` reads it."""
        return self.library.to_str(pretty=True).encode()

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """The token of each id; bytes and byte pairs in the library's printable alphabet."""
        vocabulary = self.library.get_vocab()
        return tuple(sorted(vocabulary, key=vocabulary.__getitem__))

    def encode(self, text: str, *, on_unknown: Literal["error", "skip", "replace"] = "error") -> list[int]:
        """The ids of one text, without an end mark.

        Raises:
            UserError: naming what the vocabulary lacks, if `on_unknown` is error.
        """
        encoding = self.library.encode(text, add_special_tokens=False)
        if self.unknown_id is None or self.unknown_id not in encoding.ids or on_unknown == "replace":
            return encoding.ids
        if on_unknown == "skip":
            return [token for token in encoding.ids if token != self.unknown_id]
        lacking = [
            text[start:stop]
            for token, (start, stop) in zip(encoding.ids, encoding.offsets, strict=True)
            if token == self.unknown_id and text[start:stop] != UNKNOWN
        ]
        if not lacking:
            return encoding.ids
        named = ", ".join(map(repr, dict.fromkeys(lacking)))
        raise UserError(
            f"The vocabulary lacks the {self.kind}{'s' if len(set(lacking)) > 1 else ''} {named} of {text!r}: "
            "leave them out, or say --unknown skip or replace."
        )

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids up to the first `<end>`, with words put together as one writes them."""
        kept: list[int] = []
        for token in ids:
            if token == END_ID:
                break
            kept.append(int(token))
        if self.kind in ("byte", "bpe"):
            return b"".join(self._bytes_of[token] for token in kept).decode("utf-8", errors="replace")
        if self.kind == "character":
            return "".join("\ufffd" if token == UNKNOWN_ID else self.tokens[token] for token in kept)
        return join_words([self.tokens[token] for token in kept])

    def encode_rows(self, rows: pa.StringArray, *, last_ends: bool = True) -> Encoded:
        """The ids of many texts, each with `<end>` after it; the last one without if `last_ends` is false.

        The ids are those of the library's own `encode`.
        """
        text = JoinedRows(lowered(rows) if self.lower else rows)
        if self.kind == "byte":
            encoded = self._encode_bytes(text)
        elif self.kind == "character":
            encoded = self._encode_characters(text)
        else:
            encoded = self._encode_pieces(text)
        if last_ends or not len(rows):
            return encoded
        lengths_N = encoded.lengths_N.copy()
        lengths_N[-1] -= 1
        return Encoded(encoded.tokens_T[:-1], lengths_N)

    def _encode_bytes(self, text: JoinedRows) -> Encoded:
        tokens_T = text.data.astype(self.token_type)
        tokens_T += 1
        tokens_T[text.marks_N] = END_ID
        return Encoded(tokens_T, lengths_to(text.marks_N))

    def _encode_characters(self, text: JoinedRows) -> Encoded:
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

    def _encode_pieces(self, text: JoinedRows) -> Encoded:
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

    def _ids_of(self, pieces: list[str]) -> Iterable[list[int]]:
        if self.kind == "bpe":
            return (encoding.ids for encoding in self.library.encode_batch_fast(pieces, add_special_tokens=False))
        vocabulary = self._vocabulary
        return ([vocabulary.get(word, UNKNOWN_ID) for word in split_words(piece)] for piece in pieces)

    @cached_property
    def _vocabulary(self) -> dict[str, int]:
        return self.library.get_vocab()

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

    @cached_property
    def _bytes_of(self) -> list[bytes]:
        value = {letter: byte for byte, letter in enumerate(byte_alphabet())}
        return [b"", *(bytes(value[letter] for letter in token) for token in self.tokens[1:])]


def _splitter(pattern: str) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Split(Regex(pattern), "removed", invert=True)


_WORD_SPLITTER = _splitter(_WORDS)


# --- making one ------------------------------------------------------------------------------------------------------


def character_tokenizer(characters: Sequence[str], *, lower: bool) -> Tokenizer:
    """Every character is a token; those not listed are `<unk>`."""
    return _whole_tokens(characters, _splitter(_CHARACTERS), lower=lower, decoder=decoders.Fuse())


def word_tokenizer(words: Sequence[str], *, lower: bool) -> Tokenizer:
    """Words and signs are tokens; those not listed are `<unk>`."""
    return _whole_tokens(words, _WORD_SPLITTER, lower=lower, decoder=None)


def byte_tokenizer(*, lower: bool) -> Tokenizer:
    """Every byte of the UTF-8 text is a token: byte b has id b + 1."""
    return pair_tokenizer([], lower=lower)


def pair_tokenizer(merges: Sequence[tuple[str, str]], *, lower: bool) -> Tokenizer:
    """Byte-level byte-pair encoding (Sennrich et al. 2016; GPT-2's alphabet and cuts): bytes, then merges in order."""
    tokens = [END, *byte_alphabet(), *(left + right for left, right in merges)]
    library = tokenizers.Tokenizer(models.BPE({token: id_ for id_, token in enumerate(tokens)}, list(merges)))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=bool(merges))
    library.decoder = decoders.ByteLevel()
    if lower:
        library.normalizer = normalizers.Lowercase()
    return Tokenizer(library)


def split_words(text: str) -> list[str]:
    """The words and signs of a text, as the library cuts them."""
    plain = _PLAIN.fullmatch(text)
    if plain:
        return [part for part in plain.groups() if part]
    return [word for word, _ in _WORD_SPLITTER.pre_tokenize_str(text)]


def byte_alphabet() -> list[str]:
    """The printable letter that stands for each byte, as in GPT-2: itself where printable, else one from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def _whole_tokens(
    tokens: Sequence[str], splitter: pre_tokenizers.PreTokenizer, *, lower: bool, decoder: decoders.Decoder | None
) -> Tokenizer:
    vocabulary = {token: id_ for id_, token in enumerate([END, UNKNOWN, *tokens])}
    library = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    library.pre_tokenizer = splitter
    if decoder is not None:
        library.decoder = decoder
    if lower:
        library.normalizer = normalizers.Lowercase()
    return Tokenizer(library)
