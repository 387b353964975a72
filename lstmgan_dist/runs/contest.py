"""Runs judged: each at a checkpoint, beside the likelihood checkpoint that its game started from, beside real text.

What is found is written where each run is:

evaluation/frontier.json   every figure      evaluation/report.html   the same to look at, in one file
evaluation/verdict.json    the chosen step   evaluation/*.png         its figures
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any, Literal

from torch import Tensor

from lstmgan_dist import config
from lstmgan_dist.corpus.manifest import PreparedCorpus
from lstmgan_dist.corpus.prepare import JUDGES, encode_sentences
from lstmgan_dist.errors import UserError
from lstmgan_dist.evaluation.archive import Archive
from lstmgan_dist.evaluation.contest import Contestant, Thoroughness, compare
from lstmgan_dist.evaluation.embedding import Encoder
from lstmgan_dist.evaluation.findings import ContestFindings, LearningCurves, PhaseSteps, Sampler
from lstmgan_dist.evaluation.heldout import validation_rows
from lstmgan_dist.evaluation.language_model import STANDARD
from lstmgan_dist.evaluation.metrics import METRICS
from lstmgan_dist.evaluation.oracle import Oracle
from lstmgan_dist.evaluation.report.drawings import draw_figures
from lstmgan_dist.evaluation.report.look import to_png
from lstmgan_dist.evaluation.report.page import report_html
from lstmgan_dist.evaluation.sample_sources import GeneratorSource
from lstmgan_dist.evaluation.sampling import Sampling, given_to
from lstmgan_dist.evaluation.synthetic import read_oracle
from lstmgan_dist.evaluation.texts import Texts
from lstmgan_dist.models.drawing import END
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.phases.kind import Phase
from lstmgan_dist.runs.result import load_generator
from lstmgan_dist.runtime.base import Runtime, WorkTogether
from lstmgan_dist.runtime.local import DeviceChoice
from lstmgan_dist.runtime.tasks import Watch, Workers
from lstmgan_dist.tokens import UNKNOWN_ID
from lstmgan_dist.training.checkpoint import Checkpoint, digest_of
from lstmgan_dist.training.curves import add_findings
from lstmgan_dist.training.game import build_generator
from lstmgan_dist.training.phase_judge import Judgement
from lstmgan_dist.training.progress import Progress
from lstmgan_dist.training.run import EVALUATION, VERDICT, Run
from lstmgan_dist.training.run_log import read_metrics


@dataclass(frozen=True)
class Entry:
    """A run that takes part: a checkpoint, and the end of its likelihood phase if a game followed.

    likelihood: may be another run's with the same weights, and then has the other's name and step. likelihood_step: the
    step of its own.
    """

    run: Run
    end: Contestant
    likelihood: Contestant | None
    likelihood_step: int | None


@dataclass(frozen=True)
class Choice:
    """The step that a verdict chooses, and why, in a sentence; the best one of jobs that say best_by: frontier."""

    step: int
    reason: str


def enter_all(urls: Sequence[str], checkpoint: str, *, say: Callable[[str], None]) -> list[Entry]:
    """Runs by their addresses; each goes by the name of its folder, or by its address where two have the same.

    Raises:
        UserError: if one of them is no run, has no such checkpoint, or is named twice.
    """
    runs = [Run.open(url) for url in urls]
    names = [run.folder.name for run in runs]
    if len({run.folder.url for run in runs}) < len(runs):
        raise UserError("A run is named twice: name each one once.")
    if len(set(names)) < len(names):
        names = [run.folder.url for run in runs]
    entries = [_enter(run, name, checkpoint, say) for run, name in zip(runs, names, strict=True)]
    # Runs may have started from the same weights, which one name will do for.
    starts: dict[str, Contestant] = {}
    return [
        replace(entry, likelihood=starts.setdefault(entry.likelihood.key, entry.likelihood))
        if entry.likelihood
        else entry
        for entry in entries
    ]


def _enter(run: Run, name: str, checkpoint: str, say: Callable[[str], None]) -> Entry:
    if run.job.corpus.layout != "sentences":
        raise UserError(
            f"{run.folder} has corpus.layout {run.job.corpus.layout}, and judges read whole sentences: "
            "say --brief for its held-out likelihood."
        )
    if checkpoint == "best" and run.job.checkpoint.best_by == "frontier":
        checkpoint = "latest"  # what a verdict is about cannot be chosen by the verdict
    end = run.checkpoint(checkpoint, say=say)
    start = Progress.of(end).likelihood_end(run.job.phases)
    own = contestant(run, name, "run", load_generator(run, end), end.digest("generator"), end.step)
    if start is None or start == end.step:
        return Entry(run, own, None, None)
    return Entry(run, own, likelihood_contestant(run, name, run.checkpoints.open(start)), start)


def likelihood_contestant(run: Run, name: str, checkpoint: Checkpoint) -> Contestant:
    """The generator that the game of a run, which goes by this name, has started from."""
    generator, weights = load_generator(run, checkpoint), checkpoint.digest("generator")
    return contestant(run, f"{name}, likelihood only", "likelihood start", generator, weights, checkpoint.step)


def contestant(
    run: Run, name: str, kind: Literal["run", "likelihood start"], generator: Generator, weights: str, step: int
) -> Contestant:
    """A generator of a run, which draws texts as its corpus has them. weights: what identifies it."""
    sampling, corpus = Sampling(run.job.corpus.max_length), run.corpus()
    oracle = read_oracle(corpus.folder)
    if isinstance(oracle, Oracle):
        # Of fixed length, so that its likelihood is one of as many tokens.
        sampling = Sampling(oracle.length, suppress=(END, UNKNOWN_ID))
    given = given_to(corpus, range(min(corpus.splits["heldout"].rows, _MOST_CONTEXTS)))
    source = GeneratorSource(generator, sampling, given)
    return Contestant(Sampler(name, kind, run.folder.url, step), source, f"{weights} {sampling}")


def hold(
    entries: Sequence[Entry],
    settings: config.Frontier,
    *,
    encoder: Encoder | None,
    workers: Workers,
    watch: Watch,
    device: DeviceChoice = "auto",
    runtime: Runtime | None = None,
    heldout: Sequence[str] = (),
    say: Callable[[str], None] = lambda sentence: None,
) -> ContestFindings:
    """Judge runs of one corpus together.

    runtime: of workers that train together and do this together, too; then all of them call it. heldout: sources of
    held-out text besides that of the corpus. say: is told what a person should know before all is measured.

    Raises:
        UserError: if they were trained on different text, or there is too little of it.
    """
    corpus = _common_corpus(entries)
    starts = {entry.likelihood.key: entry.likelihood for entry in entries if entry.likelihood}
    pairs = [(entry.end.about.name, entry.likelihood.about.name) for entry in entries if entry.likelihood]
    names = [entry.end.about.name for entry in entries]
    pairs += [(one, other) for number, one in enumerate(names) for other in names[:number]]
    thoroughness = Thoroughness(
        temperatures=settings.temperatures,
        seeds=settings.seeds,
        samples=settings.samples,
        validation=max(
            validation_rows(corpus.splits["heldout"], entry.run.job.evaluate.heldout_sequences) for entry in entries
        ),
        recipe=STANDARD,
    )
    archive = Archive(corpus.folder / JUDGES)
    if runtime:
        archive = Archive(corpus.folder / JUDGES, exchange=runtime.exchange, writes=runtime.rank == 0)
    found = compare(
        corpus,
        [*(entry.end for entry in entries), *starts.values()],
        pairs,
        thoroughness,
        encoder=encoder,
        archive=archive,
        workers=workers,
        watch=watch,
        device=device,
        more_heldout=Texts.encoded(encode_sentences(tuple(heldout), corpus)) if heldout else None,
        say=say,
    )
    return replace(
        found,
        curves=tuple(_learning_curves(entry) for entry in entries),
        chosen={entry.end.about.name: choice(entry, found).reason for entry in entries},
    )


def write(entries: Sequence[Entry], found: ContestFindings) -> None:
    """Leave what was found in the folder of each run, and its figures in its TensorBoard."""
    figures = {name: to_png(figure) for name, figure in draw_figures(found).items()}
    page = report_html(found).encode()
    for entry in entries:
        folder = entry.run.folder / EVALUATION
        folder.write("frontier.json", found.to_json())
        folder.write("report.html", page)
        for name, png in figures.items():
            folder.write(f"{name}.png", png)
        folder.write(VERDICT, (json.dumps(asdict(choice(entry, found)), indent=1) + "\n").encode())
        add_findings(entry.run.folder, entry.end.about.step, found, figures)


def _common_corpus(entries: Sequence[Entry]) -> PreparedCorpus:
    first, *others = [entry.run.corpus() for entry in entries]
    for entry, corpus in zip(entries[1:], others, strict=True):
        if corpus.fingerprint != first.fingerprint:
            raise UserError(
                f"{entries[0].run.folder} and {entry.run.folder} cannot be compared, for they were trained on "
                f"different text or with different vocabularies (corpus {first.fingerprint[:12]} of "
                f"{first.tokenizer.vocabulary_size:,} tokens, and {corpus.fingerprint[:12]} of "
                f"{corpus.tokenizer.vocabulary_size:,}): train them on one corpus."
            )
    return first


def choice(entry: Entry, found: ContestFindings) -> Choice:
    """The checkpoint of a run that its verdict chooses: the end of its game has to prove itself."""
    end = entry.end.about
    if entry.likelihood is None:
        return Choice(end.step, f"{end.name} is likelihood training alone, so there is only step {end.step} to choose.")
    verdict = found.verdict(end.name, entry.likelihood.about.name)
    if verdict.word == "better":
        return Choice(
            end.step,
            f"The verdict chooses step {end.step} of {end.name}, in its game: better than its likelihood checkpoint.",
        )
    step = entry.likelihood_step
    assert step is not None
    why = {"too little evidence": "has too little evidence for it"}.get(verdict.word, f"is {verdict.word}")
    reason = (
        f"The verdict keeps step {step} of {end.name}, the end of its likelihood phase: step {end.step}, in its game, "
        f"{why}."
    )
    if entry.run.job.checkpoint.best_by != "frontier":
        reason += " Take it with --checkpoint likelihood, for the job's own best goes by checkpoint.best_by."
    return Choice(step, reason)


def summary(entry: Entry, found: ContestFindings) -> dict[str, float]:
    """Figures of a run for its curves: the scores at the temperature nearest 1, and the margin over its start."""
    name = entry.end.about.name
    place = min(
        (place for place in found.places if place.sampler == name), key=lambda place: abs((place.temperature or 1) - 1)
    )
    drawn = [figure for figure, metric in METRICS.items() if metric.curve and figure in place.figures]
    figures = {f"judges/{figure}": place.figures[figure].value for figure in drawn}
    if entry.likelihood:
        margin = found.verdict(name, entry.likelihood.about.name).margin
        figures |= {} if margin is None else {"judges/margin": margin.value}
    return figures


def judge_phase(
    run: Run,
    weights: Mapping[str, Tensor],
    step: int,
    *,
    likelihood: Checkpoint | None,
    runtime: Runtime,
    watch: Watch,
) -> Judgement:
    """Judge a run that is being trained as its job says, and leave what was found in its folder: see `PhaseJudge`."""
    settings, name = run.job.evaluate.frontier, run.folder.name
    assert settings is not None
    generator = build_generator(run.job, run.tokenizer())
    generator.load_state_dict(weights)
    end = contestant(run, name, "run", generator, digest_of(weights), step)
    start = likelihood_contestant(run, name, likelihood) if likelihood else None
    entry = Entry(run, end, start, likelihood.step if likelihood else None)
    found = hold([entry], settings, encoder=None, workers=WorkTogether(runtime), watch=watch, runtime=runtime)
    if not runtime.rank:
        write([entry], found)
    sentences = (*(verdict.sentence for verdict in found.verdicts), choice(entry, found).reason)
    return Judgement(summary(entry, found), sentences)


def _learning_curves(entry: Entry) -> LearningCurves:
    rows = read_metrics(entry.run.folder)
    curves: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        for name, value in row.items():
            if name in _CURVES and not isinstance(value, str):
                curves.setdefault(name, []).append((row["step"], value))
    return LearningCurves(
        entry.end.about.name,
        tuple(_phases(rows, entry.run.job.phases)),
        {name: tuple(points) for name, points in curves.items()},
    )


_MOST_CONTEXTS = 10_000
_CURVES = ("heldout/nll", "samples/bleu_4", "samples/self_bleu_4")


def _phases(rows: Sequence[dict[str, Any]], phases: Sequence[Phase]) -> Iterator[PhaseSteps]:
    """What was trained when. phases: the job's, to which the lines of metrics refer."""
    ends = {row["phase"]: row["step"] for row in rows if "phase" in row}  # runs of older versions do not say it
    for number, (before, end) in zip(ends, pairwise([0, *ends.values()]), strict=True):
        yield PhaseSteps(phases[number].kind, before + 1, end)
