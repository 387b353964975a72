"""Text in encodings other than UTF-8: which one it is in, and the same text as UTF-8."""

from __future__ import annotations

import codecs
from typing import Any, Protocol

import charset_normalizer
import numpy as np

from lstmgan_dist.corpus.settings import AUTO, UTF_8

# How many bytes of a file are looked at.
SAMPLE_BYTES = 2**16

# What a file begins with says for certain how it goes on; the longer marks come first.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WESTERN = "cp1252"
_CONTROL = np.setdiff1d(np.arange(32), np.frombuffer(b"\t\n\v\f\r\x1b", np.uint8))


class Readable(Protocol):
    """What bytes are read from."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end."""
        ...


def encoding_of(sample: bytes, wanted: str) -> str | None:
    """The encoding of a file that begins with these bytes; None if they are no text.

    wanted: the encoding that the settings name. One that stands in a byte order mark goes before utf-8 and auto.
    """
    if codecs.lookup(wanted if wanted != AUTO else UTF_8).name != UTF_8:
        return wanted
    for mark, encoding in _MARKS:
        if sample.startswith(mark):
            return encoding
    is_utf_8 = not _invalid_places(sample) and not _is_mostly_control(sample)
    found = UTF_8 if is_utf_8 else guess(sample)
    # Damaged UTF-8 is text, too.
    if wanted != AUTO and (found or _invalid_places(sample) + _control_bytes(sample) <= 0.3 * len(sample)):
        return UTF_8
    return found


def guess(sample: bytes) -> str | None:
    """The encoding that these bytes, the beginning of a file, are most likely text in; None if they are none."""
    # No character may be torn at the end: a line end is part of none but in UTF-16 and UTF-32, of 2 or 4 bytes each.
    for end in (sample.rfind(b"\n") + 1, len(sample) // 4 * 4):
        matches = charset_normalizer.from_bytes(sample[:end])
        found = matches.best()
        if found and str(found) and not _control_bytes(str(found).encode()):
            # Of several that fit equally well the first in the alphabet is the best; the most text is in this one.
            equal = (one for one in matches if (one.chaos, one.coherence) == (found.chaos, found.coherence))
            if any(_WESTERN in one.could_be_from_charset for one in equal):
                return _WESTERN
            return found.encoding.replace("_", "-")
    return None


def looks_like_another(sample: bytes) -> str | None:
    """The encoding that text is in that was taken for UTF-8; None where it is UTF-8 with a few bytes damaged."""
    beyond_ascii = sum(character > "\x7f" for character in sample.decode(UTF_8, "ignore"))
    is_doubtful = _invalid_places(sample) > beyond_ascii or _is_mostly_control(sample)
    found = guess(sample) if is_doubtful else None
    return found if found and codecs.lookup(found).name not in (UTF_8, "ascii") else None


def as_utf_8(stream: Readable, encoding: str) -> Readable:
    """The same text in UTF-8. Each place that is invalid becomes one byte that is invalid in UTF-8."""
    return stream if codecs.lookup(encoding).name == UTF_8 else _Recoded(stream, encoding)


class _Recoded:
    """A stream of text in UTF-8, made of one in another encoding."""

    def __init__(self, stream: Readable, encoding: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)(_MARK_INVALID)
        self._pending = b""
        self._ended = False

    def read(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end."""
        while len(self._pending) < size and not self._ended:
            block = self._stream.read(size)
            self._ended = not block
            text = self._decoder.decode(bytes(block), self._ended)
            self._pending += text.encode(UTF_8, "surrogateescape")
        block, self._pending = self._pending[:size], self._pending[size:]
        return block


def _mark_invalid(error: UnicodeError) -> tuple[str, int]:
    """One byte that is invalid in UTF-8, where text is invalid: cleaning then finds it, with its line."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "\udcff", error.end


_MARK_INVALID = "lstmgan-mark-invalid"
codecs.register_error(_MARK_INVALID, _mark_invalid)


def _control_bytes(sample: bytes) -> int:
    return int(np.isin(np.frombuffer(sample, np.uint8), _CONTROL).sum())


def _invalid_places(sample: bytes) -> int:
    return _cut_between_characters(sample).decode(UTF_8, "replace").count("\ufffd") - sample.count("\ufffd".encode())


def _is_mostly_control(sample: bytes) -> bool:
    """Whether text would hold so many control characters as none does: UTF-16 without its mark has a NUL a letter."""
    return _control_bytes(sample) > 0.3 * len(sample)


def _cut_between_characters(sample: bytes) -> bytes:
    """Without the beginning of a character at the end."""
    decoder: Any = codecs.getincrementaldecoder(UTF_8)("replace")
    decoder.decode(sample)
    return sample[: len(sample) - len(decoder.getstate()[0])]
