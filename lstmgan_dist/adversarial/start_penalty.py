"""How far a game may lead a generator away from where it began: a penalty that goes with any estimator.

Shapes: B rows, T positions, N valid positions of all rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lstmgan_dist.adversarial.divergence import divergence
from lstmgan_dist.adversarial.estimators.objective import GeneratorObjective
from lstmgan_dist.adversarial.objective import Objective, Outcome, Prepared, Tensors
from lstmgan_dist.adversarial.texts import drawn_positions, select
from lstmgan_dist.models.discriminator import Discriminator
from lstmgan_dist.runtime.randomness import Noise

if TYPE_CHECKING:
    from lstmgan_dist.corpus.stream import Batch


class StartPenalty(Objective):
    """Adds the divergence of the generator from itself as it was when the phase began.

    KL(now || start) of the next token, over the whole vocabulary, behind every prefix of the drawn text; its mean over
    tokens counts (as in Jaques et al. 2017, section 3, there a sample of it and part of the reward). Prefixes are
    constants. Neither generator has dropout, so a generator that has not moved pays nothing.

    Args:
        game: what the generator minimises besides; it draws the text.
        weight: of the divergence.
    """

    def __init__(self, game: GeneratorObjective, *, weight: float) -> None:
        super().__init__()
        self.game = game
        self.weight = weight
        self.leaves_out = game.leaves_out
        self.start = deepcopy(game.generator).requires_grad_(False)

    @torch.no_grad()
    def prepare(
        self, real: Batch, *, opponent: Discriminator, noise: Noise, schedules: Mapping[str, float], carried: Tensors
    ) -> Prepared:
        """What the game does, and the number of drawn tokens."""
        own, added, joined = self.game.prepare(
            real, opponent=opponent, noise=noise, schedules=schedules, carried=carried
        )
        drawn_B = own["lengths_B"] - own["starts_B"] if "starts_B" in own else own["lengths_B"]
        return Prepared(own, added | {"drawn_token_count": drawn_B.sum().float()}, joined)

    def hear(self, added: Tensors) -> None:
        self.game.hear(added)

    def stepped(self) -> None:
        self.game.stepped()

    def followers(self) -> list[Tensor]:
        return self.game.followers()

    def forward(self, part: Tensors, *, opponent: Discriminator, noise: Noise) -> Outcome:
        """The game's loss and the divergence, from one more pass of either generator over the drawn text."""
        loss, report, carried = self.game(part, opponent=opponent, noise=noise)
        inputs_BT, latent_BZ = part["inputs_BT"], part.get("latent_BZ")
        index_N = drawn_positions(part)
        features_BTF, _ = self.game.generator(inputs_BT, latent_BZ=latent_BZ)
        logits_NV = self.game.generator.logits(select(features_BTF, index_N))
        with torch.no_grad():
            start_BTF, _ = self.start(inputs_BT, latent_BZ=latent_BZ)
            start_NV = self.start.logits(select(start_BTF, index_N))
        moved = divergence(logits_NV, start_NV).sum() / part["drawn_token_count"]
        report["generator/start_divergence"] = moved.detach()
        return Outcome(loss + self.weight * moved, report, carried)

    def memory(self) -> Tensors:
        """The game's memory, and the weights that the phase began with."""
        return self.game.memory() | {f"{_START}{name}": tensor for name, tensor in self.start.state_dict().items()}

    def load_memory(self, tensors: Tensors) -> None:
        start = {name.removeprefix(_START): tensor for name, tensor in tensors.items() if name.startswith(_START)}
        self.start.load_state_dict(start)
        if others := {name: tensor for name, tensor in tensors.items() if not name.startswith(_START)}:
            self.game.load_memory(others)


_START = "start/"
