"""The network of a discriminator that sees the generator's hidden states.

Shapes: B rows, T positions, H hidden units of the generator.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lstmgan_dist.models import bidirectional, fused
from lstmgan_dist.models.discriminator import Discriminator
from lstmgan_dist.models.discriminators.hidden_states import HiddenStatesKind
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.models.initialise import uniform_
from lstmgan_dist.runtime.randomness import Noise


class HiddenStatesDiscriminator(Discriminator):
    """Reads hidden states both ways, and scores where each direction ended.

    Args:
        generator_hidden: H.
        seed: the weights follow from it.
    """

    def __init__(self, kind: HiddenStatesKind, *, generator_hidden: int, seed: int) -> None:
        super().__init__()
        self.scores = kind.scores
        self.hidden_size = kind.hidden
        self.dropout = kind.dropout
        self.forwards = fused.LSTMLayer(generator_hidden, kind.hidden)
        self.backwards = fused.LSTMLayer(generator_hidden, kind.hidden)
        sizes = (2 * kind.hidden, kind.dense, kind.dense, 1)
        self.perceptron = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(sizes))
        self._initialise(seed)

    @torch.no_grad()
    def _initialise(self, seed: int) -> None:
        self.forwards.initialise(seed, "forwards")
        self.backwards.initialise(seed, "backwards")
        for number, layer in enumerate(self.perceptron):
            assert isinstance(layer, nn.Linear)
            uniform_(layer.weight, layer.in_features**-0.5, seed, f"perceptron {number}")
            layer.bias.zero_()

    def see(self, tokens_BT: Tensor, generator: Generator) -> Tensor:
        """The hidden states from which the generator would write these tokens, (B, T, H)."""
        # A sentence starts with <end>, which is 0.
        hidden_BTH, _ = generator.read(F.pad(tokens_BT, (1, -1)), None, latent_BZ=None, noise=None)
        return hidden_BTH

    def forward(self, seen_BTD: Tensor, lengths_B: Tensor, *, noise: Noise | None = None) -> Tensor:
        if noise is not None and self.dropout:
            seen_BTD = seen_BTD * noise.keep("hidden states", seen_BTD.shape[-1], dropout=self.dropout)[:, None]
        outputs_BTH = bidirectional.read([[self.forwards, self.backwards]], seen_BTD, lengths_B)
        x = bidirectional.ends(outputs_BTH, lengths_B, self.hidden_size)
        first, second, last = self.perceptron
        return last(second(first(x).relu()).relu()).squeeze(1).float()
