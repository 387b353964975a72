"""A run whose texts have labels and answer others: through every phase, and what it writes."""

import json
import shlex
from itertools import chain

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import lstmgan_dist as lstmgan
from lstmgan_dist.corpus.stream import read_sentences
from lstmgan_dist.errors import UserError
from lstmgan_dist.evaluation.sampling import BLOCK
from lstmgan_dist.runs.brief import evaluate_briefly
from lstmgan_dist.runs.generation import generate, request_texts
from lstmgan_dist.runs.inspection import generating
from lstmgan_dist.runs.result import load_result
from lstmgan_dist.runtime.tasks import IN_PROCESS
from lstmgan_dist.training.run import Run
from lstmgan_dist.training.run_log import read_metrics
from tests.command_line import in_process
from tests.training.comparison import everything_in, final_state
from tests.training.tiny_jobs import SENTENCES, job_of, run_in_pieces, run_job

CONTEXTS = "column: answer, source_column: said, label_column: mood, max_source_length: 8"
CORPUS = "corpus={source: SOURCE, heldout_fraction: 0.2, max_length: 12, SETTINGS}"
LEARNT = (
    "generator={embedding: 16, hidden: 32, dropout: 0}",
    "phases=[{kind: likelihood, epochs: 20, optimizer: {learning_rate: 1e-2}}]",
    "evaluate.every=40 steps",
    "checkpoint.every=40 steps",
    "batch={size: 16, lanes: 4, units: 2}",
)
SAID = {"what eats the cat 3": "fish", "what eats a dog 11": "milk", "what eats my bird 19": "grass"}


def corpus(talk, settings: str) -> str:
    return CORPUS.replace("SOURCE", str(talk)).replace("SETTINGS", settings)


@pytest.fixture(scope="module")
def runs(talk, tmp_path_factory):
    """Runs that have learnt to answer, and to write texts of a label."""
    folder = tmp_path_factory.mktemp("contexts")
    run_job(job_of(SENTENCES, talk, corpus(talk, CONTEXTS), *LEARNT), folder / "answers")
    run_job(job_of(SENTENCES, talk, corpus(talk, "column: answer, label_column: mood"), *LEARNT), folder / "labels")
    return folder


def unwatched(items, total, description):
    return iter(items)


def texts(runs, name: str, **asked) -> list[str]:
    asked = {"count": 5, "temperature": 1.0, "top_k": None, "top_p": None, "seed": 1, **asked}
    asked = {"max_length": None, "on_unknown": "error", "without_unknown": False, **asked}
    result = load_result(str(runs / name), "best", device="cpu", say=print)
    return list(chain.from_iterable(generate(request_texts(result, **asked), IN_PROCESS)))


@pytest.mark.slow
def test_answers_are_those_to_what_was_said_in_the_mood_asked_for(runs):
    found = texts(runs, "answers", prompt=[*SAID] * 30, label="loud", count=2)
    expected = [answer for answer in SAID.values() for _ in range(2)] * 30
    assert sum(text.split()[::2] == [answer] * 2 for text, answer in zip(found, expected, strict=True)) > 170
    by_turns = texts(runs, "answers", prompt=["what eats a dog 5"], count=60)
    assert sum(text.split()[::2] == ["milk"] * (1 + number % 2) for number, text in enumerate(by_turns)) > 55


@pytest.mark.slow
def test_texts_of_a_label_are_of_that_label_and_may_begin_with_a_prompt(runs):
    assert sum(len(text.split()) == 4 for text in texts(runs, "labels", label="loud", count=100)) > 95
    assert sum(len(text.split()) == 2 for text in texts(runs, "labels", label="calm", count=100)) > 95
    begun = texts(runs, "labels", label="loud", prompt=["fish"], count=20)
    assert sum(text.split()[::2] == ["fish", "fish"] for text in begun) > 15


@pytest.mark.slow
def test_a_file_of_prompts_is_answered_in_order_and_its_first_line_as_if_it_were_alone(runs, tmp_path):
    (tmp_path / "said.txt").write_text("\n".join(SAID) + "\n")
    for name in ("answers", "labels"):
        prompts = [*SAID] if name == "answers" else ["fish", "", "milk"]
        (tmp_path / "said.txt").write_text("\n".join(prompts) + "\n")
        together = texts(runs, name, prompt=prompts, label="calm", count=4)
        assert texts(runs, name, prompt=prompts[:1], label="calm", count=4) == together[:4]
        arguments = ("--prompts", tmp_path / "said.txt", "--label", "calm", "--count", "4")
        code, output = in_process("generate", runs / name, *arguments)
        assert code == 0
        assert output.splitlines()[-12:] == together
        in_process("generate", runs / name, *arguments, "--out", tmp_path / f"{name}.jsonl")
        lines = (tmp_path / f"{name}.jsonl").read_text().splitlines()
        assert [json.loads(line)["text"] for line in lines] == together


def test_texts_of_labels_by_turns_say_which_they_have(runs, tmp_path):
    run = lstmgan.open(str(runs / "labels"))
    texts = run.generate(5)
    code, output = in_process("generate", runs / "labels", "--count", "5")
    assert code == 0
    labels = ["calm", "loud", "calm", "loud", "calm"]
    assert output.splitlines()[-5:] == [f"[{label}] {text}" for label, text in zip(labels, texts, strict=True)]
    for name in ("t.jsonl", "t.parquet", "t.arrow"):
        run.write(tmp_path / name, count=5)
    lines = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    expected = [{"text": text, "label": label} for label, text in zip(labels, texts, strict=True)]
    assert lines == pq.read_table(tmp_path / "t.parquet").to_pylist() == expected
    assert pa.ipc.open_file(tmp_path / "t.arrow").read_all().to_pylist() == expected
    run.write(tmp_path / "shards/", count=5, shards="json", label=["loud", "calm"])
    (part,) = (tmp_path / "shards").glob("part-*")
    assert [json.loads(line)["label"] for line in part.read_text().splitlines()] == [*labels[1:], "loud"]
    run.write(tmp_path / "t.txt", count=5)
    assert (tmp_path / "t.txt").read_text().splitlines() == texts


def test_a_label_that_is_given_twice_means_both_by_turns(runs):
    asked = ("generate", runs / "labels", "--count", "4", "--label", "loud", "--label", "calm")
    _, output = in_process(*asked)
    texts = lstmgan.open(str(runs / "labels")).generate(4, label=["loud", "calm"])
    assert [line[:6] for line in output.splitlines()[-4:]] == ["[loud]", "[calm]"] * 2
    assert [line[7:] for line in output.splitlines()[-4:]] == texts


def test_blocks_of_many_prompts_are_what_one_after_the_other_gives(runs, monkeypatch):
    monkeypatch.setattr("lstmgan_dist.evaluation.sampling.BLOCK", 7)
    few = texts(runs, "answers", prompt=[*SAID] * 4, count=3)
    monkeypatch.setattr("lstmgan_dist.evaluation.sampling.BLOCK", BLOCK)
    assert texts(runs, "answers", prompt=[*SAID] * 4, count=3) == few


@pytest.mark.slow
def test_figures_of_labels_add_up_to_those_of_all_text(runs):
    for name in ("answers", "labels"):
        result = load_result(str(runs / name), "best", device="cpu", say=print)
        figures = evaluate_briefly(result, samples=50, seed=1, watch=unwatched)
        counts = json.loads(result.corpus.folder.read("labels.json"))
        rows = {label: about["heldout"] for label, about in counts.items()}
        assert figures.labels.keys() == rows.keys() == {"calm", "loud"}
        tokens = {"calm": 3 * rows["calm"], "loud": 5 * rows["loud"]}  # end marks included
        assert sum(tokens.values()) == figures.heldout_tokens
        total = sum(figures.labels[label] * tokens[label] for label in tokens)
        assert total / figures.heldout_tokens == pytest.approx(figures.nll_per_token, rel=1e-6)
        evaluations = [row for row in read_metrics(result.run.folder) if "heldout/nll" in row]
        assert all({"labels/calm", "labels/loud"} <= row.keys() for row in evaluations)
        assert figures.nll_gen_texygen is not None


@pytest.mark.slow
def test_scores_are_of_the_text_behind_its_context(talk, tmp_path):
    """Summed over the held-out rows they are the held-out likelihood; and the discriminator sees the context."""
    run_job(job_of(SENTENCES, talk, corpus(talk, CONTEXTS)), tmp_path / "run")
    run = lstmgan.open(tmp_path / "run", "latest", "cpu")
    heldout = read_sentences(run.corpus, "heldout", range(run.corpus.splits["heldout"].rows))
    nats, decode = 0.0, run.tokenizer.decode
    assert heldout.starts_N is not None
    for row, start in enumerate(heldout.starts_N.tolist()):
        tokens = heldout.take(slice(row, row + 1)).tokens_T.tolist()
        label = run.tokenizer.labels[tokens[0] - run.tokenizer.vocabulary_size]
        said, answer = decode(tokens[1:start]), decode(tokens[start:])
        (score,) = run.score([answer], prompt=said, label=label, tokens=True)
        nats -= score.log_likelihood
        assert score.by_token is not None
        assert len(score.by_token) == score.tokens == len(tokens) - start
        discriminator, row_1T = run.discriminator, torch.tensor([tokens])
        assert discriminator is not None
        scores_1T = discriminator(discriminator.see(row_1T, run.generator), torch.tensor([len(tokens)]))
        assert score.discriminator == pytest.approx(scores_1T[0, start:].mean().item(), abs=1e-5)
    figures = run.evaluate(samples=10)
    assert nats / figures.heldout_tokens == pytest.approx(figures.nll_per_token, rel=1e-5)
    with pytest.raises(UserError, match="Texts of this run have labels: say which, with --label: calm or loud"):
        run.score(["fish"], prompt="what eats the cat 3")
    with pytest.raises(UserError, match="Texts of this run answer others: say what they answer, with --prompt"):
        run.log_likelihoods(["fish"], label="calm")


@pytest.mark.slow
@pytest.mark.parametrize("settings", [CONTEXTS, "column: answer, label_column: mood"], ids=["pairs", "labels"])
def test_a_game_that_is_stopped_every_few_steps_equals_an_uninterrupted_one(talk, tmp_path, settings):
    job = job_of(SENTENCES, talk, corpus(talk, settings))
    run_job(job, tmp_path / "whole")
    run_in_pieces(job, tmp_path / "pieces", steps=4)
    assert final_state(tmp_path / "pieces") == final_state(tmp_path / "whole")
    samples = b"".join(content for name, content in everything_in(tmp_path / "whole").items() if "samples/" in name)
    assert b"[loud]" in samples
    assert ("what eats" in samples.decode()) == (settings == CONTEXTS)


def test_a_run_that_answers_is_asked_as_the_end_of_its_training_says(runs):
    run = Run.open(str(runs / "answers"))
    command = shlex.split(generating(run, run.corpus()))
    assert command[3] == "--prompt"
    assert command[4].startswith("what eats")
    code, output = in_process(*command[1:], "--count", "2")
    assert code == 0, output
    labels = Run.open(str(runs / "labels"))
    assert generating(labels, labels.corpus()) == f"lstmgan generate {labels.folder}"


def test_what_cannot_be_asked_is_one_line(runs, tmp_path):
    empty = tmp_path / "empty.txt"
    empty.touch()
    lines = tmp_path / "lines.txt"
    lines.write_text("fish\n\nxylophone\n")
    gap = tmp_path / "gap.txt"
    gap.write_text("what eats\n\n")
    asked = {
        ("labels", "--label", "sad"): "There is no label 'sad' in this text; there is calm or loud.",
        ("answers", "--count", "1"): "The prompt is empty, and",
        ("answers", "--prompt", "what eats " * 4): "The prompt has 8 tokens, and",
        ("answers", "--prompts", str(empty)): "holds no prompts: write one a line.",
        ("answers", "--prompts", "absent.txt"): "There is no file of prompts absent.txt",
        ("answers", "--prompts", str(empty), "--prompt", "a"): "leave out one of them",
        ("answers", "--prompts", "talk.jsonl"): "talk.jsonl is no plain text by its name: write prompts one a line",
        ("answers", "--prompts", str(gap)): f"The prompt 2 of 2 ({gap}, line 2) is empty, and",
        ("labels", "--prompts", str(lines)): f"{lines}, line 3: The vocabulary lacks the word 'xylophone'",
    }
    for (name, *arguments), line in asked.items():
        code, output = in_process("generate", runs / name, *arguments)
        assert code == 2
        assert line in output
    with pytest.raises(UserError, match="prompt 2 of 2 is empty"):
        texts(runs, "answers", prompt=["what eats a dog 5", ""])
