"""The network of a Mogrifier LSTM.

Shapes: B rows, T positions, H hidden units, I inputs of a layer, L layers, R = I + H, Z latent dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lstmgan_dist.models import fused
from lstmgan_dist.models.generator import State, Step
from lstmgan_dist.models.generators.lstm_network import LSTMGenerator
from lstmgan_dist.models.generators.mogrifier import MogrifierKind
from lstmgan_dist.models.initialise import uniform_


class MogrifierGenerator(LSTMGenerator):
    """LSTM layers of which each first lets input and state gate each other; all else is as in `LSTMGenerator`.

    Args:
        seed: the weights follow from it.
    """

    def __init__(self, kind: MogrifierKind, *, vocabulary_size: int, labels: int, seed: int) -> None:
        layers = [MogrifierLayer(size, kind.hidden, kind.rounds, kind.rank) for size in kind.layer_inputs]
        super().__init__(kind, vocabulary_size=vocabulary_size, labels=labels, seed=seed, layers=layers)

    def step(self, latent_BZ: Tensor | None, dtype: torch.dtype) -> Step:
        """The same everywhere: products of few rows, one after another."""
        embedding_VE = self.embedding.weight.to(dtype)
        layers = [layer.prepared(dtype) for layer in self.layers if isinstance(layer, MogrifierLayer)]
        projection = None if self.projection is None else self.projection.weight.to(dtype)
        joined_BZ = latent_BZ.to(dtype) if self.feeds_every_step and latent_BZ is not None else None

        def read_one(token_B: Tensor, state: State) -> tuple[Tensor, State]:
            x_BI = F.embedding(token_B, embedding_VE)
            if joined_BZ is not None:
                x_BI = torch.cat([x_BI, joined_BZ], dim=-1)
            ends: list[State] = []
            for number, weights in enumerate(layers):
                h_BLH, c_BLH = state
                ends.append(_step(x_BI, h_BLH[:, number], c_BLH[:, number], *weights))
                x_BI = ends[-1][0]
            h, c = zip(*ends, strict=True)
            features_BF = x_BI if projection is None else fused.linear(x_BI, projection)
            return features_BF, (torch.stack(h, dim=1), torch.stack(c, dim=1))

        return read_one


class MogrifierLayer(fused.LSTMLayer):
    """One LSTM layer behind rounds of gating (Melis et al. 2020, equations 1 and 2).

    No kernel reads whole sequences of it, for the input of a position waits for the state before it.

    gates: of each round, the matrix that a gate is made by, or the two of which it is the product.
    """

    def __init__(self, inputs: int, hidden: int, rounds: int, rank: int | None) -> None:
        super().__init__(inputs, hidden)
        self.gates = nn.ModuleList()
        for number in range(rounds):
            told, gated = (hidden, inputs) if number % 2 == 0 else (inputs, hidden)
            sizes = [(told, gated)] if rank is None else [(told, rank), (rank, gated)]
            self.gates.append(nn.ModuleList(nn.Linear(*size, bias=False) for size in sizes))

    @torch.no_grad()
    def initialise(self, seed: int, name: str) -> None:
        """Those of an LSTM layer, and gates that start near 1, where they change nothing."""
        super().initialise(seed, name)
        for number, matrices in enumerate(self._gate_weights()):
            for part, weight in enumerate(matrices):
                uniform_(weight, weight.shape[1] ** -0.5, seed, f"{name} gate {number} {part}")

    def read(
        self,
        inputs_BTI: Tensor,
        state: tuple[Tensor, Tensor] | None = None,
        *,
        recurrent_keep: Tensor | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if state is None:
            zeros_BH = inputs_BTI.new_zeros(len(inputs_BTI), self.hidden_size)
            state = zeros_BH, zeros_BH
        (h_BH, c_BH), weights, outputs = state, self.prepared(None, recurrent_keep), []
        for x_BI in inputs_BTI.unbind(1):
            h_BH, c_BH = _step(x_BI, h_BH, c_BH, *weights)
            outputs.append(h_BH)
        return torch.stack(outputs, dim=1), (h_BH.float(), c_BH.float())

    def prepared(
        self, dtype: torch.dtype | None, recurrent_keep: Tensor | None = None
    ) -> tuple[list[list[Tensor]], Tensor, Tensor]:
        """What `_step` wants: matrices of the gates, weights of input and state in one, (4H, R), and their bias."""
        recurrent_weight = self.weight_hh_l0 if recurrent_keep is None else self.weight_hh_l0 * recurrent_keep
        weight = torch.cat([self.weight_ih_l0, recurrent_weight], dim=1)
        gates = [[matrix.to(dtype) for matrix in matrices] for matrices in self._gate_weights()]
        return gates, weight.to(dtype), (self.bias_ih_l0 + self.bias_hh_l0).to(dtype)

    def _gate_weights(self) -> list[list[Tensor]]:
        return [[weight for weight in matrices.parameters()] for matrices in self.gates]


def _step(
    x_BI: Tensor, h_BH: Tensor, c_BH: Tensor, gates: Sequence[Sequence[Tensor]], weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """One position: the state behind it. An odd round is x = 2σ(Q h) ⊙ x, an even one h = 2σ(R x) ⊙ h."""
    for number, matrices in enumerate(gates):
        told = h_BH if number % 2 == 0 else x_BI
        for matrix in matrices:
            told = fused.linear(told, matrix)
        if number % 2 == 0:
            x_BI = 2 * told.sigmoid() * x_BI
        else:
            h_BH = 2 * told.sigmoid() * h_BH
    take_BH, keep_BH, new_BH, show_BH = fused.linear(torch.cat([x_BI, h_BH], dim=1), weight, bias).chunk(4, dim=1)
    c_BH = keep_BH.sigmoid() * c_BH + take_BH.sigmoid() * new_BH.tanh()
    return show_BH.sigmoid() * c_BH.tanh(), c_BH
