"""One way to open, list, write and commit on any fsspec URL."""

from __future__ import annotations

import hashlib
import os
import posixpath
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from lstmgan_dist.errors import UserError

# Which extra of this package brings the driver of a protocol.
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}


class Folder:
    """A folder, local or behind a URL; names within it are relative, with forward slashes.

    Errors of the storage (no permission, no space, no network) are raised as the `OSError` they are, once the
    address itself has been understood.

    Raises:
        UserError: if the URL's protocol has no driver.
    """

    def __init__(self, url: str | Path) -> None:
        self.url = str(url).rstrip("/") or "/"
        self._filesystem, self._root = _resolve(self.url)

    def __truediv__(self, name: str) -> Folder:
        return Folder(posixpath.join(self.url, name))

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """The last part of the address."""
        return posixpath.basename(self._root)

    @property
    def local_path(self) -> Path | None:
        """The folder on this machine's file system; None where it is behind a network."""
        return Path(self._root) if isinstance(self._filesystem, LocalFileSystem) else None

    def path(self, name: str) -> str:
        """The address of a name, for messages."""
        return posixpath.join(self.url, name)

    def exists(self, name: str = "") -> bool:
        """Whether a file or folder of this name is there."""
        return self._filesystem.exists(self._at(name))

    def list(self) -> list[str]:
        """Names of the files and folders directly within, sorted; empty if the folder is absent."""
        try:
            entries = self._filesystem.ls(self._root, detail=False, refresh=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(posixpath.basename(str(entry).rstrip("/")) for entry in entries)

    def size(self, name: str) -> int:
        """Bytes of a file."""
        return int(self._filesystem.size(self._at(name)))

    def open(self, name: str) -> IO[bytes]:
        """A file to read, seekable; range reads where it is remote."""
        return self._filesystem.open(self._at(name), "rb")

    def read(self, name: str) -> bytes:
        """A whole file."""
        with self.open(name) as file:
            return file.read()

    @contextmanager
    def create(self, name: str) -> Iterator[IO[bytes]]:
        """A file to write that appears under its name, whole, when the block ends, and not at all when it raises."""
        if self.local_path is None:
            # An object store shows an object when its upload completes, and fsspec aborts it on an exception.
            with self._filesystem.transaction, self._filesystem.open(self._at(name), "wb") as file:
                yield file
            return
        target = self.local_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            with part.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)

    def read_ranges(self, ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
        """Parts (name, first byte, byte behind the last) of files, fetched side by side where the storage can."""
        return self._filesystem.cat_ranges(
            [self._at(name) for name, _, _ in ranges],
            [start for _, start, _ in ranges],
            [stop for _, _, stop in ranges],
            on_error="raise",
        )

    def write(self, name: str, content: bytes) -> None:
        """A whole file, atomically."""
        with self.create(name) as file:
            file.write(content)

    def delete(self, name: str = "") -> None:
        """Remove a file or a folder with all that is in it; one that is absent already is no error."""
        if self.exists(name):
            self._filesystem.rm(self._at(name), recursive=True)

    def _at(self, name: str) -> str:
        return posixpath.join(self._root, name) if name else self._root


@contextmanager
def write_file(url: str) -> Iterator[IO[bytes]]:
    """A file at an address of its own, that appears whole or not at all."""
    parent, name = posixpath.split(url)
    with Folder(parent or ".").create(name) as file:
        yield file


class HashingFile:
    """Passes writes on to a file while it counts and hashes them."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, content: Any) -> int:
        """Write bytes or a buffer."""
        self._hash.update(content)
        self.size += memoryview(content).nbytes
        return self._file.write(content)

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of what was written so far."""
        return self._hash.hexdigest()


def sha256_of(file: IO[bytes]) -> str:
    """Hexadecimal digest of the rest of a file."""
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def matching_files(pattern: str) -> list[str]:
    """Addresses of the files that a path, folder, glob or URL stands for, sorted; a folder is searched throughout.

    Raises:
        UserError: if the protocol has no driver.
    """
    filesystem, path = _resolve(pattern)
    if any(sign in path for sign in "*?[") and not filesystem.exists(path):
        found = [match for match in filesystem.glob(path) if filesystem.isfile(match)]
    elif filesystem.isdir(path):
        found = filesystem.find(path)
    else:
        found = [path] if filesystem.exists(path) else []
    return sorted(filesystem.unstrip_protocol(str(name)).removeprefix("file://") for name in found)


def open_file(url: str) -> IO[bytes]:
    """A file, by its address, to read from beginning to end or with seeks."""
    filesystem, path = _resolve(url)
    return filesystem.open(path, "rb")


def file_size(url: str) -> int:
    """Bytes of a file, by its address; 0 where the storage does not say."""
    filesystem, path = _resolve(url)
    return int(filesystem.size(path) or 0)


def content_mark(url: str) -> str:
    """What changes when a file's content does: a hash of it, or what a remote storage says of its version."""
    filesystem, path = _resolve(url)
    if isinstance(filesystem, LocalFileSystem):
        with open_file(url) as file:
            return sha256_of(file)
    return str(filesystem.ukey(path))


def _resolve(url: str) -> tuple[Any, str]:
    protocol = url.split("://", 1)[0] if "://" in url else "file"
    try:
        return fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        extra = _EXTRAS.get(protocol)
        remedy = (
            f"install it with pip install 'lstmgan-dist[{extra}]'"
            if extra
            else "use a local path, s3:// or gs://, or install the fsspec driver of that protocol"
        )
        raise UserError(f"{url}: no driver for {protocol}:// is installed: {remedy}.") from error
