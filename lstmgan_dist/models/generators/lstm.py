"""The LSTM language model (Mikolov et al. 2010; with the dropout of Merity et al. 2018)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from lstmgan_dist.models.generators.kind import GeneratorKind, places_of_dropout
from lstmgan_dist.settings import Probability, Settings

if TYPE_CHECKING:
    from lstmgan_dist.models.generators.lstm_network import LSTMGenerator


class GeneratorDropout(Settings):
    """Variational dropout: one mask per sequence, the same at every position (Gal and Ghahramani 2016)."""

    embedding: Probability = Field(default=0.0, description="On the embedded input, 0 to 1.")
    between: Probability = Field(default=0.0, description="Between LSTM layers, 0 to 1.")
    output: Probability = Field(default=0.0, description="On the last LSTM layer's output, 0 to 1.")
    weight: Probability = Field(default=0.0, description="On the recurrent weights (Merity et al. 2018), 0 to 1.")


class LSTMLayersKind(GeneratorKind):
    """What kinds that are made of LSTM layers have."""

    hidden: int = Field(default=512, ge=1, description="Units of each LSTM layer.")
    layers: int = Field(default=1, ge=1, le=16, description="LSTM layers.")
    dropout: Annotated[GeneratorDropout, places_of_dropout(GeneratorDropout, "embedding", "between", "output")] = Field(
        default_factory=GeneratorDropout,
        description="Variational dropout; one number sets embedding, between and output.",
    )

    @property
    def hidden_size(self) -> int:
        return self.hidden

    @property
    def depth(self) -> int:
        return self.layers

    @property
    def layer_inputs(self) -> list[int]:
        """Dimensions of what each layer reads at a position, from the input upwards."""
        return [self.input_size] + [self.hidden] * (self.layers - 1)

    def multiplications(self) -> int:
        return sum(4 * self.hidden * (inputs + self.hidden) for inputs in self.layer_inputs)

    def activations(self) -> int:
        """Gates and states that a fused LSTM keeps."""
        return self.embedding + self.layers * 7 * self.hidden


class LSTMGeneratorKind(LSTMLayersKind):
    """The LSTM language model that writes."""

    kind: Literal["lstm"] = "lstm"

    def build(self, *, vocabulary_size: int, labels: int = 0, seed: int) -> LSTMGenerator:
        from lstmgan_dist.models.generators.lstm_network import LSTMGenerator

        return LSTMGenerator(self, vocabulary_size=vocabulary_size, labels=labels, seed=seed)
