"""An older generator that writes, and the clipped ratio to it.

Shapes: B rows, T positions, N valid positions of all rows, F features.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor

from lstmgan_dist.adversarial.objective import Tensors
from lstmgan_dist.adversarial.texts import select
from lstmgan_dist.models.generator import Generator


class OldPolicy:
    """Writes what a generator learns from in so many updates: as it was at the first of them.

    In each of them the old one writes anew; that is to cut one large batch of its texts into so many. At the first
    update the generator writes itself, so that all ratios are 1.

    Args:
        clip: how far from 1 a ratio teaches.
        every: updates after which the generator's weights are taken.
    """

    def __init__(self, generator: Generator, *, clip: float, every: int) -> None:
        self.clip, self.every = clip, every
        self._now = generator
        self._old = deepcopy(generator).requires_grad_(False)
        self._updates = 0

    @property
    def writer(self) -> Generator:
        """Who writes in this update."""
        return self._old if self._updates % self.every else self._now

    def age(self) -> None:
        """All units have their texts: from here on the old one is who wrote them."""
        if self._updates % self.every == 0:
            self._old.load_state_dict(self._now.state_dict())
        self._updates += 1

    @torch.no_grad()
    def log_likelihoods(self, part: Tensors, index_N: Tensor, tokens_N: Tensor) -> Tensor:
        """Those of the drawn tokens when they were drawn, (N,)."""
        features_BTF, _ = self._old(part["inputs_BT"], latent_BZ=part.get("latent_BZ"))
        return self._old.log_likelihoods(select(features_BTF, index_N), tokens_N)

    def memory(self) -> Tensors:
        weights = {f"{_OLD}{name}": tensor for name, tensor in self._old.state_dict().items()}
        return weights | {_UPDATES: torch.tensor(self._updates)}

    def load_memory(self, tensors: Tensors) -> Tensors:
        """The inverse of `memory`. Returns: what is not its own."""
        own = {name for name in tensors if name == _UPDATES or name.startswith(_OLD)}
        weights = {name.removeprefix(_OLD): tensors[name] for name in own if name != _UPDATES}
        self._old.load_state_dict(weights)
        self._updates = int(tensors[_UPDATES])
        return {name: tensor for name, tensor in tensors.items() if name not in own}


_OLD, _UPDATES = "old/", "old_updates"


def clipped(log_likelihoods_N: Tensor, old_N: Tensor, advantages_N: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """The loss of each token, -min(r A, clip(r, 1 - c, 1 + c) A) with r = p / p_old (Schulman et al. 2017, equation 7).

    Returns:
        The losses and the ratios.
    """
    ratios_N = (log_likelihoods_N - old_N).exp()
    losses_N = -torch.minimum(ratios_N * advantages_N, ratios_N.clamp(1 - clip, 1 + clip) * advantages_N)
    return losses_N, ratios_N.detach()
