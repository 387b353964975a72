"""The relational memory (Santoro et al. 2018), by default in the size of RelGAN's generator (Nie et al. 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from lstmgan_dist.models.generators.kind import GeneratorKind, places_of_dropout
from lstmgan_dist.settings import Probability, Settings

if TYPE_CHECKING:
    from lstmgan_dist.models.generators.relational_memory_network import RelationalMemoryGenerator


class RelationalMemoryDropout(Settings):
    """Variational dropout: one mask per sequence, the same at every position (Gal and Ghahramani 2016)."""

    embedding: Probability = Field(default=0.0, description="On the embedded input, 0 to 1.")
    output: Probability = Field(default=0.0, description="On the memory that the output layer sees, 0 to 1.")


class RelationalMemoryKind(GeneratorKind):
    """The language model whose memory slots attend to each other that writes."""

    kind: Literal["relational_memory"]
    slots: int = Field(default=1, ge=1, le=64, description="Vectors that the memory consists of.")
    heads: int = Field(default=2, ge=1, le=64, description="Attention heads.")
    head_size: int = Field(default=256, ge=1, description="Dimensions of a head; a slot has heads times as many.")
    blocks: int = Field(
        default=1, ge=1, le=16, description="How often the slots attend at one position, with the same weights."
    )
    mlp_layers: int = Field(default=2, ge=1, le=16, description="Layers of the perceptron behind the attention.")
    forget_bias: float = Field(
        default=1.0, ge=-10, le=10, description="Initial bias of the forget gates; above 0 they start open."
    )
    dropout: Annotated[RelationalMemoryDropout, places_of_dropout(RelationalMemoryDropout, "embedding", "output")] = (
        Field(
            default_factory=RelationalMemoryDropout,
            description="Variational dropout; one number sets embedding and output.",
        )
    )

    @property
    def slot_size(self) -> int:
        """M: dimensions of a slot."""
        return self.heads * self.head_size

    @property
    def hidden_size(self) -> int:
        return self.slots * self.slot_size

    def build(self, *, vocabulary_size: int, labels: int = 0, seed: int) -> RelationalMemoryGenerator:
        from lstmgan_dist.models.generators.relational_memory_network import RelationalMemoryGenerator

        return RelationalMemoryGenerator(self, vocabulary_size=vocabulary_size, labels=labels, seed=seed)

    @property
    def depth(self) -> int:
        return self.blocks * (1 + self.mlp_layers)

    def multiplications(self) -> int:
        """Gates, queries, keys, values and their products, and the perceptron; in the last block of the slots alone."""
        blocks_before, rows = self.blocks - 1, self.slots + 1
        gates = 2 * rows
        attention = 3 * self.blocks * rows
        mlp = self.mlp_layers * (blocks_before * rows + self.slots)
        pairs = (blocks_before * rows + self.slots) * rows
        return self.slot_size * (self.input_size + (gates + attention + mlp) * self.slot_size + 2 * pairs)

    def activations(self) -> int:
        """What autograd keeps, in slots: of the input, of each slot of the last block, of each row of those before."""
        of_input, of_slot, of_row = 7, 14 + self.mlp_layers, 9 + self.mlp_layers
        blocks_before = (self.blocks - 1) * (self.slots + 1) * of_row
        return self.embedding + self.slot_size * (of_input + self.slots * of_slot + blocks_before)
