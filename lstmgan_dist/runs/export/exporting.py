"""Exporting a run's generator: a folder that other programs load, whole or not at all.

config.json is written last, with the sizes and SHA-256 digests of all other files: a folder without it is none.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lstmgan_dist.errors import UserError
from lstmgan_dist.runs.export import FORMS
from lstmgan_dist.runs.export.card import card_of, config_of
from lstmgan_dist.runs.export.distillation import Smaller, Student, check_smaller, distil
from lstmgan_dist.runs.export.form import Quantisation
from lstmgan_dist.runs.export.plain import (
    Agreement,
    Comparison,
    compare,
    draw_both,
    example_of,
    plain_network,
    refuse_another,
    refuse_unknown,
    some_texts,
)
from lstmgan_dist.runs.result import Result, load_result
from lstmgan_dist.runtime.local import DeviceChoice
from lstmgan_dist.runtime.tasks import Watch
from lstmgan_dist.storage import WRITE_PROBE, Folder

CONFIG, CARD, TOKENIZER = "config.json", "README.md", "tokenizer.json"


@dataclass(frozen=True)
class Export:
    """What was written, and what became of the numbers."""

    folder: Folder
    files: int
    bytes_written: int
    comparison: Comparison
    agreement: Agreement
    student: Student | None


def export(
    url: str,
    checkpoint: str,
    out: str,
    *,
    form: str,
    quantisation: Quantisation | None,
    smaller: Smaller | None,
    device: DeviceChoice,
    say: Callable[[str], None],
    watch: Watch,
) -> Export:
    """Write the generator of a run to a folder, in a form that other programs read.

    smaller: a student of it instead, which learns on the device first.

    Raises:
        UserError: if it cannot be exported so, or the folder holds something else; then nothing is written.
    """
    kind_of_form = FORMS[form]()
    kind_of_form.check(form, quantisation)
    result = load_result(url, checkpoint, device=device if smaller else "cpu", say=say)
    refuse_unknown(result)
    example = example_of(result)
    if smaller:
        check_smaller(result, smaller)
    target = Folder(out, result.run.storage)
    _check_place(target, kind_of_form.files)
    job, kind, generator, student = result.run.job, result.run.job.generator, result.generator, None
    chosen = result.run.checkpoints.open(result.step)
    config = config_of(result, chosen, kind, example, form=form, quantisation=quantisation, student=None)
    _check_network(result, config)
    if smaller:
        student = distil(result, smaller, watch=watch)
        kind, generator = student.kind, student.generator
        config = config_of(result, chosen, kind, example, form=form, quantisation=quantisation, student=student)
    generator.cpu()
    network, texts = plain_network(generator, kind, config), some_texts(result, generator, job)
    with tempfile.TemporaryDirectory(prefix="lstmgan-") as name:
        made = Path(name)
        (made / CONFIG).write_text(json.dumps(config))
        (made / TOKENIZER).write_bytes(result.tokenizer.to_json())
        kind_of_form.write(network, quantisation, made)
        opened = kind_of_form.read(made)
        comparison, agreement = compare(generator, opened, texts), draw_both(generator, opened, job, example.first)
        if not math.isfinite(comparison.nll):
            raise UserError(f"The weights of {result.run.folder} are beyond what {quantisation} holds: leave it out.")
        (made / CONFIG).unlink()
        sizes = {path.name: path.stat().st_size for path in made.iterdir()}
        card = card_of(
            result, chosen, config, kind_of_form, comparison, agreement, student, bytes_written=sum(sizes.values())
        )
        (made / CARD).write_text(card, encoding="utf-8")
        config["files"] = {name: _described(made / name) for name in sorted([*sizes, CARD])}
        assert config["files"].keys() == {*kind_of_form.files, TOKENIZER, CARD}
        sizes[CARD] = (made / CARD).stat().st_size
        for name in sizes:
            target.write(name, (made / name).read_bytes())
    content = (json.dumps(config, indent=1, ensure_ascii=False) + "\n").encode()
    target.write(CONFIG, content)
    written = len(content) + sum(sizes.values())
    return Export(target, len(config["files"]) + 1, written, comparison, agreement, student)


def _check_network(result: Result, config: dict[str, object]) -> None:
    """See that the run's network is what the plain one is, before anything takes long."""
    generator = result.generator.cpu()
    texts = some_texts(result, generator, result.run.job)
    refuse_another(generator, plain_network(generator, result.run.job.generator, config), texts)
    generator.to(result.device)


def _check_place(target: Folder, files: tuple[str, ...]) -> None:
    """See that the folder is empty but for what an export that was stopped has left, and can be written to."""
    present = set(target.list())
    if CONFIG in present:
        raise UserError(f"{target} holds an export or a model already: choose another folder with --out.")
    if present - {*files, TOKENIZER, CARD, WRITE_PROBE}:
        raise UserError(f"{target} holds other files: choose another folder with --out.")
    target.check_writable()
    if target.local_path is not None:
        path = target.local_path.absolute()
        there = next(place for place in (path, *path.parents) if place.exists())
        if not there.is_dir() or not os.access(there, os.W_OK):
            raise UserError(f"{target} cannot be written to, for {there} lets nobody write: choose another --out.")


def _described(path: Path) -> dict[str, object]:
    content = path.read_bytes()
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
