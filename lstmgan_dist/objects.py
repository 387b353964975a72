"""Objects of a store, read in ranges and whole."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Sequence
from typing import IO, Any

from lstmgan_dist.drivers import is_object_store
from lstmgan_dist.retries import read_whole
from lstmgan_dist.storage_errors import reporting
from lstmgan_dist.storage_settings import Storage

_READ_BYTES = 16 * 2**20
_READ_AHEAD_BYTES = 4 * 2**20


def open_object(filesystem: Any, path: str, address: str, storage: Storage) -> IO[bytes]:
    """A file to read, seekable; of an object store in ranges that are each fetched again when they break half-way."""
    if not is_object_store(filesystem):
        return filesystem.open(path, "rb")
    return io.BufferedReader(_Object(filesystem, path, address, storage), _READ_AHEAD_BYTES)


def read_parts(filesystem: Any, places: Sequence[tuple[str, int, int]], address: str, storage: Storage) -> list[bytes]:
    """Parts (path, first byte, byte behind the last) of files, whole, side by side where the storage can."""
    paths, starts, stops = ([place[part] for place in places] for part in range(3))
    lengths = [stop - start for _, start, stop in places]
    with reporting(address, filesystem):
        return read_whole(
            lambda: filesystem.cat_ranges(paths, starts, stops, on_error="raise"), lengths, address, storage
        )


class _Object(io.RawIOBase):
    """An object to read, in ranges."""

    def __init__(self, filesystem: Any, path: str, address: str, storage: Storage) -> None:
        entry = filesystem.info(path)
        if entry["type"] != "file":
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), address)
        self._filesystem, self._path, self.name, self._storage = filesystem, path, address, storage
        self._size, self._position = int(entry["size"]), 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move, without a request."""
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        """The next bytes, in one request."""
        content = self._fetch(min(self._position + len(buffer), self._size))
        buffer[: len(content)] = content
        return len(content)

    def readall(self) -> bytes:
        """The rest, in several requests side by side if it is long."""
        return self._fetch(self._size)

    def _fetch(self, stop: int) -> bytes:
        starts = range(self._position, stop, _READ_BYTES)
        if not starts:
            return b""
        places = [(self._path, start, min(start + _READ_BYTES, stop)) for start in starts]
        content = b"".join(read_parts(self._filesystem, places, self.name, self._storage))
        self._position = stop
        return content
