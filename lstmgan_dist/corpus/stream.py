"""Batches of tokens in the contract's order, read ahead by a thread.

Shapes: B rows of a unit, T tokens a row; N rows and S tokens of a window of rows that lie end to end.
"""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

import numpy as np
import torch
from torch import Tensor

from lstmgan_dist.corpus.bulk import gather_index
from lstmgan_dist.corpus.manifest import PreparedCorpus
from lstmgan_dist.corpus.order import Piece, SentenceOrder, TextOrder
from lstmgan_dist.corpus.tokenizer import Encoded
from lstmgan_dist.runtime.randomness import derive, permutation
from lstmgan_dist.runtime.tree import part_of

_BATCHES_AHEAD = 16
# Continuous text is fetched so many tokens at a time for each row, less where there are many rows.
_SPAN_TOKENS, _SPANS_TOKENS = 2**16, 2**24


@dataclass(frozen=True)
class Batch:
    """Rows of text as the networks read them.

    inputs_BT: int64; a sentence after `<end>`, without its last token. targets_BT: int64; the sentence, `<end>` last.
    Both are padded with 0. lengths_B: int64; targets of each row. fresh: the rows begin a text, so a state starts at
    zero. first_row: of held-out text, the number of the first row among the rows of all shares; the others
    follow it. starts_B: int64; how many targets of each row are its context, which is read and not learnt; None where
    no row has one. contexts_BP: int64; these, padded to the corpus's longest. most: tokens at which `cut` has cut the
    texts; None where it has not.
    """

    inputs_BT: Tensor
    targets_BT: Tensor
    lengths_B: Tensor
    fresh: bool
    first_row: int = 0
    starts_B: Tensor | None = None
    contexts_BP: Tensor | None = None
    most: int | None = None

    @property
    def texts_length(self) -> int:
        """Targets without contexts."""
        return int(self.lengths_B.sum()) - (0 if self.starts_B is None else int(self.starts_B.sum()))

    def cut(self, most: int) -> Batch:
        """The first so many tokens of each text, behind its context; where a text goes on there is no end mark."""
        limit_B = most if self.starts_B is None else self.starts_B + most
        lengths_B = self.lengths_B.clamp(max=limit_B)
        positions = int(lengths_B.max())
        within_BT = torch.arange(positions, device=lengths_B.device) < lengths_B[:, None]
        inputs_BT, targets_BT = (tokens[:, :positions] * within_BT for tokens in (self.inputs_BT, self.targets_BT))
        return replace(self, inputs_BT=inputs_BT, targets_BT=targets_BT, lengths_B=lengths_B, most=most)

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device; the copy to a GPU runs beside whatever comes next."""
        if device.type == "cpu":
            return self

        moved = {
            name: value.pin_memory().to(device, non_blocking=True)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        return replace(self, **moved)


class Stream:
    """The endless training batches of one worker, from any position on: each as the text of its units.

    lanes: of each of the worker's units (in one unit all of them where there is one worker). sequences_read: the
    position, counted over all workers: what was consumed, not what was read ahead. It has to be closed, or used in a
    `with` block.

    Raises:
        UserError: if the text is too short, or (from the iterator) if a shard is damaged.
    """

    def __init__(
        self,
        corpus: PreparedCorpus,
        split: str,
        *,
        batch_size: int,
        lanes: Sequence[range],
        total_lanes: int,
        seed: int,
        shuffle_window: int,
        sequences_read: int = 0,
    ) -> None:
        assert batch_size % total_lanes == 0, "BatchSettings has checked this"
        assert sequences_read % batch_size == 0, "a position is a whole number of batches"
        self.sequences_read = sequences_read
        self._batch_size = batch_size
        self.steps_per_epoch = math.ceil(batches_per_epoch(corpus, batch_size, split))
        per_lane = batch_size // total_lanes
        if corpus.layout == "sentences":
            order = SentenceOrder(
                corpus.splits[split].block_rows, lanes=total_lanes, seed=seed, shuffle_window=shuffle_window
            )
            batches = _sentence_batches(
                corpus, split, order, lanes, rows_per_lane=per_lane, position=sequences_read // total_lanes
            )
        else:
            text = TextOrder(corpus.splits[split].tokens, rows=batch_size, length=corpus.max_length)
            own = [range(unit.start * per_lane, unit.stop * per_lane) for unit in lanes]
            batches = _text_batches(corpus, split, text, own, step=sequences_read // batch_size)
        self._batches = _ReadAhead(batches)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> list[Batch]:
        batch = next(self._batches)
        self.sequences_read += self._batch_size
        return batch

    def close(self) -> None:
        """Stop reading ahead."""
        self._batches.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def batches_per_epoch(corpus: PreparedCorpus, batch_size: int, split: str = "train") -> float:
    """Batches of one pass over a split: of sentences not a whole number, for what is left goes into the next pass."""
    if corpus.layout == "sentences":
        return corpus.splits[split].rows / batch_size
    return TextOrder(corpus.splits[split].tokens, rows=batch_size, length=corpus.max_length).steps


def heldout_batches(
    corpus: PreparedCorpus, *, batch_size: int, most_sequences: int, share: int, shares: int
) -> Iterator[Batch]:
    """One share of the held-out text, which is read once: the same texts whatever the batch size and the shares.

    sentences: at most `most_sequences` of them over all shares, in blocks from all over the split; batch_size rows a
    batch. continuous: `batch_size` rows (over all shares) that read the text side by side as in training, in windows of
    at most max_length; at most most_sequences rows times windows. Only the first batch is fresh.
    """
    split = corpus.splits["heldout"]
    if corpus.layout == "continuous":
        yield from _heldout_text(corpus, batch_size, most_sequences, share, shares)
        return
    own = part_of(min(split.rows, most_sequences), share, shares)
    yield from read_batches(corpus, "heldout", own, batch_size=batch_size)


def read_batches(corpus: PreparedCorpus, split: str, rows: range, *, batch_size: int) -> Iterator[Batch]:
    """Some sentences of a split as batches: see `read_sentences`."""
    for start in rows[::batch_size]:
        sentences = read_sentences(corpus, split, range(start, min(start + batch_size, rows.stop)))
        yield replace(_sentences(sentences, corpus.max_context), first_row=start)


def read_sentences(corpus: PreparedCorpus, split: str, rows: range) -> Encoded:
    """Some sentences of a split, which is numbered block by block in an order that takes blocks from all over it."""
    blocks = permutation(derive("heldout"), len(corpus.splits[split].blocks)).numpy()
    block_rows = corpus.splits[split].block_rows[blocks]
    stops = np.cumsum(block_rows)
    pieces, row = [], rows.start
    while row < rows.stop:
        at = int(np.searchsorted(stops, row, side="right"))
        before = int(stops[at] - block_rows[at])
        end = min(rows.stop, int(stops[at]))
        pieces.append(Piece(int(blocks[at]), row - before, end - before))
        row = end
    return _read(corpus, split, tuple(pieces))


def _heldout_text(
    corpus: PreparedCorpus, batch_size: int, most_sequences: int, share: int, shares: int
) -> Iterator[Batch]:
    tokens = corpus.splits["heldout"].tokens
    order = TextOrder(tokens, rows=min(batch_size, max(1, tokens - 1)), length=corpus.max_length)
    own = part_of(order.rows, share, shares)
    if not own:
        return
    reader = _TextReader(corpus, "heldout")
    for window in range(min(order.steps, max(1, most_sequences // order.rows))):
        stretches = [reader.read(order.stretch(row, range(window, window + 1))) for row in own]
        yield replace(_stretches(stretches, fresh=window == 0), first_row=own.start)


# --- sentences -------------------------------------------------------------------------------------------------------


def _sentence_batches(
    corpus: PreparedCorpus,
    split: str,
    order: SentenceOrder,
    lanes: Sequence[range],
    *,
    rows_per_lane: int,
    position: int,
) -> Iterator[list[Batch]]:
    units = [[_Lane(corpus, split, order, lane, position) for lane in unit] for unit in lanes]
    while True:
        parts = [[part for reader in unit for part in reader.take(rows_per_lane)] for unit in units]
        yield [_sentences(Encoded.join(unit), corpus.max_context) for unit in parts]


class _Lane:
    """Reads the endless stream of one lane; holds one window, its rows in shuffled order already."""

    def __init__(self, corpus: PreparedCorpus, split: str, order: SentenceOrder, lane: int, position: int) -> None:
        self._corpus = corpus
        self._split = split
        self._order = order
        self._lane = lane
        self._position = position
        self._open_window()

    def take(self, rows: int) -> list[Encoded]:
        """The next rows, in as many parts as windows they lie in."""
        parts: list[Encoded] = []
        while rows:
            place = self._position - self._first
            count = min(rows, len(self._window.lengths_N) - place)
            if not count:
                self._open_window()
                continue
            parts.append(self._window.take(slice(place, place + count)))
            self._position += count
            rows -= count
        return parts

    def _open_window(self) -> None:
        window = self._order.window_at(self._lane, self._position)
        self._first = window.first
        self._window = _read(self._corpus, self._split, window.pieces).take(window.order)


def _read(corpus: PreparedCorpus, split: str, pieces: tuple[Piece, ...]) -> Encoded:
    """Rows of blocks."""
    blocks = corpus.read_blocks(split, [piece.block for piece in pieces])
    parts = [block.take(slice(piece.start, piece.stop)) for piece, block in zip(pieces, blocks, strict=True)]
    return Encoded.join(parts)


def contexts_of(rows: Encoded, max_context: int) -> Tensor:
    """The contexts of rows that have some, int64 (B, max_context), padded."""
    assert rows.starts_N is not None
    padded_BP = np.zeros((len(rows.starts_N), max_context), np.int64)
    index = gather_index(rows.stops_N - rows.lengths_N, rows.starts_N)
    padded_BP[np.arange(max_context) < rows.starts_N[:, None]] = rows.tokens_T[index]
    return torch.from_numpy(padded_BP)


def _sentences(rows: Encoded, max_context: int) -> Batch:
    """Sentences as a padded batch: inputs are the targets one step later after an end mark, which is 0 like padding."""
    lengths_B, starts_B = rows.lengths_N, rows.starts_N
    padded = np.zeros((len(lengths_B), int(lengths_B.max()) + 1), np.int64)
    targets_BT = padded[:, 1:]
    targets_BT[np.arange(targets_BT.shape[1]) < lengths_B[:, None]] = rows.tokens_T
    both = torch.from_numpy(padded)
    # Two views of one matrix would alias; the networks may keep one and the trainer change the other.
    return Batch(
        both[:, :-1].contiguous(),
        both[:, 1:].contiguous(),
        torch.from_numpy(lengths_B),
        fresh=True,
        starts_B=None if starts_B is None else torch.from_numpy(starts_B),
        contexts_BP=None if starts_B is None else contexts_of(rows, max_context),
    )


# --- continuous text -------------------------------------------------------------------------------------------------


def _text_batches(
    corpus: PreparedCorpus, split: str, order: TextOrder, units: Sequence[range], *, step: int
) -> Iterator[list[Batch]]:
    """units: the rows of each."""
    steps_at_once = max(1, min(_SPAN_TOKENS, _SPANS_TOKENS // sum(map(len, units))) // order.length)
    reader = _TextReader(corpus, split)
    while True:
        within = step % order.steps
        together = range(within, min(within + steps_at_once, order.steps))
        spans = {row: reader.read(order.stretch(row, together)) for unit in units for row in unit}
        starts = {row: order.stretch(row, together).start for row in spans}
        for number in together:
            own = {row: order.stretch(row, range(number, number + 1)) for row in spans}
            parts = {row: spans[row][part.start - starts[row] : part.stop - starts[row]] for row, part in own.items()}
            yield [_stretches([parts[row] for row in unit], fresh=number == 0) for unit in units]
        step += len(together)


class _TextReader:
    """Reads any stretch of a continuous text; the last block is kept, for the next row often goes on in it."""

    def __init__(self, corpus: PreparedCorpus, split: str) -> None:
        self._corpus = corpus
        self._split = split
        self._stops = np.cumsum(corpus.splits[split].block_tokens)
        self._kept: tuple[int, np.ndarray] = (-1, np.array([]))

    def read(self, stretch: range) -> np.ndarray:
        """The tokens of these numbers."""
        first, last = np.searchsorted(self._stops, [stretch.start, stretch.stop - 1], side="right").tolist()
        wanted = range(first, last + 1)
        missing = [number for number in wanted if number != self._kept[0]]
        found = dict([self._kept])
        blocks = self._corpus.read_blocks(self._split, missing)
        found |= {number: block.tokens_T for number, block in zip(missing, blocks, strict=True)}
        self._kept = (last, found[last])
        before = int(self._stops[first - 1]) if first else 0
        return np.concatenate([found[number] for number in wanted])[stretch.start - before : stretch.stop - before]


def _stretches(rows: list[np.ndarray], *, fresh: bool) -> Batch:
    """Rows of some tokens as inputs and the targets that follow them, one less; padded where they differ."""
    lengths_B = torch.tensor([len(tokens) - 1 for tokens in rows])
    inputs_BT = torch.zeros(len(rows), int(lengths_B.max()), dtype=torch.int64)
    targets_BT = torch.zeros_like(inputs_BT)
    for row, tokens in enumerate(rows):
        read = torch.from_numpy(tokens.astype(np.int64))
        inputs_BT[row, : len(read) - 1], targets_BT[row, : len(read) - 1] = read[:-1], read[1:]
    return Batch(inputs_BT, targets_BT, lengths_B, fresh)


# --- reading ahead ---------------------------------------------------------------------------------------------------


class _ReadAhead:
    """An iterator that a thread runs some items ahead; what is raised there is raised here."""

    def __init__(self, items: Iterator[list[Batch]]) -> None:
        self._items = items
        self._ready: queue.Queue[list[Batch] | BaseException] = queue.Queue(_BATCHES_AHEAD)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="corpus-read-ahead", daemon=True)
        self._thread.start()

    def __next__(self) -> list[Batch]:
        assert not self._closed.is_set(), "the stream is closed"
        item = self._ready.get()
        if isinstance(item, BaseException):
            self.close()
            raise item
        return item

    def close(self) -> None:
        self._closed.set()
        while self._thread.is_alive():
            self._drain()
            self._thread.join(0.01)

    def _drain(self) -> None:
        while not self._ready.empty():
            self._ready.get_nowait()

    def _run(self) -> None:
        try:
            for item in self._items:
                self._ready.put(item)
                if self._closed.is_set():
                    return
        except BaseException as error:
            self._ready.put(error)
