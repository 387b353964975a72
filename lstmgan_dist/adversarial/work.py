"""What updates take, as far as settings tell: what a table of how training scales is made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """What one update takes of a worker, or a part of it.

    operations: floating-point ones. positions: that must be computed one after another, over all layers.
    """

    operations: float = 0.0
    positions: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(self.operations + other.operations, self.positions + other.positions)

    def trained(self) -> Work:
        """A forward pass with its backward pass, which takes twice as much."""
        return Work(3 * self.operations, 3 * self.positions)

    def at_once(self, texts: float) -> Work:
        """The same on so many texts instead of one: none waits for another."""
        return Work(texts * self.operations, self.positions)


@dataclass(frozen=True)
class BatchWork:
    """What single passes over one worker's batch take.

    read: the generator's, whether it reads the text or draws as much. score: the discriminator's. rows, tokens: of the
    batch. seen: dimensions of what the discriminator sees of a token.
    """

    read: Work
    score: Work
    rows: int
    tokens: float
    vocabulary_size: int
    seen: int
