"""The network of a leak generator.

Shapes: B rows, T positions, S = T + 1 prefixes, the empty one included, C horizon, K features of a prefix, D dimensions
of a goal as the worker sees it, H units of the worker, A = D·(H + 1) actions.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lstmgan_dist.models import fused
from lstmgan_dist.models.discriminator import Discriminator
from lstmgan_dist.models.generator import Generator, State, Step
from lstmgan_dist.models.generators.goals import cosines_of_aims
from lstmgan_dist.models.generators.leak import LeakKind
from lstmgan_dist.models.generators.prefix_features import PrefixFeatures
from lstmgan_dist.models.initialise import uniform_
from lstmgan_dist.models.padding import valid
from lstmgan_dist.runtime.randomness import Noise


class LeakGenerator(Generator):
    """A manager and a worker (Guo et al. 2018).

    The manager, an LSTM, sees the features f_t that the discriminator would make of the prefix, and sets a goal g_t of
    length 1 in their space. The worker, another LSTM, sees the tokens; its state h gives the logits O_t · w_t, in which
    w_t is the sum of the last goals, mapped to few dimensions and brought to length 1, as the authors' code does. O_t
    is linear in h, so O_t · w_t is an output layer behind the outer product of w_t with h and a bias: untied, it is the
    paper's; tied, it has a low rank, and costs a tenth. Neither learns from the other's loss: see `own_loss`.

    A goal holds for the `horizon` positions from its own on, as in feudal networks (Vezhnevets et al. 2017, section 3);
    the paper begins one position later, and needs a learnt goal for the first.

    The state is (h_BH, c_BH of the worker, the same of the manager, recent_BCD: the mapped goals that still hold, and
    the three of `PrefixFeatures`).

    Args:
        seed: the weights follow from it.
    """

    def __init__(self, kind: LeakKind, *, vocabulary_size: int, labels: int, seed: int) -> None:
        super().__init__(kind, vocabulary_size, labels, embedding_dropout=kind.dropout.embedding, output_dropout=0.0)
        self.horizon = kind.horizon
        self.worker_dropout = kind.dropout.output
        self.leaked = PrefixFeatures(kind.leaked, vocabulary_size + labels, seed)
        self.manager = fused.LSTMLayer(kind.leaked.features, kind.manager_hidden)
        self.goal = nn.Linear(kind.manager_hidden, kind.leaked.features)
        self.goal_embedding = nn.Linear(kind.leaked.features, kind.goal_size, bias=False)
        self.worker = fused.LSTMLayer(kind.embedding, kind.hidden)
        self.add_output(kind.hidden_size, tied=kind.tied)
        self.initialise(seed)

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        super().initialise(seed)
        self.manager.initialise(seed, "manager")
        self.worker.initialise(seed, "worker")
        for name, layer in (("goal", self.goal), ("goal embedding", self.goal_embedding)):
            uniform_(layer.weight, math.sqrt(3 / layer.in_features), seed, name)
        # Where there are no features yet the manager's state is zero, and a goal of length 1 still has a direction.
        uniform_(self.goal.bias, self.goal.in_features**-0.5, seed, "goal bias")

    def look_at(self, opponent: Discriminator | None) -> None:
        """Take a copy of the discriminator's feature extractor as it is now."""
        if opponent is not None:
            self.leaked.copy_(opponent.feature_extractor())

    def initial_state(self, rows: int, latent_BZ: Tensor | None = None) -> State:
        """Nothing read, no goal set."""
        worker, manager, recent = (
            self.output_bias.new_zeros(rows, *shape)
            for shape in (
                (self.worker.hidden_size,),
                (self.manager.hidden_size,),
                (self.horizon - 1, self.goal_embedding.out_features),
            )
        )
        return worker, worker, manager, manager, recent, *self.leaked.initial_state(rows)

    def read(
        self, inputs_BT: Tensor, state: State | None, *, latent_BZ: Tensor | None, noise: Noise | None
    ) -> tuple[Tensor, State]:
        *actors, tail, maximum, count = self.initial_state(len(inputs_BT)) if state is None else state
        h, c, manager_h, manager_c, recent_BCD = actors
        features_BTK, features_end = self.leaked(inputs_BT, (tail, maximum, count))
        goals_BTK, manager_end = self.goals(features_BTK, (manager_h, manager_c))
        actions_BTA, worker_end, recent_BCD = self.act(inputs_BT, goals_BTK, (h, c), recent_BCD, noise)
        return actions_BTA, (*worker_end, *manager_end, recent_BCD, *features_end)

    def goals(
        self, features_BTK: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The manager: a goal of length 1 behind each prefix, (B, T, K), and its state behind the last."""
        hidden_BTH, end = self.manager.read(features_BTK, state)
        return F.normalize(fused.linear(hidden_BTH, self.goal.weight, self.goal.bias).float(), dim=-1), end

    def act(
        self,
        inputs_BT: Tensor,
        goals_BTK: Tensor,
        state: tuple[Tensor, Tensor] | None = None,
        recent_BCD: Tensor | None = None,
        noise: Noise | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor]:
        """The worker: its actions (B, T, A), its state behind the last, and the mapped goals that still hold there.

        The goals are constants to it.
        """
        if recent_BCD is None:
            recent_BCD = goals_BTK.new_zeros(len(goals_BTK), self.horizon - 1, self.goal_embedding.out_features)
        mapped_BTD = fused.linear(goals_BTK.detach(), self.goal_embedding.weight).float()
        mapped_BTD = torch.cat([recent_BCD, mapped_BTD], dim=1)
        hidden_BTH, end = self.worker.read(self.inputs(inputs_BT, None, noise), state)
        if noise is not None and self.worker_dropout:
            keep_BH = noise.keep("worker", hidden_BTH.shape[-1], dropout=self.worker_dropout)
            hidden_BTH = hidden_BTH * keep_BH[:, None]
        sums_BTD = mapped_BTD.unfold(1, self.horizon, 1).sum(dim=-1)
        return _actions(sums_BTD, hidden_BTH), end, mapped_BTD[:, inputs_BT.shape[1] :]

    def step(self, latent_BZ: Tensor | None, dtype: torch.dtype) -> Step:
        """With the weights of input and state in one matrix: few rows wait for weights alone."""
        embedding_VE = self.embedding.weight.to(dtype)
        cells = [
            (torch.cat(layer.weights[:2], dim=1).to(dtype), (layer.weights[2] + layer.weights[3]).to(dtype))
            for layer in (self.manager, self.worker)
        ]
        goal_weight, goal_bias = self.goal.weight.to(dtype), self.goal.bias.to(dtype)
        mapping = self.goal_embedding.weight.to(dtype)
        projection = None if self.projection is None else self.projection.weight.to(dtype)

        def read_one(token_B: Tensor, state: State) -> tuple[Tensor, State]:
            h_BH, c_BH, manager_h, manager_c, recent_BCD, *of_prefix = state
            tail, maximum, count = of_prefix
            features_B1K, features_end = self.leaked(token_B[:, None], (tail, maximum, count))
            manager_h, manager_c = _cell(features_B1K[:, 0].to(dtype), manager_h, manager_c, *cells[0])
            goal_BK = F.normalize(fused.linear(manager_h, goal_weight, goal_bias).float(), dim=-1).to(dtype)
            mapped_B1D = fused.linear(goal_BK, mapping)[:, None]
            recent_BCD = torch.cat([recent_BCD, mapped_B1D], dim=1)
            h_BH, c_BH = _cell(F.embedding(token_B, embedding_VE), h_BH, c_BH, *cells[1])
            features_BF = _actions(recent_BCD.sum(dim=1), h_BH)
            if projection is not None:
                features_BF = fused.linear(features_BF, projection)
            end = (h_BH, c_BH, manager_h, manager_c, recent_BCD[:, 1:], *features_end)
            return features_BF, tuple(tensor.to(dtype) for tensor in end)

        return read_one

    def prefixes(self, tokens_BT: Tensor) -> Tensor:
        """The discriminator's features of every prefix of texts, the empty one included, (B, S, K); no gradient."""
        with_start_BS = F.pad(tokens_BT, (1, 0))  # a sentence starts with <end>, which is 0
        return self.leaked(with_start_BS, self.leaked.initial_state(len(tokens_BT)))[0].float()

    def own_loss(self, tokens_BT: Tensor, lengths_B: Tensor, starts_B: Tensor | None) -> Tensor:
        """The manager's, of real text (its pre-training): minus the cosine of each goal with the features' change."""
        features_BSK = self.prefixes(tokens_BT)
        goals_BTK, _ = self.goals(features_BSK[:, :-1])
        cosines_BT = cosines_of_aims(features_BSK, goals_BTK, lengths_B, self.horizon)
        return -(cosines_BT * valid(lengths_B, cosines_BT.shape[1], starts_B)).sum()


def _actions(goals_D: Tensor, hidden_H: Tensor) -> Tensor:
    """The outer product of the goal, brought to length 1, with the worker's state and a bias, (..., D·(H + 1))."""
    goals_D = F.normalize(goals_D.float(), dim=-1).to(hidden_H.dtype)
    with_bias_H = F.pad(hidden_H, (0, 1), value=1.0)
    return (goals_D[..., :, None] * with_bias_H[..., None, :]).flatten(-2)


def _cell(x_BI: Tensor, h_BH: Tensor, c_BH: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """One position of an LSTM, in one product."""
    take, keep, new, show = fused.linear(torch.cat([x_BI, h_BH], dim=1), weight, bias).chunk(4, dim=1)
    c_BH = keep.sigmoid() * c_BH + take.sigmoid() * new.tanh()
    return show.sigmoid() * c_BH.tanh(), c_BH
