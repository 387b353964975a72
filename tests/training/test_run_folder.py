"""A run is an address: local or behind a URL, with nothing else needed to act on it."""

import errno
import json
import os
import subprocess
import sys
import uuid
from itertools import chain

import pytest
import torch
from typer.testing import CliRunner

from lstmgan_dist.cli import app
from lstmgan_dist.config import dump_job
from lstmgan_dist.errors import UserError
from lstmgan_dist.evaluation.sample_sources import GeneratorSource
from lstmgan_dist.evaluation.sampling import Sampling
from lstmgan_dist.evaluation.texts import decoded
from lstmgan_dist.runs.brief import evaluate_briefly
from lstmgan_dist.runs.generation import generate, request_texts
from lstmgan_dist.runs.result import load_result
from lstmgan_dist.runtime.tasks import IN_PROCESS
from lstmgan_dist.storage import Folder
from lstmgan_dist.training.checkpoint import Checkpoints
from lstmgan_dist.training.run import Run
from lstmgan_dist.training.run_log import read_metrics
from tests.cases import cases
from tests.training.tiny_jobs import CONTINUOUS, SENTENCES, StoppingRuntime, best_of, job_of, run_job

GENERATING = {
    "count": 5,
    "temperature": 1.0,
    "top_k": None,
    "top_p": None,
    "seed": 1,
    "max_length": None,
    "on_unknown": "error",
    "without_unknown": False,
}


def texts(result, **changed):
    return list(chain.from_iterable(generate(request_texts(result, **{**GENERATING, **changed}), IN_PROCESS)))


def unwatched(items, total, description):
    return iter(items)


def load(url, checkpoint="best"):
    return load_result(str(url), checkpoint, device="cpu", say=print)


@pytest.mark.parametrize("template", cases([SENTENCES, CONTINUOUS], quick=[SENTENCES]), ids=["sentences", "continuous"])
def test_run_behind_a_url_gives_the_numbers_of_a_local_one(template, text, tmp_path):
    url = f"memory://{uuid.uuid4().hex}/runs/tiny"
    job = job_of(template, text)
    run_job(job, tmp_path / "run")
    run_job(job, url, runtime=StoppingRuntime(torch.device("cpu"), 5))
    run_job(job, url)
    local, remote = Folder(tmp_path / "run"), Folder(url)
    assert remote.read("metrics.jsonl") == local.read("metrics.jsonl")
    assert texts(load(url)) == texts(load(tmp_path / "run"))
    assert evaluate_briefly(load(url), samples=20, seed=1, watch=unwatched).nll_per_token > 0
    assert (remote / "tensorboard").list()
    assert (remote / "samples").list() == (local / "samples").list()


def test_best_latest_and_a_step_are_told_apart(text, tmp_path):
    run, outcome = run_job(job_of(SENTENCES, text), tmp_path)
    assert load(tmp_path, "latest").step == outcome.progress.step
    assert load(tmp_path, "best").step == best_of(outcome).step
    assert load(tmp_path, str(run.checkpoints.steps()[0])).step == run.checkpoints.steps()[0]
    with pytest.raises(UserError, match="write best, latest, likelihood or the number of a step"):
        load(tmp_path, "newest")


def test_best_checkpoint_outlives_pruning(text, tmp_path):
    phase = "{kind: likelihood, steps: 30, optimizer: {kind: sgd, learning_rate: {start: 0.01, end: 20}, clip: null}}"
    run, outcome = run_job(job_of(SENTENCES, text, f"phases=[{phase}]", "checkpoint.every=1 steps"), tmp_path)
    best = best_of(outcome).step
    assert best < outcome.progress.step - 2
    assert run.checkpoints.steps() == [best, outcome.progress.step - 1, outcome.progress.step]
    best_row = [row for row in read_metrics(run.folder) if "heldout/nll" in row and row["step"] == best]
    assert best_row[0]["heldout/nll"] == best_of(outcome).value


def test_a_run_and_its_corpus_can_be_moved_together(text, tmp_path):
    run_job(job_of(SENTENCES, text), tmp_path / "here" / "run")
    (tmp_path / "here").rename(tmp_path / "there")
    assert evaluate_briefly(load(tmp_path / "there" / "run"), samples=4, seed=1, watch=unwatched).heldout_tokens > 0


@pytest.mark.slow
def test_a_run_without_its_corpus_still_writes_and_says_what_evaluation_lacks(text, tmp_path):
    run_job(job_of(SENTENCES, text), tmp_path / "run")
    Folder(tmp_path / ".corpora").delete()
    assert len(texts(load(tmp_path / "run"))) == 5
    with pytest.raises(UserError, match="holds no prepared corpus"):
        evaluate_briefly(load(tmp_path / "run"), samples=4, seed=1, watch=unwatched)


def test_text_and_sample_do_not_depend_on_how_many_are_asked_for(text, tmp_path):
    run_job(job_of(SENTENCES, text), tmp_path)
    many = texts(load(tmp_path), count=300)
    for count in (1, 7, 256, 257):
        assert texts(load(tmp_path), count=count) == many[:count]


def test_a_prompt_that_fills_the_sentence_is_refused(text, tmp_path):
    run_job(job_of(SENTENCES, text, "phases=[{kind: likelihood, steps: 1}]"), tmp_path)
    with pytest.raises(UserError, match="leaves no room within 12"):
        texts(load(tmp_path), prompt="the cat " * 6)


def test_text_is_drawn_as_it_is_judged_and_without_unknown_words_only_when_asked(text, tmp_path):
    job = job_of(SENTENCES, text, "corpus.tokenizer.vocabulary_size=5", "phases=[{kind: likelihood, steps: 20}]")
    run, outcome = run_job(job, tmp_path)
    written = texts(load(tmp_path, "latest"), count=50, seed=job.seed)
    assert any("<unk>" in line for line in written)
    judged = GeneratorSource(load(tmp_path, "latest").generator, Sampling(job.corpus.max_length))
    drawn = judged.draw(1.0, count=50, seed=job.seed, device=torch.device("cpu"))
    assert written == decoded(drawn, run.tokenizer())
    assert outcome.last_evaluation is not None
    assert written[: job.evaluate.show] == list(outcome.last_evaluation.texts)
    assert not any("<unk>" in line for line in texts(load(tmp_path), count=50, without_unknown=True))


@pytest.mark.parametrize("template", [SENTENCES, CONTINUOUS], ids=["sentences", "continuous"])
def test_bits_per_character_are_of_text_that_is_spelt_out(template, text, tmp_path):
    once = "phases=[{kind: likelihood, steps: 1}]"
    run_job(job_of(template, text, once), tmp_path / "all")
    known = evaluate_briefly(load(tmp_path / "all"), samples=4, seed=1, watch=unwatched)
    assert known.heldout_unknown_share == 0
    assert known.bits_per_character is not None
    assert known.bits_per_character > 0
    few = "corpus.tokenizer.vocabulary_size=8", "evaluate.prompt=''"
    run, _ = run_job(job_of(template, text, once, *few), tmp_path / "few")
    figures = evaluate_briefly(load(tmp_path / "few"), samples=4, seed=1, watch=unwatched)
    blocks = run.corpus().read_blocks("heldout", range(len(run.corpus().splits["heldout"].blocks)))
    tokens = [token for block in blocks for token in block.tokens_T.tolist()]
    assert figures.heldout_unknown_share == tokens.count(run.tokenizer().unknown_id) / len(tokens) > 0
    assert figures.bits_per_character is None
    assert figures.to_json()["bits_per_character"] is None


def test_the_storage_of_a_run_is_given_as_much_time_as_its_job_says_but_reached_as_this_machine_does(text, tmp_path):
    settings = ("storage.patience=7", "storage.timeout=3", "storage.region=mars-1")
    run_job(job_of(SENTENCES, text, *settings), tmp_path / "run")
    storage = Run.open(str(tmp_path / "run")).folder.storage
    assert (storage.patience, storage.timeout, storage.region) == (7, 3, None)


def test_a_damaged_job_file_is_named(text, tmp_path):
    run_job(job_of(SENTENCES, text, "phases=[{kind: likelihood, steps: 1}]"), tmp_path)
    (tmp_path / "job.yaml").write_text("name: [")
    with pytest.raises(UserError, match=r"job\.yaml"):
        Run.open(str(tmp_path))


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_is_one_sentence_and_the_earlier_checkpoint_stays_good(text, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("this machine does not let root mount a disk")
    try:
        job = tmp_path / "job.yaml"
        job.write_text(SENTENCES.replace("SOURCE", str(text)))
        command = [sys.executable, "-m", "lstmgan_dist", "train", str(job), "--run", str(disk / "run")]
        command += ["--set", "checkpoint.keep=1000", "--set", "checkpoint.every=1 steps", "--set", "phases.0.steps=400"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2, done.stderr
        assert "No space left on device" in done.stderr
        assert "Traceback" not in done.stderr
        (disk / "run" / "metrics.jsonl").unlink()
        assert load(disk / "run", "latest").step > 0
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_job_as_resolved_is_in_the_run(text, tmp_path):
    run_job(job_of(SENTENCES, text, "phases=[{kind: likelihood, steps: 1}]"), tmp_path)
    assert Run.open(str(tmp_path)).job.batch.size == 8
    assert json.loads((tmp_path / "corpus.json").read_text())["fingerprint"]


def test_a_run_none_of_whose_checkpoints_can_be_read_is_not_said_to_have_none(text, tmp_path):
    run, _ = run_job(job_of(SENTENCES, text, "phases=[{kind: likelihood, steps: 3}]"), tmp_path / "run")
    steps = run.checkpoints.steps()
    for step in steps:
        (tmp_path / f"run/checkpoints/step-{step:08d}/generator.safetensors").write_bytes(b"torn")
    with pytest.raises(UserError, match=rf"None of the {len(steps)} checkpoints of .* can be used"):
        load(tmp_path / "run")


def test_checkpoints_that_cannot_be_deleted_do_not_end_a_training(text, tmp_path, monkeypatch):
    job = job_of(SENTENCES, text, "phases=[{kind: likelihood, steps: 6}]", "checkpoint={every: 2 steps, keep: 1}")
    run, _ = run_job(job, tmp_path / "usual")

    def refuse(checkpoints, protected):
        raise OSError(errno.EIO, "2 files could not be deleted", "checkpoints/step-00000002")

    monkeypatch.setattr(Checkpoints, "prune", refuse)
    done = CliRunner().invoke(app, ["train", write(tmp_path / "job.yaml", job), "--run", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    assert "Older checkpoints stay for now: checkpoints/step-00000002: 2 files could not be deleted." in done.output
    kept = Run.open(str(tmp_path / "run")).checkpoints
    assert len(kept.steps()) > len(run.checkpoints.steps())
    newest = (checkpoints.newest(warn=print) for checkpoints in (run.checkpoints, kept))
    assert len({checkpoint.digest("generator") for checkpoint in newest if checkpoint}) == 1


def write(path, job):
    path.write_text(dump_job(job))
    return str(path)
