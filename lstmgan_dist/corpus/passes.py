"""What is done to each source and chunk of a text: pure functions, which run on whichever core or machine."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pyarrow as pa

from lstmgan_dist.corpus.bulk import character_counts, gather_index, lowered
from lstmgan_dist.corpus.chunks import Chunk, read_chunks
from lstmgan_dist.corpus.cleaning import Rows, clean
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
    if source.format != "builtin":
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


def count(settings: Corpus, purpose: Purpose, cut: Cut | None, number: int, chunk: Chunk) -> Counted:
    """What the vocabulary is made from: the training text of a chunk."""
    parts = split(clean(chunk, settings), number, settings, purpose, cut)
    texts = parts["train"].texts if "train" in parts else pa.array([], pa.string())
    return TOKENIZERS[settings.tokenizer.kind].open().count(texts)


@dataclass(frozen=True)
class EncodedPart:
    """The tokens of one split from one chunk. characters: of the text, and one for every end mark."""

    encoded: Encoded
    characters: int
    unknown: int


@dataclass(frozen=True)
class EncodedChunk:
    """What became of a chunk: the tokens of each split, and what was wrong."""

    parts: Mapping[str, EncodedPart]
    findings: Findings


def encode(
    settings: Corpus, purpose: Purpose, cut: Cut | None, tokenizer: Tokenizer, number: int, chunk: Chunk
) -> EncodedChunk:
    """The tokens of a chunk by split, none longer than allowed."""
    rows = clean(chunk, settings)
    parts: dict[str, EncodedPart] = {}
    for name, part in split(rows, number, settings, purpose, cut).items():
        # A vocabulary from elsewhere may be of lower case though the settings do not say so.
        texts = lowered(part.texts) if tokenizer.views.lower and not settings.tokenizer.lower else part.texts
        encoded = tokenizer.encode_rows(texts, last_ends=part.ends)
        characters_N = tokenizer.views.character_counts(part.texts)
        if settings.layout == "sentences":
            encoded, characters_N = _limited(encoded, characters_N, part, rows, settings)
        ends = len(characters_N) - (not part.ends)
        unknown = 0 if tokenizer.unknown_id is None else np.count_nonzero(encoded.tokens_T == tokenizer.unknown_id)
        parts[name] = EncodedPart(encoded, int(characters_N.sum()) + ends, int(unknown))
    return EncodedChunk(parts, rows.findings)


def _limited(
    encoded: Encoded, characters_N: np.ndarray, part: SplitRows, rows: Rows, settings: Corpus
) -> tuple[Encoded, np.ndarray]:
    """Sentences of at most max_length tokens; one that is cut short keeps its share of the characters."""
    lengths_N, limit = encoded.lengths_N, settings.max_length
    long = np.flatnonzero(lengths_N > limit)
    if not len(long):
        return encoded, characters_N
    counted = [index for index in long if int(part.numbers[index]) not in rows.cut] if rows.cut else long.tolist()
    cases = (
        Case(
            str(rows.source),
            rows.source.location(int(part.numbers[index])),
            f"this sentence has {lengths_N[index]} tokens with its end mark, more than max_length {limit}",
        )
        for index in counted
    )
    if counted:
        rows.findings.long(cases, len(counted), settings)
    starts_N = np.cumsum(lengths_N) - lengths_N
    if settings.on_long_text == "skip":
        kept = lengths_N <= limit
        tokens_T = encoded.tokens_T[gather_index(starts_N[kept], lengths_N[kept])]
        return Encoded(tokens_T, lengths_N[kept]), characters_N[kept]
    shortened_N = np.minimum(lengths_N, limit)
    tokens_T = encoded.tokens_T[gather_index(starts_N, shortened_N)]
    tokens_T[np.cumsum(shortened_N) - 1] = END_ID
    return Encoded(tokens_T, shortened_N), characters_N * (shortened_N - 1) // np.maximum(lengths_N - 1, 1)
