"""Who may write to a run: one training at a time, wherever it runs.

A run's folder `lease/` holds `00000003.json` when it has been taken for the third time. The highest number belongs to
the owner, who writes the file again every few seconds. To take a run is to create the next number, which only one can:
creation is exclusive (O_EXCL, or a conditional write of the object store). The owner before is asked for first. One of
this machine's is gone when the kernel has dropped its lock on a file; one of another machine's when its file has not
changed for a while by the clock of the one who looks, so that no two clocks are compared. One that was only silent
finds the higher number before it writes again, and stops.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO

from lstmgan_dist.errors import UserError
from lstmgan_dist.storage import Folder

LEASE = "lease"
_LOCK = "lock"


@dataclass(frozen=True)
class Times:
    """Seconds. renewal: between two signs of life of an owner. silence: after which one is taken for gone.

    settling: after which, where the storage has no conditional writes, the last of several that wrote is the owner.
    """

    renewal: float = 10.0
    silence: float = 60.0
    settling: float = 3.0


@dataclass(frozen=True)
class Owner:
    """What an owner's file says.

    lock: the kernel that knows whether the process lives, and the file (device and inode) that it has locked; empty
    where the file system has no locks. renewals: counts the signs of life. released: whether it has ended well.
    """

    host: str
    process: int
    token: str
    lock: str = ""
    renewals: int = 0
    released: bool = False

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}"


class Lease:
    """The right to write to a run, from `taken` to the end of that block.

    number: by which workers elsewhere find out whether it is still the highest.
    """

    def __init__(self, folder: Folder, number: int, owner: Owner, times: Times, say: Callable[[str], None]) -> None:
        self.number = number
        self._folder = folder
        self._owner = owner
        self._say = say
        self._ended = threading.Event()
        self._renewer = threading.Thread(target=self._renew, args=(times.renewal,), name="lease", daemon=True)

    def _renew(self, seconds: float) -> None:
        while not self._ended.wait(seconds):
            self._owner = replace(self._owner, renewals=self._owner.renewals + 1)
            self._write("goes on")

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Meanwhile there are signs of life; in the end the lease is given back."""
        self._renewer.start()
        try:
            yield
        finally:
            self._ended.set()
            self._renewer.join()
            self._owner = replace(self._owner, released=True)
            self._write("has ended")

    def _write(self, what: str) -> None:
        try:
            self._folder.write(_name(self.number), _content(self._owner))
        except OSError as error:
            self._say(f"{self._folder} could not be told that this training {what}: {error}")


@contextlib.contextmanager
def taken(run: Folder, *, say: Callable[[str], None], take_over: bool = False, times: Times = Times()) -> Iterator[int]:
    """Meanwhile this process is the only one that trains a run; yields the lease's number.

    take_over: from an owner that lives, too, or may.

    Raises:
        UserError: if another training goes on in that folder.
    """
    folder = run / LEASE
    with _locked(folder, take_over) as lock:
        owner = Owner(socket.gethostname(), os.getpid(), os.urandom(8).hex(), lock or "")
        number = _take(folder, owner, is_alone_here=bool(lock), take_over=take_over, times=times, say=say)
        with Lease(folder, number, owner, times, say).held():
            yield number


def check(run: Folder, number: int) -> None:
    """See that the lease of this number is still the run's.

    Raises:
        UserError: if somebody else has taken the run.
    """
    folder = run / LEASE
    last = max(_numbers(folder), default=number)
    if last > number:
        raise UserError(f"{run} was taken over by {_owner(folder, last) or 'another training'}: this one ends.")


def _take(
    folder: Folder,
    owner: Owner,
    *,
    is_alone_here: bool,
    take_over: bool,
    times: Times,
    say: Callable[[str], None],
) -> int:
    while True:
        last = max(_numbers(folder), default=0)
        before = _owner(folder, last)
        if last and not take_over and not _is_gone(before, owner, is_alone_here):
            _wait_for_silence(folder, last, before, times, say)
        number = last + 1
        if folder.claim(_name(number), _content(owner)) and _is_settled(folder, number, owner, times, say):
            for old in _numbers(folder):
                if old < number:
                    folder.delete(_name(old))
            return number


def _is_gone(before: Owner | None, owner: Owner, is_alone_here: bool) -> bool:
    """Whether an owner has given the run back, or its lock can only be ours because it ended."""
    return before is not None and (before.released or (is_alone_here and before.lock == owner.lock))


def _wait_for_silence(
    folder: Folder, last: int, before: Owner | None, times: Times, say: Callable[[str], None]
) -> None:
    who = before or "a training that has not said which"
    say(f"{folder} belongs to {who}: looking for up to {times.silence:g} s whether it goes on.")
    ends = time.monotonic() + times.silence
    while time.monotonic() < ends:
        time.sleep(min(1.0, times.renewal / 2))
        now = _owner(folder, last)
        if now and now.released:
            return
        if now != before or _numbers(folder)[-1:] != [last]:
            raise UserError(_refusal(folder, now))


def _is_settled(folder: Folder, number: int, owner: Owner, times: Times, say: Callable[[str], None]) -> bool:
    """Whether the number is this owner's for good: at once, unless the storage takes it twice."""
    if not folder.is_object_store or not folder.claim(_name(number), _content(replace(owner, renewals=1))):
        return True
    say(
        f"{folder} is on a storage without conditional writes: of trainings that start within {times.settling:g} s of "
        "each other, the last one goes on."
    )
    time.sleep(times.settling)
    now = _owner(folder, number)
    return now is not None and now.token == owner.token


def _refusal(folder: Folder, owner: Owner | None) -> str:
    run = folder.url.removesuffix(f"/{LEASE}")
    return (
        f"{run} is being trained by {owner or 'another process'}: stop that one first, choose another folder with "
        "--run, or take the run from it with --take-over."
    )


@contextlib.contextmanager
def _locked(folder: Folder, take_over: bool) -> Iterator[str | None]:
    """Meanwhile a file of this machine is locked, and so no other process here has the run; yields the lock's name.

    None where the file system has no locks.

    Raises:
        UserError: if another process here has it.
    """
    path = _lock_path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    if take_over:
        path.unlink(missing_ok=True)  # whoever holds it holds a file that has no name any more
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise UserError(_refusal(folder, _owner(folder, max(_numbers(folder), default=0)))) from error
            yield None
            return
        yield _lock_name(file)


def _lock_path(folder: Folder) -> Path:
    if folder.local_path is not None:
        return folder.local_path / _LOCK
    digest = hashlib.sha256(folder.url.encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"lstmgan-{os.getuid()}" / f"{digest}.{_LOCK}"


def _lock_name(file: IO[bytes]) -> str:
    boot = Path("/proc/sys/kernel/random/boot_id")
    kernel = boot.read_text().strip() if boot.exists() else socket.gethostname()
    stat = os.fstat(file.fileno())
    return f"{kernel}/{stat.st_dev}/{stat.st_ino}"


def _numbers(folder: Folder) -> list[int]:
    names = (name.removesuffix(".json") for name in folder.list() if name.endswith(".json"))
    return sorted(int(name) for name in names if name.isdigit())


def _owner(folder: Folder, number: int) -> Owner | None:
    """What a number's file says; None if there is none, or it is only half written."""
    try:
        return Owner(**json.loads(folder.read(_name(number))))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _name(number: int) -> str:
    return f"{number:08d}.json"


def _content(owner: Owner) -> bytes:
    return json.dumps(asdict(owner)).encode()
