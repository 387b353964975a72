"""The network of a Mogrifier LSTM.

Shapes: B rows, T positions, H hidden units, I inputs of a layer, L layers, R = I + H, Z latent dimensions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lstmgan_dist.models import fused
from lstmgan_dist.models.generator import State, Step
from lstmgan_dist.models.generators.lstm_network import LSTMGenerator
from lstmgan_dist.models.generators.mogrifier import MogrifierKind
from lstmgan_dist.models.generators.mogrifier_sequence import Gates, ReadSequence, position
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
        features_of = self.feature_reader(dtype)
        joined_BZ = latent_BZ.to(dtype) if self.feeds_every_step and latent_BZ is not None else None

        def read_one(token_B: Tensor, state: State) -> tuple[Tensor, State]:
            x_BI = F.embedding(token_B, embedding_VE)
            if joined_BZ is not None:
                x_BI = torch.cat([x_BI, joined_BZ], dim=-1)
            ends: list[State] = []
            for number, weights in enumerate(layers):
                h_BLH, c_BLH = state
                x_BI, c_BH, _ = position(x_BI, h_BLH[:, number], c_BLH[:, number], *weights)
                ends.append((x_BI, c_BH))
            h, c = zip(*ends, strict=True)
            return features_of(x_BI), (torch.stack(h, dim=1), torch.stack(c, dim=1))

        return read_one


class MogrifierLayer(fused.LSTMLayer):
    """One LSTM layer behind rounds of gating (Melis et al. 2020, equations 1 and 2).

    No kernel reads whole sequences of it, for the input of a position waits for the state before it. Where autograd has
    to see each operation, for mixed precision or second derivatives, it does.

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
        (h_BH, c_BH), (gates, weight, bias), outputs = state, self.prepared(None, recurrent_keep), []
        is_mixed = torch.is_autocast_enabled(inputs_BTI.device.type)
        if torch.is_grad_enabled() and not is_mixed and not fused.is_twice_differentiable():
            flat = [matrix for matrices in gates for matrix in matrices]
            outputs_BTH, *end = ReadSequence.apply(inputs_BTI, h_BH, c_BH, len(gates[0]), weight, bias, *flat)
            return outputs_BTH, (end[0], end[1])
        for x_BI in inputs_BTI.unbind(1):
            h_BH, c_BH, _ = position(x_BI, h_BH, c_BH, gates, weight, bias)
            outputs.append(h_BH)
        return torch.stack(outputs, dim=1), (h_BH.float(), c_BH.float())

    def prepared(self, dtype: torch.dtype | None, recurrent_keep: Tensor | None = None) -> tuple[Gates, Tensor, Tensor]:
        """What `position` wants: matrices of the gates, weights of input and state in one, (4H, R), and their bias."""
        recurrent_weight = self.weight_hh_l0 if recurrent_keep is None else self.weight_hh_l0 * recurrent_keep
        weight = torch.cat([self.weight_ih_l0, recurrent_weight], dim=1)
        gates = [[matrix.to(dtype) for matrix in matrices] for matrices in self._gate_weights()]
        return gates, weight.to(dtype), (self.bias_ih_l0 + self.bias_hh_l0).to(dtype)

    def _gate_weights(self) -> Gates:
        return [[weight for weight in matrices.parameters()] for matrices in self.gates]
