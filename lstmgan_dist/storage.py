"""One way to open, list, write and commit on any fsspec URL."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import posixpath
import secrets
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from fsspec.implementations.local import LocalFileSystem

from lstmgan_dist.addresses import path_of, scheme_of
from lstmgan_dist.drivers import is_object_store, resolve
from lstmgan_dist.errors import UserError
from lstmgan_dist.objects import open_object, read_parts
from lstmgan_dist.retries import UploadedBeforeError
from lstmgan_dist.storage_errors import reporting
from lstmgan_dist.storage_settings import Storage

__all__ = [
    "BY_ENVIRONMENT",
    "WRITE_PROBE",
    "Folder",
    "Storage",
    "content_mark",
    "file_size",
    "matching_files",
    "open_file",
    "sha256_of",
    "write_file",
]

# How a URL is reached where no job says it.
BY_ENVIRONMENT = Storage()

# Left in a folder if a process is killed at the wrong moment, and nothing then.
WRITE_PROBE = ".lstmgan-write-probe"

# What is larger is sent in parts of this many bytes, each of which is sent again on its own. S3 takes 10,000 of them.
_PART_BYTES = 32 * 2**20


class Folder:
    """A folder, local or behind a URL; names within it are relative, with forward slashes.

    Errors of the storage (no permission, no space, no network, a bucket that is absent) are raised as an `OSError`
    that names the address and the reason; what may pass has then been tried again for as long as the job's
    `storage.patience` says. Nothing is remembered between calls, so what others write is seen. One folder may be used
    by several threads.

    storage: how the URL is reached; folders within this one are reached the same way.

    Raises:
        UserError: if the URL's protocol has no driver.
    """

    def __init__(self, url: str | Path, storage: Storage = BY_ENVIRONMENT) -> None:
        self.url = str(url).rstrip("/") or "/"
        self.storage = storage
        self._filesystem, self._root = resolve(self.url, storage)

    def __truediv__(self, name: str) -> Folder:
        return Folder(posixpath.join(self.url, name), self.storage)

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

    @property
    def is_object_store(self) -> bool:
        """Whether it is a prefix of names in a bucket."""
        return is_object_store(self._filesystem)

    def path(self, name: str) -> str:
        """The address of a name, for messages."""
        return posixpath.join(self.url, name)

    def exists(self, name: str = "") -> bool:
        """Whether a file or folder of this name is there."""
        if self.local_path is not None:
            return self._filesystem.exists(self._at(name))
        try:
            with self._reporting(name):
                self._filesystem.info(self._at(name))
        except FileNotFoundError:
            return False
        return True

    def list(self) -> list[str]:
        """Names of the files and folders directly within, sorted; empty if the folder is absent."""
        return sorted(self._entries())

    def sizes(self) -> dict[str, int]:
        """Bytes of the files directly within, by name, from one listing; empty if the folder is absent."""
        return {name: int(entry["size"]) for name, entry in self._entries().items() if entry["type"] != "directory"}

    def _entries(self) -> dict[str, Any]:
        try:
            with self._reporting():
                entries = self._filesystem.ls(self._root, detail=True, refresh=True)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        return {posixpath.basename(entry["name"].rstrip("/")): entry for entry in entries}

    def size(self, name: str) -> int:
        """Bytes of a file."""
        with self._reporting(name):
            return int(self._filesystem.size(self._at(name)))

    def open(self, name: str) -> IO[bytes]:
        """A file to read, seekable; range reads where it is remote."""
        with self._reporting(name):
            return open_object(self._filesystem, self._at(name), self.path(name), self.storage)

    def read(self, name: str) -> bytes:
        """A whole file."""
        with self.open(name) as file:
            return file.read()

    @contextmanager
    def create(self, name: str) -> Iterator[IO[bytes]]:
        """A file to write that appears under its name, whole, when the block ends, and not at all when it raises.

        An object store gets parts of 32 MB while they are written, one after the other; see `write`.
        """
        if self.local_path is None:
            with self._reporting(name):
                yield from self._create_remotely(name)
            return
        target = self.local_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        # Not the process: on another machine that shares the folder, another one may have its number.
        part = target.with_name(f".{target.name}.{secrets.randbits(48)}.part")
        try:
            with part.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)

    def _create_remotely(self, name: str) -> Iterator[IO[bytes]]:
        filesystem, path = self._filesystem, self._at(name)
        if not is_object_store(filesystem):
            content = io.BytesIO()
            yield content
            filesystem.pipe_file(path, content.getvalue())
            return
        file = filesystem.open(path, "wb", block_size=_PART_BYTES)
        try:
            yield file
            with suppress(UploadedBeforeError):
                file.close()
        except BaseException:
            # Marked as closed, for a file that is closed later, if only by the garbage collector, is published.
            file.closed = True
            # The first error is the one to tell; parts that stay behind are what the bucket's lifecycle rules end.
            with suppress(Exception):
                file.discard()
            raise
        written = file.tell()
        if written >= _PART_BYTES:
            self._check_size(name, written)

    def _check_size(self, name: str, written: int) -> None:
        stored = self.size(name)
        if stored != written:
            raise OSError(errno.EIO, f"the storage has {stored} bytes of the {written} written", self.path(name))

    def read_ranges(self, ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
        """Parts (name, first byte, byte behind the last) of files, fetched side by side where the storage can."""
        places = [(self._at(name), start, stop) for name, start, stop in ranges]
        name = ranges[0][0] if len(ranges) == 1 else ""
        return read_parts(self._filesystem, places, self.path(name) if name else self.url, self.storage)

    def write(self, name: str, content: bytes) -> None:
        """A whole file, atomically; the parts of a large one are sent side by side."""
        if self.local_path is not None or not self.is_object_store:
            with self.create(name) as file:
                file.write(content)
            return
        with self._reporting(name):
            try:
                self._filesystem.pipe_file(self._at(name), content, chunksize=_PART_BYTES)
            except (FileNotFoundError, UploadedBeforeError):
                # The answer to the last request of an upload in parts got lost, so it was sent to an upload that had
                # ended well. (Or the bucket is absent, and this says so.)
                self._filesystem.pipe_file(self._at(name), content, chunksize=_PART_BYTES)
        if len(content) >= _PART_BYTES:
            self._check_size(name, len(content))

    def claim(self, name: str, content: bytes) -> bool:
        """Write a small file where there is none of that name; whether this call did.

        Of several that try, one succeeds: where the file is local, and on an object store that has conditional writes.
        One that has none takes whatever comes.
        """
        if self.local_path is not None:
            target = self.local_path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with target.open("xb") as file:
                    file.write(content)
            except FileExistsError:
                return False
            return True
        if not self.is_object_store:
            if self.exists(name):
                return False
            self.write(name, content)
            return True
        try:
            with self._reporting(name):
                self._filesystem.pipe_file(self._at(name), content, mode="create")
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise
            # The answer to a request that succeeded may have got lost, and it was sent again.
            return self.read(name) == content
        return True

    def delete(self, name: str = "") -> None:
        """Remove a file or a folder with all that is in it; one that is absent already is no error."""
        path = self._at(name)
        if not self.is_object_store:
            if self._filesystem.exists(path):
                self._filesystem.rm(path, recursive=True)
            return
        parent, last = posixpath.split(path)
        with self._reporting(name):
            with suppress(FileNotFoundError):  # what Google says, and S3 does not
                self._filesystem.rm_file(path)
            # Deleting many at once does not raise for those that stay, so it is looked again.
            for _ in range(2):
                inside = self._filesystem.find(parent, prefix=f"{last}/")
                if not inside:
                    return
                self._filesystem.rm(inside)
            left = self._filesystem.find(parent, prefix=f"{last}/")
        if left:
            raise OSError(errno.EIO, f"{len(left)} files could not be deleted", self.path(name))

    def check_writable(self) -> None:
        """Write to the folder and delete what was written, where it is remote: two requests.

        Raises:
            UserError: in one sentence, if the storage cannot be reached, knows no such bucket, or does not let us.
        """
        if self.local_path is not None:
            return
        try:
            self.write(WRITE_PROBE, b"")
            self.delete(WRITE_PROBE)
        except FileNotFoundError as error:
            raise UserError(f"{self.url} cannot be written to: there is no such bucket, so create it.") from error
        except OSError as error:
            raise UserError(f"{self.url} cannot be written to: {error.strerror or error}.") from error

    def _reporting(self, name: str = "") -> AbstractContextManager[None]:
        return reporting(self.path(name) if name else self.url, self._filesystem)

    def _at(self, name: str) -> str:
        return posixpath.join(self._root, name) if name else self._root


@contextmanager
def write_file(url: str, storage: Storage = BY_ENVIRONMENT) -> Iterator[IO[bytes]]:
    """A file at an address of its own, that appears whole or not at all."""
    parent, name = posixpath.split(url)
    with Folder(parent or ".", storage).create(name) as file:
        yield file


def sha256_of(file: IO[bytes]) -> str:
    """Hexadecimal digest of the rest of a file."""
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def matching_files(pattern: str, storage: Storage = BY_ENVIRONMENT) -> list[str]:
    """Addresses of the files that a path, folder, glob or URL stands for, sorted.

    A folder is searched throughout but for hidden files and folders; so is what matches a glob, unless it says the dot.

    Raises:
        UserError: if the protocol has no driver.
    """
    filesystem, path = resolve(pattern, storage)
    with reporting(pattern, filesystem):
        if any(sign in path for sign in "*?[") and not filesystem.exists(path):
            matching = filesystem.glob(path, detail=True)
            shown = [name for name in matching if _is_hidden(path) or not _is_hidden(name)]
            found = [name for name in shown if matching[name]["type"] == "file"]
        elif filesystem.isdir(path):
            found = [name for name in filesystem.find(path) if not _is_hidden(name[len(path) :])]
        else:
            found = [path] if filesystem.exists(path) else []
    urls = [filesystem.unstrip_protocol(str(name)) for name in found]
    return sorted(path_of(url) if scheme_of(url) == "file" else url for url in urls)


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/"))


def open_file(url: str, storage: Storage = BY_ENVIRONMENT) -> IO[bytes]:
    """A file, by its address, to read from beginning to end or with seeks."""
    filesystem, path = resolve(url, storage)
    with reporting(url, filesystem):
        return open_object(filesystem, path, url, storage)


def file_size(url: str, storage: Storage = BY_ENVIRONMENT) -> int:
    """Bytes of a file, by its address; 0 where the storage does not say."""
    filesystem, path = resolve(url, storage)
    with reporting(url, filesystem):
        return int(filesystem.size(path) or 0)


def content_mark(url: str, storage: Storage = BY_ENVIRONMENT) -> str:
    """What changes when a file's content does: a hash of it, or what a remote storage says of its version."""
    filesystem, path = resolve(url, storage)
    if isinstance(filesystem, LocalFileSystem):
        with open_file(url, storage) as file:
            return sha256_of(file)
    with reporting(url, filesystem):
        return str(filesystem.ukey(path))
