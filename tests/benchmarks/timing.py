"""Seconds of things that are compared, in turns, so that a busy machine is equally busy for all of them."""

import time
from collections.abc import Callable

import torch


def fastest(*things: Callable[[], object], rounds: int) -> list[float]:
    """The shortest time of each of `rounds` runs, in seconds, after one run that does not count."""
    for thing in things:
        thing()
    times: list[list[float]] = [[] for _ in things]
    for _ in range(rounds):
        for thing, seconds in zip(things, times, strict=True):
            _wait_for_the_device()
            start = time.perf_counter()
            thing()
            _wait_for_the_device()
            seconds.append(time.perf_counter() - start)
    return [min(seconds) for seconds in times]


def _wait_for_the_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
