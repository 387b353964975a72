"""The LSTM discriminator (ScratchGAN's, de Masson d'Autume et al. 2019, scores every token)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from lstmgan_dist.models.discriminators.kind import TokenReaderKind
from lstmgan_dist.settings import Probability

if TYPE_CHECKING:
    from lstmgan_dist.models.discriminators.lstm_network import LSTMDiscriminator


class LSTMReaderKind(TokenReaderKind):
    """An LSTM that reads text, whatever it makes of it."""

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

    @property
    def looks_ahead(self) -> bool:
        return self.bidirectional

    @property
    def depth(self) -> int:
        return self.layers

    def operations(self, length: float) -> float:
        directions = 2 if self.bidirectional else 1
        width = directions * self.hidden
        inputs = [self.embedding + self.position_features] + [width] * (self.layers - 1)
        gates = sum(directions * 4 * self.hidden * (size + self.hidden) for size in inputs)
        return 2 * length * (gates + width)

    def activations(self, positions: int) -> int:
        """Gates and states that a fused LSTM keeps."""
        return positions * (2 if self.bidirectional else 1) * self.layers * 7 * self.hidden


class LSTMDiscriminatorKind(LSTMReaderKind):
    """An LSTM that scores text, per token or per sentence."""

    kind: Literal["lstm"] = "lstm"
    scores: Literal["per_token", "per_sentence"] = Field(
        default="per_sentence", description="One score a token or a sentence."
    )

    def build(self, *, vocabulary_size: int, labels: int = 0, generator_hidden: int, seed: int) -> LSTMDiscriminator:
        from lstmgan_dist.models.discriminators.lstm_network import LSTMDiscriminator

        return LSTMDiscriminator(self, vocabulary_size=vocabulary_size, seed=seed)
