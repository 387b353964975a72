"""How well a generator predicts text that it has not seen.

Shapes: B texts, T tokens, N valid positions, F features, Z latent dimensions, L labels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from lstmgan_dist.corpus.stream import Batch
from lstmgan_dist.models.generator import Generator, State
from lstmgan_dist.models.padding import valid
from lstmgan_dist.runtime.randomness import Noise, derive


@dataclass(frozen=True)
class Likelihood:
    """Total negative log-likelihood of some text in nats, over `tokens` tokens, end marks included.

    of_labels: that of the texts of each label, in the order of these; empty where there are none.
    """

    nats: float
    tokens: int
    of_labels: tuple[Likelihood, ...] = ()

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
        of_labels = [mine + its for mine, its in zip(self.of_labels, other.of_labels, strict=True)]
        return Likelihood(self.nats + other.nats, self.tokens + other.tokens, tuple(of_labels))

    def to_numbers(self) -> list[float]:
        """As numbers that add up: nats and tokens, of all text and of each label."""
        return [number for one in (self, *self.of_labels) for number in (one.nats, one.tokens)]

    @classmethod
    def of_numbers(cls, numbers: Sequence[float]) -> Likelihood:
        """The inverse of `to_numbers`."""
        (nats, tokens), *of_labels = zip(numbers[::2], map(int, numbers[1::2]), strict=True)
        return cls(nats, tokens, tuple(cls(*one) for one in of_labels))

    @classmethod
    def of_nothing(cls, labels: int) -> Likelihood:
        """That of no text, to add others to."""
        return cls.of_numbers([0] * (2 + 2 * labels))


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
    of_labels_L2 = torch.zeros(generator.labels, 2, dtype=torch.float64, device=device)
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
        if generator.labels:
            # A context begins with its label.
            label_N = batch.targets_BT[valid_BT.nonzero()[:, 0], 0] - generator.vocabulary_size
            of_labels_L2[:, 0].index_add_(0, label_N, -log_likelihoods_N.double())
            of_labels_L2[:, 1] += label_N.bincount(minlength=generator.labels)
    return Likelihood.of_numbers([nats.item(), tokens, *of_labels_L2.flatten().tolist()])
