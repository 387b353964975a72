"""What is measured of one sampler at one temperature: everything that takes long, as a pure function.

Shapes: O orientations (which half of the held-out text judged), R replicates, N sentences, G groups, K figures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import safetensors.numpy

from lstmgan_dist import __version__
from lstmgan_dist.evaluation.archive import Archive
from lstmgan_dist.evaluation.bench import Bench, decoded
from lstmgan_dist.evaluation.embedding import divergence_frontier, frechet, quantize
from lstmgan_dist.evaluation.findings import Sampler
from lstmgan_dist.evaluation.grammar import Grammar, covered, grammatical
from lstmgan_dist.evaluation.heldout import digest
from lstmgan_dist.evaluation.language_model import fit, read, tokens_of
from lstmgan_dist.evaluation.ngrams import copied, coverage, distinct, repetition, self_bleu
from lstmgan_dist.evaluation.oracle import Oracle
from lstmgan_dist.evaluation.sample_sources import SampleSource
from lstmgan_dist.evaluation.texts import Texts, join_texts
from lstmgan_dist.runtime.local import choose_device, two_threads_or_more
from lstmgan_dist.runtime.randomness import derive, permutation
from lstmgan_dist.runtime.tasks import Watch, Workers

# Shares of one set of samples, each with a reverse model of its own: how much they differ says what all are worth. With
# fewer the spread itself is known too badly, with more each model has too little to learn from.
SHARES = 6
# Fewer texts teach a reverse model nothing.
LEAST_SHARE = 50
# To be raised when a task is measured otherwise than before, so that what was kept of it is not taken for the same.
METHOD = 2
_GROUPS = 8
_ORDERS = (2, 3, 4, 5)


@dataclass(frozen=True)
class Contestant:
    """A sampler that takes part. key: equal for equal sources, so that what was measured once is found again."""

    about: Sampler
    source: SampleSource
    key: str


@dataclass(frozen=True)
class Task:
    """What to measure. samples: texts drawn."""

    sampler: str
    temperature: float | None
    seed: int
    samples: int


@dataclass(frozen=True)
class Measurement:
    """What was measured.

    quality_RO: LM score of each share of the samples under each judge. reverse_RN: nats of every test sentence, those
    of the first orientation before the others, under the reverse model of each share. figures: value and standard error
    of everything else, by name. coverage_2K: shares of n-grams of as much real text that were found, and of the
    samples' that are real.
    """

    quality_RO: np.ndarray
    reverse_RN: np.ndarray
    figures: Mapping[str, tuple[float, float]]
    coverage_2K: np.ndarray


def measure(bench: Bench, sources: Mapping[str, SampleSource], task: Task) -> Measurement:
    """Draw samples and measure them. A task gives the same figures on like machines with as many threads."""
    with two_threads_or_more():
        source, device = sources[task.sampler], choose_device(bench.device)
        texts = source.draw(task.temperature, count=task.samples, seed=task.seed, device=device)
        readings = [read(judge.network, texts, device) for judge in bench.judges]
        features_NF = readings[0].features_NF
        if bench.encoder is not None:
            features_NF = bench.encoder.encode(decoded(texts, bench.tokenizer))
        figures = _ngram_figures(bench, texts) | _embedding_figures(bench.real_features, features_NF)
        heldout = source.nll(bench.test[0], task.temperature, device)
        if heldout is not None:
            figures["test_nll"] = heldout, 0.0
        shares = [share.numpy() for share in permutation(derive(task.seed, "shares"), len(texts)).chunk(SHARES)]
        return Measurement(
            quality_RO=np.array(
                [[_ratio(one.nats_N[share], tokens_of(texts)[share])[0] for one in readings] for share in shares]
            ),
            reverse_RN=_reverse(bench, [texts.take(share) for share in shares], task.seed),
            figures=figures | _oracle_figures(bench, texts),
            coverage_2K=np.stack(coverage(*_as_many(texts, join_texts(bench.test)))),
        )


def _as_many(texts: Texts, real: Texts) -> tuple[Texts, Texts]:
    """As many of both as there are of the fewer."""
    fewer = slice(0, min(len(texts), len(real)))
    return texts.take(fewer), real.take(fewer)


def _reverse(bench: Bench, shares: Sequence[Texts], seed: int) -> np.ndarray:
    """Train a model of each share of the samples, and let it read both halves of the real text."""
    device, test = choose_device(bench.device), join_texts(bench.test)
    nats = []
    for number, share in enumerate(shares):
        trained = fit(
            share,
            vocabulary_size=bench.vocabulary_size,
            recipe=bench.recipe,
            seed=derive(seed, "reverse", number),
            device=device,
            held_back=bench.validation,
        )
        nats.append(read(trained.network, test, device).nats_N)
    return np.stack(nats)


def _ngram_figures(bench: Bench, texts: Texts) -> dict[str, tuple[float, float]]:
    bleu_NK, self_bleu_NK = bench.references.sentence_bleu(texts), self_bleu(texts)
    copies = copied(texts, bench.training)
    by_text = {
        **{f"bleu_{n}": bleu_NK[:, n - 1] for n in _ORDERS},
        **{f"self_bleu_{n}": self_bleu_NK[:, n - 1] for n in _ORDERS},
        "copied": copies.exact_N.astype(float),
        "longest_copied": copies.longest_N,
        "mean_length": texts.lengths_N,
    }
    figures = {name: _mean(values_N) for name, values_N in by_text.items()}
    of_all = {
        "corpus_bleu": bench.references.corpus_bleu,
        "repetition": repetition,
        **{f"distinct_{n}": _distinct(n) for n in (1, 2, 3, 4)},
    }

    def statistics(which: np.ndarray) -> np.ndarray:
        some = texts.take(which)
        return np.array([statistic(some) for statistic in of_all.values()])

    values_K, errors_K = _jackknife(statistics, len(texts))
    return figures | dict(zip(of_all, zip(values_K.tolist(), errors_K.tolist(), strict=True), strict=True))


def _distinct(n: int) -> Callable[[Texts], float]:
    return lambda texts: distinct(texts, n)


def _embedding_figures(real_NF: np.ndarray, features_NF: np.ndarray) -> dict[str, tuple[float, float]]:
    real_N, own_N = quantize(real_NF, features_NF)

    def statistics(which: np.ndarray) -> np.ndarray:
        return np.array([frechet(real_NF, features_NF[which]), divergence_frontier(real_N, own_N[which])])

    values_K, errors_K = _jackknife(statistics, len(features_NF))
    return dict(zip(("frechet", "mauve"), zip(values_K.tolist(), errors_K.tolist(), strict=True), strict=True))


def _oracle_figures(bench: Bench, texts: Texts) -> dict[str, tuple[float, float]]:
    match bench.oracle:
        case Oracle() as oracle:
            return {"oracle_nll": _ratio(oracle.nll(texts), texts.lengths_N)}
        case Grammar() as grammar:
            words = [[bench.tokenizer.tokens[token] for token in row] for row in texts.rows()]
            log_likelihoods_N = grammar.log_likelihoods(words)

            def statistics(which: np.ndarray) -> np.ndarray:
                some = [words[number] for number in which]
                return np.array([grammatical(log_likelihoods_N[which]), covered(some, log_likelihoods_N[which])])

            values_K, errors_K = _jackknife(statistics, len(texts))
            return dict(
                zip(("grammatical", "covered"), zip(values_K.tolist(), errors_K.tolist(), strict=True), strict=True)
            )
    return {}


def _mean(values_N: np.ndarray) -> tuple[float, float]:
    """A mean and its standard error."""
    return float(values_N.mean()), float(values_N.std(ddof=1) / np.sqrt(len(values_N)))


def _ratio(sums_N: np.ndarray, counts_N: np.ndarray) -> tuple[float, float]:
    """A ratio of totals and its standard error, to first order."""
    ratio = sums_N.sum() / counts_N.sum()
    residuals_N = (sums_N - ratio * counts_N) / counts_N.mean()
    return float(ratio), float(residuals_N.std(ddof=1) / np.sqrt(len(residuals_N)))


def _jackknife(statistics: Callable[[np.ndarray], np.ndarray], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Statistics of all items, and their standard errors from leaving out one of some groups at a time (Quenouille)."""
    groups = permutation(derive("jackknife"), count).numpy() % _GROUPS
    without_GK = np.stack([statistics(np.flatnonzero(groups != group)) for group in range(_GROUPS)])
    deviations_GK = without_GK - without_GK.mean(0)
    return statistics(np.arange(count)), np.sqrt((_GROUPS - 1) / _GROUPS * (deviations_GK**2).sum(0))


# --- keeping what was measured ----------------------------------------------------------------------------------------


def sweep(
    bench: Bench,
    contestants: Sequence[Contestant],
    tasks: Sequence[Task],
    archive: Archive,
    workers: Workers,
    watch: Watch,
) -> dict[Task, Measurement]:
    own = archive.part(_bench_key(bench))
    keys = {one.about.name: one.key for one in contestants}
    names = {task: f"{_task_key(keys[task.sampler], task)}.safetensors" for task in tasks}
    kept = own.names()
    measured: dict[Task, Measurement] = {}
    for task, name in names.items():
        if name in kept:
            with own.reading(name):
                measured[task] = _unpacked(own.read(name))
    missing = [task for task in tasks if task not in measured]
    if missing:
        sources = {one.about.name: one.source for one in contestants}
        done = workers.map_in_order(partial(measure, bench, sources), missing)
        for task, measurement in zip(missing, watch(done, len(missing), "samplers"), strict=True):
            own.write(names[task], _packed(measurement))
            measured[task] = measurement
    return {task: measured[task] for task in tasks}


def _bench_key(bench: Bench) -> str:
    parts = [
        __version__,
        [judge.learnt_from for judge in bench.judges],
        [digest(test) for test in bench.test],
        bench.reference_count,
        digest(bench.training),
        digest(bench.validation),
        bench.encoder.name if bench.encoder else None,
        sorted(asdict(bench.recipe).items()),
        SHARES,
        METHOD,
    ]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _task_key(source_key: str, task: Task) -> str:
    return hashlib.sha256(repr((source_key, task.temperature, task.seed, task.samples)).encode()).hexdigest()[:32]


def _packed(measurement: Measurement) -> bytes:
    tensors = {
        "quality_RO": measurement.quality_RO,
        "reverse_RN": measurement.reverse_RN,
        "coverage_2K": measurement.coverage_2K,
        **{f"figures/{name}": np.array(pair) for name, pair in measurement.figures.items()},
    }
    return safetensors.numpy.save(tensors)


def _unpacked(content: bytes) -> Measurement:
    tensors = safetensors.numpy.load(content)
    return Measurement(
        quality_RO=tensors["quality_RO"],
        reverse_RN=tensors["reverse_RN"],
        figures={
            name.removeprefix("figures/"): (float(pair[0]), float(pair[1]))
            for name, pair in sorted(tensors.items())
            if name.startswith("figures/")
        },
        coverage_2K=tensors["coverage_2K"],
    )
