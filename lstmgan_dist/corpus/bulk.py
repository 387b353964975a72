"""Text in bulk: what is asked of many rows at once, which is several times faster than row by row.

Shapes: N rows of text.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def lowered(rows: pa.StringArray) -> pa.StringArray:
    """Rows in lower case, character by character as the library's `Lowercase` does it."""
    if JoinedRows(rows).is_ascii:
        return pc.call_function("ascii_lower", [rows])
    # Python alone knows the final sigma, which depends on the neighbours.
    return pa.array([row.replace("Σ", "σ").lower() for row in rows.to_pylist()], pa.string())


def gather_index(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Indices of the stretches [start, start + length), one after the other: int64."""
    stops = np.cumsum(lengths)
    index = np.arange(stops[-1] if len(stops) else 0)
    index += np.repeat(starts - (stops - lengths), lengths)
    return index


def lengths_to(marks_N: np.ndarray) -> np.ndarray:
    """The lengths of rows whose last tokens are at these places: int64."""
    return np.diff(marks_N, prepend=-1)


_IS_SPACE = np.zeros(256, bool)
_IS_SPACE[[0x09, 0x0A, 0x0D, 0x20]] = True
# Bytes that surely begin something other than white space: visible ASCII, and the first bytes of characters outside the
# blocks (C2, E1, E2, E3) that hold Unicode's own spaces.
_IS_SOLID = np.zeros(256, bool)
_IS_SOLID[0x21:0x7F] = True
_IS_SOLID[0xC3:0xF5] = True
_IS_SOLID[[0xE1, 0xE2, 0xE3]] = False


def piece_borders(data: np.ndarray) -> np.ndarray:
    """Where UTF-8 text may be cut so that its tokens stay the same: a flag for each byte that may begin a piece.

    That is before a space that something visible follows. A word never holds a space; and GPT-2's cuts give the last
    space of several to the word behind it, and make a token of the others.
    """
    borders = _IS_SPACE[data]
    borders[:-1] &= _IS_SOLID[data[1:]]
    borders[-1:] = False
    return borders


class JoinedRows:
    """Rows laid end to end with one byte, a mark, after each.

    data: uint8. marks_N: where the marks are.
    """

    def __init__(self, rows: pa.StringArray) -> None:
        self.rows = rows
        self.marks_N = np.cumsum(byte_counts(rows) + 1) - 1
        lists = pa.ListArray.from_arrays(pa.array([0, len(rows)], pa.int32()), rows)
        content = pc.call_function("binary_join", [lists, "\n"])[0].as_buffer()
        self.data = np.empty((content.size if content else 0) + min(len(rows), 1), np.uint8)
        if len(rows):
            self.data[:-1] = np.frombuffer(content, np.uint8)
            self.data[-1] = 0x0A

    @property
    def is_ascii(self) -> bool:
        return not len(self.data) or int(self.data.max()) < 128

    def code_points(self) -> np.ndarray:
        return np.frombuffer(self.data.tobytes().decode("utf-8").encode("utf-32-le"), np.uint32)

    def piece_starts(self) -> np.ndarray:
        """First byte of every piece; marks are pieces of their own."""
        borders = piece_borders(self.data)
        borders[:1] = True
        borders[self.marks_N] = True
        borders[self.marks_N[:-1] + 1] = True
        return np.flatnonzero(borders)

    def pieces(self, starts: np.ndarray) -> pa.StringArray:
        offsets = np.append(starts, len(self.data)).astype(np.int32)
        return pa.StringArray.from_buffers(len(starts), pa.py_buffer(offsets), pa.py_buffer(self.data))


def character_counts(rows: pa.StringArray) -> np.ndarray:
    """Characters of each row: int64."""
    return pc.call_function("utf8_length", [rows]).to_numpy(zero_copy_only=False).astype(np.int64)


def byte_counts(rows: pa.Array) -> np.ndarray:
    """Bytes of each row, none where it is null: int64."""
    return pc.fill_null(pc.call_function("binary_length", [rows]), 0).to_numpy(zero_copy_only=False).astype(np.int64)


def distinct_pieces(rows: pa.StringArray) -> pa.StructArray:
    """The distinct pieces of some rows with their counts: (values, counts)."""
    text = JoinedRows(rows)
    starts = text.piece_starts()
    inside = np.ones(len(starts), bool)
    inside[np.searchsorted(starts, text.marks_N)] = False
    return text.pieces(starts).filter(pa.array(inside)).value_counts()


def code_points(rows: pa.StringArray) -> np.ndarray:
    """How often each code point occurs in some rows: int64 of the size that it takes."""
    text = JoinedRows(rows)
    counts = np.bincount(text.data if text.is_ascii else text.code_points(), minlength=128)
    counts[0x0A] -= len(rows)
    return counts
