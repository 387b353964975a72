"""Chinese cut into words by several processes, for the segmenter holds the interpreter lock: threads cut one at a time.

A process is this module, run by a bare interpreter: it never sees the program that it works for, as a pool of
multiprocessing would, which runs a script anew that has no main guard. It ends with whoever holds the other end of its
pipes.
"""

from __future__ import annotations

import os
import queue
import struct
import subprocess
import sys
from contextlib import suppress
from typing import IO

from lstmgan_dist.corpus.libraries import RJIEBA

# Between words. Cleaning lets none through.
BETWEEN = "\0"
# Shorter texts are cut here, sooner than they could be sent.
_WORTH_SENDING = 2**15  # characters
_LENGTH = struct.Struct("<Q")


def cut(text: str) -> str:
    """The text with `BETWEEN` between its words.

    Raises:
        UserError: if the segmenter is not installed here.
    """
    if len(text) < _WORTH_SENDING:
        return _cut(text)
    return _POOL.cut(text)


def _cut(text: str) -> str:
    return BETWEEN.join(RJIEBA.load().cut(text))


class _Pool:
    """Processes that wait for text: as many as there ever were threads at once that had some."""

    def __init__(self) -> None:
        self._idle: queue.LifoQueue[subprocess.Popen[bytes]] = queue.LifoQueue()

    def cut(self, text: str) -> str:
        try:
            process = self._idle.get_nowait()
        except queue.Empty:
            process = _start()
        assert process.stdin
        assert process.stdout
        try:
            _send(process.stdin, text)
            answer = _receive(process.stdout)
        except (BrokenPipeError, EOFError):  # somebody has killed it
            process.wait()
            return _cut(text)
        self._idle.put(process)
        return answer

    def forget(self) -> None:
        """Leave the processes to whoever started them: a fork has the same pipes."""
        self._idle = queue.LifoQueue()


_POOL = _Pool()
os.register_at_fork(after_in_child=_POOL.forget)


def _start() -> subprocess.Popen[bytes]:
    RJIEBA.load()  # if it is not installed, that is said here
    return subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        process_group=0,  # Ctrl-C is for whoever it works for
    )


def _send(pipe: IO[bytes], text: str) -> None:
    content = text.encode()
    pipe.write(_LENGTH.pack(len(content)))
    pipe.write(content)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> str:
    """What was sent from the other end.

    Raises:
        EOFError: if that was closed.
    """
    (length,) = _LENGTH.unpack(_read(pipe, _LENGTH.size))
    return _read(pipe, length).decode()


def _read(pipe: IO[bytes], size: int) -> bytes:
    content = pipe.read(size)
    if len(content) < size:
        raise EOFError
    return content


def _serve() -> None:
    with suppress(EOFError, BrokenPipeError):
        while True:
            _send(sys.stdout.buffer, _cut(_receive(sys.stdin.buffer)))


if __name__ == "__main__":
    _serve()
