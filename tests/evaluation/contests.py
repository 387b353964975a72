"""Contests of samplers of a small grammar from beginning to end, by models that learn in a second."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from lstmgan_dist.corpus.manifest import PreparedCorpus
from lstmgan_dist.evaluation.archive import Archive
from lstmgan_dist.evaluation.contest import Contestant, Thoroughness, compare
from lstmgan_dist.evaluation.findings import ContestFindings, Sampler
from lstmgan_dist.evaluation.heldout import validation_rows
from lstmgan_dist.evaluation.language_model import Recipe
from lstmgan_dist.evaluation.sample_sources import SampleSource
from lstmgan_dist.evaluation.texts import Texts
from lstmgan_dist.runtime.randomness import derive
from lstmgan_dist.runtime.tasks import IN_PROCESS

GRAMMAR = "grammar:seed=1,count=4000"
SMALL = Recipe(embedding=32, hidden=48, dropout=0.1, batch=32, learning_rate=1e-2, epochs=4, least_steps=1)
TINY = Recipe(embedding=8, hidden=16, dropout=0.1, batch=16, learning_rate=2e-2, epochs=4, least_steps=1)


@dataclass(frozen=True)
class Anew:
    """A source whose samples are others, by a key, and whose temperatures are times `heat`."""

    source: SampleSource
    heat: float = 1.0
    key: int = 0

    def draw(self, temperature: float, *, count: int, seed: int, device: torch.device) -> Texts:
        return self.source.draw(temperature * self.heat, count=count, seed=derive(seed, self.key), device=device)

    def nll(self, texts: Texts, temperature: float, device: torch.device) -> float | None:
        return self.source.nll(texts, temperature * self.heat, device)


def hold(
    corpus: PreparedCorpus,
    sources: Mapping[str, SampleSource],
    pairs: Sequence[tuple[str, str]] = (),
    *,
    samples: int,
    temperatures: tuple[float, ...],
    recipe: Recipe = SMALL,
    validation: int = 300,
    folder: str = "judges",
    say: Callable[[str], None] = print,
) -> ContestFindings:
    """All of them, with one seed, as `lstmgan evaluate` judges runs; figures are kept in a folder of the corpus."""
    contestants = [Contestant(Sampler(name, "run"), source, name) for name, source in sources.items()]
    return compare(
        corpus,
        contestants,
        pairs,
        Thoroughness(
            temperatures=temperatures,
            seeds=1,
            samples=samples,
            validation=validation_rows(corpus.splits["heldout"], validation),
            recipe=recipe,
        ),
        encoder=None,
        archive=Archive(corpus.folder / folder),
        workers=IN_PROCESS,
        watch=lambda items, total, description: iter(items),
        device="cpu",
        say=say,
    )
