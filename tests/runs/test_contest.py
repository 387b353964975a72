"""Runs judged from beginning to end, with judges so small that it takes seconds.

Also for training/phase_judge.py, by which the loop has a phase judged.
"""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest
import torch
from typer.testing import CliRunner

from lstmgan_dist.cli import app
from lstmgan_dist.config import Frontier
from lstmgan_dist.corpus.prepare import JUDGES
from lstmgan_dist.errors import UserError
from lstmgan_dist.evaluation import contest as comparison
from lstmgan_dist.evaluation import sweep
from lstmgan_dist.evaluation.findings import PhaseSteps
from lstmgan_dist.evaluation.oracle import Oracle
from lstmgan_dist.evaluation.synthetic import read_oracle
from lstmgan_dist.runs import contest
from lstmgan_dist.runtime.base import WorkTogether
from lstmgan_dist.runtime.local import LocalRuntime
from lstmgan_dist.runtime.tasks import IN_PROCESS
from lstmgan_dist.runtime.worker_size import WorkerSize
from lstmgan_dist.storage import Folder
from lstmgan_dist.training.run_log import read_metrics
from tests.bare_workers import train_undisturbed
from tests.evaluation.contests import TINY
from tests.toy_text import toy_sentences
from tests.training.comparison import everything_in
from tests.training.tiny_jobs import CONTINUOUS, SENTENCES, StoppingRuntime, job_of, run_job

SETTINGS = Frontier(temperatures=(0.7, 1.0), seeds=1, samples=400)
TRAINED = ("phases.0.steps=60", "corpus.heldout_fraction=0.5", "evaluate.heldout_sequences=50")


@pytest.fixture(autouse=True)
def _tiny_models(monkeypatch):
    monkeypatch.setattr(contest, "STANDARD", TINY)


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    path = tmp_path_factory.mktemp("lines") / "toy.txt"
    path.write_text("\n".join(toy_sentences(1600)) + "\n")
    return path


@pytest.fixture(scope="module")
def run(lines, tmp_path_factory):
    """A finished run of a likelihood phase and a game."""
    return run_job(job_of(SENTENCES, lines, *TRAINED), tmp_path_factory.mktemp("runs") / "game")[0]


def judged(*runs, settings=SETTINGS):
    entries = contest.enter_all([run.folder.url for run in runs], "latest", say=print)
    found = contest.hold(entries, settings, encoder=None, workers=IN_PROCESS, watch=unwatched, device="cpu")
    contest.write(entries, found)
    return found


def unwatched(items, total, description):
    return iter(items)


@pytest.mark.slow
def test_an_evaluation_that_is_stopped_says_what_is_kept_and_finds_it_again(lines, tmp_path, monkeypatch):
    run, _ = run_job(job_of(SENTENCES, lines, *TRAINED), tmp_path / "game")
    arguments = ["evaluate", run.folder.url, "--temperatures", "1", "--seeds", "2", "--samples", "300"]
    measure, measured = sweep.measure, []

    def stop_at_the_third(bench, sources, task):
        measured.append(task)
        if len(measured) == 3:
            raise KeyboardInterrupt
        return measure(bench, sources, task)

    monkeypatch.setattr(sweep, "measure", stop_at_the_third)
    stopped = CliRunner().invoke(app, arguments)
    assert stopped.exit_code == 130, stopped.output
    assert "What was measured so far is kept with the corpus: the same command goes on" in stopped.stderr
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 0, again.output
    assert len(measured) == 3 + 4  # three samplers with two seeds, of which two were kept
    assert measured[3] == measured[2]


@pytest.mark.slow
def test_a_run_of_texts_with_labels_that_answer_others_is_judged_to_the_end(tmp_path):
    path = tmp_path / "talk.csv"
    # No answer twice, for one that is known from training tells a judge nothing.
    answers = [f"{text} {' '.join(f'{number:04}')}" for number, text in enumerate(toy_sentences(1600))]
    said = (f"what number {number % 7},{answer},{len(answer) % 2}" for number, answer in enumerate(answers))
    path.write_text("\n".join(["said,answer,mood", *said]) + "\n")
    columns = "column: answer, source_column: said, label_column: mood, heldout_fraction: 0.5, max_length: 12"
    job = job_of(SENTENCES, path, *TRAINED, f"corpus={{source: {path}, {columns}}}")
    run, _ = run_job(job, tmp_path / "answers")
    found = judged(run, settings=Frontier(temperatures=(1.0,), seeds=1, samples=300))
    assert [sampler.kind for sampler in found.samplers] == ["run", "likelihood start", "real text"]
    for name in ("answers", "answers, likelihood only", "real text"):
        figures = found.place(name, None if name == "real text" else 1.0).figures
        assert figures["lm"].low < figures["lm"].value < figures["lm"].high
    # Of the answers alone.
    length = sum(len(answer.split()) for answer in answers) / len(answers)
    assert found.place("real text", None).figures["mean_length"].value == pytest.approx(length, abs=0.3)
    drawn = contest.enter_all([run.folder.url], "latest", say=print)[0].end.source.draw(
        1.0, count=300, seed=1, device=torch.device("cpu")
    )
    assert drawn.lengths_N.max() <= 12
    assert "answers" in (run.folder / "evaluation").read("report.html").decode()


@pytest.mark.slow
def test_a_run_is_judged_beside_its_likelihood_start_and_real_text(run):
    found = judged(run)
    assert [sampler.kind for sampler in found.samplers] == ["run", "likelihood start", "real text"]
    assert [sampler.step for sampler in found.samplers] == [71, 60, 0]
    phases = ("likelihood", 1, 60), ("discriminator", 61, 65), ("adversarial", 66, 71)
    assert found.curves[0].phases == tuple(PhaseSteps(*phase) for phase in phases)
    assert [(verdict.sampler, verdict.reference) for verdict in found.verdicts] == [
        ("game", "game, likelihood only"),
        ("game", "real text"),
        ("game, likelihood only", "real text"),
    ]
    # Half a second of training on words: real text is better than either.
    assert [found.verdict(name, "real text").word for name in ("game", "game, likelihood only")] == ["worse"] * 2
    real = found.place("real text", None).figures
    for name in ("game", "game, likelihood only"):
        for temperature in SETTINGS.temperatures:
            figures = found.place(name, temperature).figures
            assert figures["reverse_lm"].value > real["reverse_lm"].value
            assert figures["lm"].low < figures["lm"].value < figures["lm"].high
            assert 0 <= figures["self_bleu_4"].value <= 1
    folder = run.folder / "evaluation"
    assert {"frontier.json", "report.html", "verdict.json", "frontier.png", "learning.png"} <= set(folder.list())
    assert json.loads(folder.read("frontier.json"))["verdicts"][0]["sentence"] == found.verdicts[0].sentence
    assert found.verdicts[0].sentence in folder.read("report.html").decode()
    assert any(name.endswith(".evaluation") for name in (run.folder / "tensorboard" / run.folder.name).list())


@pytest.mark.slow
def test_what_was_measured_before_is_found_again(run, monkeypatch):
    first = judged(run)
    monkeypatch.setattr(sweep, "measure", None)
    monkeypatch.setattr(comparison, "train_judge", None)
    assert judged(run) == first
    # And a kill in between costs what was not finished only.
    archive = run.corpus().folder / JUDGES
    (measurements,) = (archive / name for name in archive.list() if "." not in name)
    measurements.delete(measurements.list()[0])
    with pytest.raises(TypeError):
        judged(run)
    monkeypatch.undo()
    monkeypatch.setattr(contest, "STANDARD", TINY)
    assert judged(run) == first


@pytest.mark.slow
def test_runs_that_start_from_the_same_weights_share_their_start(run, lines, tmp_path):
    other = run_job(job_of(SENTENCES, lines, *TRAINED, "phases.2.likelihood_weight=2"), tmp_path / "other")[0]
    found = judged(run, other)
    assert [sampler.name for sampler in found.samplers] == ["game", "other", "game, likelihood only", "real text"]
    assert found.verdict("other", "game, likelihood only")
    assert found.verdict("other", "game")
    assert json.loads((other.folder / "evaluation").read("verdict.json"))["reason"].startswith(
        ("The verdict keeps step 60 of other", "The verdict chooses step 71 of other")
    )
    assert set(found.chosen) == {"game", "other"}


@pytest.mark.slow
def test_held_out_text_that_is_given_besides_is_judged_by_too(run, tmp_path):
    more, backwards = tmp_path / "more.txt", [" ".join(one.split()[::-1]) for one in toy_sentences(600)]
    more.write_text("\n".join(backwards) + "\n")
    entries = contest.enter_all([run.folder.url], "latest", say=print)
    found = contest.hold(
        entries, SETTINGS, encoder=None, workers=IN_PROCESS, watch=unwatched, device="cpu", heldout=[str(more)]
    )
    assert " 600 were given besides those of the corpus." in found.protocol["Who has seen what"]
    assert found.protocol["LM score"] != judged(run).protocol["LM score"]


@pytest.mark.slow
def test_runs_of_different_text_are_refused(run, tmp_path):
    text = tmp_path / "toy.txt"
    text.write_text("\n".join(toy_sentences(1600, seed=2)) + "\n")
    other = run_job(job_of(SENTENCES, text, *TRAINED), tmp_path / "other")[0]
    with pytest.raises(UserError, match=r"cannot be compared.*different text or with different vocabularies"):
        judged(run, other)


@pytest.mark.slow
def test_too_few_samples_and_one_long_text_and_twins_are_refused(run, text, tmp_path):
    few = run_job(job_of(SENTENCES, text, "corpus.heldout_fraction=0.5"), tmp_path / "few")[0]
    with pytest.raises(UserError, match=r"leaves \d+ for a judge: it needs 100"):
        judged(few)
    long = run_job(job_of(CONTINUOUS, text), tmp_path / "long")[0]
    with pytest.raises(UserError, match="say --brief"):
        judged(long)
    with pytest.raises(UserError, match="named twice"):
        judged(run, run)


@pytest.mark.slow
def test_the_best_checkpoint_stays_the_likelihood_one_until_a_verdict_says_better(run, lines, tmp_path):
    own = ("checkpoint.best_by=frontier", "checkpoint.keep=1")
    job = job_of(SENTENCES, lines, *TRAINED, *own)
    proud = run_job(job, tmp_path / "proud")[0]
    assert proud.checkpoint("best", say=print).step == 60
    judged(proud)
    assert proud.checkpoint("best", say=print).step == 60
    (proud.folder / "evaluation").write("verdict.json", b'{"step": 71, "reason": ""}')
    assert proud.checkpoint("best", say=print).step == 71


JUDGED = (*TRAINED, "evaluate.frontier={temperatures: [0.8, 1.0], samples: 400}", "checkpoint.best_by=frontier")


@pytest.mark.slow
def test_a_job_may_have_every_phase_judged_and_a_stop_changes_nothing(lines, tmp_path):
    job = job_of(SENTENCES, lines, *JUDGED)
    whole, _ = run_job(job, tmp_path / "whole" / "run")
    rows = [row for row in read_metrics(whole.folder) if "judges/lm" in row]
    # The discriminator's phase leaves the generator as it was.
    assert [row["step"] for row in rows] == [60, 71]
    verdicts = json.loads((whole.folder / "evaluation").read("frontier.json"))["verdicts"]
    assert (verdicts[0]["sampler"], verdicts[0]["reference"]) == ("run", "run, likelihood only")
    stopped = tmp_path / "stopped" / "run"
    for steps in (62, 7, 100):
        run_job(job, stopped, runtime=StoppingRuntime(torch.device("cpu"), steps))
    found = everything_in(stopped)
    for name, content in everything_in(whole.folder).items():
        # Which of the older checkpoints are there depends on where it was stopped.
        if not name.startswith("checkpoints/") or "step-00000071" in name:
            assert found[name].replace(b"/stopped/", b"/whole/") == content, name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "figure", "true"),
    [("oracle:length=6,seed=1,count=800,vocabulary=30", "oracle_nll", None), ("grammar:count=800", "grammatical", 1.0)],
)
def test_text_of_a_known_source_has_figures_that_are_exact(source, figure, true, tmp_path):
    overrides = [f"corpus={{source: '{source}', max_length: 40}}", "evaluate.heldout_sequences=100"]
    likelihood = "phases=[{kind: likelihood, steps: 100, optimizer: {learning_rate: 1e-2}}]"
    run, _ = run_job(job_of(SENTENCES, "unused", *overrides, likelihood, "evaluate.every=50 steps"), tmp_path / "run")
    found = judged(run, settings=Frontier(temperatures=(0.5, 1.0), seeds=1, samples=600))
    real = found.place("real text", None).figures[figure]
    oracle = read_oracle(run.corpus().folder)
    expected = oracle.entropy(2000, seed=3).nats if isinstance(oracle, Oracle) else true
    assert real.low - 0.02 <= expected <= real.high + 0.02
    colder, warm = (found.place("run", temperature).figures for temperature in (0.5, 1.0))
    # Colder samples are likelier for the oracle, which proves nothing: its own text is not.
    if figure == "oracle_nll":
        assert real.value < colder[figure].value < warm[figure].value
        assert colder["test_nll"].value > warm["test_nll"].value
    else:
        assert colder[figure].value > warm[figure].value
    assert "Oracle" in found.protocol


@pytest.mark.cluster
@pytest.mark.timeout(200)
@pytest.mark.usefixtures("local_ray")
def test_figures_are_the_same_for_any_number_of_workers(run, tmp_path):
    from lstmgan_dist.runtime.ray_tasks import RayProcesses

    (entry,) = contest.enter_all([run.folder.url], "latest", say=print)
    archive = run.corpus().folder / JUDGES
    results = []
    for workers in (0, 2):
        archive.delete()
        with RayProcesses(WorkerSize(2, 2, 1, 0)) if workers else nullcontext(IN_PROCESS) as hands:
            results.append(contest.hold([entry], SETTINGS, encoder=None, workers=hands, watch=unwatched, device="cpu"))
    assert results[0] == results[1]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_workers_that_train_together_judge_together(tmp_path):
    # The workers' judges are of the usual size, and have to learn something.
    text = ("corpus={source: 'grammar:count=1200', max_length: 40}", "phases.0.steps=20")
    job = job_of(SENTENCES, "unused", *text, "evaluate.frontier={temperatures: [0.8, 1.0], samples: 400}")
    train_undisturbed(job, tmp_path / "run", workers=2)
    rows = [row for row in read_metrics(Folder(tmp_path / "run")) if "judges/lm" in row]
    assert [row["step"] for row in rows] == [20, 31]
    found = json.loads((tmp_path / "run/evaluation/frontier.json").read_bytes())
    assert [place["temperature"] for place in found["places"]] == [0.8, 1.0, 0.8, 1.0, None]


class _Hand(LocalRuntime):
    """One of several workers, in threads of this process, that exchange what they have."""

    def __init__(self, rank, world_size, given, meeting):
        super().__init__(torch.device("cpu"))
        self.rank, self.world_size, self._given, self._meeting = rank, world_size, given, meeting

    def exchange(self, own):
        self._given[self.rank] = own
        self._meeting.wait()
        everyone = list(self._given)
        self._meeting.wait()
        return everyone


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_all_who_work_together_know_all_results_in_order(workers):
    given, meeting = [None] * workers, threading.Barrier(workers)
    done = []

    def square(number):
        done.append(number)
        return number * number

    def work(rank):
        return list(WorkTogether(_Hand(rank, workers, given, meeting)).map_in_order(square, range(7)))

    with ThreadPoolExecutor(workers) as pool:
        assert list(pool.map(work, range(workers))) == [[0, 1, 4, 9, 16, 25, 36]] * workers
    assert sorted(done) == list(range(7))
