"""Writes the tokens of a split as blocks in shards, by fixed rules that need no look ahead."""

from __future__ import annotations

import hashlib
import zlib

import numpy as np
import pyarrow as pa

from lstmgan_dist.corpus.manifest import Block, Layout, Shard, Split, schema_of
from lstmgan_dist.corpus.tokenizer import Encoded
from lstmgan_dist.storage import Folder

# Sentences: small blocks at first, so that a small corpus has many to shuffle, twice as large after every 64 of them,
# so that a large corpus is read in large pieces.
FIRST_BLOCK_ROWS, LAST_BLOCK_ROWS, BLOCKS_OF_A_SIZE = 256, 16384, 64
MOST_BLOCK_TOKENS = 2**19
CONTINUOUS_BLOCK_TOKENS = 2**16
# A shard is put together in memory and written at once.
SHARD_BYTES = 64 * 2**20


def rows_of_block(number: int) -> int:
    """Most rows of the block of this number, in the layout `sentences`."""
    return min(FIRST_BLOCK_ROWS << min(number // BLOCKS_OF_A_SIZE, 32), LAST_BLOCK_ROWS)


class SplitWriter:
    """Gathers the tokens of one split into blocks and shards."""

    def __init__(
        self,
        out: Folder,
        name: str,
        layout: Layout,
        token_type: type[np.unsignedinteger],
        *,
        has_contexts: bool = False,
    ) -> None:
        self._out = out
        self._name = name
        self._layout = layout
        self._schema = schema_of(np.dtype(token_type).name, has_contexts=has_contexts)
        none = np.array([], np.int64)
        self._waiting = Encoded(np.array([], token_type), none, none if has_contexts else None)
        self._tokens = self._characters = 0
        self._blocks: list[Block] = []  # of the shard under way
        self._blocks_written = 0
        self._shards: list[Shard] = []
        self._open_shard()

    def add(self, encoded: Encoded, characters: int) -> None:
        """Append rows, and write the blocks that are full."""
        self._tokens += encoded.texts_length
        self._characters += characters
        self._waiting = Encoded.join([self._waiting, encoded])
        self._write_blocks(last=False)

    def close(self) -> Split:
        """Write what is left, and return what was written."""
        self._write_blocks(last=True)
        if self._blocks:
            self._close_shard()
        rows = sum(block.rows for shard in self._shards for block in shard.blocks)
        return Split(rows, self._tokens, self._characters, tuple(self._shards))

    def _write_blocks(self, *, last: bool) -> None:
        waiting = self._waiting
        if self._layout == "continuous":
            # The text is one: its rows were only the chunks that it came in.
            full, left = divmod(len(waiting.tokens_T), CONTINUOUS_BLOCK_TOKENS)
            lengths_N = np.array([CONTINUOUS_BLOCK_TOKENS] * full + [left] * (left > 0), np.int64)
            waiting = Encoded(waiting.tokens_T, lengths_N)
        stops = waiting.stops_N
        row = done = 0
        while row < len(stops):
            stop = self._end_of_block(row, done, stops)
            if stop is None:
                if not last:
                    break
                stop = len(stops)
            self._write_block(waiting.take(slice(row, stop)))
            row, done = stop, int(stops[stop - 1])
        self._waiting = waiting.take(slice(row, None))

    def _end_of_block(self, row: int, done: int, stops: np.ndarray) -> int | None:
        """The row behind a block that begins at `row`; None while more rows might belong to it."""
        if self._layout == "continuous":
            return row + 1 if stops[row] - done == CONTINUOUS_BLOCK_TOKENS else None
        most = row + rows_of_block(self._blocks_written)
        fitting = int(np.searchsorted(stops, done + MOST_BLOCK_TOKENS, side="right"))
        stop = min(most, max(fitting, row + 1))
        return stop if stop < len(stops) or stop == len(stops) == most else None

    def _write_block(self, block: Encoded) -> None:
        offsets = np.append(0, block.stops_N).astype(np.int32)
        lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(block.tokens_T), type=self._schema.field(0).type)
        starts = [] if block.starts_N is None else [pa.array(block.starts_N, pa.int32())]
        batch = pa.record_batch([lists, *starts], schema=self._schema)
        self._writer.write_batch(batch)
        # Counted from the end, for the writer puts the schema before the first batch only now.
        stop = self._stream.tell()
        size = pa.ipc.get_record_batch_size(batch)
        self._blocks.append(Block(len(block.lengths_N), len(block.tokens_T), stop - size, stop, 0))
        self._blocks_written += 1
        if self._stream.tell() >= SHARD_BYTES:
            self._close_shard()
            self._open_shard()

    def _open_shard(self) -> None:
        self._stream = pa.BufferOutputStream()
        self._writer = pa.ipc.new_file(self._stream, self._schema)

    def _close_shard(self) -> None:
        self._writer.close()
        content = memoryview(self._stream.getvalue())
        name = f"{self._name}-{len(self._shards):05d}.arrow"
        with self._out.create(name) as file:
            file.write(content)
        blocks = tuple(
            Block(block.rows, block.tokens, block.start, block.stop, zlib.crc32(content[block.start : block.stop]))
            for block in self._blocks
        )
        self._shards.append(Shard(name, len(content), hashlib.sha256(content).hexdigest(), blocks))
        self._blocks = []
