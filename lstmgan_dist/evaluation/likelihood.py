"""How well a generator predicts text that it has not seen.

Shapes: B texts, T tokens, N valid positions, F features, Z latent dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from lstmgan_dist.corpus.stream import Batch
from lstmgan_dist.models.generator import Generator, State
from lstmgan_dist.models.padding import valid
from lstmgan_dist.runtime.randomness import Noise, derive


@dataclass(frozen=True)
class Likelihood:
    """Total negative log-likelihood of some text in nats, over `tokens` tokens, end marks included."""

    nats: float
    tokens: int

    @property
    def nll(self) -> float:
        """Nats per token."""
        return self.nats / self.tokens

    @property
    def perplexity(self) -> float:
        """exp of the nats per token."""
        return math.exp(self.nll)

    def bits_per_character(self, characters_per_token: float) -> float:
        """Bits per character of the text, where a token stands for so many characters on average."""
        return self.nll / math.log(2) / characters_per_token

    def __add__(self, other: Likelihood) -> Likelihood:
        return Likelihood(self.nats + other.nats, self.tokens + other.tokens)


@torch.no_grad()
def heldout_likelihood(
    generator: Generator, batches: Iterable[Batch], device: torch.device, *, temperature: float = 1.0
) -> Likelihood:
    """Likelihood of batches, given their contexts, unpadded and without dropout.

    temperature: divides the logits, as when texts are drawn.

    For a generator with a latent vector this is an upper bound on the loss, -E[log p(x | z)] over z (Jensen), estimated
    with one z for each row of the held-out text: the same at every call and for every batch size.
    """
    nats, tokens = torch.zeros((), dtype=torch.float64, device=device), 0
    state: State | None = None
    for batch in (batch.to(device) for batch in batches):
        latent_BZ = None
        if generator.latent_size:
            rows_B = batch.first_row + torch.arange(len(batch.lengths_B), device=device)
            latent_BZ = Noise(derive("heldout"), rows_B).normal("latent", generator.latent_size)
        features_BTF, state = generator(batch.inputs_BT, None if batch.fresh else state, latent_BZ=latent_BZ)
        valid_BT = valid(batch.lengths_B, batch.targets_BT.shape[1], batch.starts_B)
        log_likelihoods_N = generator.log_likelihoods(features_BTF[valid_BT], batch.targets_BT[valid_BT], temperature)
        nats -= log_likelihoods_N.double().sum()
        tokens += len(log_likelihoods_N)
    return Likelihood(nats.item(), tokens)
