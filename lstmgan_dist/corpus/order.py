"""The order of the data: which sequence comes n-th, by pure functions of (seed, epoch, lane, position) and block sizes.

An epoch permutes the blocks and lays their rows end to end: the *virtual* rows 0 to N - 1. Lane l of L owns the virtual
rows from l*N//L up to (l+1)*N//L and shuffles them window by window. So a lane has the same number of rows in every
epoch, row i of its endless stream is row i mod n of epoch i // n, and nobody needs to know what was read before.

In the layout `continuous` nothing is shuffled: the n - 1 tokens that follow another one are shared out to the B rows of
a batch, of which row b predicts number b*(n-1)//B up to (b+1)*(n-1)//B; so each is predicted once in every epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lstmgan_dist.errors import UserError
from lstmgan_dist.runtime.randomness import derive, permutation


@dataclass(frozen=True)
class Piece:
    """Consecutive rows [start, stop) of one block."""

    block: int
    start: int
    stop: int


@dataclass(frozen=True)
class Window:
    """Rows of one lane that are shuffled together.

    first: position of the window's first row in the lane's endless stream. pieces: where its rows lie, in virtual
    order. order: which of them comes when, int64.
    """

    first: int
    pieces: tuple[Piece, ...]
    order: np.ndarray


class SentenceOrder:
    """The order of a split's sentences.

    Raises:
        UserError: if there are fewer sentences than lanes.
    """

    def __init__(self, block_rows: np.ndarray, *, lanes: int, seed: int, shuffle_window: int) -> None:
        self._block_rows = block_rows
        self._lanes = lanes
        self._seed = seed
        self._shuffle_window = shuffle_window
        self.rows = int(block_rows.sum())
        if self.rows < lanes:
            raise UserError(
                f"The training text has {self.rows} sentences, fewer than batch.lanes {lanes}: "
                "give more text, or set batch.lanes and batch.size lower."
            )
        # An epoch's blocks serve all lanes, and lanes cross into the next epoch at different times.
        self._epoch = lru_cache(maxsize=2)(self._laid_out)

    def lane_rows(self, lane: int) -> int:
        """Rows of a lane in every epoch."""
        return (lane + 1) * self.rows // self._lanes - lane * self.rows // self._lanes

    def window_at(self, lane: int, position: int) -> Window:
        """The window that holds a position of a lane's endless stream."""
        epoch, place = divmod(position, self.lane_rows(lane))
        number = place // self._shuffle_window
        first = number * self._shuffle_window
        length = min(self._shuffle_window, self.lane_rows(lane) - first)
        start = lane * self.rows // self._lanes + first
        key = derive(self._seed, "rows", epoch, lane, number)
        return Window(
            position - place + first, self._pieces(epoch, start, start + length), permutation(key, length).numpy()
        )

    def _pieces(self, epoch: int, start: int, stop: int) -> tuple[Piece, ...]:
        blocks, stops = self._epoch(epoch)
        pieces: list[Piece] = []
        at = int(np.searchsorted(stops, start, side="right"))
        while start < stop:
            block = int(blocks[at])
            before = int(stops[at]) - int(self._block_rows[block])
            end = min(stop, int(stops[at]))
            pieces.append(Piece(block, start - before, end - before))
            start, at = end, at + 1
        return tuple(pieces)

    def _laid_out(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The blocks of an epoch in order, and the virtual row behind each."""
        blocks = permutation(derive(self._seed, "blocks", epoch), len(self._block_rows)).numpy()
        return blocks, np.cumsum(self._block_rows[blocks])


@dataclass(frozen=True)
class TextOrder:
    """The order of a continuous text of `tokens` tokens that `rows` rows read side by side, at most `length` a step.

    Rows differ by at most one token, and so do the steps of an epoch, so that none has to learn from a scrap of text. A
    row that has one token less lacks it in the last step.

    Raises:
        UserError: if the text has less than a token for every row to predict.
    """

    tokens: int
    rows: int
    length: int

    def __post_init__(self) -> None:
        if self.tokens <= self.rows:
            raise UserError(
                f"The text has {self.tokens} tokens, too few for batch.size {self.rows} rows: "
                f"give at least {self.rows + 1} tokens, or set batch.size lower."
            )

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return -(-self._most_targets // self.length)

    def stretch(self, row: int, steps: range) -> range:
        """The tokens that a row reads in steps of an epoch, and one more: each is the target after the one before."""
        first, behind = (row * (self.tokens - 1) // self.rows for row in (row, row + 1))
        return range(
            first + self._targets_before(steps.start), min(first + self._targets_before(steps.stop), behind) + 1
        )

    @property
    def _most_targets(self) -> int:
        """Tokens that the longest row predicts in an epoch."""
        return -(-(self.tokens - 1) // self.rows)

    def _targets_before(self, step: int) -> int:
        """Tokens that a row has predicted before a step of an epoch."""
        return step * self._most_targets // self.steps
