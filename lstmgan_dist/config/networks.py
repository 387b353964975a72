"""NETWORKS"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from lstmgan_dist.settings import Probability, Settings


class GeneratorDropout(Settings):
    """Variational dropout: one mask per sequence, the same at every position (Gal and Ghahramani 2016)."""

    embedding: Probability = Field(default=0.0, description="On the embedded input, 0 to 1.")
    between: Probability = Field(default=0.0, description="Between LSTM layers, 0 to 1.")
    output: Probability = Field(default=0.0, description="On the last LSTM layer's output, 0 to 1.")
    weight: Probability = Field(default=0.0, description="On the recurrent weights (Merity et al. 2018), 0 to 1.")


def _dropout_from_one_number(value: Any) -> Any:
    return {"embedding": value, "between": value, "output": value} if isinstance(value, int | float) else value


class Latent(Settings):
    """A noise vector z ~ N(0, 1) per sequence."""

    size: int = Field(ge=1, description="Dimensions of z.")
    feed: Literal["every_step", "initial_state"] = Field(
        default="every_step", description="Concatenated to every input, or mapped to the LSTM's initial state."
    )


class Generator(Settings):
    """The LSTM language model that writes."""

    embedding: int = Field(default=256, ge=1, description="Dimensions of a token's embedding.")
    hidden: int = Field(default=512, ge=1, description="Units of each LSTM layer.")
    layers: int = Field(default=1, ge=1, le=16, description="LSTM layers.")
    tied: bool = Field(
        default=True, description="Output weights are the embedding's; a projection joins unequal sizes."
    )
    dropout: Annotated[
        GeneratorDropout,
        BeforeValidator(_dropout_from_one_number, json_schema_input_type=GeneratorDropout | Probability),
    ] = Field(
        default_factory=GeneratorDropout,
        description="Variational dropout; one number sets embedding, between and output.",
    )
    latent: Latent | None = Field(default=None, description="Latent noise per sequence; none without.")
    pretrained_vectors: str | None = Field(
        default=None,
        description="Word vectors in word2vec or GloVe text format to start the embedding from: a path or URL.",
    )


class LSTMDiscriminator(Settings):
    """An LSTM that scores text, per token or per sentence."""

    kind: Literal["lstm"] = "lstm"
    scores: Literal["per_token", "per_sentence"] = Field(
        default="per_sentence", description="One score a token or a sentence."
    )
    embedding: int = Field(default=64, ge=1, description="Dimensions of a token's embedding.")
    hidden: int = Field(default=256, ge=1, description="LSTM units in each direction.")
    layers: int = Field(default=1, ge=1, le=16, description="LSTM layers.")
    bidirectional: bool = Field(default=False, description="Read the sentence both ways.")
    layer_norm: bool = Field(default=False, description="Normalise the LSTM's output.")
    position_features: int = Field(
        default=0,
        ge=0,
        multiple_of=2,
        description="Sinusoidal position channels added beside the embedding (even; 0: none).",
    )
    dropout: Probability = Field(default=0.0, description="Variational dropout on embedding and output, 0 to 1.")
    embedding_from_generator: bool = Field(
        default=False,
        description="Start from the generator's embedding when this player first moves; sizes must be equal.",
    )


class ConvolutionalDiscriminator(Settings):
    """A convolutional scorer of sentences (Kim 2014; with several representations, RelGAN's, Nie et al. 2019)."""

    kind: Literal["convolutional"] = "convolutional"
    scores: Literal["per_sentence"] = Field(default="per_sentence", description="Whole sentences, always.")
    embedding: int = Field(default=64, ge=1, description="Dimensions of a token's embedding over all representations.")
    representations: int = Field(
        default=1,
        ge=1,
        description="Parts the embedding is cut into; each part is scored on its own, and every score is in the loss.",
    )
    filters: dict[int, int] = Field(
        default_factory=lambda: {2: 100, 3: 100, 4: 100, 5: 100},
        description="Filter width in tokens: number of filters.",
    )
    highway: bool = Field(default=True, description="A highway layer after pooling (Srivastava et al. 2015).")
    dense: int = Field(default=100, ge=0, description="Units of the dense layer before the score; 0 leaves it out.")
    dropout: Probability = Field(default=0.25, description="On the pooled features, 0 to 1.")
    embedding_from_generator: bool = Field(
        default=False,
        description="Start from the generator's embedding when this player first moves; sizes must be equal.",
    )

    @model_validator(mode="after")
    def _filters_fit(self) -> Self:
        if not self.filters or min(self.filters) < 1 or min(self.filters.values()) < 1:
            raise ValueError("filters must map widths of 1 or more to counts of 1 or more: try {2: 100, 3: 100}")
        if self.embedding % self.representations:
            raise ValueError(
                f"embedding {self.embedding} must be divisible by {self.representations} representations"
                f": try embedding {self.representations * math.ceil(self.embedding / self.representations)}"
            )
        return self


Discriminator = Annotated[LSTMDiscriminator | ConvolutionalDiscriminator, Field(discriminator="kind")]
