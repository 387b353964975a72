"""The network of an LSTM generator.

Shapes: B rows, T positions, V vocabulary, E embedding, F features, H hidden units, L layers, Z latent dimensions,
I inputs of a layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lstmgan_dist.models import fused
from lstmgan_dist.models.generator import Generator, State, Step
from lstmgan_dist.models.generators.lstm import LSTMLayersKind
from lstmgan_dist.models.initialise import normal_
from lstmgan_dist.runtime.randomness import Noise


class LSTMGenerator(Generator):
    """LSTM layers with variational and weight dropout (Merity et al. 2018). The state is (h_BLH, c_BLH).

    Dropout masks are constant over a row's positions (Gal and Ghahramani 2016) and follow from the `noise` that
    `forward` is given: without noise there is no dropout.

    Args:
        seed: the weights follow from it.
        layers: from the input upwards; plain ones without.
    """

    def __init__(
        self,
        kind: LSTMLayersKind,
        *,
        vocabulary_size: int,
        labels: int,
        seed: int,
        layers: Sequence[fused.LSTMLayer] | None = None,
    ) -> None:
        super().__init__(
            kind,
            vocabulary_size,
            labels,
            embedding_dropout=kind.dropout.embedding,
            output_dropout=kind.dropout.output,
        )
        self.between_dropout = kind.dropout.between
        self.weight_dropout = kind.dropout.weight
        self.layers = nn.ModuleList(layers or (fused.LSTMLayer(size, kind.hidden) for size in kind.layer_inputs))
        starts_state = self.latent_size > 0 and not self.feeds_every_step
        self.latent_to_state = nn.Linear(self.latent_size, 2 * kind.layers * kind.hidden) if starts_state else None
        self.add_output(kind.hidden, tied=kind.tied, softmaxes=kind.softmaxes)
        self.initialise(seed)

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        super().initialise(seed)
        for number, layer in enumerate(self.lstm_layers()):
            layer.initialise(seed, f"layer {number}")
        if self.latent_to_state is not None:
            normal_(self.latent_to_state.weight, self.latent_size**-0.5 / 2, seed, "latent")
            self.latent_to_state.bias.zero_()

    def lstm_layers(self) -> Iterator[fused.LSTMLayer]:
        """The layers, from the input upwards."""
        for layer in self.layers:
            assert isinstance(layer, fused.LSTMLayer)
            yield layer

    def initial_state(self, rows: int, latent_BZ: Tensor | None = None) -> State:
        """The state before the first token: zero, or what the latent vector says."""
        shape = (rows, len(self.layers), self.hidden_size)
        if self.latent_to_state is None:
            zeros_BLH = self.output_bias.new_zeros(shape)
            return zeros_BLH, zeros_BLH
        assert latent_BZ is not None
        h, c = self.latent_to_state(latent_BZ).float().chunk(2, dim=-1)
        return h.tanh().view(shape), c.view(shape)

    def read(
        self, inputs_BT: Tensor, state: State | None, *, latent_BZ: Tensor | None, noise: Noise | None
    ) -> tuple[Tensor, State]:
        x_BTI = self.inputs(inputs_BT, latent_BZ, noise)
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
        h, c = zip(*ends, strict=True)
        return x_BTI, (torch.stack(h, dim=1), torch.stack(c, dim=1))

    def step(self, latent_BZ: Tensor | None, dtype: torch.dtype) -> Step:
        """On CPUs one product for all gates of a layer; on GPUs cell by cell, as a graph can hold it."""
        return self.step_by_cells(latent_BZ, dtype) if self.output_bias.is_cuda else self.step_by_products(latent_BZ)

    def step_by_products(self, latent_BZ: Tensor | None) -> Step:
        """The same in float32, with the weights of input and state in one matrix: few rows wait for weights alone.

        oneDNN's kernel of whole sequences would lay all weights out anew at every token.
        """
        layers = [
            (torch.cat(layer.weights[:2], dim=1), layer.weights[2] + layer.weights[3]) for layer in self.lstm_layers()
        ]

        def read_one(token_B: Tensor, state: State) -> tuple[Tensor, State]:
            x_BI = self.inputs(token_B[:, None], latent_BZ, None)[:, 0]
            h, c = (tensor.unbind(1) for tensor in state)
            ends: list[State] = []
            for number, (weight, bias) in enumerate(layers):
                gates = fused.linear(torch.cat([x_BI, h[number]], dim=1), weight, bias)
                take, keep, new, show = gates.chunk(4, dim=1)
                c_BH = keep.sigmoid_() * c[number] + take.sigmoid_() * new.tanh_()
                x_BI = show.sigmoid_() * c_BH.tanh()
                ends.append((x_BI, c_BH))
            h, c = zip(*ends, strict=True)
            return self.features(x_BI[:, None])[:, 0], (torch.stack(h, dim=1), torch.stack(c, dim=1))

        return read_one

    def step_by_cells(self, latent_BZ: Tensor | None, dtype: torch.dtype) -> Step:
        """The same without the kernel of whole sequences."""
        embedding_VE = self.embedding.weight.to(dtype)
        cells = [[weight.to(dtype) for weight in layer.weights] for layer in self.lstm_layers()]
        features_of = self.feature_reader(dtype)
        joined_BZ = latent_BZ.to(dtype) if self.feeds_every_step and latent_BZ is not None else None

        def read_one(token_B: Tensor, state: State) -> tuple[Tensor, State]:
            x_BI = F.embedding(token_B, embedding_VE)
            if joined_BZ is not None:
                x_BI = torch.cat([x_BI, joined_BZ], dim=-1)
            ends: list[State] = []
            for number, weights in enumerate(cells):
                h_BLH, c_BLH = state
                ends.append(torch.lstm_cell(x_BI, (h_BLH[:, number], c_BLH[:, number]), *weights))
                x_BI = ends[-1][0]
            h, c = zip(*ends, strict=True)
            return features_of(x_BI), (torch.stack(h, dim=1), torch.stack(c, dim=1))

        return read_one
