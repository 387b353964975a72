"""What a discriminator learns.

Shapes: B rows, T positions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lstmgan_dist.adversarial.batch_scores import among_all, scores_to_join, share_of_rows
from lstmgan_dist.adversarial.history import PastGenerators
from lstmgan_dist.adversarial.losses import Loss
from lstmgan_dist.adversarial.objective import Objective, Outcome, Prepared, Tensors
from lstmgan_dist.adversarial.regularisers import Regulariser, SeenTexts
from lstmgan_dist.adversarial.texts import (
    draw_text,
    equally_long,
    number_of_rows,
    two_texts_a_row,
)
from lstmgan_dist.models.discriminator import Discriminator
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.models.padding import valid
from lstmgan_dist.runtime.randomness import Noise

if TYPE_CHECKING:
    from lstmgan_dist.corpus.stream import Batch


class DiscriminatorObjective(Objective):
    """The discriminator learns to tell the real text from as much text that the generator draws.

    Args:
        max_length: tokens at which drawn text is cut off.
        regulariser: what is added to the loss; nothing without.
        weight: of the regulariser.
        past: generators that draw some of the texts instead; none without.
    """

    def __init__(
        self,
        discriminator: Discriminator,
        loss: Loss,
        *,
        max_length: int,
        regulariser: Regulariser | None = None,
        weight: float = 0.0,
        past: PastGenerators | None = None,
    ) -> None:
        super().__init__()
        self.discriminator = discriminator
        self.loss = loss
        self.max_length = max_length
        self.regulariser = regulariser
        self.weight = weight
        self.past = past

    @torch.no_grad()
    def prepare(
        self, real: Batch, *, opponent: Generator, noise: Noise, schedules: Mapping[str, float], carried: Tensors
    ) -> Prepared:
        """Draw as many texts as there are real ones."""
        drawn, _ = draw_text(opponent, noise, self.max_length, real)
        if self.past is not None:
            drawn = self.past.mixed(drawn, noise, self.max_length, real)
        real_BT, fake_BT = equally_long(real.targets_BT, drawn.tokens_BT)
        own = {
            "real_BT": real_BT,
            "real_lengths_B": real.lengths_B,
            "fake_BT": fake_BT,
            "fake_lengths_B": drawn.lengths_B,
        }
        if real.starts_B is not None:  # drawn text has the same contexts
            own["starts_B"] = real.starts_B
        added = {
            "real_count": self.discriminator.count(real.lengths_B, real.starts_B),
            "fake_count": self.discriminator.count(drawn.lengths_B, real.starts_B),
        }
        if self.regulariser is not None:
            added["row_count"] = number_of_rows(real.lengths_B)
        compares_all = self.loss.compares == "batch"
        return Prepared(own, added, scores_to_join(*self._scores(own, opponent, noise)) if compares_all else {})

    def hear(self, added: Tensors) -> None:
        """All units have drawn."""
        if self.past is not None:
            self.past.age()

    def memory(self) -> Tensors:
        return {} if self.past is None else self.past.memory()

    def load_memory(self, tensors: Tensors) -> None:
        if self.past is not None:
            self.past.load_memory(tensors)

    def forward(self, part: Tensors, *, opponent: Generator, noise: Noise) -> Outcome:
        """Score real and drawn text in one pass, with dropout."""
        real, fake = self._scores(part, opponent, noise)
        real_lengths_B, fake_lengths_B = part["real_lengths_B"], part["fake_lengths_B"]
        starts_B = part.get("starts_B")
        if self.loss.compares == "batch":
            real_losses, fake_losses = self.loss.discriminator(*among_all(part, noise, real=real, fake=fake))
            total = share_of_rows(real_losses, noise) + share_of_rows(fake_losses, noise)
        else:
            total = self.total_loss(real, fake, real_lengths_B, fake_lengths_B, starts_B)
        loss = total / self.denominator(part["real_count"], part["fake_count"])

        def real_mean(values: Tensor) -> Tensor:
            return self.discriminator.total(values, real_lengths_B, starts_B) / part["real_count"]

        def fake_mean(values: Tensor) -> Tensor:
            return self.discriminator.total(values, fake_lengths_B, starts_B) / part["fake_count"]

        with torch.no_grad():
            if self.loss.middle is None:
                accuracy = real_mean((real > fake).float())
            else:
                is_right = (real > self.loss.middle).float(), (fake < self.loss.middle).float()
                accuracy = (real_mean(is_right[0]) + fake_mean(is_right[1])) / 2
            report = {
                "discriminator/loss": loss.detach(),
                "discriminator/real_score": real_mean(real),
                "discriminator/fake_score": fake_mean(fake),
                "discriminator/accuracy": accuracy,
            }
        if self.regulariser is not None:
            penalty = self.regulariser(
                self.discriminator,
                self._seen(part["real_BT"], real_lengths_B, starts_B, opponent),
                self._seen(part["fake_BT"], fake_lengths_B, starts_B, opponent),
                noise.at("regulariser"),
            )
            penalty = penalty.sum() / part["row_count"]
            loss = loss + self.weight * penalty
            report["discriminator/penalty"] = penalty.detach()
        return Outcome(loss, report)

    @torch.no_grad()
    def _seen(self, tokens_BT: Tensor, lengths_B: Tensor, starts_B: Tensor | None, opponent: Generator) -> SeenTexts:
        """What a regulariser is told of texts."""
        valid_BT = valid(lengths_B, tokens_BT.shape[1])
        seen_BTD = self.discriminator.see(tokens_BT, opponent).float() * valid_BT[..., None]
        return SeenTexts(seen_BTD, lengths_B, starts_B)

    def _scores(self, part: Tensors, opponent: Generator, noise: Noise) -> tuple[Tensor, Tensor]:
        """Those of real and of drawn text."""
        tokens_BT = torch.cat([part["real_BT"], part["fake_BT"]])
        lengths_B = torch.cat([part["real_lengths_B"], part["fake_lengths_B"]])
        seen_BTD = self.discriminator.see(tokens_BT, opponent)
        real, fake = self.discriminator(seen_BTD, lengths_B, noise=two_texts_a_row(noise)).chunk(2)
        return real, fake

    def total_loss(
        self, real: Tensor, fake: Tensor, real_lengths_B: Tensor, fake_lengths_B: Tensor, starts_B: Tensor | None
    ) -> Tensor:
        """The losses of real and fake scores of as many texts with the same contexts, added up."""
        real_loss, fake_loss = self.loss.discriminator(real, fake)
        real_total = self.discriminator.total(real_loss, real_lengths_B, starts_B)
        return real_total + self.discriminator.total(fake_loss, fake_lengths_B, starts_B)

    @staticmethod
    def denominator(real_count: Tensor, fake_count: Tensor) -> Tensor:
        """What the total loss of so many scores is divided by: one count for both kinds of text.

        Divided by its own count each, tokens of the kind that is shorter would weigh more, and a beginning that is as
        frequent in real as in drawn text would not have the score of an undecided one.
        """
        return (real_count + fake_count) / 2
