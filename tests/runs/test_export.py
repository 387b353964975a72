"""A run's generator in the hands of other programs: the same numbers, a true card, or a refusal.

For runs/export/exporting.py, runs/export/card.py, runs/export/plain.py, runs/export/model.py, runs/export/form.py,
runs/export/safetensors_form.py, runs/export/torch_form.py, runs/export/onnx_form.py, runs/export/onnx_graph.py,
runs/export/usage.py and runs/export/distillation.py; for commands/export.py; and for training/recipe.py, which a card
shows and job.yaml of a run begins with.
"""

import hashlib
import json
import re
import shutil
import sys
import uuid
import zipfile
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import pytest
import torch
import yaml
from pydantic import create_model
from torch import Tensor

from lstmgan_dist.config import dump_job, parse_job
from lstmgan_dist.corpus.detokenize import join_words
from lstmgan_dist.errors import UserError
from lstmgan_dist.evaluation.findings import ContestFindings, Sampler, Verdict
from lstmgan_dist.models.drawing import draw
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.models.generators.kind import GeneratorKind, Latent
from lstmgan_dist.models.generators.lstm import LSTMGeneratorKind
from lstmgan_dist.models.generators.relational_memory import RelationalMemoryKind
from lstmgan_dist.runs.export import FORMS, model
from lstmgan_dist.runs.export.distillation import Smaller
from lstmgan_dist.runs.export.exporting import Export, export
from lstmgan_dist.runs.export.form import Opened, Quantisation
from lstmgan_dist.runs.export.plain import (
    Agreement,
    Comparison,
    Sample,
    draw_both,
    plain_network,
    refuse_another,
    refuse_unknown,
    sizes_of,
)
from lstmgan_dist.runs.preparation import prepare
from lstmgan_dist.runs.result import load_result
from lstmgan_dist.runtime.randomness import Noise
from lstmgan_dist.storage import Folder
from lstmgan_dist.training.run import Run, prepared_corpus
from lstmgan_dist.training.run_log import read_metrics
from tests.cases import cases
from tests.command_line import in_process
from tests.runs.fresh_python import FreshPython
from tests.training.tiny_jobs import CONTINUOUS, SENTENCES, job_of, run_job

V, ROWS, POSITIONS = 90, 40, 15
KINDS: dict[str, GeneratorKind] = {
    "tied": LSTMGeneratorKind(embedding=16, hidden=16),
    "projected, two layers": LSTMGeneratorKind(embedding=8, hidden=24, layers=2),
    "vectors that are fixed beside dimensions that are learnt": LSTMGeneratorKind(
        embedding=8, hidden=24, pretrained_vectors="corpus", trainable_dimensions=3
    ),
    "untied, latent at every step": LSTMGeneratorKind(embedding=8, hidden=24, tied=False, latent=Latent(size=3)),
    "latent as initial state, two layers": LSTMGeneratorKind(
        embedding=8, hidden=24, layers=2, latent=Latent(size=3, feed="initial_state")
    ),
    "relational memory": RelationalMemoryKind(
        kind="relational_memory", embedding=8, slots=3, heads=2, head_size=6, blocks=2, mlp_layers=3
    ),
    "relational memory, latent as initial state": RelationalMemoryKind(
        kind="relational_memory", embedding=8, slots=2, head_size=6, latent=Latent(size=3, feed="initial_state")
    ),
}
# A program of torch takes a second to make, and all of it is made from the very modules of the first form.
OF_TORCH = ("latent as initial state, two layers", "relational memory")
ALL = [(kind, form) for kind in KINDS for form in FORMS if form != "torch" or kind in OF_TORCH]
FEW = [("tied", "safetensors"), ("relational memory", "onnx"), ("projected, two layers", "onnx")]


def make(kind: GeneratorKind) -> Generator:
    """A generator that is not as even as a fresh one, and whose biases all count."""
    generator = kind.build(vocabulary_size=V, seed=3)
    with torch.no_grad():
        for number, (name, weight) in enumerate(generator.named_parameters()):
            if "bias" in name:
                weight += 0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(number))
        generator.embedding.copy_(generator.embedding.weight * 2)
        generator.output_bias[0] = 1.5
    return generator


def config_for(kind: GeneratorKind) -> dict[str, Any]:
    drawing = {"length": POSITIONS, "first_tokens": [0], "suppress": []}
    return {"network": sizes_of(kind), "vocabulary_size": V, "end_id": 0, "drawing": drawing}


def written(
    kind: GeneratorKind, form: str, quantisation: Quantisation | None, folder: Path
) -> tuple[Generator, Opened]:
    generator, config = make(kind), config_for(kind)
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    FORMS[form]().write(plain_network(generator, kind, config), quantisation, folder)
    return generator, FORMS[form]().read(folder)


def noise(generator: Generator) -> tuple[Tensor, Tensor | None]:
    random = Noise(5, torch.arange(ROWS))
    latent = random.normal("z", generator.latent_size) if generator.latent_size else None
    return random.uniform("tokens", POSITIONS), latent


def drawn_by(opened: Opened, uniforms_BT: Tensor, latent_BZ: Tensor | None, **changed: Any) -> list[list[int]]:
    asked: dict[str, Any] = {"prompt": (0,), "temperature": 1.0, "suppress": (), "end": 0, **changed}
    return model.draw(opened.start, opened.step, uniforms_BT, latent_BZ=latent_BZ, **asked)


def drawn_here(generator: Generator, uniforms_BT: Tensor, latent_BZ: Tensor | None, **changed: Any) -> list[list[int]]:
    drawn = draw(generator, uniforms_BT, latent_BZ=latent_BZ, **changed)
    return [tokens[:length] for tokens, length in zip(drawn.tokens_BT.tolist(), drawn.lengths_B.tolist(), strict=True)]


def log_probabilities(generator: Generator, tokens_BT: Tensor, latent_BZ: Tensor | None) -> Tensor:
    features, _ = generator(tokens_BT[:, :-1], latent_BZ=latent_BZ)
    return generator.logits(features).log_softmax(-1).gather(-1, tokens_BT[:, 1:, None])[..., 0]


@pytest.mark.parametrize("case", cases(ALL, quick=FEW), ids=" ".join)
@torch.no_grad()
def test_every_form_of_every_kind_draws_the_tokens_of_our_own_drawing_and_scores_as_the_network(case, tmp_path):
    kind, form = case
    generator, opened = written(KINDS[kind], form, None, tmp_path)
    uniforms_BT, latent_BZ = noise(generator)
    expected = drawn_here(generator, uniforms_BT, latent_BZ)
    assert drawn_by(opened, uniforms_BT, latent_BZ) == expected
    assert 1.5 < np.mean([len(text) for text in expected]) < POSITIONS
    latent_of_one = None if latent_BZ is None else latent_BZ[:1]
    assert drawn_by(opened, uniforms_BT[:1], latent_of_one) == expected[:1]
    for path in tmp_path.glob("*.onnx"):
        onnx.checker.check_model(path, full_check=True)
    tokens_BT = torch.randint(0, V, (ROWS, 9), generator=torch.Generator().manual_seed(2))
    found_BT, state = opened.score(tokens_BT, None, latent_BZ)
    whole_BT = log_probabilities(generator, tokens_BT, latent_BZ)
    torch.testing.assert_close(found_BT, whole_BT, atol=2e-5, rtol=0)
    # A text that is scored in two parts: the second goes on from the state of the first.
    first_BT, state = opened.score(tokens_BT[:, :5], None, latent_BZ)
    second_BT, _ = opened.score(tokens_BT[:, 4:], state, latent_BZ)
    torch.testing.assert_close(torch.cat([first_BT, second_BT], dim=1), whole_BT, atol=2e-5, rtol=0)


def test_drawing_with_a_prompt_a_temperature_and_without_some_tokens_is_ours_too(tmp_path):
    generator, opened = written(KINDS["tied"], "safetensors", None, tmp_path)
    uniforms_BT, _ = noise(generator)
    for changed in ({"prompt": (0, 7, 3)}, {"temperature": 0.6}, {"temperature": 0.0}, {"suppress": (0, 5)}):
        assert drawn_by(opened, uniforms_BT, None, **changed) == drawn_here(generator, uniforms_BT, None, **changed)


@pytest.mark.parametrize(
    ("kind", "form", "word", "alike", "most"),
    [
        ("tied", "safetensors", "half", 1, 2e-3),
        pytest.param("projected, two layers", "torch", "half", 0.95, 5e-3, marks=pytest.mark.slow),
        ("untied, latent at every step", "onnx", "half", 1, 2e-3),
        ("projected, two layers", "onnx", "int8", 0.7, 0.05),
        ("latent as initial state, two layers", "onnx", "int8", 0.7, 0.05),
        ("relational memory", "onnx", "int8", 0.3, 0.3),
    ],
)
@torch.no_grad()
def test_fewer_bits_cost_a_hundredth_of_a_nat_and_most_texts_stay_the_same(kind, form, word, alike, most, tmp_path):
    generator, opened = written(KINDS[kind], form, cast(Quantisation, word), tmp_path / word)
    uniforms_BT, latent_BZ = noise(generator)
    mine, theirs = drawn_here(generator, uniforms_BT, latent_BZ), drawn_by(opened, uniforms_BT, latent_BZ)
    assert np.mean([one == other for one, other in zip(mine, theirs, strict=True)]) >= alike
    tokens_BT = torch.randint(0, V, (ROWS, 9), generator=torch.Generator().manual_seed(2))
    found_BT, _ = opened.score(tokens_BT, None, latent_BZ)
    difference_BT = found_BT - log_probabilities(generator, tokens_BT, latent_BZ)
    assert 0 < difference_BT.abs().max() < most
    assert difference_BT.mean().abs() < 0.01


@pytest.mark.parametrize(("form", "word"), [("safetensors", "half"), ("onnx", "half"), ("onnx", "int8")])
def test_half_is_half_the_bytes_and_int8_a_quarter(form, word, tmp_path):
    kind = LSTMGeneratorKind(embedding=64, hidden=128, layers=2)
    weights = sum(parameter.numel() for parameter in make(kind).parameters())
    written(kind, form, cast(Quantisation, word), tmp_path)
    size = sum(path.stat().st_size for path in tmp_path.iterdir() if path.suffix in (".safetensors", ".bin"))
    assert size == pytest.approx(weights * {"half": 2, "int8": 1}[word], rel=0.06)


# --- whole runs ------------------------------------------------------------------------------------------------------

LATENT = ("generator.latent={size: 3}", "phases=[{kind: likelihood, steps: 6}]")
TALK = (
    "corpus={source: SOURCE, heldout_fraction: 0.2, max_length: 12, column: answer, source_column: said, "
    "label_column: mood}"
)


@pytest.fixture(scope="module")
def runs(text, talk, tmp_path_factory):
    """Folders of finished runs."""
    folder = tmp_path_factory.mktemp("runs")
    run_job(job_of(SENTENCES, text), folder / "game")
    run_job(job_of(SENTENCES, text, *LATENT), folder / "latent")
    run_job(job_of(CONTINUOUS, text), folder / "continuous")
    run_job(job_of(SENTENCES, talk, TALK.replace("SOURCE", str(talk)), LATENT[1]), folder / "talk")
    moods = TALK.replace("SOURCE", str(talk)).replace("source_column: said, ", "")
    run_job(job_of(SENTENCES, talk, moods, LATENT[1]), folder / "moods")
    return folder


def exported(run, out, form="safetensors", **changed: Any) -> Export:
    asked: dict[str, Any] = {"quantisation": None, "smaller": None, "device": "cpu", "checkpoint": "latest", **changed}
    checkpoint = asked.pop("checkpoint")
    return export(str(run), checkpoint, str(out), form=form, say=print, watch=unwatched, **asked)


def unwatched(items, total, description):
    return iter(items)


@pytest.fixture(scope="module")
def folder(runs, tmp_path_factory):
    """The game's generator, exported."""
    out = tmp_path_factory.mktemp("exported") / "game"
    exported(runs / "game", out)
    return out


def uniforms_of_the_card(form: str, length: int, latent: int) -> tuple[Tensor, Tensor | None]:
    """The random numbers that the code of the card draws with, in its order."""
    if form == "onnx":
        numbers = np.random.default_rng(1)
        z = torch.from_numpy(numbers.standard_normal((5, latent), np.float32)) if latent else None
        return torch.from_numpy(np.concatenate([numbers.random((5, 1)) for _ in range(length)], axis=1)), z
    random = torch.Generator().manual_seed(1)
    z = torch.randn(5, latent, generator=random) if latent else None
    return torch.rand(5, length, generator=random), z


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """Gives a Python with what a card says it needs, of the version that is here."""
    place = tmp_path_factory.mktemp("fresh")

    @cache
    def of(*installed: str) -> FreshPython:
        named = dict(one.split("==") for one in installed)
        assert named == {name: version(name).split("+")[0] for name in named}
        return FreshPython(place / "-".join(named), *named)

    return of


def code_of(card: str) -> str:
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    return code


def packages_of(card: str) -> list[str]:
    (line,) = re.findall(r"```sh\npip install (.*)\n```", card)
    return line.split()


@pytest.mark.parametrize(
    "case",
    cases(
        [("safetensors", "latent"), ("torch", "latent"), ("safetensors", "continuous")]
        + [("onnx", name) for name in ("game", "latent", "continuous")]
        + [(form, "talk") for form in FORMS],
        quick=[("safetensors", "continuous"), ("onnx", "game")],
    ),
    ids=" ".join,
)
def test_the_code_of_the_card_writes_the_texts_of_our_own_drawing_where_nothing_else_is_installed(
    case, runs, fresh, tmp_path
):
    form, name = case
    exported(runs / name, tmp_path / "out", form)
    card = (tmp_path / "out" / "README.md").read_text()
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    probe = (
        "\nimport importlib.util\nassert not any(map(importlib.util.find_spec, ('lstmgan_dist', 'pyarrow', 'rich')))\n"
    )
    python = fresh(*packages_of(card))
    printed = python.run(code_of(card) + probe, tmp_path / "out")
    result = load_result(str(runs / name), "latest", device="cpu", say=print)
    drawing, latent = config["drawing"], config["network"]["latent"]
    uniforms_BT, latent_BZ = uniforms_of_the_card(form, drawing["length"], latent["size"] if latent else 0)
    texts = drawn_here(
        result.generator,
        uniforms_BT.float(),
        latent_BZ,
        prompt=drawing["first_tokens"],
        suppress=drawing["suppress"],
    )
    words = [result.tokenizer.decode(tokens) for tokens in texts]
    assert printed == "".join(f"{line}\n" for line in words)
    assert len(set(words)) > 2


@pytest.mark.parametrize(
    "case",
    cases([(form, name) for form in FORMS for name in ("game", "talk", "moods")], quick=[("safetensors", "talk")]),
    ids=" ".join,
)
def test_the_code_of_the_card_answers_ones_own_question_in_the_mood_asked_for_and_names_words_it_does_not_know(
    case, runs, fresh, tmp_path
):
    form, name = case
    exported(runs / name, tmp_path / "out", form)
    card = (tmp_path / "out" / "README.md").read_text()
    result = load_result(str(runs / name), "latest", device="cpu", say=print)
    tokenizer, drawing = result.tokenizer, json.loads((tmp_path / "out" / "config.json").read_text())["drawing"]
    question = {"game": "the", "talk": "what eats the cat", "moods": "fish"}[name]
    code = re.sub(r'^prompt = ".*?"', f'prompt = "{question}"', code_of(card))
    assert f'prompt = "{drawing["prompt"]}"' in code_of(card)
    asked = tokenizer.encode(question)
    begun = [] if name == "talk" else asked
    read = [0, *asked]
    if name != "game":
        code = re.sub(r'^label = ".*?"', 'label = "loud"', code, flags=re.MULTILINE)
        read = [0, tokenizer.label_id("loud"), *([0, *asked] if begun else [*asked, 0])]
    python = fresh(*packages_of(card))
    printed = python.run(code, tmp_path / "out")
    uniforms_BT, _ = uniforms_of_the_card(form, 12 - len(begun), 0)
    texts = drawn_here(result.generator, uniforms_BT.float(), None, prompt=read)
    assert printed.splitlines() == [tokenizer.decode([*begun, *tokens]) for tokens in texts]
    with pytest.raises(AssertionError, match=r"The vocabulary lacks \['xylophone'\]"):
        python.run(code.replace(question, "xylophone"), tmp_path / "out")
    if name != "game":
        with pytest.raises(AssertionError, match=r"There is no label 'shy', but \['calm', 'loud'\]"):
            python.run(code.replace('"loud"', '"shy"'), tmp_path / "out")


@pytest.mark.parametrize(
    ("spaced", "text"),
    [
        ("the cow , who isn't ( mostly ) here , eats .", "the cow, who isn't (mostly) here, eats."),
        ('he said " go away ! " , and " wait " : no', 'he said "go away!", and "wait": no'),
        ("it 's 5 % ; f() [ a ] ...", "it's 5%; f() [a]..."),
    ],
)
def test_words_and_signs_of_an_export_are_put_together_as_generate_does_it(spaced, text):
    assert join_words(spaced.split()) == text
    network = plain_network(make(KINDS["tied"]), KINDS["tied"], config_for(KINDS["tied"]))
    network.config = {**network.config, "tokenizer": {"kind": "word"}}
    network.vocabulary = ["<end>", *spaced.split()]
    assert network.text([*range(1, len(network.vocabulary)), 0]) == text


def test_the_card_of_a_prepared_corpus_tells_what_it_was_prepared_with_so_that_the_run_can_be_made_again(
    talk, tmp_path
):
    asked = {"source_column": "said", "column": "answer", "tokenizer": "character", "max_length": 40}
    corpus = prepare(talk, tmp_path / "corpus", heldout_fraction=0.2, max_source_length=50, **asked)
    job = job_of(
        SENTENCES,
        tmp_path / "corpus",
        "corpus={source: SOURCE, max_length: 64}".replace("SOURCE", str(corpus.folder.url)),
        LATENT[1],
    )
    run, _ = run_job(job, tmp_path / "run")
    assert (tmp_path / "run/job.yaml").read_text().startswith("# corpus.source had been prepared before")
    assert "#   kind: character" in (tmp_path / "run/job.yaml").read_text()
    assert Run.open(str(tmp_path / "run")).job == job
    exported(tmp_path / "run", tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text()
    (recipe,) = re.findall(r"```yaml\n(.*?)```", card, re.DOTALL)
    again = parse_job(recipe, name="README.md")
    assert f"a corpus that `lstmgan prepare` had made of `{talk}`" in card
    assert "up to 64 tokens" in card
    assert again.corpus.tokenizer.kind == "character"
    assert (again.corpus.column, again.corpus.source_column) == ("answer", "said")
    made = prepared_corpus(again.corpus, str(tmp_path / "again"), lambda progress: None)
    assert made.fingerprint == run.corpus_fingerprint


def test_a_student_learns_answers_alone_and_knows_the_labels(runs, tmp_path):
    student = exported(runs / "talk", tmp_path / "out", smaller=Smaller(6, 1, 4)).student
    assert student is not None
    assert student.generator.labels == 2
    assert 0 < student.student_nll < 10


@pytest.mark.parametrize("form", FORMS)
def test_the_export_of_a_run_with_labels_never_writes_one_and_knows_answers_as_the_run_does(form, runs, tmp_path):
    made = exported(runs / "talk", tmp_path / "out", form)
    assert made.agreement.parting is None
    assert made.comparison.most < 1e-3
    opened, result = (
        FORMS[form]().read(tmp_path / "out"),
        load_result(str(runs / "talk"), "latest", device="cpu", say=print),
    )
    labels = json.loads((tmp_path / "out" / "config.json").read_text())["labels"]
    assert labels == {label: result.tokenizer.label_id(label) for label in ("calm", "loud")}
    logits_BV, _ = opened.step(torch.tensor([0, 3]), opened.start(torch.tensor([0, 3]), None), None)
    assert logits_BV.softmax(-1)[:, list(labels.values())].max() == 0


def test_the_card_has_the_figures_the_recipe_and_the_fingerprint_of_the_run(runs, folder):
    run = Run.open(str(runs / "game"))
    card = (folder / "README.md").read_text()
    _, head, _ = card.split("---\n", 2)
    assert yaml.safe_load(head)["pipeline_tag"] == "text-generation"
    (recipe,) = re.findall(r"```yaml\n(.*?)```", card, re.DOTALL)
    assert parse_job(recipe, name="README.md") == run.job
    assert len(recipe.splitlines()) < len(dump_job(run.job).splitlines()) / 2
    assert "--dry-run --full` shows all" in card
    config = json.loads((folder / "config.json").read_text())
    assert config["run"] == {
        "name": "game",
        "job": "tiny",
        "step": 17,
        "phase": 3,
        "phases": 3,
        "phase_kind": "adversarial",
        "weights": hashlib.sha256(
            (runs / "game/checkpoints/step-00000017/generator.safetensors").read_bytes()
        ).hexdigest(),
        "corpus": run.corpus().fingerprint,
    }
    assert run.corpus().fingerprint in card
    figures = {
        name: value
        for row in read_metrics(run.folder)
        if row["step"] == 17
        for name, value in row.items()
        if name.startswith(("heldout/", "samples/"))
    }
    told = dict(re.findall(r"^\| (\S+/\S+) \| (-?[\d.]+) \|$", card, re.MULTILINE))
    assert told == {name: f"{value:.4f}" for name, value in figures.items()}
    assert "heldout/nll" in told
    assert "step 17, in phase 3 of 3 (adversarial)" in card


def test_a_phase_that_ended_with_its_best_weights_has_the_figures_of_these(runs, tmp_path):
    """The likelihood phase ends at step 6, with whichever weights of steps 4 and 6 were better."""
    exported(runs / "game", tmp_path / "out", checkpoint="likelihood")
    rows = {row["step"]: row["heldout/nll"] for row in read_metrics(Folder(runs / "game")) if "heldout/nll" in row}
    assert f"| heldout/nll | {min(rows[4], rows[6]):.4f} |" in (tmp_path / "out/README.md").read_text()


def judged(run: Path, step: int) -> ContestFindings:
    end, start = (
        Sampler(run.name, "run", str(run), 17),
        Sampler(f"{run.name}, likelihood only", "likelihood start", str(run), 6),
    )
    verdict = Verdict(run.name, start.name, "worse", None, "game is worse than game, likelihood only.")
    other = Verdict("another", "a third", "better", None, "another is better than a third.")
    chosen = {run.name: "The verdict keeps step 6 of game."}
    return ContestFindings((end, start), (), (verdict, other), (), (), (), {}, chosen=chosen)


def test_the_card_has_the_verdict_of_the_judges_on_this_step_or_says_that_there_is_none(runs, folder, tmp_path):
    assert "Not judged: `lstmgan evaluate` has not been asked" in (folder / "README.md").read_text()
    shutil.copytree(runs, tmp_path / "runs")
    run = tmp_path / "runs" / "game"
    Folder(run / "evaluation").write("frontier.json", judged(run, 17).to_json())
    for checkpoint, told in (
        ("latest", "game is worse than game, likelihood only.\n\nThe verdict keeps step 6 of game."),
        ("likelihood", "## Verdict\n\ngame is worse than game, likelihood only.\n\n## Text"),
        ("15", "Not judged: judges have read text of step 17 and 6 of this run, and this is step 15."),
    ):
        exported(run, tmp_path / checkpoint, checkpoint=checkpoint)
        card = (tmp_path / checkpoint / "README.md").read_text()
        assert told in card
        assert "another" not in card


@torch.no_grad()
def test_where_texts_part_is_told():
    told = Agreement(32, 30, 7).sentence()
    assert told.startswith("Where two tokens are about as likely such a difference decides which is drawn, so that")
    assert told.endswith("part at some token, from the 7th on, and are others of the same kind then: 2 of 32 do.")
    assert (
        "1.2500 nats each as exported, and 1.2400 before (+0.0100);"
        in Comparison("text", 9, 1.24, 1.25, 0.1).sentence()
    )
    kind = KINDS["tied"]
    generator = make(kind)
    network = plain_network(generator, kind, config_for(kind))
    job = job_of(SENTENCES, "text.txt")
    assert draw_both(generator, Opened(network.start, network.step, network.score), job, (0,)).parting is None
    network.output_bias.data[5] += 1.0
    agreement = draw_both(generator, Opened(network.start, network.step, network.score), job, (0,))
    assert agreement.equal < 32
    assert agreement.parting == 1


def test_a_program_of_torch_holds_no_pickle_and_its_start_only_its_own_weights(tmp_path):
    kind = LSTMGeneratorKind(embedding=16, hidden=64, latent=Latent(size=3, feed="initial_state"))
    written(kind, "torch", None, tmp_path)
    for name, weights in (("start", 2), ("step", 7)):
        with zipfile.ZipFile(tmp_path / f"{name}.pt2") as archive:
            contents = {entry: archive.read(entry) for entry in archive.namelist()}
        of_weights = [entry for entry in contents if re.search(r"/weight_\d+$", entry)]
        assert len(of_weights) == weights
        others = [content for entry, content in contents.items() if entry not in of_weights]
        assert not any(content.startswith((b"\x80", b"PK")) for content in others), "a pickle, or what holds one"


@pytest.mark.parametrize("form", cases(FORMS, quick=["safetensors"]))
def test_the_last_file_lists_all_others_and_a_url_gets_the_same_bytes(form, runs, tmp_path):
    exported(runs / "continuous", tmp_path / "out", form)
    url = f"memory://{uuid.uuid4().hex}/models/tiny"
    exported(runs / "continuous", url, form)
    files = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    described = json.loads(files["config.json"])["files"]
    assert described == {
        name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in files.items()
        if name != "config.json"
    }
    if form != "torch":  # whose archives hold the time
        assert {name: Folder(url).read(name) for name in Folder(url).list()} == files


def test_what_a_stopped_export_has_left_is_finished_and_anything_else_refused(runs, folder, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "model.py").write_text("half of i")
    exported(runs / "game", out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {
        path.name: path.read_bytes() for path in folder.iterdir()
    }
    with pytest.raises(UserError, match="holds an export or a model already"):
        exported(runs / "game", out)


def test_a_moved_run_without_its_corpus_is_exported_and_compared_on_its_own_text(runs, tmp_path):
    shutil.copytree(runs / "latent", tmp_path / "elsewhere")
    made = exported(tmp_path / "elsewhere", tmp_path / "out", "onnx", quantisation="int8")
    assert made.comparison.what == "its own text"
    assert made.agreement.texts == 32
    assert 0 < abs(made.comparison.nll - made.comparison.own_nll) < 0.02
    told = f"{made.comparison.sentence()} {made.agreement.sentence()}"
    assert told in (tmp_path / "out/README.md").read_text()


# --- refusals --------------------------------------------------------------------------------------------------------


def test_a_generator_with_something_that_export_does_not_know_is_refused():
    kind = KINDS["tied"]
    generator = make(kind)
    generator.register_parameter("label_embedding", torch.nn.Parameter(torch.zeros(3, 8)))
    with pytest.raises(UserError, match=r"other weights than export knows of: .*label_embedding"):
        plain_network(generator, kind, config_for(kind))


@torch.no_grad()
def test_a_generator_that_computes_otherwise_with_the_same_weights_is_refused():
    kind = KINDS["tied"]
    generator = make(kind)
    network = plain_network(generator, kind, config_for(kind))
    tokens_BT = torch.randint(0, V, (4, 9), generator=torch.Generator().manual_seed(2))
    sample = Sample(tokens_BT, torch.tensor([8, 3, 8, 1]), None, "text")
    refuse_another(generator, network, sample)
    generator.forward = lambda *inputs, **named: (lambda features, end: (features * 1.01, end))(  # type: ignore[method-assign]
        *type(generator).forward(generator, *inputs, **named)
    )
    with pytest.raises(UserError, match="computes otherwise than its kind is known to"):
        refuse_another(generator, network, sample)


@pytest.mark.parametrize("block", ["generator", "corpus", "corpus.tokenizer"])
def test_a_setting_that_export_does_not_know_is_refused_unless_it_is_left_alone(block, runs):
    """As a job of a later version has it."""
    result = load_result(str(runs / "game"), "latest", device="cpu", say=print)
    job = result.run.job

    def later(settings, value):
        kind = type(settings)
        extended = create_model("Later", __base__=kind, labels=(int, 0))
        return extended(**settings.model_dump(exclude_unset=True), labels=value)

    for value in (0, 3):
        changed = {
            "generator": lambda value=value: {"generator": later(job.generator, value)},
            "corpus": lambda value=value: {"corpus": later(job.corpus, value)},
            "corpus.tokenizer": lambda value=value: {
                "corpus": job.corpus.model_copy(update={"tokenizer": later(job.corpus.tokenizer, value)})
            },
        }[block]()
        result.run.job = job.model_copy(update=changed)
        if value:
            with pytest.raises(UserError, match=rf"A run with {block}.labels cannot be exported"):
                refuse_unknown(result)
        else:
            refuse_unknown(result)


@pytest.mark.parametrize(("form", "word"), [("safetensors", "int8"), ("torch", "int8")])
def test_a_quantisation_without_use_is_refused_with_the_reason(form, word, runs, tmp_path):
    code, output = in_process("export", runs / "game", "--to", form, "--quantise", word, "--out", tmp_path / "out")
    assert code == 2
    assert "is refused: PyTorch" in output
    assert "--to onnx" in output


def test_a_missing_extra_is_named(runs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    code, output = in_process("export", runs / "game", "--to", "onnx", "--out", tmp_path / "out")
    assert (code, output) == (2, "Error: --to onnx needs onnx: pip install 'lstmgan-dist[export]'.\n")


# --- distillation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["game", "continuous"])
def test_a_student_is_smaller_the_same_for_a_seed_and_its_cost_is_told(name, runs, tmp_path):
    made = [
        exported(runs / name, tmp_path / f"{number}", smaller=Smaller(6, seed, 15))
        for number, seed in enumerate((1, 1, 2))
    ]
    weights = [(tmp_path / f"{number}" / "model.safetensors").read_bytes() for number in range(3)]
    assert weights[0] == weights[1] != weights[2]
    student = made[0].student
    assert student is not None
    measured = [row["heldout/nll"] for row in read_metrics(Folder(runs / name)) if "heldout/nll" in row]
    assert student.teacher_nll == pytest.approx(measured[-1], abs=1e-4)
    assert student.sentence() in (tmp_path / "0" / "README.md").read_text()
    assert "Not judged: judges have read no text of the distilled generator." in (tmp_path / "0/README.md").read_text()
    config = json.loads((tmp_path / "0/config.json").read_text())
    assert config["network"]["hidden"] == 6
    assert config["distilled"] == student.to_json()
    longer = exported(runs / name, tmp_path / "longer", smaller=Smaller(6, 1, 75)).student
    assert longer is not None
    assert longer.student_nll < student.student_nll


def test_a_student_cannot_learn_without_the_corpus(runs, tmp_path):
    shutil.copytree(runs / "game", tmp_path / "elsewhere")
    with pytest.raises(UserError, match="--distil learns from the run's corpus, which cannot be read"):
        exported(tmp_path / "elsewhere", tmp_path / "out", smaller=Smaller(6, 1, 3))
    assert not (tmp_path / "out").exists()
