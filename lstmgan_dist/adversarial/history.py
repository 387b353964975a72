"""Text of the generators that a game has left behind.

Shapes: B rows, T positions.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lstmgan_dist.adversarial.objective import Tensors
from lstmgan_dist.adversarial.texts import draw_text, equally_long
from lstmgan_dist.models.drawing import Drawn
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.runtime.randomness import Noise

if TYPE_CHECKING:
    from lstmgan_dist.corpus.stream import Batch


class PastGenerators:
    """Weights that a generator had, from which some of the discriminator's texts are drawn.

    So it goes on recognising what it has seen through before (a history of refined images, Shrivastava et al. 2017,
    section 2.3; replayed samples, Scialom et al. 2020): here weights are kept instead of samples, so that no text is
    seen twice. The kept ones take turns, one in each update. The first ones are those that the phase began with.

    Args:
        generator: that plays, and whose weights are kept.
        every: updates of the discriminator between two that are kept.
        keep: how many are kept, the newest ones.
        share: of the texts that they draw, 0 to 1.
    """

    def __init__(self, generator: Generator, *, every: int, keep: int, share: float) -> None:
        self.every, self.keep, self.share = every, keep, share
        self._now = generator
        self._past = deepcopy(generator).requires_grad_(False)
        self._updates = 0
        self._kept = [_copy(generator.state_dict())]

    def mixed(self, drawn: Drawn, noise: Noise, max_length: int, real: Batch) -> Drawn:
        """Drawn text of which past generators have written some rows anew."""
        past, _ = draw_text(self._past, noise.at("history"), max_length, real)
        is_past_B = noise.uniform("is past") < self.share
        now_BT, past_BT = equally_long(drawn.tokens_BT, past.tokens_BT)
        tokens_BT = past_BT.where(is_past_B[:, None], now_BT)
        return Drawn(tokens_BT, past.lengths_B.where(is_past_B, drawn.lengths_B), drawn.starts_B)

    def age(self) -> None:
        """An update is over: keep the weights if it is time, and choose those that draw in the next one."""
        self._updates += 1
        if self._updates % self.every == 0:
            self._kept = [*self._kept, _copy(self._now.state_dict())][-self.keep :]
        self._choose()

    def _choose(self) -> None:
        self._past.load_state_dict(self._kept[self._updates % len(self._kept)])

    def memory(self) -> Tensors:
        """Which weights are kept, and how many updates there were."""
        kept = {f"{number}/{name}": tensor for number, one in enumerate(self._kept) for name, tensor in one.items()}
        return kept | {"updates": torch.tensor(self._updates)}

    def load_memory(self, tensors: Tensors) -> None:
        kept: dict[int, Tensors] = {}
        for path, tensor in tensors.items():
            if path != "updates":
                number, name = path.split("/", 1)
                kept.setdefault(int(number), {})[name] = tensor
        self._updates = int(tensors["updates"])
        self._kept = [_copy(kept[number]) for number in range(len(kept))]
        self._choose()


def _copy(state: dict[str, Tensor]) -> Tensors:
    return {name: tensor.detach().clone() for name, tensor in state.items()}
