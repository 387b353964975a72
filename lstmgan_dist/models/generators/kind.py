"""What the settings of every kind of generator have."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from lstmgan_dist.settings import Probability, Settings

if TYPE_CHECKING:
    from lstmgan_dist.models.discriminators.kind import DiscriminatorKind
    from lstmgan_dist.models.generator import Generator


# Instead of a file of word vectors: those of the training text.
_OF_THE_TEXT = "corpus"


class Latent(Settings):
    """A noise vector z ~ N(0, 1) per sequence."""

    size: int = Field(ge=1, description="Dimensions of z.")
    feed: Literal["every_step", "initial_state"] = Field(
        default="every_step", description="Concatenated to every input, or mapped to the initial state."
    )


def places_of_dropout(dropout: type[Settings], *places: str) -> BeforeValidator:
    """One number instead of a kind's own dropout settings: that much in each of these places."""

    def of_one_number(value: Any) -> Any:
        if not isinstance(value, int | float):
            return value
        if not 0 <= value < 1:
            raise ValueError(f"{value} will not do: it must be 0 or more, and below 1")
        return dict.fromkeys(places, value)

    return BeforeValidator(of_one_number, json_schema_input_type=dropout | Probability)


class GeneratorKind(Settings):
    """Both ends of a generator, and what a kind has to tell of what is between them.

    learns_by: the one kind of estimator that moves all of it; None where any does.
    """

    learns_by: ClassVar[str | None] = None

    kind: Any  # each kind narrows it to its own word
    embedding: int = Field(default=256, ge=1, description="Dimensions of a token's embedding.")
    tied: bool = Field(
        default=True, description="Output weights are the embedding's; a projection joins unequal sizes."
    )
    softmaxes: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Of which the output layer gives a weighted mean (mixture of softmaxes, Yang et al. 2018); each "
        "costs as much as an output layer. 1: a plain softmax.",
    )
    latent: Latent | None = Field(default=None, description="Latent noise per sequence; none without.")
    pretrained_vectors: str | None = Field(
        default=None,
        description="Word vectors to start the embedding from: a path or URL of some in word2vec or GloVe text format, "
        "also .gz; or corpus: learnt from the training text itself, by which words are near each other.",
    )
    trainable_dimensions: int | None = Field(
        default=None,
        ge=1,
        description="The last dimensions of the embedding, which alone are learnt: the others are pretrained_vectors "
        "and stay as they are (ScratchGAN); none: all are learnt.",
    )

    @model_validator(mode="after")
    def _some_dimensions_are_pretrained(self) -> Self:
        if self.trainable_dimensions is not None and self.trainable_dimensions >= self.embedding:
            raise ValueError(
                f"embedding {self.embedding} counts all dimensions, and {self.trainable_dimensions} that are trainable "
                f"leave none for pretrained_vectors: try embedding {self.embedding + self.trainable_dimensions}"
            )
        return self

    @property
    def vector_size(self) -> int:
        """P: dimensions of the embedding that are word vectors at first."""
        return self.embedding - (self.trainable_dimensions or 0)

    @property
    def learns_vectors(self) -> bool:
        """Whether its word vectors are those of the training text itself."""
        return self.pretrained_vectors == _OF_THE_TEXT

    @property
    def vectors_file(self) -> str | None:
        """The address of its word vectors, where they are in a file."""
        return None if self.learns_vectors else self.pretrained_vectors

    @property
    @abstractmethod
    def hidden_size(self) -> int:
        """H: units of the hidden state that a discriminator may see."""

    def objection(self, discriminator: DiscriminatorKind | None, layout: str) -> str | None:
        """Why it cannot learn beside this discriminator, or from a corpus of this layout; None if it can.

        Begins with the setting in question.
        """
        return None

    @abstractmethod
    def build(self, *, vocabulary_size: int, labels: int = 0, seed: int) -> Generator:
        """The network, with its initial weights, on the CPU. labels: tokens behind the vocabulary, only read."""

    @property
    @abstractmethod
    def depth(self) -> int:
        """Layers that one position must pass before the next one can."""

    @property
    def input_size(self) -> int:
        """I: dimensions of what recurs sees at every position."""
        return self.embedding + (self.latent.size if self.latent and self.latent.feed == "every_step" else 0)

    def operations(self, vocabulary_size: int) -> float:
        """Floating-point operations of reading a token and telling the next one, two for each multiplication."""
        features = self.embedding if self.tied else self.hidden_size
        projection = self.hidden_size * features if features != self.hidden_size else 0
        if self.softmaxes > 1:
            projection = self.hidden_size * self.softmaxes * (features + 1)
        return 2 * (self.multiplications() + projection + self.softmaxes * vocabulary_size * features)

    @abstractmethod
    def multiplications(self) -> int:
        """Multiplications of matrix products in what recurs, at one position."""

    @abstractmethod
    def activations(self) -> int:
        """Numbers that one position of what recurs keeps for the backward pass."""
