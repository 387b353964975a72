"""The network of an LSTM discriminator.

Shapes: B rows, T positions, E embedding, H hidden units, I inputs of a layer, O outputs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from lstmgan_dist.models import bidirectional, fused
from lstmgan_dist.models.discriminator import TokenReader
from lstmgan_dist.models.discriminators.lstm import LSTMReaderKind
from lstmgan_dist.models.initialise import uniform_
from lstmgan_dist.runtime.randomness import Noise


class LSTMDiscriminator(TokenReader):
    """An LSTM that scores every token from what it read so far, or the sentence from where it ended.

    Sinusoidal channels (Vaswani et al. 2017) may be joined to the embedding (de Masson d'Autume et al. 2019). Dropout
    is variational, on the embedding and on the output.

    Args:
        outputs: numbers that it makes of a token or a sentence; a score is one.
        seed: the weights follow from it.
    """

    def __init__(self, kind: LSTMReaderKind, *, vocabulary_size: int, outputs: int = 1, seed: int) -> None:
        super().__init__(vocabulary_size, kind.embedding, kind.trainable_dimensions)
        self.scores = kind.scores
        self.hidden_size = kind.hidden
        self.position_features = kind.position_features
        self.dropout = kind.dropout
        directions = 2 if kind.bidirectional else 1
        width = kind.hidden * directions
        inputs = [kind.embedding + kind.position_features] + [width] * (kind.layers - 1)
        self.layers = nn.ModuleList(
            nn.ModuleList(fused.LSTMLayer(size, kind.hidden) for _ in range(directions)) for size in inputs
        )
        self.norm = nn.LayerNorm(width) if kind.layer_norm else None
        self.output = nn.Linear(width, outputs)
        self._initialise(seed)

    @torch.no_grad()
    def _initialise(self, seed: int) -> None:
        self.embedding.initialise(1.0, seed)
        for number, directions in enumerate(self.directions()):
            for name, layer in zip(("forwards", "backwards"), directions, strict=False):
                layer.initialise(seed, f"{name} {number}")
        uniform_(self.output.weight, self.output.in_features**-0.5, seed, "output")
        self.output.bias.zero_()

    def directions(self) -> Iterator[list[fused.LSTMLayer]]:
        """The layers, from the input upwards: each forwards and, where bidirectional, backwards."""
        for layer in self.layers:
            assert isinstance(layer, nn.ModuleList)
            yield [direction for direction in layer if isinstance(direction, fused.LSTMLayer)]

    def forward(self, seen_BTD: Tensor, lengths_B: Tensor, *, noise: Noise | None = None) -> Tensor:
        scores_BT = self.outputs(seen_BTD, lengths_B, noise=noise).squeeze(-1)
        if self.scores == "per_sentence":
            return scores_BT.squeeze(1)
        position_T = torch.arange(scores_BT.shape[1], device=scores_BT.device)
        return scores_BT.masked_fill(position_T >= lengths_B[:, None], 0.0)

    def outputs(self, seen_BTD: Tensor, lengths_B: Tensor, *, noise: Noise | None) -> Tensor:
        """What it makes of texts, float32: (B, T, O), also of what pads them; or of sentences, (B, 1, O)."""
        rows, positions, size = seen_BTD.shape
        position_T = torch.arange(positions, device=seen_BTD.device)
        x_BTI = seen_BTD
        if noise is not None and self.dropout:
            x_BTI = x_BTI * noise.keep("embedding", size, dropout=self.dropout)[:, None]
        if self.position_features:
            features_TP = _sinusoids(position_T, self.position_features)
            x_BTI = torch.cat([x_BTI, features_TP.expand(rows, -1, -1).to(x_BTI.dtype)], dim=-1)
        x_BTI = bidirectional.read(self.directions(), x_BTI, lengths_B)
        if self.scores == "per_sentence":
            x_BTI = bidirectional.ends(x_BTI, lengths_B, self.hidden_size)[:, None]
        if self.norm is not None:
            x_BTI = self.norm(x_BTI)
        if noise is not None and self.dropout:
            x_BTI = x_BTI * noise.keep("output", x_BTI.shape[-1], dropout=self.dropout)[:, None]
        return self.output(x_BTI).float()


def _sinusoids(position_T: Tensor, channels: int) -> Tensor:
    """Sines and cosines of wavelengths from 2π to 20000π positions, (T, channels)."""
    rates = torch.exp(torch.arange(0, channels, 2, device=position_T.device) * (-math.log(10000) / channels))
    angles = position_T[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
