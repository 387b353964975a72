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

from lstmgan_dist.corpus.bulk import JoinedRows, gather_index
from lstmgan_dist.corpus.settings import TokenizerSettings
from lstmgan_dist.corpus.tokenizers import TOKENIZERS
from lstmgan_dist.corpus.views import Views
from lstmgan_dist.errors import UserError
from lstmgan_dist.settings import either
from lstmgan_dist.tokens import END_ID, UNKNOWN_ID

END, UNKNOWN = "<end>", "<unk>"
_LABEL, _LABEL_END = "<label:", ">"
_LABELS_SHOWN = 10
# Where tokenizer.json tells of views that the library does not know.
_VIEWS = "views"

# What is counted of a chunk of text: pieces with their counts, or the count of every code point.
Counted = pa.StructArray | np.ndarray
# What becomes of text that the vocabulary lacks.
OnUnknown = Literal["error", "skip", "replace"]


@dataclass(frozen=True)
class Encoded:
    """The tokens of some rows, end to end.

    tokens_T: unsigned integers. lengths_N: tokens of each row, int64, the end mark included. starts_N: int64, how many
    tokens of each row are its context, which is read and not learnt: a label, or what the text answers, and an end
    mark; None where no row has one.
    """

    tokens_T: np.ndarray
    lengths_N: np.ndarray
    starts_N: np.ndarray | None = None

    @staticmethod
    def join(parts: Sequence[Encoded]) -> Encoded:
        """Several as one; at least one."""
        if len(parts) == 1:
            return parts[0]
        starts = [part.starts_N for part in parts if part.starts_N is not None]
        assert len(starts) in (0, len(parts)), "texts with contexts and texts without"
        return Encoded(
            np.concatenate([part.tokens_T for part in parts]),
            np.concatenate([part.lengths_N for part in parts]),
            np.concatenate(starts) if starts else None,
        )

    @cached_property
    def stops_N(self) -> np.ndarray:
        """Where in the tokens each row ends, int64."""
        return np.cumsum(self.lengths_N)

    def take(self, which: np.ndarray | slice) -> Encoded:
        """Some of the rows: by their numbers, by a mask, or a slice."""
        lengths_N = self.lengths_N[which]
        starts_N = None if self.starts_N is None else self.starts_N[which]
        if isinstance(which, slice):
            first, stop, _ = which.indices(len(self.lengths_N))
            begin, end = (int(self.stops_N[row - 1]) if row else 0 for row in (first, max(first, stop)))
            return Encoded(self.tokens_T[begin:end], lengths_N, starts_N)
        firsts_N = (self.stops_N - self.lengths_N)[which]
        return Encoded(self.tokens_T[gather_index(firsts_N, lengths_N)], lengths_N, starts_N)

    @property
    def texts(self) -> Encoded:
        """The rows without their contexts."""
        if self.starts_N is None:
            return self
        lengths_N = self.lengths_N - self.starts_N
        return Encoded(self.tokens_T[gather_index(self.stops_N - lengths_N, lengths_N)], lengths_N)

    @property
    def texts_length(self) -> int:
        """Tokens of the rows without their contexts."""
        return len(self.tokens_T) - (0 if self.starts_N is None else int(self.starts_N.sum()))


class Tokenizer(ABC):
    """A vocabulary and the rule that cuts text into it.

    Id 0 is `<end>`, which no text encodes to. kind: its word in `TOKENIZERS`. unknown_id: that of `<unk>`; none if the
    vocabulary covers every text. views: what text goes through first. vocabulary_size: tokens that texts are made of.
    labels: what texts may be labelled with; each is a token behind those, which no text encodes to, and which is read
    and never written.
    """

    kind: ClassVar[str]
    unknown_id: ClassVar[int | None]

    def __init__(self, library: tokenizers.Tokenizer, views: Views) -> None:
        self.library = library
        self.views = views
        normalizer = views.normalizer()
        if normalizer is not None:
            library.normalizer = normalizer
        vocabulary = library.get_vocab()
        # No kind has a token of several characters that begins like this, but for those that `with_labels` adds.
        labels = sorted((id_, token) for token, id_ in vocabulary.items() if token.startswith(_LABEL))
        self.labels = tuple(token[len(_LABEL) : -len(_LABEL_END)] for _, token in labels)
        self.vocabulary_size: int = len(vocabulary) - len(labels)
        self.token_type = np.uint16 if len(vocabulary) <= 2**16 else np.uint32

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

    def with_labels(self, labels: Sequence[str]) -> Tokenizer:
        """The same vocabulary, and labels behind it."""
        assert not self.labels
        if not labels:
            return self
        state = json.loads(self.library.to_str())
        for number, label in enumerate(labels):
            state["model"]["vocab"][f"{_LABEL}{label}{_LABEL_END}"] = self.vocabulary_size + number
        return type(self)(tokenizers.Tokenizer.from_str(json.dumps(state)), self.views)

    def label_id(self, label: str) -> int:
        """The token of a label.

        Raises:
            UserError: if there is none, naming some that there are.
        """
        if label in self.labels:
            return self.vocabulary_size + self.labels.index(label)
        if not self.labels:
            raise UserError(f"There is no label {label!r}, for this text has no labels: leave --label out.")
        some = self.labels[:_LABELS_SHOWN]
        known = either(some) if some == self.labels else f"{', '.join(some)} and so on, {len(self.labels)} in all"
        raise UserError(f"There is no label {label!r} in this text; there is {known}.")

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """The token of each id of the vocabulary; bytes and byte pairs in the library's printable alphabet."""
        vocabulary = self.library.get_vocab()
        return tuple(sorted(vocabulary, key=vocabulary.__getitem__)[: self.vocabulary_size])

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

    def in_context(self, ids: Sequence[int], text: str) -> str:
        """A text behind its context, as people read it: its label in brackets, and what it answers before an arrow."""
        labels = [self.labels[token - self.vocabulary_size] for token in ids if token >= self.vocabulary_size]
        source = self.decode(token for token in ids if token < self.vocabulary_size)
        return " ".join([*(f"[{label}]" for label in labels), *([f"{source} →"] if source else []), text])

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
