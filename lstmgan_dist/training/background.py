"""Work beside the step loop."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self


class OneAtATime:
    """Does what it is given in a thread, one piece at once; what a piece raises, the next call here raises."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="background")
        self._under_way: Future[None] | None = None

    def start(self, work: Callable[[], None]) -> None:
        """Begin a piece, as soon as the one before is done."""
        self.wait()
        self._under_way = self._thread.submit(work)

    def check(self) -> None:
        """Raise what a piece that is over has raised; do not wait for one that is not."""
        if self._under_way and self._under_way.done():
            self.wait()

    def wait(self) -> None:
        """Until nothing is under way."""
        under_way, self._under_way = self._under_way, None
        if under_way:
            under_way.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        # Where the block failed already, that is the error to see.
        self._thread.shutdown(wait=True)
        if kind is None:
            self.wait()
