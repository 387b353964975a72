"""What the settings of every kind of discriminator have."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from lstmgan_dist.models.generators.kind import GeneratorKind
from lstmgan_dist.settings import Settings

if TYPE_CHECKING:
    from lstmgan_dist.models.discriminator import Discriminator


class DiscriminatorKind(Settings):
    """What a kind has to tell.

    reads: what it scores: tokens, and distributions over tokens likewise; the generator's hidden states; or the
    likelihood of tokens, for it is a language model itself, and does not learn by its scores. tells_labels: whether it
    tells the labels of texts apart, so that these must have some.
    """

    reads: ClassVar[Literal["tokens", "hidden_states", "likelihoods"]]
    tells_labels: ClassVar[bool] = False

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
    def vector_size(self) -> int:
        """Scores of a text that together are a vector; 1 where there is one, or one of each token."""
        return 1

    @property
    def is_spectrally_normalised(self) -> bool:
        """Whether its layers multiply by matrices whose largest singular value is 1."""
        return False

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
    def build(self, *, vocabulary_size: int, labels: int = 0, generator_hidden: int, seed: int) -> Discriminator:
        """The network, with its initial weights, on the CPU.

        vocabulary_size: all tokens, of which the last ones are labels. generator_hidden: units of the opponent.
        """

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
    trainable_dimensions: int | None = Field(
        default=None,
        ge=1,
        description="The last dimensions of the embedding, which alone are learnt, as many as the generator's: the "
        "others are pretrained vectors, taken from the generator; none: all are learnt.",
    )

    @model_validator(mode="after")
    def _pretrained_dimensions_come_from_somewhere(self) -> Self:
        if self.trainable_dimensions is not None and not self.embedding_from_generator:
            raise ValueError(
                "trainable_dimensions keeps the others as the generator has them: set embedding_from_generator: true"
            )
        return self

    @property
    def embedding_size(self) -> int:
        return self.embedding

    @property
    def embedding_taken(self) -> int | None:
        return self.embedding if self.embedding_from_generator else None

    def objection(self, generator: GeneratorKind, max_length: int) -> str | None:
        if self.trainable_dimensions not in (None, generator.trainable_dimensions):
            return (
                f"trainable_dimensions {self.trainable_dimensions} must equal generator.trainable_dimensions "
                f"{generator.trainable_dimensions or '(none)'}, for the others are taken from the generator"
            )
        if self.embedding_taken in (None, generator.embedding):
            return None
        return (
            f"embedding {self.embedding} must equal generator.embedding {generator.embedding} when it is taken from "
            "the generator"
        )
