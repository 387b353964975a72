"""The LSTM language model that writes.

Shapes: B rows, T positions, N valid positions, V vocabulary, E embedding, F features that the output layer multiplies
(E where tied, else H), H hidden units, L layers, Z latent dimensions, I inputs of a layer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lstmgan_dist.models import fused
from lstmgan_dist.models.initialise import normal_, uniform_
from lstmgan_dist.runtime.randomness import Noise

State = tuple[Tensor, Tensor]  # h_BLH, c_BLH: rows first, so that batches are cut by rows


class Generator(nn.Module):
    """A language model of LSTM layers with variational and weight dropout (Merity et al. 2018).

    Dropout masks are constant over a row's positions (Gal and Ghahramani 2016) and follow from the `noise` that
    `forward` is given: without noise there is no dropout.

    Args:
        tied: the output layer multiplies by the embedding (Press and Wolf 2017), after a projection where the sizes
            differ.
        latent_feed: whether the latent vector is joined to every input or gives the initial state.
        seed: the weights follow from it, the same on every worker and device.
    """

    def __init__(
        self,
        *,
        vocabulary_size: int,
        embedding: int,
        hidden: int,
        layers: int = 1,
        tied: bool = True,
        embedding_dropout: float = 0.0,
        between_dropout: float = 0.0,
        output_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        latent_size: int = 0,
        latent_feed: Literal["every_step", "initial_state"] = "every_step",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.hidden_size = hidden
        self.embedding_dropout = embedding_dropout
        self.between_dropout = between_dropout
        self.output_dropout = output_dropout
        self.weight_dropout = weight_dropout
        self.latent_size = latent_size
        self.feeds_every_step = latent_size > 0 and latent_feed == "every_step"
        self.embedding = nn.Embedding(vocabulary_size, embedding)
        first_inputs = embedding + (latent_size if self.feeds_every_step else 0)
        inputs = [first_inputs] + [hidden] * (layers - 1)
        self.layers = nn.ModuleList(fused.LSTMLayer(size, hidden) for size in inputs)
        starts_state = latent_size > 0 and not self.feeds_every_step
        self.latent_to_state = nn.Linear(latent_size, 2 * layers * hidden) if starts_state else None
        self.projection = nn.Linear(hidden, embedding, bias=False) if tied and embedding != hidden else None
        self.output_weight = None if tied else nn.Parameter(torch.empty(vocabulary_size, hidden))
        self.output_bias = nn.Parameter(torch.empty(vocabulary_size))
        self._initialise(seed)

    @property
    def vocabulary_size(self) -> int:
        """Tokens it can read and write."""
        return self.embedding.num_embeddings

    @torch.no_grad()
    def _initialise(self, seed: int) -> None:
        normal_(self.embedding.weight, self.embedding.embedding_dim**-0.5, seed, "embedding")
        for number, layer in enumerate(self.lstm_layers()):
            layer.initialise(seed, f"layer {number}")
        if self.latent_to_state is not None:
            normal_(self.latent_to_state.weight, self.latent_size**-0.5 / 2, seed, "latent")
            self.latent_to_state.bias.zero_()
        if self.projection is not None:
            uniform_(self.projection.weight, math.sqrt(3 / self.hidden_size), seed, "projection")
        if self.output_weight is not None:
            uniform_(self.output_weight, self.hidden_size**-0.5, seed, "output")
        self.output_bias.zero_()

    def lstm_layers(self) -> Iterator[fused.LSTMLayer]:
        """The layers, from the input upwards."""
        for layer in self.layers:
            assert isinstance(layer, fused.LSTMLayer)
            yield layer

    def forward(
        self,
        inputs_BT: Tensor,
        state: State | None = None,
        *,
        latent_BZ: Tensor | None = None,
        noise: Noise | None = None,
    ) -> tuple[Tensor, State]:
        """Read whole sequences.

        Args:
            inputs_BT: token ids.
            state: from where the rows go on; without it, zero or what the latent vector says.
            noise: gives the dropout masks; none without.

        Returns:
            features_BTF, from which `logits` tells the next token of every position, and the state after the last one.
        """
        x_BTI = self.embedding(inputs_BT)
        if noise is not None and self.embedding_dropout:
            x_BTI = x_BTI * noise.keep("embedding", x_BTI.shape[-1], dropout=self.embedding_dropout)[:, None]
        if self.feeds_every_step:
            assert latent_BZ is not None
            x_BTI = torch.cat([x_BTI, latent_BZ[:, None].expand(-1, x_BTI.shape[1], -1)], dim=-1)
        h_BLH, c_BLH = self.initial_state(len(inputs_BT), latent_BZ) if state is None else state
        ends: list[State] = []
        for number, layer in enumerate(self.lstm_layers()):
            if noise is not None and number and self.between_dropout:
                keep_BH = noise.keep(f"between {number}", self.hidden_size, dropout=self.between_dropout)
                x_BTI = x_BTI * keep_BH[:, None]
            keep = None
            if noise is not None and self.weight_dropout:
                shape = layer.weight_hh_l0.shape
                keep = noise.shared_keep(f"weight {number}", *shape, dropout=self.weight_dropout)
            x_BTI, end = layer.read(x_BTI, (h_BLH[:, number], c_BLH[:, number]), recurrent_keep=keep)
            ends.append(end)
        if noise is not None and self.output_dropout:
            x_BTI = x_BTI * noise.keep("output", self.hidden_size, dropout=self.output_dropout)[:, None]
        features_BTF = x_BTI if self.projection is None else fused.linear(x_BTI, self.projection.weight)
        h, c = zip(*ends, strict=True)
        return features_BTF, (torch.stack(h, dim=1), torch.stack(c, dim=1))

    def initial_state(self, rows: int, latent_BZ: Tensor | None = None) -> State:
        """The state before the first token: zero, or what the latent vector says."""
        shape = (rows, len(self.layers), self.hidden_size)
        if self.latent_to_state is None:
            zeros_BLH = self.output_bias.new_zeros(shape)
            return zeros_BLH, zeros_BLH
        assert latent_BZ is not None
        h, c = self.latent_to_state(latent_BZ).float().chunk(2, dim=-1)
        return h.tanh().view(shape), c.view(shape)

    def logits(self, features_F: Tensor) -> Tensor:
        """Unnormalised float32 log-probabilities of the next token, (..., F) -> (..., V)."""
        return fused.linear(features_F, self.output_matrix, self.output_bias).float()

    @property
    def output_matrix(self) -> Tensor:
        """What the features are multiplied by, (V, F)."""
        return self.embedding.weight if self.output_weight is None else self.output_weight

    def log_likelihoods(self, features_NF: Tensor, tokens_N: Tensor, temperature: float = 1.0) -> Tensor:
        """Log-probability in nats of each position's token, with logits divided by the temperature."""
        return -F.cross_entropy(self.logits(features_NF) / temperature, tokens_N, reduction="none")
