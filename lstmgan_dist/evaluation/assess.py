"""The frontier of several samplers: judges are trained, everything is measured and kept, and verdicts are reached."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import safetensors.numpy

from lstmgan_dist import __version__
from lstmgan_dist.corpus.manifest import PreparedCorpus
from lstmgan_dist.errors import UserError
from lstmgan_dist.evaluation import frontier
from lstmgan_dist.evaluation.archive import Archive
from lstmgan_dist.evaluation.assessment import (
    Assessment,
    Coverage,
    Estimate,
    Example,
    Examples,
    Place,
    Sampler,
)
from lstmgan_dist.evaluation.embedding import Encoder
from lstmgan_dist.evaluation.heldout import HeldOut, digest, divide, training_texts
from lstmgan_dist.evaluation.intervals import interval
from lstmgan_dist.evaluation.judge import Judge, JudgeRequest, find_judge, keep_judge, train_judge
from lstmgan_dist.evaluation.language_model import Recipe, read, tokens_of
from lstmgan_dist.evaluation.measuring import (
    LEAST_SHARE,
    METHOD,
    SHARES,
    Bench,
    Measurement,
    RealSource,
    Source,
    Task,
    decoded,
    measure,
)
from lstmgan_dist.evaluation.ngrams import NgramIndex, copied, nearest
from lstmgan_dist.evaluation.synthetic import read_oracle
from lstmgan_dist.evaluation.texts import Texts, join_texts
from lstmgan_dist.runtime.local import DeviceChoice, choose_device
from lstmgan_dist.runtime.tasks import Watch, Workers

REAL_TEXT = "real text"
# More real text than this is not used: of the held-out text for judges and tests, for BLEU, of the training text.
_MOST_HELDOUT, _MOST_REFERENCES, _MOST_TRAINING = 100_000, 10_000, 500_000
_EXAMPLES = 6
_NORMAL_95 = 1.96
# What is worth a warning: a judge of fewer sentences; real texts that differ by so many nats a token.
_FEW_SENTENCES, _DIFFERENT_TEXT = 2000, 0.3


@dataclass(frozen=True)
class Contestant:
    """A sampler to be assessed. key: equal for equal sources, so that what was measured once is found again."""

    about: Sampler
    source: Source
    key: str


@dataclass(frozen=True)
class Settings:
    """How thoroughly to assess.

    temperatures: of every sampler but real text. seeds: of samples and their reverse models. samples: texts of each
    sampler, temperature and seed. validation: held-out sentences that training looked at. recipe: of judges and reverse
    models.
    """

    temperatures: tuple[float, ...]
    seeds: int
    samples: int
    validation: int
    recipe: Recipe


def assess(
    corpus: PreparedCorpus,
    contestants: Sequence[Contestant],
    pairs: Sequence[tuple[str, str]],
    settings: Settings,
    *,
    encoder: Encoder | None,
    archive: Archive,
    workers: Workers,
    watch: Watch,
    device: DeviceChoice,
) -> Assessment:
    """Sweep all contestants, and real text, over temperatures, and compare them.

    pairs: names of contestants; each is compared with real text besides. What was measured before, with the same judges
    and the same weights, is taken from the archive.

    Raises:
        UserError: if there is too little text, or a judge does not learn.
    """
    held_out = divide(corpus, validation=settings.validation, most=_MOST_HELDOUT)
    training = training_texts(corpus, _MOST_TRAINING)
    samples = min(settings.samples, len(training))
    if samples < SHARES * LEAST_SHARE:
        raise UserError(
            f"{samples:,} samples are too few to learn from: --samples must be {SHARES * LEAST_SHARE} or more, and the "
            f"training text of {corpus.folder}, of which as many are taken for comparison, has {len(training):,} "
            "sentences."
        )
    judges = _judges(corpus, held_out, settings.recipe, archive, workers, watch, device)
    bench = _bench(corpus, held_out, training, judges, encoder, settings.recipe, device)
    everyone = [
        *contestants,
        Contestant(Sampler(REAL_TEXT, "real text"), RealSource(training), digest(training)),
    ]
    tasks = [
        Task(one.about.name, temperature, seed, samples)
        for seed in range(1, settings.seeds + 1)
        for one in everyone
        for temperature in (settings.temperatures if one.about.kind != "real text" else (None,))
    ]
    measured = _measure(bench, everyone, tasks, archive, workers, watch)
    curves = frontier.curves(_scores(measured), tokens_of(join_texts(bench.test)))
    pairs = [*pairs, *((one.about.name, REAL_TEXT) for one in contestants)]
    places = tuple(_places(measured, curves))
    return Assessment(
        samplers=tuple(one.about for one in everyone),
        places=places,
        verdicts=tuple(frontier.verdict(sampler, reference, curves) for sampler, reference in pairs),
        examples=tuple(_examples(bench, everyone, measured)),
        coverage=tuple(_coverage(measured)),
        curves=(),
        protocol=_protocol(corpus, held_out, bench, samples, settings),
        warnings=tuple(_warnings(held_out, bench.judges, places[-1], samples, settings)),
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
) -> Bench:
    test = held_out.test[1], held_out.test[0]
    if encoder is None:
        real_features = read(judges[0].network, test[0], choose_device(device)).features_NF
    else:
        real_features = encoder.encode(decoded(test[0], corpus.tokenizer))
    references = join_texts([held_out.validation, *held_out.test]).take(slice(0, _MOST_REFERENCES))
    return Bench(
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


# --- measuring, and keeping what was measured ------------------------------------------------------------------------


def _measure(
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


# --- what follows from it --------------------------------------------------------------------------------------------


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
        for name in seeds[0].figures:
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


def _warnings(
    held_out: HeldOut, judges: tuple[Judge, Judge], real: Place, samples: int, settings: Settings
) -> Iterator[str]:
    """What a reader must know first. real: the real text's place."""
    if samples < settings.samples:
        yield (
            f"{samples:,} samples of each sampler are used instead of {settings.samples:,}: the training text has no "
            "more sentences to compare with."
        )
    fewest = min(map(len, held_out.judge))
    if fewest < _FEW_SENTENCES:
        yield (
            f"Each judge has learnt only {fewest:,} sentences, so that it knows few words well: more held-out text "
            "makes sharper judgements."
        )
    elsewhere, at_home = real.figures["lm"].value, float(np.mean([np.log(judge.perplexity) for judge in judges]))
    if abs(elsewhere - at_home) > _DIFFERENT_TEXT:
        yield (
            f"Training text and held-out text differ: the judges give real training sentences {elsewhere:.2f} nats a "
            f"token, and held-out ones that they have not learnt {at_home:.2f}. Real text is therefore no perfect "
            "sampler of the held-out text, and part of every score is the subject, not the language."
        )


def _protocol(
    corpus: PreparedCorpus, held_out: HeldOut, bench: Bench, samples: int, settings: Settings
) -> dict[str, str]:
    recipe = settings.recipe
    model = (
        f"an LSTM language model (embedding {recipe.embedding}, {recipe.hidden} units, dropout {recipe.dropout}, at "
        f"most {recipe.epochs} epochs)"
    )
    encoder = bench.encoder.name if bench.encoder else "the judge (the mean of what it predicts a text's tokens from)"
    of_oracle = {}
    if bench.oracle is not None:
        of_oracle["Oracle"] = (
            "The corpus was made by a known source of text, so likelihood, grammaticality and covered probability "
            "mass are exact. NLL under the oracle alone is lowered by sampling colder: read it beside that of "
            "held-out text."
        )
    return {
        "Corpus": f"{corpus.folder}, fingerprint {corpus.fingerprint[:16]}, vocabulary {bench.vocabulary_size:,}.",
        "Samples": (
            f"{samples:,} texts of each sampler at each temperature, for each of {settings.seeds} "
            f"seed{'s' if settings.seeds > 1 else ''}, at most {corpus.max_length} tokens long, <unk> included as a "
            "word. Real text: as many training sentences, without repetition."
        ),
        "LM score": (
            f"Nats per token of the samples, end marks included, under a judge: {model}; the mean of two, each learnt "
            f"from half of the held-out text, {bench.judges[0].sentences:,} and {bench.judges[1].sentences:,} "
            f"sentences. Of the other half their perplexity is {bench.judges[0].perplexity:.1f} and "
            f"{bench.judges[1].perplexity:.1f}, where word frequencies alone have {bench.judges[0].by_frequency:.1f} "
            f"and {bench.judges[1].by_frequency:.1f}."
        ),
        "Reverse LM score": (
            f"Nats per token of the {sum(map(len, bench.test)):,} held-out sentences of both halves, end marks "
            "included, under a fresh model of the same kind learnt from samples until the loss on the validation "
            f"sentences rises: the mean of {SHARES} for each seed, each of its own {samples // SHARES:,} samples."
        ),
        "Who has seen what": (
            f"Training looked at {len(held_out.validation):,} held-out sentences. The others were halved by a hash of "
            f"the sentence, and {held_out.excluded:,} that are training or validation text as well were left out of "
            "what the judges learn. Sentence by sentence, no judge has learnt any training, validation or test "
            "sentence: checked."
        ),
        "Intervals and verdicts": (
            "95 % intervals. What samples and reverse models can do is told by leaving out one share of the samples "
            f"at a time, with its reverse model, everywhere at once (jackknife, {SHARES * settings.seeds} shares, and "
            "Student's t with one degree of freedom fewer): shares of one number are drawn with the same random "
            "numbers at all temperatures and from all samplers. What the choice of test sentences can do is told by "
            f"{frontier.DRAWS} draws of them, the same for all samplers. What training with other seeds can do is in "
            "no interval: verdicts hold for these training seeds. The margin is the mean distance in LM score of two "
            "curves over the reverse LM scores that both reach, or where there are none the mean distance in reverse "
            "LM score at equal LM score; curves follow the logarithm of the temperature. Better or worse means that "
            "the interval leaves out 0."
        ),
        "BLEU": (
            f"Mean sentence BLEU with equal weights, NLTK's smoothing method1, against {bench.reference_count:,} "
            "held-out sentences, all of them references of every sample. self-BLEU: the same of each sample against "
            "all others. Corpus BLEU: that of sacrebleu (BLEU-4, smoothing exp), each of these references for every "
            "sample."
        ),
        "Fréchet distance and MAUVE": (
            "On embeddings from "
            f"{encoder}, "
            f"against the {len(bench.test[0]):,} held-out sentences of the test half. The divergence frontier is "
            "MAUVE's on other embeddings than in the paper, so its values compare within this report only."
        ),
        "Copies": (
            f"Against {len(bench.training):,} training sentences: the share of samples that are one of them, and the "
            "longest stretch of words of each sample that one of them holds."
        ),
        "N-gram coverage": "Each n-gram counted once, over as many samples as held-out sentences of both halves.",
        "NLL of held-out text": "Nats per token under the generator at the temperature, end marks included, unpadded.",
        **of_oracle,
    }
