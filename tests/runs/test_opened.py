"""The Python interface: what its examples say, and that it and the commands are one.

Also for runs/launch.py, runs/preparation.py, runs/judging.py, runs/workers.py, runs/scoring.py, corpus/given.py,
corpus/records.py and commands/score.py; and for lstmgan_dist/__init__.py, from which all of it is taken.
"""

import ast
import doctest
import inspect
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from typer.main import get_command
from typer.testing import CliRunner

import lstmgan_dist as lstmgan
from lstmgan_dist.cli import app
from lstmgan_dist.config import parse_job
from lstmgan_dist.corpus.stream import read_sentences
from lstmgan_dist.evaluation.texts import Texts
from lstmgan_dist.runs import judging, launch, opened, preparation
from lstmgan_dist.runs.equality import compare_runs

PACKAGE = Path(lstmgan.__file__).parent
MODULES = (opened, preparation, launch, judging)
EXAMPLES = {
    test.name.removeprefix("lstmgan_dist.runs."): test
    for module in MODULES
    for test in doctest.DocTestFinder(exclude_empty=True).find(module)
    if test.examples
}


@pytest.fixture(scope="module")
def job():
    """The job of the example of `train`."""
    scope: dict[str, Any] = {}
    exec(EXAMPLES["launch.train"].examples[0].source, scope)
    return scope["job"]


@pytest.fixture(scope="module")
def place(job, tmp_path_factory):
    """A folder with a finished run of that job, which all tests share."""
    folder = tmp_path_factory.mktemp("python")
    lstmgan.train(job, run=folder / "runs/tiny")
    return folder


@pytest.fixture(autouse=True)
def _there(place, monkeypatch):
    monkeypatch.chdir(place)


@pytest.fixture(scope="module")
def run(place):
    return lstmgan.open(place / "runs/tiny")


def command(*words):
    """What a command prints on standard output."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.stdout


# --- the package ------------------------------------------------------------------------------------------------------


def test_importing_the_package_imports_nothing_that_is_slow():
    probe = "import sys; before = set(sys.modules); import lstmgan_dist as l; dir(l); print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded - set(sys.stdlib_module_names) == {"lstmgan_dist"}
    assert [name for name in done.stdout.split() if name.startswith("lstmgan_dist.")] == []


def test_threads_do_not_spin_in_a_program_either():
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    shown = subprocess.run(
        [sys.executable, "-c", "import lstmgan_dist, torch; print(torch.__version__)"],
        env=environment | {"OMP_DISPLAY_ENV": "true"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in shown.stderr


def test_what_editors_are_told_of_the_package_is_what_it_gives():
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module != "typing"]
    told = {name.name: node.module for node in imports for name in node.names if node.module != "importlib"}
    assert {name: f"lstmgan_dist.{module}" for name, module in lstmgan._FROM.items()} == told
    assert sorted(told) == sorted(lstmgan.__all__)
    assert set(lstmgan.__all__) <= set(dir(lstmgan))
    for name in lstmgan.__all__:
        assert inspect.getdoc(getattr(lstmgan, name))
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        _ = lstmgan.absent  # type: ignore[attr-defined]


def test_the_wheel_says_that_the_package_has_types(tmp_path):
    from hatchling.builders.wheel import WheelBuilder

    included = {file.distribution_path for file in WheelBuilder(str(PACKAGE.parent)).recurse_included_files()}
    assert {"lstmgan_dist/py.typed", "lstmgan_dist/runs/opened.py"} <= included


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_does_what_it_says(name):
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    printed: list[str] = []
    EXAMPLES[name].globs = {"lstmgan": lstmgan}
    runner.run(EXAMPLES[name], out=printed.append, clear_globs=False)
    assert not printed, "".join(printed)


# --- one implementation -----------------------------------------------------------------------------------------------

# Of each command the functions behind it, and what their arguments are called on a command line where that differs.
BEHIND: dict[str, tuple[list[Any], dict[str, str]]] = {
    "generate": ([lstmgan.open, lstmgan.OpenedRun.generate, lstmgan.OpenedRun.write], {}),
    "score": ([lstmgan.open, lstmgan.OpenedRun.score, lstmgan.OpenedRun.read_texts], {"texts": "text"}),
    "evaluate": ([lstmgan.judge], {}),
    "prepare": ([lstmgan.prepare], {}),
    "train": ([lstmgan.train, lstmgan.workers], {"set": "overrides", "number": "workers"}),
}
# Who looks on, and what stands for options in Python.
PYTHONS_OWN = {"self", "say", "watch", "report", "workers", "asked", "device"}


@pytest.mark.parametrize("name", BEHIND)
def test_a_command_has_the_arguments_of_the_functions_behind_it_and_their_defaults(name):
    group: Any = get_command(app)
    options = {option.name: option for option in group.commands[name].params}
    functions, renamed = BEHIND[name]
    for function in functions:
        for argument, parameter in inspect.signature(function).parameters.items():
            if argument in PYTHONS_OWN:
                continue
            option = options[renamed.get(argument, argument)]
            if parameter.default not in (inspect.Parameter.empty, (), None):
                assert option.default == parameter.default, argument


@pytest.mark.parametrize(
    ("asked", "options"),
    [
        ({"count": 5, "seed": 3}, "--count 5 --seed 3"),
        (
            {"prompt": "a child", "temperature": 0.5, "top_k": 7},
            "--prompt 'a child' --temperature 0.5 --top-k 7",
        ),
        ({"top_p": 0.8, "max_length": 6, "no_unknown": True}, "--top-p 0.8 --max-length 6 --no-unknown"),
        ({"prompt": "the giraffe", "unknown": "skip", "count": 2}, "--prompt 'the giraffe' --unknown skip --count 2"),
        ({"temperature": 0}, "--temperature 0"),
    ],
)
def test_texts_are_those_of_the_command_line_by_line(run, asked, options):
    import shlex

    texts = run.generate(**asked)
    assert command("generate", run.url, *shlex.split(options)).splitlines() == texts
    assert list(run.stream(**asked)) == texts


def test_a_file_of_texts_is_that_of_the_command_byte_for_byte(run):
    written = run.write("by-python.jsonl", count=300, seed=2, temperature=0.9)
    command("generate", run.url, "--count", 300, "--seed", 2, "--temperature", 0.9, "--out", "by-command.jsonl")
    assert Path("by-python.jsonl").read_bytes() == Path("by-command.jsonl").read_bytes()
    assert run.read_texts("by-python.jsonl") == [text for text in run.generate(300, seed=2, temperature=0.9) if text]
    assert (written.count, written.found) == (300, 0)
    assert [run.write("by-python/", count=300).found for _ in range(2)] == [0, 300]


def test_figures_are_those_of_the_command(run):
    by_command = json.loads(command("evaluate", run.url, "--brief", "--json", "--samples", 200))
    assert run.evaluate(samples=200).to_json() == by_command
    assert run.evaluate(samples=200, workers=lstmgan.workers(0)).to_json() == by_command


def test_a_corpus_is_that_of_the_command(place):
    one = lstmgan.prepare("grammar:seed=3,count=100", place / "corpora/one")
    command("prepare", "grammar:seed=3,count=100", "--out", place / "corpora/other")
    folders = [place / "corpora" / name for name in ("one", "other")]
    made, by_command = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
    assert made == by_command
    assert one.folder.url == str(place / "corpora/one")


def test_a_run_is_that_of_the_command_whichever_way_its_job_is_given(place, job):
    Path("job.yaml").write_text(yaml.safe_dump(job))
    command("train", "job.yaml", "--run", "runs/by-command", "--set", "phases.0.steps=6")
    short = parse_job(yaml.safe_dump(job), name="job", overrides=["phases.0.steps=6"])
    lstmgan.train("job.yaml", run="runs/by-file", set=["phases.0.steps=6"])
    assert launch.ask(short, run=None, changed=(), **ALONE).job == short
    assert launch.ask(job, run=None, changed={"phases.0.steps": 6}, **ALONE).job == short
    assert compare_runs("runs/by-command", "runs/by-file").holds


ALONE = {"workers": 0, "cpus": None, "gpus": None, "address": None, "check_determinism": None}


# --- training from a notebook -----------------------------------------------------------------------------------------


def state_of_process():
    """What a call must leave as it was."""
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    return handlers, torch.get_num_threads(), torch.is_grad_enabled(), threading.active_count()


def test_a_call_prints_nothing_and_leaves_the_process_as_it_was(place, job, capfd):
    before = state_of_process()
    run = lstmgan.train(job, run="runs/quiet", set={"phases.0.steps": 4, "phases.1.steps": 1, "phases.2.steps": 1})
    run.generate(2)
    run.score(run.generate(3, seed=5))
    run.evaluate(samples=20)
    assert state_of_process() == before
    assert capfd.readouterr() == ("", "")


def test_an_interrupted_training_is_saved_and_the_same_call_goes_on_to_the_same_end(place, job):
    def interrupt(sentence):
        if sentence.startswith("step 10:"):
            os.kill(os.getpid(), signal.SIGINT)

    before = state_of_process()
    with pytest.raises(lstmgan.Stopped, match="and the checkpoint is written") as stopped:
        lstmgan.train(job, run="runs/stopped", say=interrupt)
    assert isinstance(stopped.value, KeyboardInterrupt)
    assert stopped.value.number == signal.SIGINT
    assert state_of_process() == before
    told: list[str] = []
    lstmgan.train(job, run="runs/stopped", say=told.append)
    assert any("Resuming runs/stopped after step 1" in sentence for sentence in told)
    assert compare_runs("runs/tiny", "runs/stopped").holds


def test_another_thread_can_train_where_signals_cannot_be_heard(place, job):
    ended: list[Any] = []
    short = {"phases.0.steps": 2, "phases.1.steps": 1, "phases.2.steps": 1}
    thread = threading.Thread(target=lambda: ended.append(lstmgan.train(job, run="runs/threaded", set=short)))
    thread.start()
    thread.join()
    assert ended[0].step == 4


def test_paths_of_a_program_are_settings(tmp_path, text, job):
    given = {**job, "corpus": {"source": text, "heldout_source": [text]}}
    asked = launch.ask(given, run=None, changed={"corpus.source": (text,)}, **ALONE)
    assert asked.job.corpus.sources == asked.job.corpus.heldout_sources == (str(text),)
    assert given["corpus"]["source"] == text


# --- figures of texts -------------------------------------------------------------------------------------------------


def heldout_texts(run):
    """All held-out sentences of a run's corpus, as people read them."""
    encoded = read_sentences(run.corpus, "heldout", range(run.corpus.splits["heldout"].rows))
    rows = Texts.encoded(encoded).rows()
    texts = [run.tokenizer.decode(row) for row in rows]
    assert [run.tokenizer.encode(text) for text in texts] == rows
    return texts


def test_the_sum_over_held_out_text_is_the_held_out_likelihood(run):
    figures = run.evaluate(samples=20)
    nats = run.log_likelihoods(heldout_texts(run))
    assert -nats.sum() / figures.heldout_tokens == pytest.approx(figures.nll_per_token, rel=1e-6)


def test_scores_are_those_of_the_command_and_of_log_likelihoods(run):
    texts = run.generate(20, seed=9)
    Path("texts.txt").write_text("".join(f"{text}\n" for text in texts))
    read = run.read_texts("texts.txt")
    scores = run.score(read, tokens=True)
    printed = command("score", run.url, "texts.txt", "--tokens", "--json").splitlines()
    assert [json.loads(line) for line in printed] == [score.to_json() for score in scores]
    assert [score.log_likelihood for score in scores] == run.log_likelihoods(read).tolist()
    for score, nats in zip(scores, run.log_likelihoods(read, per_token=True), strict=True):
        assert score.by_token is not None
        assert [token.log_likelihood for token in score.by_token] == nats.tolist()
        assert score.log_likelihood == pytest.approx(nats.sum(), rel=1e-5)
        assert score.tokens == len(nats) == len(run.tokenizer.encode(score.text)) + 1
        assert score.by_token[-1].token == "<end>"
        assert score.discriminator is not None
        assert score.probability_real == pytest.approx(1 / (1 + np.exp(-score.discriminator)))


def test_a_prompt_is_given_and_not_scored(run):
    whole, first = run.log_likelihoods(["the teacher sleeps .", "the"], per_token=True)
    behind = run.log_likelihoods(["teacher sleeps ."], prompt="the", per_token=True)[0]
    assert behind == pytest.approx(whole[1:], abs=1e-5)
    assert first[0] == pytest.approx(whole[0], abs=1e-5)


def test_words_that_the_vocabulary_lacks_are_unknown_and_told(run):
    (score,) = run.score(["the giraffe sleeps"])
    assert score.unknown == 1
    done = CliRunner().invoke(app, ["score", run.url, "--text", "the giraffe sleeps"])
    assert "Note: 25.0% of the tokens are <unk>" in done.stderr


def test_a_discriminator_that_has_learnt_nothing_is_not_asked(place):
    start = lstmgan.open("runs/tiny", "likelihood")
    assert start.discriminator is None
    assert start.score(["the teacher sleeps"])[0].discriminator is None
    assert "P(real)" not in command("score", "runs/tiny", "--checkpoint", "likelihood", "--text", "the teacher")
    assert lstmgan.open("runs/tiny", 24).discriminator is not None


def test_the_discriminator_is_that_of_the_checkpoint(run):
    assert run.discriminator is not None
    kept = run._result.run.checkpoints.open(run.step).load("discriminator")
    assert all(torch.equal(kept[name], tensor) for name, tensor in run.discriminator.state_dict().items())


@pytest.mark.parametrize("name", ["scores.jsonl", "scores.jsonl.gz", "scores.parquet", "scores.arrow"])
def test_scores_are_written_as_the_name_says(run, name):
    import gzip

    import pyarrow as pa

    texts = ["the teacher sleeps .", "a child runs ."]
    words = ["score", run.url, "--text", texts[0], "--text", texts[1], "--tokens"]
    assert command(*words, "--out", name) == f"2 scores are in {name}.\n"
    readers = {
        "scores.jsonl": lambda: [json.loads(line) for line in Path(name).read_text().splitlines()],
        "scores.jsonl.gz": lambda: [json.loads(line) for line in gzip.decompress(Path(name).read_bytes()).splitlines()],
        "scores.parquet": lambda: pq.read_table(name).to_pylist(),
        "scores.arrow": lambda: pa.ipc.open_file(name).read_all().to_pylist(),
    }
    assert readers[name]() == [score.to_json() for score in run.score(texts, tokens=True)]


def test_scores_are_printed_as_a_table_and_written_as_printed(run):
    words = ["score", run.url, "--text", "the teacher sleeps .", "--text", "a child runs ."]
    printed = command(*words)
    heads, *lines = printed.splitlines()
    assert heads.split() == ["tokens", "log-probability", "nats/token", "discriminator", "P(real)", "text"]
    nats = run.log_likelihoods(["the teacher sleeps .", "a child runs ."])
    assert [line.split()[:2] for line in lines] == [["5", f"{nat:.4f}"] for nat in nats]
    command(*words, "--out", "scores.txt")
    assert Path("scores.txt").read_text() == printed
    of_tokens = command(*words, "--tokens").splitlines()
    assert of_tokens[1].split() == ["token", "log-probability"]
    assert [line.split()[0] for line in of_tokens[2:7]] == ["the", "teacher", "sleeps", ".", "<end>"]


def test_metrics_are_the_lines_of_the_run(run):
    lines = [json.loads(line) for line in Path("runs/tiny/metrics.jsonl").read_text().splitlines()]
    rows = run.metrics.to_pylist()
    assert [{name: value for name, value in row.items() if value is not None} for row in rows] == lines
    pandas = pytest.importorskip("pandas")
    frame = run.metrics.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert frame["heldout/nll"].dropna().tolist() == [line["heldout/nll"] for line in lines if "heldout/nll" in line]


def test_figures_that_json_lacks_are_numbers_in_a_table():
    from lstmgan_dist.corpus.records import table_of

    table = table_of([{"step": 1, "loss": "nan", "weights/x": "ab1"}, {"step": 2, "loss": 0.5}], whole=("step",))
    assert str(table.schema.field("loss").type) == "double"
    assert np.isnan(table["loss"][0].as_py())
    assert table["weights/x"].to_pylist() == ["ab1", None]


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (lambda run: lstmgan.open("absent"), "absent is not a run"),
        (lambda run: lstmgan.open("runs/tiny", "newest"), "write best, latest, likelihood or the number of a step"),
        (lambda run: lstmgan.open("runs/tiny", 99), "has no checkpoint of step 99"),
        (lambda run: run.generate(prompt="the giraffe"), "The vocabulary lacks the word 'giraffe'"),
        (lambda run: run.generate(temperature=-1), "temperature: -1 will not do: it must be 0 or more"),
        (lambda run: run.stream(top_k=0), "top_k: 0 will not do: it must be 1 or more"),
        (lambda run: run.write("texts.docx"), "texts are written as .txt"),
        (lambda run: run.log_likelihoods("the teacher"), "write [text] for one of them"),
        (lambda run: run.log_likelihoods([3]), "Texts are given as a list of strings"),
        (lambda run: run.embed(["\ud800"]), "strings of Unicode characters"),
        (lambda run: run.read_texts("absent.txt"), "The text file absent.txt matches no file"),
        (lambda run: lstmgan.train("absent.yaml"), "The job file absent.yaml cannot be read"),
        (lambda run: lstmgan.train({"name": "x"}), "the job: corpus: this key is required"),
        (lambda run: lstmgan.train({}, set={"a.b.c": 1, "a.b.c.d": 2}), "set a.b.c.d: the job has no place called"),
        (lambda run: lstmgan.prepare("absent.txt", "made"), "The source absent.txt matches no file"),
        (lambda run: lstmgan.judge("runs/tiny", samples=3), "--samples: 3 will not do"),
        (lambda run: run.evaluate(workers=lstmgan.workers("many")), "--workers many: write a number such as 4"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(run, mistake, words):
    before = set(Path().rglob("*"))
    with pytest.raises(lstmgan.UserError) as raised:
        mistake(run)
    assert words in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1 or "the job: " in str(raised.value)
    assert set(Path().rglob("*")) == before


def test_no_texts_have_no_figures(run):
    assert run.log_likelihoods([]).shape == (0,)
    assert run.log_likelihoods([], per_token=True) == run.score([]) == []
    assert run.embed([]).shape == (0, 16)


def test_an_empty_sentence_ends_at_once(run):
    (empty,), (word,) = run.log_likelihoods(["  "], per_token=True), run.log_likelihoods(["the"], per_token=True)
    assert (len(empty), len(word)) == (1, 2)


# --- on workers -------------------------------------------------------------------------------------------------------

PROGRAM = """
import json, sys
import lstmgan_dist as lstmgan

run = lstmgan.train(json.load(sys.stdin), run="runs/on-two", workers=2)
with lstmgan.workers(2) as pool:
    texts, figures = list(run.stream(count=20, workers=pool)), run.evaluate(samples=20, workers=pool)
    written = run.write("shared/", count=20, workers=pool)
print(json.dumps([texts, figures.to_json(), written.count]))
"""


@pytest.mark.cluster
@pytest.mark.timeout(200)
def test_a_program_shares_its_work_with_workers_and_nothing_else_changes(run, job):
    ran = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(ran, input=json.dumps(job), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert compare_runs("runs/tiny", "runs/on-two").holds
    figures = run.evaluate(samples=20).to_json() | {"run": "runs/on-two"}
    assert json.loads(done.stdout) == [run.generate(20), figures, 20]
