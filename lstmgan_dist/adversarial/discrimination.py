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
from lstmgan_dist.adversarial.soft_text import Soften, softened
from lstmgan_dist.adversarial.soft_text import seen as seen_softened
from lstmgan_dist.adversarial.texts import (
    draw_text,
    drawn_text,
    equally_long,
    number_of_rows,
    two_texts_a_row,
)
from lstmgan_dist.models.discriminator import Discriminator, TokenReader
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
        soften: what is shown of drawn text; without it, the drawn tokens.
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
        soften: Soften | None = None,
        past: PastGenerators | None = None,
    ) -> None:
        super().__init__()
        self.discriminator = discriminator
        self.loss = loss
        self.max_length = max_length
        self.regulariser = regulariser
        self.weight = weight
        self.soften = soften
        self.past = past

    @torch.no_grad()
    def prepare(
        self, real: Batch, *, opponent: Generator, noise: Noise, schedules: Mapping[str, float], carried: Tensors
    ) -> Prepared:
        """Draw as many texts as there are real ones."""
        drawn, latent_BZ = draw_text(opponent, noise, self.max_length, real)
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
        if self.soften is not None:
            text = drawn_text(drawn, latent_BZ)
            text["inverse_temperature"] = torch.tensor(schedules["inverse_temperature"], device=noise.rows_B.device)
            own["fake_soft_NV"] = softened(opponent, text, self.soften, noise.at("softened"))
        added = {
            "real_count": self.discriminator.count(real.lengths_B, real.starts_B),
            "fake_count": self.discriminator.count(drawn.lengths_B, real.starts_B),
        }
        if self.regulariser is not None:
            added["row_count"] = number_of_rows(real.lengths_B)
        compares_all = self.loss.compares == "batch"
        joined = scores_to_join(*self._scores(self._see(own, opponent), own, noise)) if compares_all else {}
        return Prepared(own, added, joined)

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
        seen = self._see(part, opponent)
        real, fake = self._scores(seen, part, noise)
        real_lengths_B, fake_lengths_B = part["real_lengths_B"], part["fake_lengths_B"]
        starts_B = part.get("starts_B")
        if self.loss.compares == "batch":
            all_real, all_fake = among_all(part, noise, real=real, fake=fake)
            real_losses, fake_losses = self.loss.discriminator(all_real, all_fake)
            total = share_of_rows(real_losses, noise) + share_of_rows(fake_losses, noise)
            if self.loss.standing:  # what figures are of
                standings = self.loss.standing(all_real.detach(), all_fake.detach())
                real, fake = (values[noise.rows_B] for values in standings)
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
                _texts_of(seen[0], real_lengths_B, starts_B),
                _texts_of(seen[1], fake_lengths_B, starts_B),
                noise.at("regulariser"),
            )
            penalty = penalty.sum() / part["row_count"]
            loss = loss + self.weight * penalty
            report["discriminator/penalty"] = penalty.detach()
        return Outcome(loss, report)

    def _see(self, part: Tensors, opponent: Generator) -> tuple[Tensor, Tensor]:
        """What the discriminator sees of real and of drawn text."""
        if "fake_soft_NV" not in part:
            tokens_BT = torch.cat([part["real_BT"], part["fake_BT"]])
            real_BTD, fake_BTD = self.discriminator.see(tokens_BT, opponent).chunk(2)
            return real_BTD, fake_BTD
        assert isinstance(self.discriminator, TokenReader), "the settings have checked this"
        real_BTD = self.discriminator.see(part["real_BT"], opponent)
        text = {"tokens_BT": part["fake_BT"], "lengths_B": part["fake_lengths_B"]}
        if "starts_B" in part:
            text["starts_B"] = part["starts_B"]
        fake_BTD = seen_softened(part["fake_soft_NV"], text, self.discriminator, positions=real_BTD.shape[1])
        return real_BTD, fake_BTD.to(real_BTD.dtype)

    def _scores(self, seen: tuple[Tensor, Tensor], part: Tensors, noise: Noise) -> tuple[Tensor, Tensor]:
        """Those of real and of drawn text."""
        lengths_B = torch.cat([part["real_lengths_B"], part["fake_lengths_B"]])
        return self.discriminator.tell_apart(torch.cat(seen), lengths_B, noise=two_texts_a_row(noise))

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


def _texts_of(seen_BTD: Tensor, lengths_B: Tensor, starts_B: Tensor | None) -> SeenTexts:
    """What a regulariser is told of texts."""
    valid_BT = valid(lengths_B, seen_BTD.shape[1])
    return SeenTexts(seen_BTD.float() * valid_BT[..., None], lengths_B, starts_B)
