"""The network of a relational-memory generator.

Shapes: B rows, T positions, S slots, R = S + 1 slots and the input, N heads, K dimensions of a head, M = N·K dimensions
of a slot, G = 2·M numbers of the input and forget gates, Z latent dimensions, H = S·M.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lstmgan_dist.models import fused
from lstmgan_dist.models.generator import Generator, State
from lstmgan_dist.models.generators.relational_memory import RelationalMemoryKind
from lstmgan_dist.models.initialise import normal_, uniform_
from lstmgan_dist.runtime.randomness import Noise


class RelationalMemoryGenerator(Generator):
    """A memory of slots that attend to each other and to the input, behind gates (Santoro et al. 2018, section 3.4).

    As its authors' code and RelGAN's have it: input and forget gates for every unit, no output gate. The state is
    (memory_BSM,), and the hidden state is the memory.

    Args:
        seed: the weights follow from it.
    """

    def __init__(self, kind: RelationalMemoryKind, *, vocabulary_size: int, labels: int, seed: int) -> None:
        super().__init__(
            kind,
            vocabulary_size,
            labels,
            embedding_dropout=kind.dropout.embedding,
            output_dropout=kind.dropout.output,
        )
        self.slots, self.heads, self.blocks = kind.slots, kind.heads, kind.blocks
        self.forget_bias = kind.forget_bias
        size = kind.slot_size
        self.input_projection = nn.Linear(kind.input_size, size)
        self.input_gates = nn.Linear(size, 2 * size)
        self.memory_gates = nn.Linear(size, 2 * size, bias=False)
        self.attention = nn.Linear(size, 3 * size, bias=False)
        self.attention_norm = nn.LayerNorm(3 * size)
        self.attended_norm = nn.LayerNorm(size)
        self.mlp = nn.ModuleList(nn.Linear(size, size) for _ in range(kind.mlp_layers))
        self.mlp_norm = nn.LayerNorm(size)
        starts_state = self.latent_size > 0 and not self.feeds_every_step
        self.latent_to_memory = nn.Linear(self.latent_size, kind.hidden_size) if starts_state else None
        self.add_output(kind.hidden_size, tied=kind.tied, softmaxes=kind.softmaxes)
        self.initialise(seed)

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        super().initialise(seed)
        layers = {
            "input": self.input_projection,
            "input gates": self.input_gates,
            "memory gates": self.memory_gates,
            "attention": self.attention,
        }
        layers |= {f"mlp {number}": layer for number, layer in enumerate(self.mlp_layers())}
        for name, layer in layers.items():
            uniform_(layer.weight, math.sqrt(3 / layer.in_features), seed, name)
            if layer.bias is not None:
                layer.bias.zero_()
        self.input_gates.bias[len(self.input_gates.bias) // 2 :] = self.forget_bias
        if self.latent_to_memory is not None:
            normal_(self.latent_to_memory.weight, self.latent_size**-0.5 / 2, seed, "latent")
            self.latent_to_memory.bias.zero_()

    def mlp_layers(self) -> list[nn.Linear]:
        """The layers of the perceptron, from the attention upwards."""
        return [layer for layer in self.mlp if isinstance(layer, nn.Linear)]

    def initial_state(self, rows: int, latent_BZ: Tensor | None = None) -> State:
        """Rows of the identity, by which the slots differ, and what the latent vector adds to them."""
        size = self.hidden_size // self.slots
        memory_SM = torch.eye(self.slots, size, device=self.output_bias.device)
        if self.latent_to_memory is None:
            return (memory_SM.repeat(rows, 1, 1),)
        assert latent_BZ is not None
        return (memory_SM + self.latent_to_memory(latent_BZ).float().tanh().view(rows, self.slots, size),)

    def read(
        self, inputs_BT: Tensor, state: State | None, *, latent_BZ: Tensor | None, noise: Noise | None
    ) -> tuple[Tensor, State]:
        x_BTM = _product(self.input_projection, self.inputs(inputs_BT, latent_BZ, noise))
        gates_BTG = _product(self.input_gates, x_BTM)
        (memory_BSM,) = self.initial_state(len(inputs_BT), latent_BZ) if state is None else state
        hidden = []
        for x_BM, gates_BG in zip(x_BTM.unbind(1), gates_BTG.unbind(1), strict=True):
            memory_BSM = self.next_memory(memory_BSM, x_BM, gates_BG)
            hidden.append(memory_BSM.flatten(1))
        return torch.stack(hidden, dim=1), (memory_BSM,)

    def next_memory(self, memory_BSM: Tensor, x_BM: Tensor, gates_BG: Tensor) -> Tensor:
        """The memory behind a position, from its projected input and that one's part of the gates (equation 7)."""
        gates_BSG = _product(self.memory_gates, memory_BSM.tanh()) + gates_BG[:, None]
        take_BSM, keep_BSM = gates_BSG.sigmoid().chunk(2, dim=-1)
        return keep_BSM * memory_BSM + take_BSM * self.attend(memory_BSM, x_BM).tanh()

    def attend(self, memory_BSM: Tensor, x_BM: Tensor) -> Tensor:
        """What the slots find in each other and in the input, (B, S, M)."""
        rows_BRM = torch.cat([memory_BSM, x_BM[:, None]], dim=1)
        for block in range(self.blocks):
            qkv_BRNK = self.attention_norm(_product(self.attention, rows_BRM)).unflatten(-1, (self.heads, -1))
            q_BNRK, k_BNRK, v_BNRK = qkv_BRNK.transpose(1, 2).chunk(3, dim=-1)
            if block == self.blocks - 1:  # nobody asks what the input found
                rows_BRM, q_BNRK = rows_BRM[:, :-1], q_BNRK[:, :, :-1]
            weights_BNRR = (q_BNRK @ k_BNRK.transpose(2, 3) * k_BNRK.shape[-1] ** -0.5).softmax(dim=-1)
            found_BRM = (weights_BNRR @ v_BNRK).transpose(1, 2).flatten(2)
            rows_BRM = self.attended_norm(rows_BRM + found_BRM)
            rows_BRM = self.mlp_norm(rows_BRM + self.through_mlp(rows_BRM))
        return rows_BRM

    def through_mlp(self, rows_BRM: Tensor) -> Tensor:
        """What the perceptron makes of each row."""
        *hidden, last = self.mlp_layers()
        for layer in hidden:
            rows_BRM = _product(layer, rows_BRM).relu()
        return _product(last, rows_BRM)


def _product(layer: nn.Linear, inputs: Tensor) -> Tensor:
    """The layer by the kernel that is fastest on its device."""
    return fused.linear(inputs, layer.weight, layer.bias)
