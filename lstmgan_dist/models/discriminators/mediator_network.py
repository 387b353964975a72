"""The network of a mediator.

Shapes: B rows, T positions, N positions of any rows, V vocabulary, F features.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lstmgan_dist.models.discriminator import Discriminator
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.runtime.randomness import Noise

_MOST_LOGITS = 2**22  # at once, where texts are only scored
_MOST_RATIO = 100.0  # one token must not decide over a text


class Mediator(Discriminator):
    """A language model M of the mixture of real text P and drawn text G, halves of each.

    At every position M is taken as the mean of both, as in the paper (Lu et al. 2019, section 3.1). So the score of a
    token, log(p/g), is log(2 m/g - 1). The ratio is kept within 1/100 and 100, for M may give less than g/2.
    """

    scores = "per_token"

    def __init__(self, language_model: Generator) -> None:
        super().__init__()
        self.language_model = language_model

    def features(self, tokens_BT: Tensor, noise: Noise | None = None) -> Tensor:
        """From which `logits` tells each of these tokens, (B, T, F). noise: gives the dropout masks; none without."""
        # A sentence starts with <end>, which is 0.
        features_BTF, _ = self.language_model(F.pad(tokens_BT, (1, -1)), noise=noise)
        return features_BTF

    def logits(self, features_NF: Tensor, vocabulary_size: int) -> Tensor:
        """Unnormalised float32 log-probabilities of the tokens that the generator can write, (N, V)."""
        return self.language_model.logits(features_NF)[:, :vocabulary_size]  # labels are behind the vocabulary

    def see(self, tokens_BT: Tensor, generator: Generator) -> Tensor:
        """The log-probability of each token under the mediator and under the generator, without dropout, (B, T, 2)."""
        size = generator.vocabulary_size
        generated_BTF, _ = generator(F.pad(tokens_BT, (1, -1)))
        own_BT = _log_likelihoods(
            lambda features: self.logits(features, size), self.features(tokens_BT), tokens_BT, size
        )
        return torch.stack([own_BT, _log_likelihoods(generator.logits, generated_BTF, tokens_BT, size)], dim=-1)

    def forward(self, seen_BTD: Tensor, lengths_B: Tensor, *, noise: Noise | None = None) -> Tensor:
        own_BT, generated_BT = seen_BTD.unbind(-1)
        ratio_BT = 2 * (own_BT - generated_BT).exp() - 1
        scores_BT = ratio_BT.clamp(1 / _MOST_RATIO, _MOST_RATIO).log()
        position_T = torch.arange(scores_BT.shape[1], device=scores_BT.device)
        return scores_BT.masked_fill(position_T >= lengths_B[:, None], 0.0)


def _log_likelihoods(
    logits: Callable[[Tensor], Tensor], features_BTF: Tensor, tokens_BT: Tensor, vocabulary_size: int
) -> Tensor:
    """Log-probability of each token, of some positions at a time; of a label, which only a context holds, anything."""
    at_once = max(1, _MOST_LOGITS // vocabulary_size)
    tokens_N = tokens_BT.flatten().clamp(max=vocabulary_size - 1)
    parts = zip(features_BTF.flatten(0, 1).split(at_once), tokens_N.split(at_once), strict=True)
    nats_N = torch.cat([F.cross_entropy(logits(features), tokens, reduction="none") for features, tokens in parts])
    return -nats_N.view(tokens_BT.shape)
