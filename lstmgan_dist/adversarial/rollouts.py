"""Action values by Monte Carlo rollouts (SeqGAN, Yu et al. 2017).

Shapes: B rows, T positions, P positions of all rows that are followed by others, R rollouts of each, N texts,
W positions of a whole text.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor

from lstmgan_dist.adversarial.objective import Tensors
from lstmgan_dist.models.completion import Begun, complete, states_along
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.models.padding import valid
from lstmgan_dist.runtime.randomness import Noise

_TEXTS = 64  # scored together: what a discriminator makes of them stays in a CPU's cache
_POLICY = "policy/"

# (tokens_NW, lengths_N, row_N) -> the reward of each text, (N,), where text n completes row row_N[n].
Judge = Callable[[Tensor, Tensor, Tensor], Tensor]


class Rollouts:
    """The value of a token is the mean reward of texts that a rollout policy writes from it on (equation 4).

    The state before each position is kept from one pass over the text, and all rollouts of all positions are one batch
    that goes on from there: no prefix is read again.

    The policy follows the generator with delay (algorithm 1): after every update, policy = decay * policy +
    (1 - decay) * generator. Its weights are the objective's, and a checkpoint holds them.

    Args:
        count: rollouts of each position.
        decay: weight of the policy's own weights, 0 to 1; 0: the policy is the generator.
        max_length: tokens at which texts are cut off.
    """

    def __init__(self, generator: Generator, *, count: int, decay: float, max_length: int) -> None:
        self.count = count
        self.decay = decay
        self.max_length = max_length
        self._generator = generator
        self._delayed: Generator | None = None  # until the first update it is the generator

    @property
    def policy(self) -> Generator:
        """Who writes the rollouts."""
        return self._generator if self._delayed is None else self._delayed

    @torch.no_grad()
    def action_values(self, text: Tensors, rewards_B: Tensor, judge: Judge, noise: Noise) -> Tensor:
        """The mean reward behind every token of drawn text, (B, T); that of the last token is the text's own.

        text: tokens_BT with inputs_BT, lengths_B, and starts_B and latent_BZ where there are such.
        """
        tokens_BT, lengths_B, starts_B = text["tokens_BT"], text["lengths_B"], text.get("starts_B")
        positions = tokens_BT.shape[1]
        values_BT = rewards_B[:, None].repeat(1, positions)
        # By position first, so that what has most to write comes first.
        position_P, row_P = valid(lengths_B - 1, positions, starts_B).T.nonzero().unbind(1)
        if not len(row_P):
            return values_BT
        states = states_along(self.policy, text["inputs_BT"], text.get("latent_BZ"))
        begins_B = torch.zeros_like(lengths_B) if starts_B is None else starts_B
        begun = Begun(
            tokens_BT[row_P, position_P],
            tuple(tensor[position_P + 1, row_P] for tensor in states),  # inputs are one position behind
            self.max_length - (position_P + 1 - begins_B[row_P]),
            text["latent_BZ"][row_P] if "latent_BZ" in text else None,
        )
        uniforms_PRT = noise.positions(row_P, position_P).uniform("rollouts", self.count, self.max_length - 1)
        drawn_NT, drawn_N, _ = complete(self.policy, begun, uniforms_PRT)
        row_N, written_N = (values_P.repeat_interleave(self.count) for values_P in (row_P, position_P + 1))
        rewards_N = score_completions(tokens_BT, row_N, written_N, drawn_NT, drawn_N, judge)
        values_BT[row_P, position_P] = rewards_N.view(-1, self.count).mean(dim=1)
        return values_BT

    def start(self) -> None:
        """Keep what the generator is before the first update, where the policy follows it with delay."""
        if self.decay and self._delayed is None:
            self._delayed = deepcopy(self._generator).requires_grad_(False)

    @torch.no_grad()
    def follow(self) -> None:
        """Move the policy after the generator."""
        for own, its in zip(self.weights(), self._generator.parameters(), strict=False):
            own.lerp_(its, 1 - self.decay)

    def weights(self) -> list[Tensor]:
        """The policy's own; none where it is the generator."""
        return [] if self._delayed is None else list(self._delayed.parameters())

    def memory(self) -> Tensors:
        """What a checkpoint holds of the policy."""
        return {} if self._delayed is None else dict(self._delayed.state_dict(prefix=_POLICY))

    def load_memory(self, tensors: Tensors) -> None:
        """The inverse of `memory`; other tensors may be there, too."""
        own = {name.removeprefix(_POLICY): tensor for name, tensor in tensors.items() if name.startswith(_POLICY)}
        if own:
            self.start()
            assert self._delayed is not None
            self._delayed.load_state_dict(own)


def score_completions(
    tokens_BT: Tensor, row_N: Tensor, written_N: Tensor, drawn_NT: Tensor, drawn_N: Tensor, judge: Judge
) -> Tensor:
    """The rewards, (N,), of the first tokens of rows with what was drawn behind them."""
    rewards = [
        judge(*_whole(tokens_BT[row_N[some]], written_N[some], drawn_NT[some], drawn_N[some]), row_N[some])
        for some in torch.arange(len(row_N), device=row_N.device).split(_TEXTS)
    ]
    return torch.cat(rewards)


def _whole(prefix_NT: Tensor, written_N: Tensor, drawn_NT: Tensor, drawn_N: Tensor) -> tuple[Tensor, Tensor]:
    """Texts of their first tokens, so many, and of what was drawn behind them; with their lengths."""
    lengths_N = written_N + drawn_N
    at_W = torch.arange(int(lengths_N.max()), device=lengths_N.device)
    behind_NW = at_W - written_N[:, None]
    drawn_NW = drawn_NT.gather(1, behind_NW.clamp(0, drawn_NT.shape[1] - 1))
    prefix_NW = F.pad(prefix_NT, (0, max(0, len(at_W) - prefix_NT.shape[1])))[:, : len(at_W)]
    return drawn_NW.where(behind_NW >= 0, prefix_NW) * valid(lengths_N, len(at_W)), lengths_N
