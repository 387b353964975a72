"""What is done to each source and chunk of a text: pure functions, which run on whichever core or machine."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import pyarrow as pa

from lstmgan_dist.corpus.bulk import character_counts, gather_index, lowered
from lstmgan_dist.corpus.chunks import Chunk, read_chunks
from lstmgan_dist.corpus.cleaning import Rows, clean, no_mending
from lstmgan_dist.corpus.findings import Case, Findings
from lstmgan_dist.corpus.settings import Corpus
from lstmgan_dist.corpus.sources import Source
from lstmgan_dist.corpus.splits import Cut, Purpose, SplitRows, split
from lstmgan_dist.corpus.tokenizer import Counted, Encoded, Tokenizer
from lstmgan_dist.corpus.tokenizers import TOKENIZERS
from lstmgan_dist.errors import UserError
from lstmgan_dist.storage import file_size
from lstmgan_dist.tokens import END_ID

Result = TypeVar("Result")


def numbered_chunks(settings: Corpus, source: Source) -> Iterator[tuple[int, Chunk]]:
    """The chunks of a source, from 0: read where this runs, which may be another machine than the one that found it.

    Raises:
        UserError: if it is another file here, or none.
    """
    if source.format not in ("builtin", "made"):
        try:
            size = file_size(source.url, source.storage)
        except FileNotFoundError:
            size = None
        if size != source.size:
            found = "is not there" if size is None else f"has {size:,} bytes instead of {source.size:,}"
            raise UserError(
                f"{source} {found} on {platform.node()}: text that several machines prepare has to lie where each "
                "of them reads the same, on a shared file system or behind a URL, and must not change meanwhile."
            )
    yield from enumerate(read_chunks(source, settings))


def with_location(function: Callable[[int, Chunk], Result], numbered: tuple[int, Chunk]) -> tuple[str, int, Result]:
    """The result for a chunk, with the address of its source and how far that is read."""
    number, chunk = numbered
    return chunk.source.url, chunk.bytes_read, function(number, chunk)


def measure(settings: Corpus, number: int, chunk: Chunk) -> int:
    """Characters of a chunk."""
    texts = split(clean(chunk, settings), number, settings, "train", None)["train"].texts
    return int(character_counts(texts).sum())


@dataclass(frozen=True)
class CountedChunk:
    """What the vocabulary is made from. counted: None where nothing has to be counted. labels: texts of each."""

    counted: Counted | None
    labels: Mapping[str, int]


def count(settings: Corpus, purpose: Purpose, cut: Cut | None, number: int, chunk: Chunk) -> CountedChunk:
    """What the vocabulary is made from: the training text of a chunk, what it answers, and its labels."""
    train = split(clean(chunk, settings), number, settings, purpose, cut).get("train")
    texts = train.texts if train else pa.array([], pa.string())
    beside = train.beside if train else {}
    if "source" in beside:
        texts = pa.concat_arrays([texts, beside["source"]])
    kind = TOKENIZERS[settings.tokenizer.kind]
    labels: Counter[str] = Counter(beside["label"].to_pylist() if "label" in beside else ())
    return CountedChunk(kind.open().count(texts) if kind.is_counted else None, labels)


@dataclass(frozen=True)
class EncodedPart:
    """The tokens of one split from one chunk.

    characters: of the text, and one for every end mark. unknown: tokens of the text that are `<unk>`. labels: how many
    texts have each label, int64.
    """

    encoded: Encoded
    characters: int
    unknown: int
    labels: np.ndarray


@dataclass(frozen=True)
class EncodedChunk:
    """What became of a chunk: the tokens of each split, and what was wrong."""

    parts: Mapping[str, EncodedPart]
    findings: Findings


def encode(
    settings: Corpus, purpose: Purpose, cut: Cut | None, tokenizer: Tokenizer, number: int, chunk: Chunk
) -> EncodedChunk:
    """The tokens of a chunk by split, none longer than allowed, each behind its context."""
    rows = clean(chunk, settings)
    parts = {
        name: _encoded_part(part, rows, settings, tokenizer)
        for name, part in split(rows, number, settings, purpose, cut).items()
    }
    return EncodedChunk(parts, rows.findings)


def _encoded_part(part: SplitRows, rows: Rows, settings: Corpus, tokenizer: Tokenizer) -> EncodedPart:
    # A vocabulary from elsewhere may be of lower case though the settings do not say so.
    lower = lowered if tokenizer.views.lower and not settings.tokenizer.lower else lambda texts: texts
    texts = tokenizer.encode_rows(lower(part.texts), last_ends=part.ends)
    characters_N = tokenizer.views.character_counts(part.texts)
    labels_N = sources = None
    if settings.layout == "sentences":
        fit = _Fit(part, rows, settings)
        whole, texts = texts, fit.limited(texts, "this sentence", "max_length")
        if texts is not whole:  # a text that is cut short keeps its share of the characters
            characters_N = characters_N * (texts.lengths_N - 1) // np.maximum(whole.lengths_N - 1, 1)
        if "source" in part.beside:
            sources = fit.limited(
                tokenizer.encode_rows(lower(part.beside["source"])),
                f"the {settings.columns['source']} of this row",
                "max_source_length",
            )
        if "label" in part.beside:
            labels_N = fit.labels(tokenizer)
        if not fit.kept_N.all():
            texts, characters_N = texts.take(fit.kept_N), characters_N[fit.kept_N]
            sources = sources and sources.take(fit.kept_N)
            labels_N = None if labels_N is None else labels_N[fit.kept_N]
    ends = len(characters_N) - (not part.ends)
    unknown = 0 if tokenizer.unknown_id is None else np.count_nonzero(texts.tokens_T == tokenizer.unknown_id)
    numbers_N = np.array([], np.int64) if labels_N is None else labels_N - tokenizer.vocabulary_size
    return EncodedPart(
        _with_contexts(texts, labels_N, sources),
        int(characters_N.sum()) + ends,
        int(unknown),
        np.bincount(numbers_N, minlength=len(tokenizer.labels)),
    )


class _Fit:
    """Which texts of a part are fit for the corpus, kept_N; the others are told in the findings."""

    def __init__(self, part: SplitRows, rows: Rows, settings: Corpus) -> None:
        self.kept_N = np.ones(len(part.texts), bool)
        self._part = part
        self._rows = rows
        self._settings = settings

    def limited(self, encoded: Encoded, what: str, setting: Literal["max_length", "max_source_length"]) -> Encoded:
        """Rows of at most as many tokens as a setting says: long ones are cut short, or no longer kept."""
        lengths_N, limit = encoded.lengths_N, getattr(self._settings, setting)
        long = np.flatnonzero(lengths_N > limit)
        if not len(long):
            return encoded
        counted = [index for index in long.tolist() if self.kept_N[index] and self._number(index) not in self._rows.cut]
        cases = (
            self._case(index, f"{what} has {lengths_N[index]} tokens with its end mark, more than {setting} {limit}")
            for index in counted
        )
        if counted:
            self._rows.findings.long(cases, len(counted), self._settings, setting)
        if self._settings.on_long_text == "skip":
            self.kept_N[long] = False
            return encoded
        shortened_N = np.minimum(lengths_N, limit)
        tokens_T = encoded.tokens_T[gather_index(encoded.stops_N - lengths_N, shortened_N)]
        tokens_T[np.cumsum(shortened_N) - 1] = END_ID
        return Encoded(tokens_T, shortened_N)

    def labels(self, tokenizer: Tokenizer) -> np.ndarray:
        """The token of each text's label; text whose label no training text has is bad text."""
        labels = self._part.beside["label"].dictionary_encode()
        known = {label: tokenizer.vocabulary_size + number for number, label in enumerate(tokenizer.labels)}
        tokens = np.array([known.get(label, END_ID) for label in labels.dictionary.to_pylist()], np.int64)
        tokens_N = tokens[labels.indices.to_numpy(zero_copy_only=False)]
        for index in np.flatnonzero((tokens_N == END_ID) & self.kept_N).tolist():
            label = self._part.beside["label"][index].as_py()
            case = self._case(index, f"no training text has the label {label!r}")
            self._rows.findings.bad(case, no_mending(self._settings.on_bad_text))
        self.kept_N &= tokens_N != END_ID
        return tokens_N

    def _number(self, index: int) -> int:
        return int(self._part.numbers[index])

    def _case(self, index: int, reason: str) -> Case:
        return Case(str(self._rows.source), self._rows.source.location(self._number(index)), reason)


def _with_contexts(texts: Encoded, labels_N: np.ndarray | None, sources: Encoded | None) -> Encoded:
    """Texts behind their contexts: a label, what they answer, and an end mark."""
    if labels_N is None and sources is None:
        return texts
    rows = len(texts.lengths_N)
    contexts = sources or Encoded(np.zeros(rows, texts.tokens_T.dtype), np.ones(rows, np.int64))
    # Laid out in one: labels, contexts, texts; then gathered in stretches, the three of each row behind one another.
    laid_out = [np.array([], np.int64) if labels_N is None else labels_N, contexts.tokens_T, texts.tokens_T]
    tokens = np.concatenate([part.astype(texts.tokens_T.dtype) for part in laid_out])
    label_rows = 0 if labels_N is None else rows
    lengths_N3 = np.stack([np.full(rows, label_rows > 0, np.int64), contexts.lengths_N, texts.lengths_N], axis=1)
    firsts_N3 = np.stack(
        [
            np.arange(rows),
            label_rows + contexts.stops_N - contexts.lengths_N,
            label_rows + len(contexts.tokens_T) + texts.stops_N - texts.lengths_N,
        ],
        axis=1,
    )
    index = gather_index(firsts_N3.reshape(-1), lengths_N3.reshape(-1))
    return Encoded(tokens[index], lengths_N3.sum(axis=1), lengths_N3[:, :2].sum(axis=1))
