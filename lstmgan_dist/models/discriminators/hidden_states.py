"""The discriminator of Professor Forcing (Lamb et al. 2016): it sees how the generator gets on, not what it writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from lstmgan_dist.models.discriminators.kind import DiscriminatorKind
from lstmgan_dist.models.generators.kind import GeneratorKind
from lstmgan_dist.settings import Probability

if TYPE_CHECKING:
    from lstmgan_dist.models.discriminators.hidden_states_network import HiddenStatesDiscriminator


class HiddenStatesKind(DiscriminatorKind):
    """A bidirectional LSTM over the generator's hidden states, and a multilayer perceptron that scores the sentence."""

    reads = "hidden_states"

    kind: Literal["hidden_states"] = "hidden_states"
    scores: Literal["per_sentence"] = Field(default="per_sentence", description="Whole sentences, always.")
    hidden: int = Field(default=256, ge=1, description="LSTM units in each direction.")
    dense: int = Field(default=256, ge=1, description="Units of each of the two layers before the score.")
    dropout: Probability = Field(default=0.0, description="Variational dropout on the hidden states, 0 to 1.")

    def objection(self, generator: GeneratorKind, max_length: int) -> str | None:
        if generator.latent is None:
            return None
        return "kind hidden_states cannot tell which latent vector is behind real text: leave generator.latent out"

    def build(
        self, *, vocabulary_size: int, labels: int = 0, generator_hidden: int, seed: int
    ) -> HiddenStatesDiscriminator:
        from lstmgan_dist.models.discriminators.hidden_states_network import HiddenStatesDiscriminator

        return HiddenStatesDiscriminator(self, generator_hidden=generator_hidden, seed=seed)

    @property
    def depth(self) -> int:
        return 1

    def operations(self, length: float) -> float:
        """Those of the recurrent weights and of the perceptron; the input weights depend on the generator."""
        return 2 * (length * 2 * 4 * self.hidden**2 + self.dense * (2 * self.hidden + self.dense + 1))

    def activations(self, positions: int) -> int:
        """Gates and states of both directions."""
        return positions * 2 * 7 * self.hidden
