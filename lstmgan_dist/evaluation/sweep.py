"""What is measured of one sampler at one temperature: everything that takes long, as a pure function.

Shapes: O orientations (which half of the held-out text judged), R replicates, N sentences, K orders of n-grams.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import safetensors.numpy

from lstmgan_dist import __version__
from lstmgan_dist.evaluation import language_model
from lstmgan_dist.evaluation.archive import Archive
from lstmgan_dist.evaluation.bench import SHARES, Bench
from lstmgan_dist.evaluation.counting import nll_by_frequency
from lstmgan_dist.evaluation.findings import Sampler
from lstmgan_dist.evaluation.heldout import digest
from lstmgan_dist.evaluation.language_model import fit, read, tokens_of
from lstmgan_dist.evaluation.metrics import METRICS, figures_of
from lstmgan_dist.evaluation.ngrams import coverage
from lstmgan_dist.evaluation.sample_sources import SampleSource
from lstmgan_dist.evaluation.samples import ContestSamples, ratio
from lstmgan_dist.evaluation.texts import Texts, join_texts
from lstmgan_dist.runtime.local import choose_device, two_threads_or_more
from lstmgan_dist.runtime.randomness import derive, permutation
from lstmgan_dist.runtime.tasks import Watch, Workers

# Fewer texts teach a reverse model nothing.
LEAST_SHARE = 50
# To be raised when scores or coverage are measured otherwise than before, so that what was kept of them is not taken
# for the same; figures have versions of their own, see `metrics`.
METHOD = 3


@dataclass(frozen=True)
class Contestant:
    """A sampler that takes part. key: equal for equal sources, so that what was measured once is found again."""

    about: Sampler
    source: SampleSource
    key: str


@dataclass(frozen=True)
class Task:
    """What to measure."""

    sampler: str
    temperature: float | None
    seed: int


@dataclass(frozen=True)
class Measurement:
    """What was measured.

    quality_RO: LM score of each share of the samples under each judge. reverse_RN: nats of every test sentence, those
    of the first orientation before the others, under the reverse model of each share. by_frequency_R: nats per token of
    the same under the frequencies of the share's tokens alone. figures: value and standard error
    of every other metric, by name. coverage_2K: shares of n-grams of as much real text that were found, and of the
    samples' that are real.
    """

    quality_RO: np.ndarray
    reverse_RN: np.ndarray
    by_frequency_R: np.ndarray
    figures: Mapping[str, tuple[float, float]]
    coverage_2K: np.ndarray


def measure(bench: Bench, sources: Mapping[str, SampleSource], task: Task) -> Measurement:
    """Draw samples and measure them. A task gives the same figures on like machines with as many threads."""
    with two_threads_or_more():
        source, device = sources[task.sampler], choose_device(bench.device)
        texts = source.draw(task.temperature, count=bench.samples, seed=task.seed, device=device)
        samples = ContestSamples(texts, bench, source, task.temperature)
        shares = [share.numpy() for share in permutation(derive(task.seed, "shares"), len(texts)).chunk(SHARES)]
        parts, test = [texts.take(share) for share in shares], join_texts(bench.test)
        return Measurement(
            quality_RO=np.array(
                [
                    [ratio(one.nats_N[share], tokens_of(texts)[share]).value for one in samples.readings]
                    for share in shares
                ]
            ),
            reverse_RN=_reverse(bench, parts, test, task.seed),
            by_frequency_R=np.array([nll_by_frequency(part, test, bench.vocabulary_size) for part in parts]),
            figures=figures_of(samples),
            coverage_2K=np.stack(coverage(*_as_many(texts, test))),
        )


def _as_many(texts: Texts, real: Texts) -> tuple[Texts, Texts]:
    """As many of both as there are of the fewer."""
    fewer = slice(0, min(len(texts), len(real)))
    return texts.take(fewer), real.take(fewer)


def _reverse(bench: Bench, shares: Sequence[Texts], test: Texts, seed: int) -> np.ndarray:
    """Train a model of each share of the samples, and let it read both halves of the real text."""
    device = choose_device(bench.device)
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


def sweep(
    bench: Bench,
    contestants: Sequence[Contestant],
    tasks: Sequence[Task],
    archive: Archive,
    workers: Workers,
    watch: Watch,
) -> Iterator[tuple[Task, Measurement]]:
    """What the archive holds, then what it does not hold yet, measured in the order of the tasks and kept at once."""
    own = archive.part(bench_key(bench))
    keys = {one.about.name: one.key for one in contestants}
    names = {task: f"{_task_key(keys[task.sampler], task)}.safetensors" for task in tasks}
    kept = own.names()
    for task, name in names.items():
        if name in kept:
            with own.reading(name):
                measurement = _unpacked(own.read(name))
            yield task, measurement
    missing = [task for task, name in names.items() if name not in kept]
    if missing:
        sources = {one.about.name: one.source for one in contestants}
        done = workers.map_in_order(partial(measure, bench, sources), missing)
        for task, measurement in zip(missing, watch(done, len(missing), "samplers"), strict=True):
            own.write(names[task], _packed(measurement))
            yield task, measurement


def bench_key(bench: Bench) -> str:
    """What measurements depend on beside their task, every metric's version included."""
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
        language_model.METHOD,
        bench.samples,
        sorted((name, metric.version) for name, metric in METRICS.items()),
    ]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _task_key(source_key: str, task: Task) -> str:
    return hashlib.sha256(repr((source_key, task.temperature, task.seed)).encode()).hexdigest()[:32]


def _packed(measurement: Measurement) -> bytes:
    tensors = {
        "quality_RO": measurement.quality_RO,
        "reverse_RN": measurement.reverse_RN,
        "by_frequency_R": measurement.by_frequency_R,
        "coverage_2K": measurement.coverage_2K,
        **{f"figures/{name}": np.array(pair) for name, pair in measurement.figures.items()},
    }
    return safetensors.numpy.save(tensors)


def _unpacked(content: bytes) -> Measurement:
    tensors = safetensors.numpy.load(content)
    return Measurement(
        quality_RO=tensors["quality_RO"],
        reverse_RN=tensors["reverse_RN"],
        by_frequency_R=tensors["by_frequency_R"],
        figures={
            name.removeprefix("figures/"): (float(pair[0]), float(pair[1]))
            for name, pair in sorted(tensors.items())
            if name.startswith("figures/")
        },
        coverage_2K=tensors["coverage_2K"],
    )
