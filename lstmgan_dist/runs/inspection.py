"""What a folder holds, verified."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from typing import Any

import numpy as np

from lstmgan_dist.corpus.manifest import LABELS, PreparedCorpus, is_prepared, open_corpus
from lstmgan_dist.corpus.tokenizer import Tokenizer
from lstmgan_dist.errors import UserError
from lstmgan_dist.evaluation.doubts import can_be_judged
from lstmgan_dist.storage import Folder
from lstmgan_dist.training.checkpoint import PROGRESS, Checkpoint, open_checkpoint
from lstmgan_dist.training.progress import HELDOUT_NLL, Progress
from lstmgan_dist.training.run import EVALUATION, JOB, START, VERDICT, Run
from lstmgan_dist.training.run_log import read_metrics
from lstmgan_dist.training.vectors import LEARNT, read_learnt, what_they_know


def describe(url: str, *, warn: Callable[[str], None]) -> dict[str, Any]:
    """Facts of a run, a corpus or a checkpoint, after checking its checksums.

    Raises:
        UserError: if it is none of them, or damaged.
    """
    folder = Folder(url)
    if folder.exists(JOB):
        return _describe_run(Run.open(url), warn)
    if is_prepared(folder):
        corpus = open_corpus(folder)
        corpus.verify()
        return describe_corpus(corpus)
    if folder.exists(PROGRESS):
        return _describe_checkpoint(open_checkpoint(folder))
    raise UserError(f"{url} is neither a run, nor a corpus, nor a checkpoint, or it was never finished.")


def describe_corpus(corpus: PreparedCorpus) -> dict[str, Any]:
    """Facts of a corpus, with what was left out of it and the first cases."""
    facts: dict[str, Any] = {
        "corpus": corpus.folder.url,
        "fingerprint": corpus.fingerprint[:16],
        "layout": corpus.layout,
        "tokenizer": f"{corpus.tokenizer.kind}, vocabulary {corpus.tokenizer.vocabulary_size:,}",
        "longest": f"{corpus.max_length} tokens",
        **_views(corpus.tokenizer),
    }
    for name, split in corpus.splits.items():
        facts[name] = (
            f"{split.rows:,} rows, {split.tokens:,} tokens, {split.characters:,} characters, "
            f"{len(split.shards)} shards of {len(split.blocks)} blocks"
        )
    for name, unknown in corpus.made["unknown_tokens"].items():
        if unknown:
            facts[f"unknown, {name}"] = f"{unknown / corpus.splits[name].tokens:.2%} of the tokens"
    if corpus.max_context:
        facts["contexts"] = f"at most {corpus.max_context} tokens, read before a text and not learnt"
    if corpus.tokenizer.labels:
        for label, about in json.loads(corpus.folder.read(LABELS)).items():
            facts[f"label {label}"] = f"{about['train']:,} training texts, {about['heldout']:,} held-out ones"
    return facts | _left_out(corpus)


def _views(tokenizer: Tokenizer) -> dict[str, str]:
    """What text went through before it became tokens, and what is lost by that."""
    views = tokenizer.views
    facts = {"text is seen in": str(views)} if views.chosen.keys() - {"lower"} else {}
    return facts | ({"what is lost": " ".join(notes)} if (notes := views.notes()) else {})


def _left_out(corpus: PreparedCorpus) -> dict[str, str]:
    """What was left out of a corpus, cut or read otherwise, with the first cases."""
    facts: dict[str, str] = {}
    left_out = corpus.made.get("files_left_out", [])
    if left_out:
        facts["files left out"] = f"{len(left_out):,}, no text by their names: {', '.join(left_out[:3])}"
    for encoding, files in _by_encoding(corpus).items():
        facts[f"read as {encoding}"] = f"{len(files):,} files: {', '.join(files[:3])}"
    rows = sum(split.rows for split in corpus.splits.values()) if corpus.layout == "sentences" else 0
    for kind in ("bad_text", "long_text"):
        skipped = corpus.made[kind].get("skipped", 0)
        counted = ", ".join(
            f"{count:,} {what}" + (f" ({count / (rows + skipped):.1%})" if rows else "")
            for what, count in corpus.made[kind].items()
            if what != "cases" and count
        )
        if counted:
            facts[kind.replace("_", " ")] = counted
        for number, case in enumerate(corpus.made[kind]["cases"][:3], start=1):
            facts[f"{kind.replace('_', ' ')} {number}"] = f"{case['file']}, {case['place']}: {case['reason']}"
    return facts


def _by_encoding(corpus: PreparedCorpus) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for url, encoding in corpus.made.get("encodings", {}).items():
        found.setdefault(encoding, []).append(url)
    return found


def examples(corpus: PreparedCorpus, count: int) -> list[str]:
    """The first held-out texts, to lay beside generated ones."""
    block, *_ = corpus.read_blocks("heldout", [0])
    if corpus.layout == "continuous":
        return [corpus.tokenizer.decode(block.tokens_T[: 100 * count].tolist())]
    rows = block.take(slice(0, count))
    starts = [0] * len(rows.lengths_N) if rows.starts_N is None else rows.starts_N.tolist()
    return [
        corpus.tokenizer.in_context(row[:start], corpus.tokenizer.decode(row[start:]))
        for row, start in zip(map(np.ndarray.tolist, np.split(rows.tokens_T, rows.stops_N[:-1])), starts, strict=True)
    ]


def generating(run: Run, corpus: PreparedCorpus) -> str:
    """The command that writes more text of a run: of one that answers, to what one of its texts answers."""
    command = f"lstmgan generate {run.folder}"
    if not run.answers:
        return command
    (block,) = corpus.read_blocks("heldout" if corpus.splits["heldout"].rows else "train", [0])
    assert block.starts_N is not None
    tokenizer, context = corpus.tokenizer, block.tokens_T[: block.starts_N[0]].tolist()
    said = tokenizer.decode(token for token in context if token < tokenizer.vocabulary_size)
    return f"{command} --prompt {shlex.quote(said)}"


def told_of_game(run: Run, corpus: PreparedCorpus, progress: Progress) -> str | None:
    """What the game of a run did to the likelihood of held-out text, in a sentence; None before there is a game."""
    start = progress.likelihood_end(run.job.phases)
    if start is None or start == progress.step:
        return None
    number = next(number for number, ended in enumerate(progress.ended) if ended.step == start)
    best = progress.ended[number].best
    before = best.step if best and run.job.phases[number].finish_with == "best" else start
    nats = {row["step"]: row[HELDOUT_NLL] for row in read_metrics(run.folder) if HELDOUT_NLL in row}
    if not {before, progress.step} <= nats.keys():
        return None
    change = nats[progress.step] - nats[before]
    judging = f"What that is worth, lstmgan evaluate {run.folder} judges."
    if not can_be_judged(corpus, run.job.evaluate.heldout_sequences):
        judging = "What that is worth, no judge can say, for there is too little held-out text."
    return (
        f"Held-out text has {nats[progress.step]:.4f} nats per token after the game, and had {nats[before]:.4f} before "
        f"it: {abs(change):.4f} {'worse' if change > 0 else 'better'}. {judging}"
    )


def _describe_run(run: Run, warn: Callable[[str], None]) -> dict[str, Any]:
    newest = run.checkpoints.newest(warn=warn)
    facts: dict[str, Any] = {"run": run.folder.url, "job": run.job.name, "corpus": run.corpus_url()}
    try:
        corpus = run.corpus()
        facts |= _views(corpus.tokenizer) | _left_out(corpus)
    except UserError as error:  # the run can be used without
        warn(str(error))
    if run.job.generator.learns_vectors and run.folder.exists(f"{START}/{LEARNT}"):
        facts["learnt from the text"] = what_they_know(read_learnt(run.folder / START), run.tokenizer().tokens)
    if newest is None:
        return facts | {"checkpoints": "none yet"}
    progress = Progress.of(newest)
    facts["checkpoints"] = ", ".join(map(str, run.checkpoints.steps()))
    facts["newest checkpoint"] = f"step {newest.step}, verified"
    if progress.phase < len(run.job.phases):
        phase = run.job.phases[progress.phase]
        facts["phase"] = f"{progress.phase + 1} of {len(run.job.phases)}, {phase.kind}, step {progress.phase_step}"
    else:
        facts["phase"] = "finished"
    facts["sequences read"] = progress.sequences_read
    bests = [phase.best for phase in progress.ended]
    for number, best in enumerate([*bests, progress.best] if progress.phase_step else bests, start=1):
        if best:
            facts[f"best of phase {number}"] = f"step {best.step}, {best}"
    said: list[str] = []
    run.checkpoint("best", say=said.append)
    facts["what --checkpoint best takes"] = said[-1]
    evaluation = run.folder / EVALUATION
    if evaluation.exists(VERDICT):
        facts["verdict of the judges"] = json.loads(evaluation.read(VERDICT))["reason"]
    return facts


def _describe_checkpoint(checkpoint: Checkpoint) -> dict[str, Any]:
    facts: dict[str, Any] = {"checkpoint": checkpoint.folder.url, "step": checkpoint.step, "verified": "yes"}
    for name in checkpoint.folder.list():
        if name.endswith(".safetensors"):
            tensors = checkpoint.load(name.removesuffix(".safetensors"))
            numbers = sum(tensor.numel() for tensor in tensors.values())
            facts[name] = f"{len(tensors)} tensors, {numbers:,} numbers"
    return facts
