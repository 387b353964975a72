"""Verdicts on samples of the same weights, which should be called different 5 times in 100, and of others, always.

Two language models of one grammar's text, one of which has learnt for longer, are drawn from with many sample seeds.
Every set of samples is a contestant of its own, judged as `lstmgan evaluate` judges runs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import torch

from lstmgan_dist.corpus.prepare import JUDGES
from lstmgan_dist.evaluation.archive import Archive
from lstmgan_dist.evaluation.assess import Contestant, Settings, assess
from lstmgan_dist.evaluation.assessment import Sampler, Verdict
from lstmgan_dist.evaluation.heldout import training_texts, validation_rows
from lstmgan_dist.evaluation.language_model import Recipe, fit
from lstmgan_dist.evaluation.measuring import GeneratorSource
from lstmgan_dist.evaluation.sampling import Sampling
from lstmgan_dist.evaluation.synthetic import prepare_synthetic
from lstmgan_dist.evaluation.texts import Texts
from lstmgan_dist.runtime.randomness import derive
from lstmgan_dist.runtime.tasks import IN_PROCESS
from lstmgan_dist.storage import Folder
from tests.benchmarks.table import Row

# Epochs of the two models, and sets of samples of each: 56 pairs of like ones.
_EPOCHS, _SETS = (3, 2), 8
_TEMPERATURES, _SAMPLES = (0.7, 0.9, 1.1), 2400
# Small, for what is tried is the statistics.
_RECIPE = Recipe(embedding=32, hidden=48, dropout=0.1, batch=32, learning_rate=1e-2, epochs=4, least_steps=1)
_MOST = 0.10


@dataclass(frozen=True)
class Anew:
    """A generator, drawn from with other random numbers."""

    source: GeneratorSource
    key: int

    def draw(self, temperature: float | None, *, count: int, seed: int, device: torch.device) -> Texts:
        """Samples number 0 to `count` - 1 of a seed that is this one's own."""
        return self.source.draw(temperature, count=count, seed=derive(seed, "anew", self.key), device=device)

    def nll(self, texts: Texts, temperature: float | None, device: torch.device) -> float:
        """That of the generator."""
        return self.source.nll(texts, temperature, device)


def rows() -> Iterator[Row]:
    """The share of the pairs of like weights that are called different, and of the others that are told apart."""
    more, less = (f"{epochs} epochs" for epochs in _EPOCHS)
    found = _verdicts()
    same = [one for one in found if one.sampler[: len(more)] == one.reference[: len(more)]]
    others = [one for one in found if one not in same]
    calls = sum(one.word in ("better", "worse") for one in same) / len(same)
    note = f"{len(same)} pairs of samples of two trained models, rms z {_rms_z(same):.2f}"
    chance = "what chance may do: 5 %, and in so many pairs 10 %"
    yield Row("same weights called different", calls, "of pairs", _MOST, chance, _MOST / max(calls, 0.01), 1.0, note)
    right = sum(one.word == "better" for one in others) / len(others)
    note = f"{len(others)} pairs, rms z {_rms_z(others):.1f}"
    yield Row(f"{more} called better than {less}", right, "of pairs", 1.0, "all", right, 1.0, note)


def _rms_z(found: Sequence[Verdict]) -> float:
    """Margins in units of the standard error of a normal distribution with the same interval: 1 if all is right."""
    margins = [one.margin for one in found if one.margin]
    return float(np.sqrt(np.mean([(2 * 1.96 * one.value / (one.high - one.low)) ** 2 for one in margins])))


def _verdicts() -> list[Verdict]:
    """Those of all pairs of like weights, and of as many unlike ones as there are sets."""
    device = torch.device("cpu")
    with tempfile.TemporaryDirectory() as url:
        folder = Folder(url)
        corpus = prepare_synthetic("grammar:seed=1,count=4000", folder, report=lambda progress: None)
        texts = training_texts(corpus, 10**6)
        contestants: list[Contestant] = []
        for epochs in _EPOCHS:
            recipe = replace(_RECIPE, epochs=epochs)
            vocabulary_size = corpus.tokenizer.vocabulary_size
            model = fit(texts, vocabulary_size=vocabulary_size, recipe=recipe, seed=7, device=device).network
            source = GeneratorSource(model, Sampling(corpus.max_length))
            for key in range(_SETS):
                name = f"{epochs} epochs, drawn {key}"
                contestants.append(Contestant(Sampler(name, "run"), Anew(source, key), name))
        names = [one.about.name for one in contestants]
        own = names[:_SETS], names[_SETS:]
        pairs = [pair for some in own for pair in combinations(some, 2)] + list(zip(*own, strict=True))
        settings = Settings(
            temperatures=_TEMPERATURES,
            seeds=1,
            samples=_SAMPLES,
            validation=validation_rows(corpus.splits["heldout"], 2000),
            recipe=_RECIPE,
        )
        found = assess(
            corpus,
            contestants,
            pairs,
            settings,
            encoder=None,
            archive=Archive(folder / JUDGES),
            workers=IN_PROCESS,
            watch=lambda items, total, description: iter(items),
            device="cpu",
        )
        return [found.verdict(*pair) for pair in pairs]
