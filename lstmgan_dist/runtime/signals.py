"""SIGTERM, Ctrl-C (SIGINT) and what else asks a run to stop: it first writes a checkpoint.

A process that trains alone reads its own signals (`local`). On Ray the signals reach the process that started the
workers: it tells them (`ray_train`), and they agree on the step to stop at (`distributed`). `lstmgan stop` has Ray send
SIGTERM to that process, and waits (`ray_jobs`).
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from types import FrameType


class StopRequest(IntEnum):
    """What the workers of a run are asked for from outside; of several requests the greatest counts."""

    NONE = 0
    SAVE = 1  # a node is about to be taken away
    STOP = 2


@dataclass
class StopSignal:
    """number: of the signal that asked this process to stop; None while none has."""

    number: int | None = None


@contextmanager
def stop_signals() -> Iterator[StopSignal]:
    """Meanwhile Ctrl-C or SIGTERM only asks to stop; a second one does what it always did.

    Signals are the main thread's: in another one, nobody can ask.
    """
    asked = StopSignal()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, frame: FrameType | None) -> None:
        asked.number = number
        signal.signal(number, previous[signal.Signals(number)])

    for number in previous:
        signal.signal(number, ask)
    try:
        yield asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
