"""The multi-class discriminator (SentiGAN's, Wang and Wan 2018)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from lstmgan_dist.models.discriminators.lstm import LSTMReaderKind

if TYPE_CHECKING:
    from lstmgan_dist.models.discriminators.multi_class_network import MultiClassDiscriminator


class MultiClassKind(LSTMReaderKind):
    """An LSTM that tells the labels of real texts from each other, and all of them from drawn text."""

    tells_labels = True

    kind: Literal["multi_class"] = "multi_class"
    scores: Literal["per_sentence"] = Field(default="per_sentence", description="Whole sentences, always.")

    def build(
        self, *, vocabulary_size: int, labels: int = 0, generator_hidden: int, seed: int
    ) -> MultiClassDiscriminator:
        from lstmgan_dist.models.discriminators.multi_class_network import MultiClassDiscriminator

        return MultiClassDiscriminator(self, vocabulary_size=vocabulary_size, labels=labels, seed=seed)
