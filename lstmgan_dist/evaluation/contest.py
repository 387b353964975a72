"""The frontier of several samplers: judges are trained, everything is measured and kept, and verdicts are reached."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from lstmgan_dist.corpus.manifest import PreparedCorpus
from lstmgan_dist.errors import UserError
from lstmgan_dist.evaluation import frontier
from lstmgan_dist.evaluation.archive import Archive
from lstmgan_dist.evaluation.bench import SHARES, Bench, Thoroughness
from lstmgan_dist.evaluation.doubts import doubt_about_samples
from lstmgan_dist.evaluation.embedding import Encoder
from lstmgan_dist.evaluation.findings import (
    ContestFindings,
    Coverage,
    Estimate,
    Example,
    Examples,
    Place,
    Sampler,
)
from lstmgan_dist.evaluation.heldout import FEW_TEXTS, HeldOut, digest, divide, training_texts
from lstmgan_dist.evaluation.intervals import interval
from lstmgan_dist.evaluation.judge import Judge, JudgeRequest, find_judge, keep_judge, train_judge
from lstmgan_dist.evaluation.language_model import Recipe, read, tokens_of
from lstmgan_dist.evaluation.metrics import METRICS
from lstmgan_dist.evaluation.ngrams import NgramIndex, copied, nearest
from lstmgan_dist.evaluation.protocol import Explanation, protocol
from lstmgan_dist.evaluation.sample_sources import RealSource
from lstmgan_dist.evaluation.sweep import LEAST_SHARE, Contestant, Measurement, Task, sweep
from lstmgan_dist.evaluation.synthetic import read_oracle
from lstmgan_dist.evaluation.texts import Texts, decoded, join_texts
from lstmgan_dist.evaluation.verdict import verdict
from lstmgan_dist.runtime.local import DeviceChoice, choose_device
from lstmgan_dist.runtime.tasks import Watch, Workers

REAL_TEXT = "real text"
# More real text than this is not used: of the held-out text for judges and tests, for BLEU, of the training text.
_MOST_HELDOUT, _MOST_REFERENCES, _MOST_TRAINING = 100_000, 10_000, 500_000
_EXAMPLES = 6
_NORMAL_95 = 1.96
# Real texts that differ by more nats a token are worth a warning.
_DIFFERENT_TEXT = 0.3


def compare(
    corpus: PreparedCorpus,
    contestants: Sequence[Contestant],
    pairs: Sequence[tuple[str, str]],
    settings: Thoroughness,
    *,
    encoder: Encoder | None,
    archive: Archive,
    workers: Workers,
    watch: Watch,
    device: DeviceChoice,
    more_heldout: Texts | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> ContestFindings:
    """Sweep all contestants, and real text, over temperatures, and compare them.

    pairs: names of contestants; each is compared with real text besides. What was measured before, with the same judges
    and the same weights, is taken from the archive. more_heldout: held-out text besides that of the corpus. say: is
    told what a person should know before all is measured.

    Raises:
        UserError: if there is too little text, or a judge does not learn.
    """
    held_out = divide(corpus, validation=settings.validation, most=_MOST_HELDOUT, more=more_heldout)
    training = training_texts(corpus, _MOST_TRAINING)
    samples = min(settings.samples, len(training))
    if samples < SHARES * LEAST_SHARE:
        raise UserError(
            f"{samples:,} samples are too few to learn from: --samples must be {SHARES * LEAST_SHARE} or more, and the "
            f"training text of {corpus.folder}, of which as many are taken for comparison, has {len(training):,} "
            "sentences."
        )
    judges = _judges(corpus, held_out, settings.recipe, archive, workers, watch, device)
    bench = _bench(corpus, held_out, training, judges, encoder, settings.recipe, device, samples)
    everyone = [
        *contestants,
        Contestant(Sampler(REAL_TEXT, "real text"), RealSource(training), digest(training)),
    ]
    tasks = [
        Task(one.about.name, temperature, seed)
        for seed in range(1, settings.seeds + 1)
        for one in everyone
        for temperature in (settings.temperatures if one.about.kind != "real text" else (None,))
    ]
    measured, knowledge = _measure(bench, everyone, tasks, archive, workers, watch, say)
    curves = frontier.curves(_scores(measured), tokens_of(join_texts(bench.test)))
    pairs = [*pairs, *((one.about.name, REAL_TEXT) for one in contestants)]
    places = tuple(_places(measured, curves))
    return ContestFindings(
        samplers=tuple(one.about for one in everyone),
        places=places,
        verdicts=tuple(verdict(*pair, curves, knowledge=knowledge) for pair in pairs),
        examples=tuple(_examples(bench, everyone, measured)),
        coverage=tuple(_coverage(measured)),
        curves=(),
        protocol=protocol(corpus, held_out, bench, settings.seeds, _explanations(places)),
        warnings=tuple(_warnings(held_out, bench, places[-1], knowledge, settings)),
    )


def _judges(
    corpus: PreparedCorpus,
    held_out: HeldOut,
    recipe: Recipe,
    archive: Archive,
    workers: Workers,
    watch: Watch,
    device: DeviceChoice,
) -> tuple[Judge, Judge]:
    """The judge of each half, tested on the other one."""
    requests = [
        JudgeRequest(learnt, test, corpus.tokenizer.vocabulary_size, recipe)
        for learnt, test in zip(held_out.judge, reversed(held_out.test), strict=True)
    ]
    here = choose_device(device)
    found = {request.key: find_judge(request, archive, here) for request in requests}
    missing = [request for request in requests if found[request.key] is None]
    if missing:
        trained = workers.map_in_order(partial(train_judge, device=device), missing)
        for request, network in zip(missing, watch(trained, len(missing), "judges"), strict=True):
            found[request.key] = keep_judge(request, network, archive, here)
    first, second = (found[request.key] for request in requests)
    assert first is not None
    assert second is not None
    return first, second


def _bench(
    corpus: PreparedCorpus,
    held_out: HeldOut,
    training: Texts,
    judges: tuple[Judge, Judge],
    encoder: Encoder | None,
    recipe: Recipe,
    device: DeviceChoice,
    samples: int,
) -> Bench:
    test = held_out.test[1], held_out.test[0]
    if encoder is None:
        real_features = read(judges[0].network, test[0], choose_device(device)).features_NF
    else:
        real_features = encoder.encode(decoded(test[0], corpus.tokenizer))
    references = join_texts([held_out.validation, *held_out.test]).take(slice(0, _MOST_REFERENCES))
    return Bench(
        samples=samples,
        vocabulary_size=corpus.tokenizer.vocabulary_size,
        tokenizer=corpus.tokenizer,
        recipe=recipe,
        device=device,
        judges=judges,
        test=test,
        real_features=real_features,
        references=NgramIndex(references),
        reference_count=len(references),
        training=training,
        validation=held_out.validation,
        encoder=encoder,
        oracle=read_oracle(corpus.folder),
    )


def _measure(
    bench: Bench,
    everyone: Sequence[Contestant],
    tasks: Sequence[Task],
    archive: Archive,
    workers: Workers,
    watch: Watch,
    say: Callable[[str], None],
) -> tuple[dict[Task, Measurement], float]:
    """What is measured of each task, and what reverse models of real text know beyond the frequencies of words.

    Real text comes first: where models learn too little from it, nobody needs to wait for the others to be told.
    """
    control = {task for task in tasks if task.sampler == REAL_TEXT}
    found: dict[Task, Measurement] = {}
    knowledge, tokens = math.nan, tokens_of(join_texts(bench.test)).sum()
    real_first = sorted(tasks, key=lambda task: task not in control)
    for task, measurement in sweep(bench, everyone, real_first, archive, workers, watch):
        found[task] = measurement
        if task in control and control <= found.keys():
            learnt = [
                found[one].by_frequency_R.mean() - found[one].reverse_RN.sum(1).mean() / tokens for one in control
            ]
            knowledge = float(np.mean(learnt))
            if knowledge < frontier.LEAST_KNOWLEDGE:
                say(doubt_about_samples(bench, knowledge))
    return {task: found[task] for task in tasks}, knowledge


def _by_place(measured: Mapping[Task, Measurement]) -> dict[tuple[str, float | None], list[Measurement]]:
    """The measurements of all seeds of each sampler at each temperature."""
    places: dict[tuple[str, float | None], list[Measurement]] = {}
    for task, measurement in measured.items():
        places.setdefault((task.sampler, task.temperature), []).append(measurement)
    return places


def _scores(measured: Mapping[Task, Measurement]) -> dict[str, dict[float | None, frontier.Scores]]:
    scores: dict[str, dict[float | None, frontier.Scores]] = {}
    for (sampler, temperature), seeds in _by_place(measured).items():
        scores.setdefault(sampler, {})[temperature] = frontier.Scores(
            quality_R=np.concatenate([one.quality_RO.mean(1) for one in seeds]),
            reverse_RN=np.concatenate([one.reverse_RN for one in seeds]),
        )
    return scores


def _places(measured: Mapping[Task, Measurement], curves: Mapping[str, frontier.Curve]) -> Iterator[Place]:
    for (sampler, temperature), seeds in _by_place(measured).items():
        curve = curves[sampler]
        column = curve.temperatures.index(temperature) if temperature is not None else 0
        figures = {
            name: interval(versions_VT[:, column], curve.replicates)
            for name, versions_VT in (("lm", curve.quality_VT), ("reverse_lm", curve.diversity_VT))
        }
        for name in [name for name in METRICS if name in seeds[0].figures]:
            values_S2 = np.array([one.figures[name] for one in seeds])
            value, error = values_S2[:, 0].mean(), np.sqrt((values_S2[:, 1] ** 2).sum()) / len(seeds)
            figures[name] = Estimate(float(value), float(value - _NORMAL_95 * error), float(value + _NORMAL_95 * error))
        yield Place(sampler, temperature, figures)


def _coverage(measured: Mapping[Task, Measurement]) -> Iterator[Coverage]:
    for (sampler, temperature), seeds in _by_place(measured).items():
        found_K, real_K = np.mean([one.coverage_2K for one in seeds], axis=0).tolist()
        yield Coverage(sampler, temperature, tuple(found_K), tuple(real_K))


def _examples(
    bench: Bench, contestants: Sequence[Contestant], measured: Mapping[Task, Measurement]
) -> Iterator[Examples]:
    sources = {one.about.name: one.source for one in contestants}
    for sampler, temperature in _by_place(measured):
        texts = sources[sampler].draw(temperature, count=_EXAMPLES, seed=1, device=choose_device(bench.device))
        is_real = temperature is None
        longest_N = copied(texts, bench.training).longest_N.tolist()
        like = (
            [""] * len(texts)
            if is_real
            else decoded(bench.training.take(nearest(texts, bench.training)), bench.tokenizer)
        )
        yield Examples(
            sampler,
            temperature,
            tuple(
                Example(text, near, 0 if is_real else longest, length)
                for text, near, longest, length in zip(
                    decoded(texts, bench.tokenizer), like, longest_N, texts.lengths_N.tolist(), strict=True
                )
            ),
        )


def _explanations(places: Iterable[Place]) -> list[Explanation]:
    """Those of the metrics that were measured, each once."""
    measured = {name for place in places for name in place.figures}
    return list(dict.fromkeys(metric.explained for name, metric in METRICS.items() if name in measured))


def _warnings(held_out: HeldOut, bench: Bench, real: Place, knowledge: float, settings: Thoroughness) -> Iterator[str]:
    """What a reader must know first. real: the real text's place. knowledge: of models of as much real text."""
    if bench.samples < settings.samples:
        yield (
            f"{bench.samples:,} samples of each sampler are used instead of {settings.samples:,}: the training text "
            "has no more sentences to compare with."
        )
    if knowledge < frontier.LEAST_KNOWLEDGE:
        yield doubt_about_samples(bench, knowledge)
    fewest = min(map(len, held_out.judge))
    if fewest < FEW_TEXTS:
        yield (
            f"Each judge has learnt only {fewest:,} sentences, so that it knows few words well: more held-out text "
            "makes sharper judgements."
        )
    on_training_text = real.figures["lm"].value
    on_heldout_text = float(np.mean([np.log(judge.perplexity) for judge in bench.judges]))
    if abs(on_training_text - on_heldout_text) > _DIFFERENT_TEXT:
        yield (
            "Training text and held-out text differ: the judges give real training sentences "
            f"{on_training_text:.2f} nats a token, and held-out ones that they have not learnt {on_heldout_text:.2f}. "
            "Real text is therefore no perfect sampler of the held-out text, and part of every score is the subject, "
            "not the language."
        )
