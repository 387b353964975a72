"""What the settings of every kind of generator have."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from lstmgan_dist.settings import Settings

if TYPE_CHECKING:
    from lstmgan_dist.models.generator import Generator


class Latent(Settings):
    """A noise vector z ~ N(0, 1) per sequence."""

    size: int = Field(ge=1, description="Dimensions of z.")
    feed: Literal["every_step", "initial_state"] = Field(
        default="every_step", description="Concatenated to every input, or mapped to the LSTM's initial state."
    )


class GeneratorKind(Settings):
    """Both ends of a generator, and what a kind has to tell of what is between them."""

    kind: Any  # each kind narrows it to its own word
    embedding: int = Field(default=256, ge=1, description="Dimensions of a token's embedding.")
    tied: bool = Field(
        default=True, description="Output weights are the embedding's; a projection joins unequal sizes."
    )
    latent: Latent | None = Field(default=None, description="Latent noise per sequence; none without.")
    pretrained_vectors: str | None = Field(
        default=None,
        description="Word vectors in word2vec or GloVe text format to start the embedding from: a path or URL.",
    )

    @property
    @abstractmethod
    def hidden_size(self) -> int:
        """H: units of the hidden state that a discriminator may see."""

    @abstractmethod
    def build(self, *, vocabulary_size: int, seed: int) -> Generator:
        """The network, with its initial weights, on the CPU."""

    @property
    @abstractmethod
    def depth(self) -> int:
        """Layers that one position must pass before the next one can."""

    @abstractmethod
    def activations(self) -> int:
        """Numbers that one position of what recurs keeps for the backward pass."""
