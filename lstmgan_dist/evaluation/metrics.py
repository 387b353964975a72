"""The table of metrics: what is measured of samples, how it is computed, shown and explained.

A new metric is a function, a line of this table and a test: everything that keeps, prints, draws or explains figures
reads the table, and what was kept before it was measured otherwise is measured again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lstmgan_dist.evaluation.embedding import divergence_frontier, frechet
from lstmgan_dist.evaluation.grammar import Grammar, covered, grammatical
from lstmgan_dist.evaluation.ngrams import NgramIndex, distinct, repetition
from lstmgan_dist.evaluation.oracle import Oracle
from lstmgan_dist.evaluation.protocol import (
    BLEU,
    COPIES,
    DISTINCT,
    EMBEDDINGS,
    HELDOUT_NLL,
    LENGTH,
    LM_SCORE,
    ORACLE,
    REVERSE_LM_SCORE,
    Explanation,
)
from lstmgan_dist.evaluation.samples import (
    ContestSamples,
    Measured,
    Samples,
    column_mean,
    exact,
    mean_of,
    of_all,
    of_numbers,
    ratio,
)
from lstmgan_dist.evaluation.texts import Texts
from lstmgan_dist.evaluation.zipf import ZIPF, zipf_coefficient


@dataclass(frozen=True)
class Metric:
    """A figure of samples.

    label, unit: for people; the unit of shares from 0 to 1 is "". better: which way is; None: neither by itself.
    explained: what the protocol of a report says of it. compute: gives None where there is no telling; itself None for
    the scores of the frontier, which come with their intervals from the replicates. brief: the same from texts and
    references alone, for what is measured while training and by --brief. decimals: shown. column: its heading on the
    console; "": not shown there. curve: whether phases that are judged add it to their run's curves. version: to be
    raised when it is computed otherwise than before, so that what was kept of it is not taken for the same.
    """

    label: str
    unit: str
    better: Literal["low", "high"] | None
    explained: Explanation
    compute: Callable[[ContestSamples], Measured | None] | None
    brief: Callable[[Samples], Measured] | None = None
    decimals: int = 3
    column: str = ""
    curve: bool = False
    version: int = 1


def _bleu(n: int) -> Callable[[Samples], Measured]:
    return lambda samples: column_mean(samples.bleu_NK, n - 1)


def _self_bleu(n: int) -> Callable[[Samples], Measured]:
    return lambda samples: column_mean(samples.self_bleu_NK, n - 1)


def _corpus_bleu(samples: Samples) -> Measured:
    return of_all(samples, samples.references.corpus_bleu)


def _distinct(n: int) -> Callable[[Samples], Measured]:
    return lambda samples: of_all(samples, lambda texts: distinct(texts, n))


def _repetition(samples: Samples) -> Measured:
    return of_all(samples, repetition)


def _length(samples: Samples) -> Measured:
    return mean_of(samples.texts.lengths_N)


def _frechet(samples: ContestSamples) -> Measured:
    real_NF, own_NF = samples.bench.real_features, samples.features_NF
    return of_numbers(len(own_NF), lambda which: frechet(real_NF, own_NF[which]))


def _mauve(samples: ContestSamples) -> Measured:
    real_N, own_N = samples.clusters
    return of_numbers(len(own_N), lambda which: divergence_frontier(real_N, own_N[which]))


def _copied(samples: ContestSamples) -> Measured:
    return mean_of(samples.copies.exact_N.astype(float))


def _longest_copied(samples: ContestSamples) -> Measured:
    return mean_of(samples.copies.longest_N)


def _oracle_nll(samples: ContestSamples) -> Measured | None:
    oracle, texts = samples.bench.oracle, samples.texts
    return ratio(oracle.nll(texts), texts.lengths_N) if isinstance(oracle, Oracle) else None


def _test_nll(samples: ContestSamples) -> Measured | None:
    nll = samples.source.nll(samples.bench.test[0], samples.temperature, samples.device)
    return None if nll is None else exact(nll)


def _grammatical(samples: ContestSamples) -> Measured | None:
    if not isinstance(samples.bench.oracle, Grammar):
        return None
    log_likelihoods_N = samples.grammar_log_likelihoods_N
    return of_numbers(len(log_likelihoods_N), lambda which: grammatical(log_likelihoods_N[which]))


def _covered(samples: ContestSamples) -> Measured | None:
    if not isinstance(samples.bench.oracle, Grammar):
        return None
    words, log_likelihoods_N = samples.words, samples.grammar_log_likelihoods_N
    return of_numbers(len(words), lambda which: covered([words[number] for number in which], log_likelihoods_N[which]))


# In the order of the report's columns.
METRICS: dict[str, Metric] = {
    "lm": Metric("LM score (quality)", "nats/token", "low", LM_SCORE, None, column="LM score", curve=True),
    "reverse_lm": Metric(
        *("reverse LM score (diversity)", "nats/token", "low", REVERSE_LM_SCORE, None),
        column="reverse LM score",
        curve=True,
    ),
    "bleu_2": Metric("BLEU-2", "", "high", BLEU, _bleu(2), _bleu(2)),
    "bleu_3": Metric("BLEU-3", "", "high", BLEU, _bleu(3), _bleu(3)),
    "bleu_4": Metric("BLEU-4", "", "high", BLEU, _bleu(4), _bleu(4), column="BLEU-4"),
    "bleu_5": Metric("BLEU-5", "", "high", BLEU, _bleu(5), _bleu(5)),
    "self_bleu_2": Metric("self-BLEU-2", "", "low", BLEU, _self_bleu(2), _self_bleu(2)),
    "self_bleu_3": Metric("self-BLEU-3", "", "low", BLEU, _self_bleu(3), _self_bleu(3)),
    "self_bleu_4": Metric("self-BLEU-4", "", "low", BLEU, _self_bleu(4), _self_bleu(4), column="self-BLEU-4"),
    "self_bleu_5": Metric("self-BLEU-5", "", "low", BLEU, _self_bleu(5), _self_bleu(5)),
    "corpus_bleu": Metric("corpus BLEU", "0 to 100", "high", BLEU, _corpus_bleu, decimals=1),
    "frechet": Metric(
        *("Fréchet embedding distance", "squared embedding units", "low", EMBEDDINGS, _frechet),
        column="Fréchet",
        curve=True,
    ),
    "mauve": Metric("divergence frontier (MAUVE)", "0 to 1", "high", EMBEDDINGS, _mauve),
    "distinct_1": Metric("distinct-1", "", "high", DISTINCT, _distinct(1), _distinct(1)),
    "distinct_2": Metric("distinct-2", "", "high", DISTINCT, _distinct(2), _distinct(2)),
    "distinct_3": Metric("distinct-3", "", "high", DISTINCT, _distinct(3), _distinct(3)),
    "distinct_4": Metric("distinct-4", "", "high", DISTINCT, _distinct(4), _distinct(4)),
    "repetition": Metric("repeated bigrams within a sentence", "", "low", DISTINCT, _repetition, _repetition),
    "zipf": Metric("Zipf coefficient", "", None, ZIPF, lambda samples: of_all(samples, zipf_coefficient)),
    "copied": Metric("copies of training sentences", "", None, COPIES, _copied),
    "longest_copied": Metric("longest stretch copied", "tokens", None, COPIES, _longest_copied, decimals=1),
    "mean_length": Metric("mean length", "tokens", None, LENGTH, _length, _length, decimals=1),
    "oracle_nll": Metric("NLL under the oracle", "nats/token", "low", ORACLE, _oracle_nll, column="NLL oracle"),
    "test_nll": Metric(
        *("NLL of held-out text under the generator", "nats/token", "low", HELDOUT_NLL, _test_nll),
        column="held-out NLL",
    ),
    "grammatical": Metric("grammatical sentences", "", "high", ORACLE, _grammatical, column="grammatical"),
    "covered": Metric("probability mass of the grammar covered", "", "high", ORACLE, _covered, column="covered"),
}


def figures_of(samples: ContestSamples) -> dict[str, tuple[float, float]]:
    """Value and standard error of every metric that applies, but for the scores of the frontier."""
    measured = {name: metric.compute(samples) for name, metric in METRICS.items() if metric.compute}
    return {name: (one.value, one.error()) for name, one in measured.items() if one}


def brief_figures(texts: Texts, real: Texts) -> dict[str, float]:
    """Quality and diversity by n-grams, in seconds: the values of the metrics that texts and real ones suffice for."""
    samples = Samples(texts, NgramIndex(real))
    return {name: metric.brief(samples).value for name, metric in METRICS.items() if metric.brief}
