"""Waiting for what another process does; an end to the waiting is no promise about speed."""

import time
from collections.abc import Callable


def wait_until(true, *, seconds: float = 240, what: str | Callable[[], str] = "what a test waits for"):
    """Wait until a condition holds, and give what it was.

    Args:
        true: the condition; the first value that counts as true ends the waiting.
        seconds: when to give up.
        what: it is that is waited for, as a text or as a function that gives one.
    """
    end = time.monotonic() + seconds
    while not (result := true()):
        assert time.monotonic() < end, f"waited {seconds} s for {what() if callable(what) else what}"
        time.sleep(0.02)
    return result
