"""Where samples come from: a generator, or real text as if somebody had drawn it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch

from lstmgan_dist.evaluation.likelihood import heldout_likelihood
from lstmgan_dist.evaluation.sampling import Sampling, join, sample
from lstmgan_dist.evaluation.texts import Texts, batches_of
from lstmgan_dist.models.drawing import END, Given
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.runtime.randomness import derive, permutation


class SampleSource(Protocol):
    """Where samples come from."""

    def draw(self, temperature: float | None, *, count: int, seed: int, device: torch.device) -> Texts:
        """So many samples."""
        ...

    def nll(self, texts: Texts, temperature: float | None, device: torch.device) -> float | None:
        """Nats per token of real texts; None where there is no telling."""
        ...


@dataclass(frozen=True)
class GeneratorSource:
    """A generator.

    sampling: how its texts are drawn, at temperature 1; where it never ends one, likelihoods count no end marks.
    given: contexts that its texts have in turn; None where they have none.
    """

    generator: Generator
    sampling: Sampling
    given: Given | None = None

    def draw(self, temperature: float | None, *, count: int, seed: int, device: torch.device) -> Texts:
        """Samples number 0 to `count` - 1 of a seed."""
        assert temperature is not None
        sampling = replace(self.sampling, temperature=temperature)
        given = None
        if self.given:
            turn_N = torch.arange(count) % len(self.given.lengths_B)
            given = Given(self.given.tokens_BP[turn_N], self.given.lengths_B[turn_N])
        blocks = sample(self.generator.to(device), sampling, count=count, seed=seed, device=device, given=given)
        return Texts.drawn(join(list(blocks)))

    def nll(self, texts: Texts, temperature: float | None, device: torch.device) -> float | None:
        """Nats per token, end marks included if it draws any; None where it would have to know the texts' contexts."""
        assert temperature is not None
        if self.given:
            return None
        batches = batches_of(texts, ends=END not in self.sampling.suppress)
        return heldout_likelihood(self.generator.to(device), batches, device, temperature=temperature).nll


@dataclass(frozen=True)
class RealSource:
    """Real text, as if somebody had drawn it."""

    texts: Texts

    def draw(self, temperature: float | None, *, count: int, seed: int, device: torch.device) -> Texts:
        """So many of the texts, none twice."""
        return self.texts.take(permutation(derive(seed, "real text"), len(self.texts)).numpy()[:count])

    def nll(self, texts: Texts, temperature: float | None, device: torch.device) -> None:
        """It is no model."""
