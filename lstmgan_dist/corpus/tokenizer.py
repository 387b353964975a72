"""Text to token ids and back, saved as one tokenizer.json: what all kinds of tokenizer share.

The file is the `tokenizers` library's own, and its encoding is the truth. The kinds make the same ids several times
faster, by looking at text in bulk.

Shapes: N rows of text; T tokens in all of them.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import tokenizers
from tokenizers import Regex, models, pre_tokenizers

from lstmgan_dist.corpus.bulk import JoinedRows
from lstmgan_dist.corpus.settings import TokenizerSettings
from lstmgan_dist.corpus.tokenizers import TOKENIZERS
from lstmgan_dist.corpus.views import Views
from lstmgan_dist.errors import UserError
from lstmgan_dist.settings import either
from lstmgan_dist.tokens import END_ID, UNKNOWN_ID

END, UNKNOWN = "<end>", "<unk>"
# Where tokenizer.json tells of views that the library does not know.
_VIEWS = "views"

# What is counted of a chunk of text: pieces with their counts, or the count of every code point.
Counted = pa.StructArray | np.ndarray
# What becomes of text that the vocabulary lacks.
OnUnknown = Literal["error", "skip", "replace"]


@dataclass(frozen=True)
class Encoded:
    """The tokens of some rows, end to end.

    tokens_T: unsigned integers. lengths_N: tokens of each row, int64, the end mark included.
    """

    tokens_T: np.ndarray
    lengths_N: np.ndarray


class Tokenizer(ABC):
    """A vocabulary and the rule that cuts text into it.

    Id 0 is `<end>`, which no text encodes to. kind: its word in `TOKENIZERS`. unknown_id: that of `<unk>`; none if the
    vocabulary covers every text. views: what text goes through first.
    """

    kind: ClassVar[str]
    unknown_id: ClassVar[int | None]

    def __init__(self, library: tokenizers.Tokenizer, views: Views) -> None:
        self.library = library
        self.views = views
        normalizer = views.normalizer()
        if normalizer is not None:
            library.normalizer = normalizer
        self.vocabulary_size: int = library.get_vocab_size()
        self.token_type = np.uint16 if self.vocabulary_size <= 2**16 else np.uint32

    # --- what a kind is ---

    @classmethod
    @abstractmethod
    def recognises(cls, model: dict[str, Any], splitter: dict[str, Any]) -> bool:
        """Whether a tokenizer.json with this model and this pre-tokenizer is of this kind."""

    @classmethod
    def count(cls, texts: pa.StringArray) -> Counted:
        """What a vocabulary is chosen by, of one chunk: a pure function."""
        raise NotImplementedError(f"nothing is counted for {cls.kind}")

    @classmethod
    @abstractmethod
    def choose(cls, settings: TokenizerSettings, chunks: Iterable[Counted]) -> Tokenizer:
        """The tokenizer whose vocabulary the counts of some chunks make, in the chunks' order and in bounded memory.

        Raises:
            UserError: if the vocabulary size cannot hold what it must.
        """

    @abstractmethod
    def _encode(self, text: JoinedRows) -> Encoded:
        """The ids of rows that have gone through the views; they are those of the library's own `encode`."""

    @abstractmethod
    def _text_of(self, ids: Sequence[int]) -> str:
        """The text of ids among which there is no end mark."""

    # --- what all do alike ---

    @staticmethod
    def from_json(content: bytes) -> Tokenizer:
        """The tokenizer that a tokenizer.json of ours holds.

        Raises:
            UserError: if it is of no kind that is known.
        """
        state = json.loads(content)
        views = Views.of_state(state)
        if not views.are_the_librarys:
            del state[_VIEWS]
            content = json.dumps(state).encode()
        library = tokenizers.Tokenizer.from_buffer(content)
        for kind in TOKENIZERS.values():
            opened = kind.open()
            if opened.recognises(state["model"], state["pre_tokenizer"] or {}):
                return opened(library, views)
        raise UserError(f"This tokenizer.json is of no known kind, {either(TOKENIZERS)}: prepare the corpus again.")

    def to_json(self) -> bytes:
        """What tokenizer.json holds.

        `tokenizers.Tokenizer.from_file` reads it, unless it has views that the library would pass over: these stand
        first, under a key that it refuses.
        """
        written = self.library.to_str(pretty=True)
        if not self.views.are_the_librarys:
            written = json.dumps({_VIEWS: self.views.state(), **json.loads(written)}, ensure_ascii=False, indent=2)
        return written.encode()

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """The token of each id; bytes and byte pairs in the library's printable alphabet."""
        vocabulary = self.library.get_vocab()
        return tuple(sorted(vocabulary, key=vocabulary.__getitem__))

    def encode(self, text: str, *, on_unknown: OnUnknown = "error") -> list[int]:
        """The ids of one text, without an end mark.

        Raises:
            UserError: naming what the vocabulary lacks, if `on_unknown` is error.
        """
        return self._ids_of_text(self._seen(text), on_unknown)

    def _seen(self, text: str) -> str:
        """A text as the library is to get it, which goes through its own views by itself."""
        return text if self.views.are_the_librarys else self.views.seen_text(text)

    def _ids_of_text(self, text: str, on_unknown: OnUnknown) -> list[int]:
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

    def encode_prompt(self, text: str, *, on_unknown: OnUnknown = "error") -> list[int]:
        """The ids of what a person types; errors as of `encode`."""
        return self.encode(text, on_unknown=on_unknown)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids up to the first `<end>`, with words put together as one writes them."""
        kept: list[int] = []
        for token in ids:
            if token == END_ID:
                break
            kept.append(int(token))
        return self._text_of(kept)

    def encode_rows(self, rows: pa.StringArray, *, last_ends: bool = True) -> Encoded:
        """The ids of many texts that have gone through the views, each with `<end>` after it.

        The ids are those of `encode`. last_ends: false where the last text goes on, and has no `<end>`.
        """
        encoded = self._encode(JoinedRows(rows))
        if last_ends or not len(rows):
            return encoded
        lengths_N = encoded.lengths_N.copy()
        lengths_N[-1] -= 1
        return Encoded(encoded.tokens_T[:-1], lengths_N)


# --- vocabularies of whole tokens: characters and words --------------------------------------------------------------


def splitter_at(pattern: str) -> pre_tokenizers.PreTokenizer:
    """Cuts text into what matches a pattern, and drops the rest."""
    return pre_tokenizers.Split(Regex(pattern), "removed", invert=True)


def whole_tokens(tokens: Sequence[str], splitter: pre_tokenizers.PreTokenizer) -> tokenizers.Tokenizer:
    """Gives an id to each stretch that a splitter cuts out; those not listed are `<unk>`, id 1."""
    vocabulary = {token: id_ for id_, token in enumerate([END, UNKNOWN, *tokens])}
    assert vocabulary[UNKNOWN] == UNKNOWN_ID
    library = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    library.pre_tokenizer = splitter
    return library


def most_frequent(counts: dict[str, int], settings: TokenizerSettings) -> list[str]:
    """The tokens that a vocabulary has room for beside `<end>` and `<unk>`; ties are in the order of code points."""
    kept = sorted(token for token, times in counts.items() if times >= settings.min_count)
    kept.sort(key=counts.__getitem__, reverse=True)  # stable
    return kept if settings.vocabulary_size is None else kept[: settings.vocabulary_size - 2]
