"""Which text trains and which is held out: pure functions of the text of one chunk."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lstmgan_dist.corpus.bulk import character_counts, piece_borders
from lstmgan_dist.corpus.cleaning import Rows
from lstmgan_dist.corpus.settings import Corpus, Role
from lstmgan_dist.corpus.tokenizers import TOKENIZERS, TokenizerKind
from lstmgan_dist.corpus.views import Views

# Whether a source is for one purpose, or a share of it is held out.
Purpose = Literal["train", "heldout", "both"]

# The least and the largest share that is held out where none is named, and bytes that are enough: some 6,000 sentences.
_HELDOUT_FRACTIONS, _ENOUGH_HELDOUT = (0.05, 0.2), 360_000


@dataclass(frozen=True)
class SplitRows:
    """Texts of one split from one chunk; its fields are those of `Rows`."""

    texts: pa.StringArray
    numbers: np.ndarray
    ends: bool
    beside: Mapping[Role, pa.StringArray] = field(default_factory=dict)


@dataclass(frozen=True)
class Cut:
    """Where a continuous text is cut in two: the first character, over all chunks, that is held out.

    starts: the first character of each chunk, by the address of its source.
    """

    starts: Mapping[str, Sequence[int]]
    character: int


def heldout_fraction(settings: Corpus, size: int) -> float:
    """The share of a text of so many stored bytes that is held out; 0 bytes are those of a text that no file holds."""
    if settings.heldout_fraction is not None:
        return settings.heldout_fraction
    least, most = _HELDOUT_FRACTIONS
    return least if settings.layout == "continuous" else min(most, max(least, _ENOUGH_HELDOUT / max(size, 1)))


def split(rows: Rows, number: int, settings: Corpus, purpose: Purpose, cut: Cut | None) -> Mapping[str, SplitRows]:
    """The texts of chunk `number` of a source by split, as the model sees them; a split that gets none may be absent.

    What the model sees decides, so that no sentence that it has trained on is held out in another spelling.
    """
    views = Views.of(settings.tokenizer)
    beside: dict[Role, pa.StringArray] = dict(rows.beside)
    if "source" in beside:
        beside["source"] = views.seen(beside["source"])
    whole = SplitRows(views.seen(rows.texts), rows.numbers, rows.ends, beside)
    if purpose != "both":
        return {purpose: whole}
    if cut is not None:
        return _cut_texts(
            whole, cut.character - cut.starts[rows.source.url][number], TOKENIZERS[settings.tokenizer.kind]
        )
    assert settings.heldout_fraction is not None
    rows_of_text = whole.texts
    if "source" in whole.beside:  # one answer may be that to many
        rows_of_text = pc.call_function("binary_join_element_wise", [whole.beside["source"], whole.texts, "\n"])
    heldout = is_heldout(rows_of_text, settings.heldout_fraction)
    return {name: _chosen(whole, which) for name, which in (("train", ~heldout), ("heldout", heldout))}


def _chosen(rows: SplitRows, which: np.ndarray) -> SplitRows:
    mask = pa.array(which)
    beside: dict[Role, pa.StringArray] = {role: column.filter(mask) for role, column in rows.beside.items()}
    return SplitRows(rows.texts.filter(mask), rows.numbers[which], True, beside)


def is_heldout(texts: pa.StringArray, fraction: float) -> np.ndarray:
    """Which sentences are held out: those whose CRC-32, as a share of 2**32, is below the fraction.

    It depends on nothing but the sentence, so equal sentences share a split and the order of lines does not matter.
    """
    _, offsets, data = texts.buffers()
    borders = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1].tolist()
    sentences = map(memoryview(data or b"").__getitem__, map(slice, borders[:-1], borders[1:]))
    hashes = np.fromiter(map(zlib.crc32, sentences), np.uint32, len(texts))
    return hashes < fraction * 2**32


def _cut_texts(whole: SplitRows, character: int, kind: TokenizerKind) -> dict[str, SplitRows]:
    """The first `character` characters of a chunk's texts, and the rest; words are not torn apart."""
    counts = character_counts(whole.texts)
    stops = np.cumsum(counts)
    if character <= 0 or not len(stops):
        return {"heldout": whole}
    if character >= stops[-1]:
        return {"train": whole}
    row = int(np.searchsorted(stops, character, side="right"))
    text = whole.texts[row].as_py()
    at = _between_words(text, character - int(stops[row] - counts[row]), kind)
    first = [*whole.texts.slice(0, row).to_pylist(), *([text[:at]] if at else [])]
    second = [*([text[at:]] if at < len(text) else []), *whole.texts.slice(row + 1).to_pylist()]
    parts = {
        "train": SplitRows(
            pa.array(first, pa.string()), whole.numbers[: len(first)], not at or (whole.ends and not second)
        ),
        "heldout": SplitRows(
            pa.array(second, pa.string()), whole.numbers[len(whole.numbers) - len(second) :], whole.ends
        ),
    }
    return {name: part for name, part in parts.items() if len(part.texts)}


def _between_words(text: str, at: int, kind: TokenizerKind) -> int:
    """The first place from `at` on where no token of this kind is torn apart."""
    if not kind.spans_characters:
        return at
    rest = text[at:].encode()
    borders = np.flatnonzero(piece_borders(np.frombuffer(rest, np.uint8)))
    return at + len(rest[: borders[0]].decode()) if len(borders) else len(text)
