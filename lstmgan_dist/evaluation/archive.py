"""What evaluations have computed before, beside the corpus that it is about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from safetensors import SafetensorError

from lstmgan_dist.errors import UserError
from lstmgan_dist.storage import Folder


class Archive:
    """Files that are found again by a key of everything they depend on.

    exchange: gives what every worker gives, where several work together; all of them see the same files then, and one
    of them writes.
    """

    def __init__(
        self,
        folder: Folder,
        *,
        exchange: Callable[[set[str]], list[set[str]]] = lambda own: [own],
        writes: bool = True,
    ) -> None:
        self._folder = folder
        self._exchange = exchange
        self._writes = writes

    def part(self, name: str) -> Archive:
        """Files in a folder of their own."""
        return Archive(self._folder / name, exchange=self._exchange, writes=self._writes)

    def names(self) -> set[str]:
        """What there is, the same on every worker."""
        return set.intersection(*self._exchange(set(self._folder.list())))

    def read(self, name: str) -> bytes:
        """A file."""
        return self._folder.read(name)

    @contextmanager
    def reading(self, name: str) -> Iterator[None]:
        """What is raised meanwhile, by files that do not hold what they should, is told in a sentence."""
        try:
            yield
        except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
            raise UserError(f"{self._folder.path(name)} is damaged: delete it, and it is computed again.") from error

    def write(self, name: str, content: bytes) -> None:
        """Keep a file."""
        if self._writes:
            self._folder.write(name, content)
