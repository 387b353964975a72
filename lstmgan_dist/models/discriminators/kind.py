"""What the settings of every kind of discriminator have."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from lstmgan_dist.models.generators.kind import GeneratorKind
from lstmgan_dist.settings import Settings

if TYPE_CHECKING:
    from lstmgan_dist.models.discriminator import Discriminator


class DiscriminatorKind(Settings):
    """What a kind has to tell.

    reads: what it scores: tokens, and distributions over tokens likewise; or the generator's hidden states.
    """

    reads: ClassVar[Literal["tokens", "hidden_states"]]

    kind: Any  # each kind narrows it to its own word
    scores: Any

    @property
    def embedding_size(self) -> int:
        """Dimensions of its own embedding of a token; 0 if it has none."""
        return 0

    @property
    def embedding_taken(self) -> int | None:
        """Dimensions of the embedding that it takes over from the generator; None if it has its own, or none."""
        return None

    @property
    def looks_ahead(self) -> bool:
        """Whether the score of a token depends on later tokens."""
        return False

    @property
    def leaked(self) -> dict[str, Any] | None:
        """The settings that say what its features of a text are, by name; None where they cannot leak."""
        return None

    def objection(self, generator: GeneratorKind, max_length: int) -> str | None:
        """Why it cannot play against this generator with texts of so many tokens; None if it can.

        Begins with the setting in question.
        """
        return None

    @abstractmethod
    def build(self, *, vocabulary_size: int, generator_hidden: int, seed: int) -> Discriminator:
        """The network, with its initial weights, on the CPU. generator_hidden: hidden units of the opponent."""

    @property
    def depth(self) -> int:
        """Layers that one position must pass before the next one can; 0 where none waits for another."""
        return 0

    @abstractmethod
    def operations(self, length: float) -> float:
        """Floating-point operations of scoring a text of so many tokens, two for each weight of a product."""

    @abstractmethod
    def activations(self, positions: int) -> int:
        """Numbers that a text of so many positions keeps for the backward pass."""


class TokenReaderKind(DiscriminatorKind):
    """A discriminator that sees the tokens, through an embedding of its own."""

    reads = "tokens"

    embedding: int = Field(default=64, ge=1, description="Dimensions of a token's embedding.")
    embedding_from_generator: bool = Field(
        default=False,
        description="Start from the generator's embedding when this player first moves; sizes must be equal.",
    )

    @property
    def embedding_size(self) -> int:
        return self.embedding

    @property
    def embedding_taken(self) -> int | None:
        return self.embedding if self.embedding_from_generator else None

    def objection(self, generator: GeneratorKind, max_length: int) -> str | None:
        if self.embedding_taken in (None, generator.embedding):
            return None
        return (
            f"embedding {self.embedding} must equal generator.embedding {generator.embedding} when it is taken from "
            "the generator"
        )
