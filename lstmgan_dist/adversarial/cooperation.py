"""Cooperative Training (Lu et al. 2019): what a mediator learns from both kinds of text, and a generator from it.

Together they minimise the Jensen-Shannon divergence of real text P and drawn text G, through M, the mean of both.

Shapes: B rows, T positions, N valid positions of all rows, V vocabulary, F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from lstmgan_dist.adversarial.discrimination import DiscriminatorObjective
from lstmgan_dist.adversarial.divergence import divergence
from lstmgan_dist.adversarial.estimators.objective import GeneratorObjective
from lstmgan_dist.adversarial.objective import Outcome, Prepared, Tensors
from lstmgan_dist.adversarial.texts import drawn_positions, select, two_texts_a_row
from lstmgan_dist.models.discriminators.mediator_network import Mediator
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.models.padding import valid
from lstmgan_dist.runtime.randomness import Noise

if TYPE_CHECKING:
    from lstmgan_dist.corpus.stream import Batch


class MediatorObjective(DiscriminatorObjective):
    """The mediator learns the mixture of as many real as drawn texts: mean negative log-likelihood (equation 4).

    The loss says what its scores are logits of; it learns by none.
    """

    discriminator: Mediator

    def forward(self, part: Tensors, *, opponent: Generator, noise: Noise) -> Outcome:
        """Teacher forcing over real and drawn text in one pass, with dropout."""
        tokens_BT = torch.cat([part["real_BT"], part["fake_BT"]])
        lengths_B = torch.cat([part["real_lengths_B"], part["fake_lengths_B"]])
        starts_B = torch.cat([part["starts_B"]] * 2) if "starts_B" in part else None
        index_N = valid(lengths_B, tokens_BT.shape[1], starts_B).flatten().nonzero().squeeze(1)
        features_BTF = self.discriminator.features(tokens_BT, two_texts_a_row(noise))
        logits_NV = self.discriminator.logits(select(features_BTF, index_N), opponent.vocabulary_size)
        nll_N = F.cross_entropy(logits_NV, select(tokens_BT, index_N), reduction="none")
        loss = nll_N.sum() / (part["real_count"] + part["fake_count"])
        real_nll = (nll_N.detach() * (index_N < part["real_BT"].numel())).sum()
        report = {
            "discriminator/loss": loss.detach(),
            "discriminator/real_nll": real_nll / part["real_count"],
            "discriminator/fake_nll": (nll_N.detach().sum() - real_nll) / part["fake_count"],
        }
        return Outcome(loss, report)


class CooperativeObjective(GeneratorObjective):
    """The generator comes near the mediator: KL(G || M) of every next token, summed over a text that it drew.

    What was drawn counts as constant, as in the paper (equation 10) and its code: the gradient is that of the whole
    vocabulary's probabilities behind each prefix, and not of how probable the prefix is. So nothing is rewarded.
    """

    @torch.no_grad()
    def prepare(
        self, real: Batch, *, opponent: Mediator, noise: Noise, schedules: Mapping[str, float], carried: Tensors
    ) -> Prepared:
        """Draw as many texts as there are real ones."""
        prepared = self._prepare_text(real, noise)
        prepared.added["token_count"] = opponent.count(prepared.own["lengths_B"], prepared.own.get("starts_B"))
        return prepared

    def forward(self, part: Tensors, *, opponent: Mediator, noise: Noise) -> Outcome:
        """One pass of both over the drawn text, without dropout."""
        tokens_BT = part["tokens_BT"]
        index_N = drawn_positions(part)
        features_BTF, _ = self.generator(part["inputs_BT"])
        with torch.no_grad():
            mediated_BTF = opponent.features(tokens_BT)
            mediator_NV = opponent.logits(select(mediated_BTF, index_N), self.generator.vocabulary_size)
        total = divergence(self.generator.logits(select(features_BTF, index_N)), mediator_NV).sum()
        report = {"generator/cost": total.detach() / part["token_count"]}
        return self._with_likelihood(total / part["sentence_count"], report, part, noise)
