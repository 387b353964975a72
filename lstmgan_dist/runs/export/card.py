"""What an exported folder says of itself: config.json for programs, README.md (a model card) for people."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

import yaml

from lstmgan_dist import __version__
from lstmgan_dist.config import chosen
from lstmgan_dist.corpus.sources import CACHE
from lstmgan_dist.errors import UserError
from lstmgan_dist.models.generators.kind import GeneratorKind
from lstmgan_dist.runs.export.distillation import Student
from lstmgan_dist.runs.export.form import Form, Quantisation
from lstmgan_dist.runs.export.plain import Agreement, Comparison, Example, sizes_of
from lstmgan_dist.runs.result import Result
from lstmgan_dist.tokens import END_ID
from lstmgan_dist.training.brief import to_read
from lstmgan_dist.training.checkpoint import Checkpoint
from lstmgan_dist.training.progress import Progress
from lstmgan_dist.training.recipe import prepared_from, recipe_of
from lstmgan_dist.training.run import EVALUATION, Run
from lstmgan_dist.training.run_log import read_metrics

FORMAT = 1
_FRONTIER = "frontier.json"
_TOLD = ("heldout/", "samples/")


def config_of(
    result: Result,
    checkpoint: Checkpoint,
    kind: GeneratorKind,
    example: Example,
    *,
    form: str,
    quantisation: Quantisation | None,
    student: Student | None,
) -> dict[str, Any]:
    """What config.json says, but for the files. example: what is read before the texts that the card draws."""
    job, tokenizer = result.run.job, result.tokenizer
    progress, drawing = Progress.of(checkpoint), to_read(job, ())
    phase = progress.last_phase
    return {
        "format": FORMAT,
        "made_by": f"lstmgan_dist {__version__}",
        "form": form,
        "quantised": quantisation,
        "network": sizes_of(kind),
        "vocabulary_size": tokenizer.vocabulary_size + len(tokenizer.labels),
        **({"labels": {label: tokenizer.label_id(label) for label in tokenizer.labels}} if tokenizer.labels else {}),
        **({"answers": True} if result.run.answers else {}),
        "tokenizer": {"kind": tokenizer.kind, "lower": tokenizer.views.lower},
        "end_id": END_ID,
        "unknown_id": tokenizer.unknown_id,
        "layout": job.corpus.layout,
        "max_length": job.corpus.max_length,
        "drawing": {
            "length": drawing.length,
            "first_tokens": list(example.first),
            "prompt": example.prompt,
            **({} if example.label is None else {"label": example.label}),
            "suppress": list(drawing.suppress),
            "temperature": drawing.temperature,
        },
        "run": {
            "name": result.run.folder.name,
            "job": job.name,
            "step": result.step,
            "phase": phase + 1,
            "phases": len(job.phases),
            "phase_kind": job.phases[phase].kind,
            "weights": result.weights,
            "corpus": result.run.corpus_fingerprint,
        },
        "distilled": student.to_json() if student else None,
    }


def card_of(
    result: Result,
    checkpoint: Checkpoint,
    config: Mapping[str, Any],
    form: Form,
    comparison: Comparison,
    agreement: Agreement,
    student: Student | None,
    *,
    bytes_written: int,
) -> str:
    """The README.md."""
    job, run = result.run.job, config["run"]
    head = {
        "library_name": "lstmgan-dist",
        "pipeline_tag": "text-generation",
        "tags": list(dict.fromkeys(["lstm", config["network"]["kind"], config["form"]])),
    }
    smaller = f", distilled into an LSTM of {student.hidden} units" if student else ""
    precision = {None: "float32", "half": "half precision", "int8": "int8"}[config["quantised"]]
    parts = [
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---",
        f"# {job.name}",
        f"A generator of text: the {_words(config['network']['kind'])} of the run `{run['name']}` at step "
        f"{run['step']}, in phase {run['phase']} of {run['phases']} ({run['phase_kind']}){smaller}; "
        f"{config['form']}, {precision}, {bytes_written:,} bytes. Made by {config['made_by']}.",
        "## Use",
        f"It is read by {form.reads_with}. With the versions that it was made with,",
        f"```sh\npip install {' '.join(map(_with_version, form.used))}\n```",
        "in this folder, this draws five texts:",
        f"```python\n{form.usage(config)}```",
        f"{form.functions} {_on_tokens(config)}",
        "## Figures",
        *_figures(result.run, checkpoint, student),
        f"{comparison.sentence()} {agreement.sentence()}",
        "## Verdict",
        *_verdict(result.run, result.step, student),
        "## Text",
        *_text(result),
        "## Recipe",
        *_recipe(result),
    ]
    return "\n\n".join(parts) + "\n"


def _with_version(package: str) -> str:
    """A package as pip is asked for it; what kind of machine it was built for is left to pip."""
    return f"{package}=={version(package).partition('+')[0]}"


def _words(kind: str) -> str:
    return {"lstm": "LSTM"}.get(kind, kind.replace("_", " "))


def _on_tokens(config: Mapping[str, Any]) -> str:
    """What a program has to know that calls the functions itself."""
    told = [
        f"Token {config['end_id']} ends a text, and is what a sentence is read after."
        if config["layout"] == "sentences"
        else f"The text is one long one: token {config['end_id']} is never drawn, and a text may begin anywhere.",
        "Text becomes tokens by `tokenizer.json`, a file of the library `tokenizers`.",
    ]
    if config["tokenizer"]["kind"] == "word":
        told.append(
            "Words and signs are put together as `lstmgan generate` does it, but for single quotes, signs of money and "
            "Chinese, which keep their spaces here."
        )
    if "labels" in config:
        named = ", ".join(f"{label} {token}" for label, token in config["labels"].items())
        told.append(
            f"Every text has a label, a token that is read before it, behind the end mark, and never drawn: {named}."
        )
    if "answers" in config:
        told.append("Every text answers another, whose tokens are read before it, behind the end mark or the label.")
    if "labels" in config or "answers" in config:
        told.append(
            "Behind these stands one more end mark. `drawing.first_tokens` in `config.json` is all of that for one "
            "held-out text, whose place what you write above takes."
        )
    if config["quantised"] == "int8":
        told.append("Texts of one batch share the scales of their int8 numbers, so one changes the others a little.")
    latent = config["network"]["latent"]
    if latent:
        told.append(f"Every text has a latent vector of {latent['size']} numbers, standard normal.")
    return " ".join(told)


def _figures(run: Run, checkpoint: Checkpoint, student: Student | None) -> Iterator[str]:
    measured = measured_step(run, checkpoint)
    figures: dict[str, float] = {}
    for row in read_metrics(run.folder):
        if row["step"] == measured:
            figures |= {name: value for name, value in row.items() if name.startswith(_TOLD)}
    if figures:
        rows = "".join(f"| {name} | {value:.4f} |\n" for name, value in sorted(figures.items()))
        yield f"Measured while {'its teacher' if student else 'it'} was trained, nll in nats per token:"
        yield f"| figure | value |\n|---|---:|\n{rows}".rstrip()
    else:
        yield f"The run measured nothing at step {measured}."
    if student:
        yield student.sentence()


def measured_step(run: Run, checkpoint: Checkpoint) -> int:
    """The step at which the weights of a checkpoint were measured: a phase may end with those of its best."""
    progress = Progress.of(checkpoint)
    for phase, ended in zip(run.job.phases, progress.ended, strict=False):
        if ended.step == checkpoint.step and phase.finish_with == "best" and ended.best:
            return ended.best.step
    return checkpoint.step


def _verdict(run: Run, step: int, student: Student | None) -> Iterator[str]:
    """What judges said of this checkpoint."""
    evaluation = run.folder / EVALUATION
    whose = "Of its teacher: " if student else ""
    if student:
        yield "Not judged: judges have read no text of the distilled generator."
    if not evaluation.exists(_FRONTIER):
        yield f"{whose}Not judged: `lstmgan evaluate` has not been asked about this run."
        return
    found = json.loads(evaluation.read(_FRONTIER))
    of_run = [
        sampler
        for sampler in found["samplers"]
        if sampler["kind"] != "real text" and posixpath.basename(sampler["run"].rstrip("/")) == run.folder.name
    ]
    names = {sampler["name"] for sampler in of_run if sampler["step"] == step}
    said = [verdict["sentence"] for verdict in found["verdicts"] if {verdict["sampler"], verdict["reference"]} & names]
    if not names:
        read = " and ".join(str(sampler["step"]) for sampler in of_run) or "none"
        yield f"{whose}Not judged: judges have read text of step {read} of this run, and this is step {step}."
        return
    for sentence in [*said, *(found["chosen"][name] for name in sorted(names & found["chosen"].keys()))]:
        yield f"{whose}{sentence}"


def _recipe(result: Result) -> Iterator[str]:
    """The job, from the text itself, as far as it is unlike the defaults."""
    job = result.run.job
    try:
        recipe, prepared = recipe_of(job, result.corpus), prepared_from(job, result.corpus)
    except (UserError, OSError):
        recipe, prepared = job, None
        if posixpath.basename(posixpath.dirname(result.run.corpus_url())) != CACHE:
            yield (
                "Its corpus had been prepared before the run, and cannot be read now: what stands in `corpus` below "
                "may not be what it was prepared with."
            )
    if prepared:
        yield (
            f"The run read {_named(job.corpus.sources)}, a corpus that `lstmgan prepare` had made of "
            f"{_named(prepared.sources)}, with the settings that stand in `corpus` below."
        )
        if prepared.max_length < job.corpus.max_length:
            yield f"Texts were drawn with up to {job.corpus.max_length} tokens: the job's `corpus.max_length`."
    yield (
        f"These are the settings unlike the defaults of lstmgan_dist {__version__}; of a file of them, "
        "`lstmgan train FILE --dry-run --full` shows all."
    )
    yield f"```yaml\n{yaml.safe_dump(chosen(recipe), sort_keys=False, allow_unicode=True, width=120).strip()}\n```"


def _named(sources: tuple[str, ...]) -> str:
    return ", ".join(f"`{source}`" for source in sources)


def _text(result: Result) -> Iterator[str]:
    job, tokenizer = result.run.job, result.tokenizer
    yield (
        f"Sources: {_named(job.corpus.sources)}. Fingerprint of the corpus: "
        f"`{result.run.corpus_fingerprint}`. Tokenizer: {tokenizer.kind}, {tokenizer.vocabulary_size:,} tokens. "
        f"Layout: {job.corpus.layout}, at most {job.corpus.max_length} tokens at a time."
    )
    try:
        splits = result.corpus.splits
    except (UserError, OSError):
        return
    yield "; ".join(f"{name}: {split.rows:,} rows, {split.tokens:,} tokens" for name, split in splits.items()) + "."
