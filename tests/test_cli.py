"""The commands as a person runs them, in processes of their own.

Also for commands/train.py, commands/prepare.py, commands/generate.py, commands/evaluate.py, commands/inspect.py
and commands/schema.py; and for runs/inspection.py and training/plan.py, which are what two of them print.
"""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from functools import partial
from itertools import chain
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from lstmgan_dist import __version__
from lstmgan_dist.cli import app
from lstmgan_dist.corpus.settings import Corpus, TokenizerSettings
from lstmgan_dist.errors import UserError
from tests.cases import cases
from tests.command_line import REAL, Command, in_process, lstmgan
from tests.evaluation.contests import TINY
from tests.test_config import JOBS
from tests.training.comparison import final_state
from tests.training.tiny_jobs import CONTINUOUS, SENTENCES
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def jobs(text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("jobs")
    for name, template in (("sentences", SENTENCES), ("continuous", CONTINUOUS)):
        (folder / f"{name}.yaml").write_text(template.replace("SOURCE", str(text)))
    return folder


@pytest.fixture(scope="module")
def run(jobs, tmp_path_factory):
    """A finished run."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    printed = lstmgan("train", jobs / "sentences.yaml", "--run", folder)
    shown = printed[printed.index("Real text") : printed.index("The best of the last phase")].strip().splitlines()
    assert [line for line in shown if not line.startswith("  ")] == ["Real text that was held out:", "Generated text:"]
    assert len(shown) == 2 + 4 + 2
    assert f"lstmgan monitor {folder}" in printed
    assert "no judge can say, for there is too little held-out text." in printed
    again = lstmgan("train", jobs / "sentences.yaml", "--run", folder)
    assert "Real text" not in again
    assert f"More text: lstmgan generate {folder}\n" in again
    told = re.search(r"text has ([\d.]+) nats .* and had ([\d.]+) before it: ([\d.]+) (worse|better)", printed)
    assert told
    after, before, change = (float(number) for number in told.groups()[:3])
    assert abs(after - before) == pytest.approx(change, abs=2e-4)
    assert told[4] == ("worse" if after > before else "better")
    return folder


def test_help_imports_neither_torch_nor_ray():
    assert imported_by("import lstmgan_dist.cli", "torch", "ray", "pyarrow") == []


def imported_by(statements, *names):
    """Which of these modules a fresh process has imported at the end of some statements."""
    probe = f"{statements}\nimport sys\nprint(*(name for name in {names} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize(
    "command",
    cases(["submit JOB --run /shared/run", "status", "logs", "stop"], quick=["submit JOB --run /shared/run"]),
)
def test_what_asks_a_cluster_from_outside_never_imports_torch(command, jobs):
    words = command.replace("JOB", str(jobs / "sentences.yaml")).split()
    # Nobody listens at port 1: whatever can be checked here has been checked before that is found out.
    asking = f"""
from typer.testing import CliRunner
from lstmgan_dist.cli import app
error = CliRunner().invoke(app, {[*words, "--address", "http://127.0.0.1:1"]}).exception
assert "does not answer" in str(error), error"""
    assert imported_by(asking, "torch", "ray") == ["ray"]


@pytest.mark.parametrize(
    "command",
    [
        "train",
        "prepare",
        "generate",
        "score",
        "evaluate",
        "export",
        "inspect",
        "monitor",
        "schema",
        "submit",
        "status",
        "logs",
        "stop",
    ],
)
def test_every_command_has_examples_in_its_help(command):
    assert f"lstmgan {command} " in lstmgan(command, "--help")


def test_schema_prints_the_file_beside_the_recipes():
    assert lstmgan("schema") == (JOBS / "schema.json").read_text()


LONGER = {
    "sentences": [f"phases.{number}.steps={steps}" for number, steps in enumerate((80, 40, 60))],
    "continuous": ["phases.0.epochs=15"],
}


def event_files(folder):
    return list(folder.glob("tensorboard/*/events*"))


def trains(process, folder, before):
    """Whether it has begun, for which it opens an event file more than there were before, or has ended."""
    return not process.runs or len(event_files(folder)) > before


@pytest.mark.slow
@pytest.mark.parametrize("name", LONGER)
def test_run_killed_at_random_times_equals_uninterrupted_run(name, jobs, tmp_path):
    sets = [word for override in LONGER[name] for word in ("--set", override)]
    command = ["train", str(jobs / f"{name}.yaml"), *sets, "--run"]
    lstmgan(*command, tmp_path / "whole")
    folder = tmp_path / "killed"
    draw = random.Random(name)
    stopped = 0
    for kill in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGKILL, signal.SIGTERM):
        process = Command(*command, folder)
        wait_until(partial(trains, process, folder, len(event_files(folder))))
        time.sleep(draw.random() * 0.8)
        process.send_signal(kill)
        code, printed, errors = process.end(60)
        if code not in (0, -signal.SIGKILL):
            assert code == 128 + kill, printed + errors
            assert "The same command resumes it." in printed + errors
            stopped += 1
    assert stopped
    lstmgan(*command, folder)
    assert final_state(folder) == final_state(tmp_path / "whole")


def test_same_seed_gives_the_same_text_and_count_only_adds(run):
    ten = lstmgan("generate", run, "--count", 10, "--seed", 4).splitlines()
    assert len(ten) == 10
    assert lstmgan("generate", run, "--count", 3, "--seed", 4).splitlines() == ten[:3]
    assert lstmgan("generate", run, "--count", 10, "--seed", 5).splitlines() != ten


def test_generate_continues_a_prompt_and_names_words_it_does_not_know(run):
    for line in lstmgan("generate", run, "--count", 3, "--prompt", "the cat", "--temperature", 0).splitlines():
        assert line.startswith("the cat")
    error = lstmgan("generate", run, "--prompt", "the giraffe", code=2)
    assert "'giraffe'" in error
    assert "--unknown" in error
    lstmgan("generate", run, "--prompt", "the giraffe", "--unknown", "skip")


def test_generate_writes_a_file_whole(run, tmp_path):
    lstmgan("generate", run, "--count", 7, "--out", tmp_path / "texts.txt")
    assert len((tmp_path / "texts.txt").read_text().splitlines()) == 7


def test_evaluate_prints_json_that_agrees_with_training(run):
    figures = json.loads(lstmgan("evaluate", run, "--brief", "--json", "--samples", 50))
    assert figures["nll_per_token"] > 0
    assert figures["perplexity"] == pytest.approx(2.718281828 ** figures["nll_per_token"])
    assert 0 < figures["distinct_2"] <= 1
    assert str(figures["checkpoint"]) in lstmgan("inspect", run)


def test_evaluate_needs_enough_text_for_judges(run):
    error = lstmgan("evaluate", run, code=2)
    assert "for a judge: it needs 100" in error
    which, mistake = error.strip().splitlines()
    assert "phase 3 of 3 (adversarial), the best of this phase" in which
    assert mistake.startswith("Error: ")


def tiny_judges():
    """Let judges learn in a second."""
    from lstmgan_dist.runs import contest

    contest.STANDARD = TINY


@pytest.mark.slow
def test_evaluate_prints_verdicts_and_leaves_a_report(tmp_path):
    (tmp_path / "job.yaml").write_text(SENTENCES.replace("SOURCE", "'grammar:count=1200'"))
    sets = ["corpus.max_length=40", "evaluate.heldout_sequences=200", "checkpoint.best_by=frontier"]
    command = ["train", tmp_path / "job.yaml", *(word for override in sets for word in ("--set", override))]
    lstmgan(*command, "--run", tmp_path / "run")
    arguments = ["evaluate", tmp_path / "run", "--temperatures", "0.9..1.0", "--seeds", 1, "--samples", 400]
    printed = lstmgan(*arguments, before=tiny_judges)
    for words in (
        "reverse LM score",
        "grammatical",
        "run, likelihood only",
        "real text",
        "is worse than real text",
        "This holds for these training seeds.",
    ):
        assert words in printed
    assert "The verdict keeps step" in printed
    assert (tmp_path / "run/evaluation/report.html").read_text().startswith("<!DOCTYPE html>")
    found = json.loads(lstmgan(*arguments, "--json", before=tiny_judges))
    assert [sampler["name"] for sampler in found["samplers"]] == ["run", "run, likelihood only", "real text"]


def test_inspect_tells_runs_corpora_and_checkpoints(run, text, jobs, tmp_path):
    told = lstmgan("inspect", run)
    assert "finished" in told
    assert "long text" not in told
    cut = lstmgan("prepare", text, "--out", tmp_path / "cut", "--max-length", 6, "--on-long-text", "truncate")
    assert re.search(r"long text +[\d,]+ truncated \([\d.]+%\)", cut)
    changed = [f"corpus.source={tmp_path / 'cut'}", "corpus.max_length=6", "phases=[{kind: likelihood, steps: 1}]"]
    other = tmp_path / "of-cut"
    lstmgan("train", jobs / "sentences.yaml", "--run", other, *chain.from_iterable(("--set", one) for one in changed))
    assert "long text" in lstmgan("inspect", other)
    assert "what --checkpoint best takes" in told
    step = sorted((run / "checkpoints").iterdir())[-1]
    assert "generator.safetensors" in lstmgan("inspect", step)
    (corpus,) = (run.parent / ".corpora").iterdir()
    assert "vocabulary" in lstmgan("inspect", corpus)
    (step / "generator.safetensors").write_bytes(b"torn")
    assert "generator.safetensors" in lstmgan("inspect", step, code=2)


def test_dry_run_shows_the_plan_and_starts_nothing(jobs, tmp_path):
    printed = lstmgan("train", jobs / "sentences.yaml", "--run", tmp_path / "run", "--dry-run")
    for words in ("generator:", "embedding.weight", "phase 3, adversarial: at most 6 steps", "MiB", "run is new."):
        assert words in printed
    assert "finish_with: best" not in printed
    assert not (tmp_path / "run").exists()
    full = lstmgan("train", jobs / "sentences.yaml", "--run", tmp_path / "run", "--dry-run", "--full")
    assert full.startswith(printed)
    assert "finish_with: best" in full


def test_dry_run_tells_a_run_of_the_job_from_another_and_what_does_not_fit(jobs, run):
    command = ("train", jobs / "sentences.yaml", "--run", run, "--dry-run")
    assert "is a run of this job, with a checkpoint of step 17." in lstmgan(*command)
    assert "is a run of a different job: batch.size: 8 -> 16." in lstmgan(*command, "--set", "batch.size=16")
    complaint = lstmgan(*command, "--set", "generator.hidden=400000", code=2)
    assert "their gradients and Adam's moments take" in complaint
    assert "make the networks smaller." in complaint


def test_the_version_is_told():
    assert lstmgan("--version") == f"lstmgan {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "absent.yaml"], "absent.yaml cannot be read"),
        (["train", "JOB", "--set", "batch.size=9"], "must be divisible by 4 lanes"),
        (["train", "JOB", "--set", "corpus.source=absent.txt"], "absent.txt"),
        (["train", "JOB", "--run", "s3x://bucket/run"], "no driver for s3x://"),
        (["train", "JOB", "--run", "/proc/run"], "/proc"),
        (["train", "JOB", "--set", "generator.pretrained_vectors=absent.txt"], "absent.txt matches no file"),
        (["train", "JOB", "--set", "batch.lanes=2", "--set", "batch.units=3"], "3 units cannot share 2 lanes"),
        (["prepare", "JOB", "--out", "/"], "/ holds other files"),
        (["generate", "absent"], "absent is not a run"),
        (["evaluate", "."], ". is not a run"),
        (["evaluate", "absent", "--brief"], "absent is not a run"),
        (["evaluate", "a", "b", "--brief"], "--brief takes one run"),
        (["evaluate", "a", "--temperatures", "hot"], "write a range such as 0.6..1.3"),
        (["evaluate", "a", "--temperatures", "1.0..0.5"], "--temperatures"),
        (["evaluate", "a", "--temperatures", "0,1"], "--temperatures"),
        (["evaluate", "a", "--samples", "50"], "--samples: 50 will not do"),
        (["evaluate", "a", "--encoder", "word2vec"], "write sentence-transformers:"),
        (["prepare", "oracle:depth=3", "--out", "corpus"], "depth"),
        (["inspect", "absent"], "neither a run, nor a corpus, nor a checkpoint"),
        (["monitor", "absent"], "absent is empty or absent"),
        (["prepare", "absent.txt", "--out", "corpus"], "absent.txt"),
    ],
)
def test_a_mistake_is_one_line_with_exit_code_2_and_leaves_nothing(arguments, words, jobs, tmp_path):
    named = [str(jobs / "sentences.yaml") if argument == "JOB" else argument for argument in arguments]
    error = lstmgan(*named, code=2, cwd=tmp_path)
    assert words in error
    assert len(error.strip().splitlines()) == 1
    assert "Traceback" not in error
    assert not list(tmp_path.glob("*/manifest.json"))
    assert not list(tmp_path.glob("runs/*/job.yaml"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--max-length 100000", "--max-length: 100000 will not do: it must be 65536 or less."),
        ("--max-length 1", "--max-length: 1 will not do: it must be 2 or more."),
        ("--heldout-fraction 1", "--heldout-fraction: 1.0 will not do: it must be below 1."),
        ("--heldout-fraction nan", "--heldout-fraction: nan will not do"),
        ("--vocabulary-size 2", "--vocabulary-size: 2 will not do: it must be 3 or more."),
        ("--vocabulary-size 9999999999", "--vocabulary-size: 9999999999 will not do"),
        ("--min-count 0", "--min-count: 0 will not do"),
        ("--tokenizer byte --min-count 2", "--min-count: kind byte has no use for it"),
        ("--column=", "--column: '' will not do: it must be text of 1 or more characters."),
        ("--heldout=", "--heldout: '' will not do: it must be text of 1 or more characters."),
    ],
)
def test_an_option_of_prepare_is_checked_as_the_setting_of_a_job_is(options, words, tmp_path):
    (tmp_path / "text.txt").write_text("a b\n")
    command = ["prepare", str(tmp_path / "text.txt"), "--out", str(tmp_path / "corpus"), *options.split()]
    error = CliRunner().invoke(app, command).exception
    assert isinstance(error, UserError)
    assert words in str(error)
    assert not (tmp_path / "corpus").exists()


def test_prepare_describes_its_options_as_a_job_does_and_has_its_defaults():
    group: Any = get_command(app)
    options = {option.name: option for option in group.commands["prepare"].params}
    corpus = Corpus(source="x")
    for name in ("heldout_fraction", "layout", "max_length", "column", "on_bad_text", "on_long_text"):
        assert options[name].help == Corpus.model_fields[name].description
        assert options[name].default == getattr(corpus, name)
    for name in ("lower", "vocabulary_size", "min_count"):
        assert options[name].help == TokenizerSettings.model_fields[name].description
        assert options[name].default == getattr(corpus.tokenizer, name)


def test_the_help_of_prepare_names_the_extras_whole(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    _, output = in_process("prepare", "--help")
    for extra in ("chinese", "stemming", "sentences"):
        assert f"'lstmgan-dist[{extra}]'." in " ".join(output.split())


@pytest.mark.parametrize(
    "typed", ["prepare --unicode utf8", "train", "tarin", "generate run --count many", "train a -x"]
)
def test_words_that_no_command_takes_are_one_line(typed):
    code, output = in_process(*typed.split())
    assert code == 2
    assert output.startswith("Error: ")
    assert len(output.splitlines()) == 1


def test_a_source_without_a_name_is_refused():
    error = CliRunner().invoke(app, ["prepare", "", "--out", "corpus"]).exception
    assert "SOURCE: '' will not do" in str(error)


@pytest.mark.slow
def test_debug_shows_the_traceback():
    done = subprocess.run([*REAL, "--debug", "generate", "absent"], capture_output=True, text=True, check=False)
    assert "Traceback" in done.stderr


def test_python_itself_ends_with_one_line_and_exit_code_2():
    done = subprocess.run([*REAL, "generate", "absent"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == lstmgan("generate", "absent", code=2)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_named(jobs, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o555)
    assert "closed" in lstmgan("train", jobs / "sentences.yaml", "--run", tmp_path / "closed" / "run", code=2)


def test_a_second_ctrl_c_says_what_was_saved(jobs, tmp_path):
    steps = [word for override in (*LONGER["sentences"], "checkpoint.every=1 steps") for word in ("--set", override)]
    training = Command("train", jobs / "sentences.yaml", "--run", tmp_path / "run", *steps, before=stop_twice)
    code, output, errors = training.end()
    assert code == 130, output + errors
    newest = max(int(path.parent.name[5:]) for path in tmp_path.glob("run/checkpoints/step-*/manifest.json"))
    assert f"run after step {newest}, its last checkpoint." in output.replace("\n", " ")
    assert "Traceback" not in errors


def stop_twice():
    """Two Ctrl-C at the twentieth step, the second of them at once."""
    from lstmgan_dist.training.screen import Terminal

    tick = Terminal.tick

    def tick_and_stop(self, *, done):
        tick(self, done=done)
        if done == 20:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)

    Terminal.tick = tick_and_stop


def test_a_run_that_learnt_nothing_is_no_success(jobs, tmp_path):
    absurd = "phases=[{kind: likelihood, steps: 30, optimizer: {learning_rate: 3}}]"
    code, _, errors = Command("train", jobs / "continuous.yaml", "--run", tmp_path / "run", "--set", absurd).end()
    assert code == 0, errors
    assert "This run has learnt nothing: held-out text has" in errors
