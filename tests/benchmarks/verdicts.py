"""Verdicts on samples of the same weights, which should be called different 5 times in 100.

One language model of a grammar's text is drawn from with many sample seeds, and one that has learnt for a shorter time
with a few. Every set of samples is a contestant of its own, judged as `lstmgan evaluate` judges runs. All pairs of like
sets use every set many times; those of neighbours share none, and are independent but for the judges.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import torch

from lstmgan_dist.evaluation.findings import Verdict
from lstmgan_dist.evaluation.heldout import training_texts
from lstmgan_dist.evaluation.language_model import fit
from lstmgan_dist.evaluation.sample_sources import GeneratorSource
from lstmgan_dist.evaluation.sampling import Sampling
from lstmgan_dist.evaluation.synthetic import prepare_synthetic
from lstmgan_dist.storage import Folder
from tests.benchmarks.table import Row
from tests.evaluation.contests import GRAMMAR, SMALL, Anew, hold

# Sets of samples by the epochs that their model has learnt: 780 pairs of the first, 20 of which share none.
_SETS = {3: 40, 2: 8}
_TEMPERATURES, _SAMPLES, _VALIDATION = (0.7, 0.9, 1.1), 2400, 300
_MOST = 0.10


def rows() -> Iterator[Row]:
    """The share of the pairs of like weights that are called different, and of the others that are told apart."""
    (more, sets), (less, others) = _SETS.items()
    like = list(combinations([_name(more, key) for key in range(sets)], 2))
    apart = _disjoint(like)
    unlike = [(_name(more, key), _name(less, key)) for key in range(others)]
    found = dict(zip(like + unlike, _verdicts(like + unlike), strict=True))
    for pairs, which in (like, "all pairs"), (apart, "pairs that share no set"):
        verdicts = [found[pair] for pair in pairs]
        calls = sum(one.word in ("better", "worse") for one in verdicts) / len(pairs)
        note = f"{len(pairs)} pairs of {sets} sets of samples of a trained model, rms z {_rms_z(verdicts):.2f}"
        name, limit = f"same weights called different, {which}", "what chance may do at 5 %"
        yield Row(name, calls, "of pairs", _MOST, limit, _MOST / max(calls, 0.01), 1.0, note)
    verdicts = [found[pair] for pair in unlike]
    right = sum(one.word == "better" for one in verdicts) / len(verdicts)
    note = f"{len(verdicts)} pairs, rms z {_rms_z(verdicts):.1f}"
    yield Row(f"{more} epochs called better than {less}", right, "of pairs", 1.0, "all", right, 1.0, note)


def _disjoint(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """As many of the pairs as share no member, the first ones first."""
    met: set[str] = set()
    apart = []
    for pair in pairs:
        if not met & set(pair):
            met |= set(pair)
            apart.append(pair)
    return apart


def _name(epochs: int, key: int) -> str:
    return f"{epochs} epochs, drawn {key}"


def _rms_z(found: Sequence[Verdict]) -> float:
    """Margins in units of the standard error of a normal distribution with the same interval: 1 if all is right."""
    margins = [one.margin for one in found if one.margin]
    return float(np.sqrt(np.mean([(2 * 1.96 * one.value / (one.high - one.low)) ** 2 for one in margins])))


def _verdicts(pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
    """Those on the pairs, of all sets of samples judged together."""
    with tempfile.TemporaryDirectory() as url:
        corpus = prepare_synthetic(GRAMMAR, Folder(url), report=lambda progress: None)
        texts, vocabulary_size = training_texts(corpus, 10**6), corpus.tokenizer.vocabulary_size
        sources = {}
        for epochs, sets in _SETS.items():
            recipe = replace(SMALL, epochs=epochs)
            model = fit(
                texts, vocabulary_size=vocabulary_size, recipe=recipe, seed=7, device=torch.device("cpu")
            ).network
            source = GeneratorSource(model, Sampling(corpus.max_length))
            sources |= {_name(epochs, key): Anew(source, key=key) for key in range(sets)}
        found = hold(corpus, sources, pairs, samples=_SAMPLES, temperatures=_TEMPERATURES, validation=_VALIDATION)
        return [found.verdict(*pair) for pair in pairs]
