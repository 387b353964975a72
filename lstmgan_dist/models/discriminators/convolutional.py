"""The convolutional discriminator (Kim 2014; with several representations, RelGAN's, Nie et al. 2019)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from lstmgan_dist.models.discriminators.kind import TokenReaderKind
from lstmgan_dist.models.generators.kind import GeneratorKind
from lstmgan_dist.settings import Probability

if TYPE_CHECKING:
    from lstmgan_dist.models.discriminators.convolutional_network import ConvolutionalDiscriminator


class ConvolutionalKind(TokenReaderKind):
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
    spectral_norm: bool = Field(
        default=False,
        description="Every layer multiplies by its weights over their largest singular value, so that none stretches "
        "what it is given (Miyato et al. 2018); the embedding does not.",
    )

    @property
    def is_spectrally_normalised(self) -> bool:
        return self.spectral_norm

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

    @property
    def leaked(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("embedding", "representations", "filters")}

    def objection(self, generator: GeneratorKind, max_length: int) -> str | None:
        widest = max(self.filters)
        if widest > max_length:
            return f"filters has width {widest}, more than corpus.max_length {max_length}: drop that width"
        return super().objection(generator, max_length)

    @property
    def vector_size(self) -> int:
        return self.representations

    def build(
        self, *, vocabulary_size: int, labels: int = 0, generator_hidden: int, seed: int
    ) -> ConvolutionalDiscriminator:
        from lstmgan_dist.models.discriminators.convolutional_network import ConvolutionalDiscriminator

        return ConvolutionalDiscriminator(self, vocabulary_size=vocabulary_size, seed=seed)

    def operations(self, length: float) -> float:
        channels = self.embedding // self.representations
        features = sum(self.filters.values())
        each = sum(channels * width * count for width, count in self.filters.items()) * length
        each += features**2 if self.highway else 0
        each += self.dense * (features + 1) if self.dense else features
        return 2 * self.representations * each

    def activations(self, positions: int) -> int:
        """Features of each representation, before and after the highway layer, and its gate."""
        return self.representations * 4 * sum(self.filters.values())
