"""The Mogrifier LSTM (Melis et al. 2020): input and state gate each other before every LSTM update."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from lstmgan_dist.models.generators.lstm import LSTMLayersKind

if TYPE_CHECKING:
    from lstmgan_dist.models.generators.mogrifier_network import MogrifierGenerator


class MogrifierKind(LSTMLayersKind):
    """The LSTM whose input depends on its state that writes."""

    kind: Literal["mogrifier"]
    rounds: int = Field(
        default=5,
        ge=1,
        le=16,
        description="Rounds of gating at every position: the odd ones gate the input by the state, the even ones the "
        "state by the input.",
    )
    rank: int | None = Field(
        default=None, ge=1, description="Of the matrices that gate, as products of two; none: they are whole."
    )

    def build(self, *, vocabulary_size: int, labels: int = 0, seed: int) -> MogrifierGenerator:
        from lstmgan_dist.models.generators.mogrifier_network import MogrifierGenerator

        return MogrifierGenerator(self, vocabulary_size=vocabulary_size, labels=labels, seed=seed)

    @property
    def depth(self) -> int:
        """A layer waits for each of its rounds."""
        return self.layers * (1 + self.rounds * (1 if self.rank is None else 2))

    def multiplications(self) -> int:
        gates = (
            inputs * self.hidden if self.rank is None else self.rank * (inputs + self.hidden)
            for inputs in self.layer_inputs
        )
        return super().multiplications() + self.rounds * sum(gates)

    def activations(self) -> int:
        """Those of an LSTM, which is not fused here, and of each round the gate and what it makes."""
        gated = sum((self.rounds + 1) // 2 * inputs + self.rounds // 2 * self.hidden for inputs in self.layer_inputs)
        return super().activations() + 2 * gated + sum(inputs + 6 * self.hidden for inputs in self.layer_inputs)
