"""A run that starts from another one: its vocabulary and weights, which it keeps whatever becomes of the other."""

import re
import shutil

import pytest
import safetensors.torch
import torch

from lstmgan_dist.training.run import Run
from tests.command_line import in_process
from tests.training.comparison import final_state
from tests.training.tiny_jobs import SENTENCES

STANDING = "phases=[{kind: likelihood, steps: 4, optimizer: {learning_rate: 1.0e-12}}]"


@pytest.fixture
def place(text, tmp_path):
    """A folder with a job, other text, and a run of the job."""
    (tmp_path / "job.yaml").write_text(SENTENCES.replace("SOURCE", str(text)))
    # Fewer words than the first text has, and one that it has not.
    lines = [line for line in text.read_text().splitlines() if "bird" not in line]
    (tmp_path / "other.txt").write_text("\n".join([*lines, "an unheard word"] * 3))
    code, output = in_process("train", tmp_path / "job.yaml", "--run", tmp_path / "first")
    assert code == 0, output
    return tmp_path


def start(place, name, *overrides, of="first"):
    sets = [word for override in (f"start_from={place / of}", *overrides) for word in ("--set", override)]
    return in_process("train", place / "job.yaml", "--run", place / name, *sets)


def weights(run, network, step=None):
    step = step or Run.open(str(run)).checkpoints.steps()[-1]
    return safetensors.torch.load((run / f"checkpoints/step-{step:08d}/{network}.safetensors").read_bytes())


@pytest.mark.slow
@pytest.mark.parametrize(("of", "step"), [("first@likelihood", 6), ("first@11", 11), ("first@latest", 17)])
def test_weights_and_vocabulary_are_those_of_the_other_run(place, of, step):
    other = f"corpus.source={place / 'other.txt'}"
    code, output = start(place, "second", other, STANDING, of=of)
    assert code == 0, output
    assert f"first: step {step}, of phase" in output
    for network in ("generator", "discriminator"):
        theirs, mine = weights(place / "first", network, step), weights(place / "second", network)
        for name in theirs:
            torch.testing.assert_close(mine[name], theirs[name], atol=1e-9, rtol=0)
    vocabularies = [(place / run / "tokenizer.json").read_bytes() for run in ("first", "second")]
    assert vocabularies[0] == vocabularies[1]


def test_what_becomes_of_the_other_run_does_not_matter(place):
    assert start(place, "whole")[0] == 0
    shutil.copytree(place / "whole", place / "killed")
    for path in (place / "killed").iterdir():  # as a kill before the first checkpoint leaves it
        if path.name in ("checkpoints", "samples", "tensorboard"):
            shutil.rmtree(path)
        elif path.name in ("metrics.jsonl", "environment.json"):
            path.unlink()
    job = (place / "killed/job.yaml").read_text()
    shutil.move(place / "first", place / "elsewhere")
    code, output = start(place, "killed")
    assert code == 0, output
    assert (place / "killed/job.yaml").read_text() == job
    assert final_state(place / "killed") == final_state(place / "whole")


@pytest.mark.parametrize(
    ("overrides", "of", "message"),
    [
        (
            ["generator.hidden=13"],
            "first",
            "The generator of .*first is another one than .*hidden: 12 -> 13",
        ),
        (["discriminator.hidden=9"], "first", "The discriminator of .* is another one than the job's"),
        ([], "nowhere", "nowhere is not a run"),
        ([], "first@7777", "no checkpoint of step 7777"),
        (["generator.pretrained_vectors=a.txt"], "first", "leave one of them out"),
        (["corpus.tokenizer.unicode=nfc"], "first", "set corpus.tokenizer.unicode to what it is by default"),
        (["corpus.source=CORPUS"], "first", "was prepared with another vocabulary than that of"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_starts(place, overrides, of, message):
    if "CORPUS" in "".join(overrides):
        code, output = in_process("prepare", place / "other.txt", "--out", place / "corpus", "--max-length", 12)
        assert code == 0, output
    overrides = [override.replace("CORPUS", str(place / "corpus")) for override in overrides]
    code, output = start(place, "second", *overrides, of=of)
    assert code == 2
    assert re.search(message, output.replace("\n", " ")), output
    assert not (place / "second").exists() or not list((place / "second").iterdir())
