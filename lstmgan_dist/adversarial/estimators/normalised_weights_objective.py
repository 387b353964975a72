"""Normalised importance weights at work.

Shapes: B rows, T positions, N valid positions of all rows, F features, G rows of the global batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lstmgan_dist.adversarial.estimators.objective import GeneratorObjective
from lstmgan_dist.adversarial.objective import Outcome, Prepared, Tensors
from lstmgan_dist.adversarial.texts import select
from lstmgan_dist.models.discriminator import Discriminator
from lstmgan_dist.models.padding import valid
from lstmgan_dist.runtime.randomness import Noise

if TYPE_CHECKING:
    from lstmgan_dist.corpus.stream import Batch


class NormalisedWeightsObjective(GeneratorObjective):
    """Maximum likelihood on drawn text with self-normalised importance weights: MaliGAN (Che et al. 2017).

    With r = D / (1 - D), which is p_data / p of an optimal discriminator, the gradient of the Kullback-Leibler
    divergence of the model from r p / Z is minus the mean of (r / Z - b) times that of log p(text) (section 3.1), where
    Z is the mean of r over the whole batch: weights have the mean 1. The paper lets b, here of that mean, grow from 0
    to 1; TextGAN-PyTorch has 1. The discriminator gives its scores without dropout.
    """

    @torch.no_grad()
    def prepare(
        self, real: Batch, *, opponent: Discriminator, noise: Noise, schedules: Mapping[str, float], carried: Tensors
    ) -> Prepared:
        """Draw text and score it."""
        prepared = self._prepare_text(real, noise)
        tokens_BT, lengths_B, starts_B = (prepared.own.get(name) for name in ("tokens_BT", "lengths_B", "starts_B"))
        assert tokens_BT is not None
        assert lengths_B is not None
        scores = opponent(opponent.see(tokens_BT, self.generator), lengths_B)
        prepared.own["costs"] = self.loss.generator(scores, None)
        prepared.own["baseline"] = torch.tensor(schedules["baseline"], device=noise.rows_B.device)
        prepared.added["score_count"] = opponent.count(lengths_B, starts_B)
        return prepared._replace(joined={"all_log_ratios": opponent.of_sentences(scores, lengths_B, starts_B)})

    def forward(self, part: Tensors, *, opponent: Discriminator, noise: Noise) -> Outcome:
        """One teacher-forced pass over the drawn tokens."""
        lengths_B, starts_B = part["lengths_B"], part.get("starts_B")
        weights_G = normalised_weights(part["all_log_ratios"])
        advantages_B = weights_G[noise.rows_B] - part["baseline"]
        valid_BT = valid(lengths_B, part["tokens_BT"].shape[1], starts_B)
        index_N = valid_BT.flatten().nonzero().squeeze(1)
        features_BTF, _ = self.generator(part["inputs_BT"], latent_BZ=part.get("latent_BZ"))
        log_likelihoods_N = self.generator.log_likelihoods(
            select(features_BTF, index_N), select(part["tokens_BT"], index_N)
        )
        loss_N = -select(advantages_B[:, None].expand(valid_BT.shape), index_N) * log_likelihoods_N
        share = len(lengths_B) / len(weights_G)
        report = {
            "generator/cost": opponent.total(part["costs"], lengths_B, starts_B) / part["score_count"],
            # How many equal weights would estimate as well: the share of the batch that is learnt from.
            "generator/effective_rows": share * weights_G.sum().square() / weights_G.square().sum(),
        }
        return self._with_likelihood(loss_N.sum() / part["sentence_count"], report, part, noise)


def normalised_weights(log_ratios_G: Tensor) -> Tensor:
    """Weights in proportion to the ratios, of mean 1."""
    return log_ratios_G.softmax(dim=0) * len(log_ratios_G)
