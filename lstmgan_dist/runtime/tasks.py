"""Pure functions over many items, computed side by side, with the results in order, whoever does the work.

The threads of this process are here; a Ray cluster is in `ray_tasks`. Who asks for the work does not know which it is.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Part = TypeVar("Part")
Result = TypeVar("Result")

# Beyond this many threads the interpreter lock is the limit.
_MOST_THREADS = 8


class Workers(Protocol):
    """Whoever applies a function to many items."""

    def map_in_order(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """The function's results in the order of the items, of which only so many are under way as there are workers.

        What the function raises is raised here, as it is, in its item's place.
        """
        ...


class ReadingWorkers(Workers, Protocol):
    """Workers that also do the reading, where they are."""

    def map_parts_in_order(
        self,
        read: Callable[[Item], Iterator[Part]],
        function: Callable[[Part], Result],
        items: Sequence[Item],
    ) -> Iterator[Result]:
        """The function's results for every part that `read` gives of every item, in order, in bounded memory."""
        ...


class Watch(Protocol):
    """Passes items on, and shows how many of `total` have gone by."""

    def __call__(self, items: Iterable[Item], total: int, description: str) -> Iterator[Item]:
        """The items."""
        ...


def unwatched(items: Iterable[Item], total: int, description: str) -> Iterator[Item]:
    """The items, and nothing is shown: a `Watch`."""
    return iter(items)


class InProcess:
    """One after the other."""

    def map_in_order(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        return map(function, items)


class Threads:
    """Threads of this process, as many as there are cores; reading stays with the caller's."""

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or min(os.cpu_count() or 1, _MOST_THREADS)

    def map_in_order(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        under_way: deque[Future[Result]] = deque()
        with ThreadPoolExecutor(self._threads) as pool:
            try:
                for item in items:
                    under_way.append(pool.submit(function, item))
                    if len(under_way) > self._threads:
                        yield under_way.popleft().result()
                while under_way:
                    yield under_way.popleft().result()
            finally:
                for future in under_way:
                    future.cancel()

    def map_parts_in_order(
        self,
        read: Callable[[Item], Iterator[Part]],
        function: Callable[[Part], Result],
        items: Sequence[Item],
    ) -> Iterator[Result]:
        return self.map_in_order(function, chain.from_iterable(map(read, items)))


LOCAL_THREADS = Threads()
IN_PROCESS = InProcess()
