"""The curves of a run, for TensorBoard.

There a run goes by the folder that its curves are in, below the one that is shown: `tensorboard/<name of the run>`.
Runs stand side by side and one run has one colour, so what belongs to one player has a run of its own, in a folder
below: the two losses are two colours on one chart, and so are the scores of the two kinds of text. Groups have numbers,
for TensorBoard sorts them: what a person looks at first comes first, and what seldom changes last.
"""

from __future__ import annotations

import html
import io
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.tensorboard.summary import hparams, scalar
from torch.utils.tensorboard.writer import SummaryWriter

from lstmgan_dist.config import Job, dump_job
from lstmgan_dist.evaluation.findings import ContestFindings
from lstmgan_dist.evaluation.metrics import METRICS
from lstmgan_dist.nested import leaves
from lstmgan_dist.storage import Folder

TENSORBOARD = "tensorboard"

_GROUPS = {
    "heldout": "1 held-out text",
    "labels": "1 held-out text by label",
    "samples": "2 samples",
    "judges": "3 judges",
    "likelihood": "5 likelihood",
    "generator": "6 generator",
    "discriminator": "7 discriminator",
    "throughput": "8 machine",
}
_GAME, _SETTINGS = "4 game", "9 settings"
# Curves that both players have: the chart, and whose it is.
_OF_PLAYERS = {
    "generator/cost": ("losses of both players", "generator"),
    "discriminator/loss": ("losses of both players", "discriminator"),
    "discriminator/fake_score": ("scores of drawn and real text", "generator"),
    "discriminator/fake_nll": ("mediator's losses of drawn and real text", "generator"),
    "discriminator/real_nll": ("mediator's losses of drawn and real text", "discriminator"),
    "discriminator/real_score": ("scores of drawn and real text", "discriminator"),
}
_HISTOGRAMS = {"scores/generated": "generator", "scores/real": "discriminator"}
_BINS = 40

_DESCRIPTIONS = {
    "heldout/nll": "Nats per token of held-out text under the generator, end marks included. Low is good; a game may "
    "leave the optimum.",
    "heldout/discriminator_loss": "The discriminator's loss on held-out and freshly drawn text; a mediator's is the "
    "cross-entropy of its scores.",
    "heldout/discriminator_auc": "Share of pairs of a held-out and a drawn text in which the real one has the higher "
    "score; one half is chance.",
    "heldout/discriminator_accuracy": "Share of held-out and drawn texts that the discriminator tells right; one half "
    "is chance.",
    "likelihood/loss": "What the generator minimises, where a likelihood phase has a criterion of its own.",
    "likelihood/nll": "Nats per token of the training batch, with dropout; behind own samples where these are read.",
    "likelihood/own_loss": "What a generator learns of it beside its likelihood, per token: a leak generator minus the "
    "cosine of its goals with what they aim at.",
    "generator/nll": "Nats per token of real text, where the game adds a likelihood loss.",
    "generator/cost": "What the generator minimises against the discriminator.",
    "generator/reward": "Mean reward of what was drawn, before the baseline.",
    "generator/effective_rows": "So many drawn texts of equal weight estimate the gradient as well; where few are "
    "left, a handful of texts decides.",
    "generator/intrinsic_reward": "Mean cosine of the features' changes with the goals that held, -1 to 1.",
    "generator/grad_norm": "Norm of the gradient before clipping.",
    "discriminator/grad_norm": "Norm of the gradient before clipping.",
    "generator/length": "Mean tokens of what was drawn, end marks included.",
    "discriminator/accuracy": "Share of the training batch's real and drawn texts that the discriminator tells right.",
    "discriminator/loss": "What the discriminator minimises; where it stays at chance, neither player learns.",
    "discriminator/real_score": "Mean score of real text: of the run called discriminator.",
    "discriminator/fake_score": "Mean score of drawn text: of the run called generator.",
    "discriminator/real_nll": "Nats per token of real text under the mediator, with dropout: of the run called "
    "discriminator.",
    "discriminator/fake_nll": "Nats per token of drawn text under the mediator, with dropout: of the run called "
    "generator.",
    "throughput/tokens_per_second": "Real text read by all workers; what is drawn comes on top.",
    "phase": "Which phase of the job a step belongs to, from 1: where it rises, a phase begins.",
}

_COMPARED = {"seed", "corpus", "batch", "generator", "discriminator", "phases"}
_FINAL_METRICS = ("heldout/nll", "samples/bleu_4", "samples/self_bleu_4", "samples/distinct_2")


_print_traceback = threading.excepthook


def _leave_to_us(failure: threading.ExceptHookArgs) -> None:
    """TensorBoard's thread fails where a file cannot grow, and so does the next point, with the same error to tell."""
    if type(failure.thread).__name__ != "_AsyncWriterThread":
        _print_traceback(failure)


threading.excepthook = _leave_to_us


class Curves:
    """The event files of one attempt at a run.

    folder: where they grow, on this machine. step: the last one that counts; what is later was another attempt's.
    """

    def __init__(self, folder: Path, job: Job, *, step: int) -> None:
        self._folder, self._step = folder, step
        self._writers = {"": self._writer("")}
        self._described: set[str] = set()
        self._hparams = dict(_hyperparameters(job))
        if not step:
            self._writers[""].add_text("job", f"```yaml\n{dump_job(job)}```")
        for summary in hparams(self._hparams, dict.fromkeys(_FINAL_METRICS, 0.0))[:2]:
            self._add(summary)

    def close(self) -> None:
        """Write what is left, and end."""
        for writer in self._writers.values():
            writer.close()

    def flush(self) -> None:
        """Write what is left."""
        for writer in self._writers.values():
            writer.flush()

    def scalars(self, step: int, values: Mapping[str, float], *, phase: int) -> None:
        """A point on each curve. phase: from 0."""
        for name, value in {**values, "phase": phase + 1}.items():
            self._point(name, value, step)

    def rates(self, step: int, values: Mapping[str, float]) -> None:
        """Figures of the machine."""
        for name, value in values.items():
            self._point(name, value, step)

    def histograms(self, step: int, values: Mapping[str, Tensor]) -> None:
        """Distributions that belong together, over one range."""
        arrays = {name: tensor.float().cpu().numpy() for name, tensor in values.items()}
        if not arrays:
            return
        every = np.concatenate(list(arrays.values()))
        edges = np.histogram_bin_edges(every[np.isfinite(every)], _BINS)
        for name, array in arrays.items():
            counts, _ = np.histogram(array, edges)
            self._writer_of(_HISTOGRAMS.get(name, "")).add_histogram_raw(
                f"{_GAME}/scores of texts",
                min=float(edges[0]),
                max=float(edges[-1]),
                num=len(array),
                sum=float(array.sum()),
                sum_squares=float((array**2).sum()),
                bucket_limits=edges[1:].tolist(),
                bucket_counts=counts.tolist(),
                global_step=step,
            )

    def samples(self, step: int, texts: Sequence[str], real: Sequence[str]) -> None:
        """Generated texts beside real ones."""
        rows = "".join(
            f"<tr><td>{_shown(texts, row)}</td><td>{_shown(real, row)}</td></tr>"
            for row in range(max(len(texts), len(real)))
        )
        head = "<tr><th>generated</th><th>held-out text</th></tr>"
        self._writers[""].add_text("samples", f"<table>{head}{rows}</table>", step)

    def final(self, values: Mapping[str, float]) -> None:
        """Tie the job's settings to how it came out, for the HParams tab."""
        known = {name: values[name] for name in _FINAL_METRICS if name in values}
        self._add(hparams(self._hparams, known)[2])

    def _point(self, name: str, value: float, step: int) -> None:
        tag, player = _tag_of(name)
        summary = scalar(tag, value)
        if (player + tag) not in self._described:
            self._described.add(player + tag)
            summary.value[0].metadata.summary_description = _description_of(name)
        self._writer_of(player).file_writer.add_summary(summary, step)  # type: ignore[union-attr]

    def _add(self, summary: Any) -> None:
        self._writers[""].file_writer.add_summary(summary)  # type: ignore[union-attr]

    def _writer_of(self, player: str) -> SummaryWriter:
        if player not in self._writers:
            self._writers[player] = self._writer(player)
        return self._writers[player]

    def _writer(self, player: str) -> SummaryWriter:
        return SummaryWriter(str(self._folder / player), purge_step=self._step + 1, flush_secs=10)


def add_findings(folder: Folder, step: int, found: ContestFindings, figures: Mapping[str, bytes]) -> None:
    """Add what judges found of a run to its TensorBoard: figures (PNG, by name), verdicts as text, scalars."""
    from matplotlib.image import imread  # only here, for it takes half a second

    with tempfile.TemporaryDirectory(prefix="lstmgan-") as local:
        with closing(SummaryWriter(local, filename_suffix=".evaluation")) as writer:
            for name, png in figures.items():
                writer.add_image(f"evaluation/{name}", imread(io.BytesIO(png))[:, :, :3], step, dataformats="HWC")
            sentences = [*found.warnings, *found.chosen.values(), *(verdict.sentence for verdict in found.verdicts)]
            writer.add_text("evaluation", "\n\n".join(sentences), step)
            for place in found.places:
                at = "" if place.temperature is None else f" at {place.temperature:g}"
                for name, estimate in place.figures.items():
                    writer.add_scalar(f"evaluation {name}/{place.sampler}{at}", estimate.value, step)
        for path in Path(local).iterdir():
            folder.write(f"{TENSORBOARD}/{folder.name}/{path.name}", path.read_bytes())


def _tag_of(name: str) -> tuple[str, str]:
    """What a figure is called in TensorBoard, and the player whose it is; "": of the run itself."""
    if name in _OF_PLAYERS:
        chart, player = _OF_PLAYERS[name]
        return f"{_GAME}/{chart}", player
    if name == "phase":
        return f"{_SETTINGS}/phase", ""
    group, _, rest = name.partition("/")
    if group == "heldout" and rest.startswith("discriminator_"):  # so that the held-out loss is alone, and first
        return f"{_GAME}/{rest.removeprefix('discriminator_')} on held-out text", "discriminator"
    if rest == "learning_rate":
        return f"{_SETTINGS}/learning rate of the {group}", ""
    return f"{_GROUPS.get(group, group)}/{rest}", ""


def _description_of(name: str) -> str:
    metric = METRICS.get(name.partition("/")[2])
    if metric and name.startswith(("samples/", "judges/")):
        better = {"low": ": low is good", "high": ": high is good", None: ""}[metric.better]
        return f"{metric.label}{f', {metric.unit}' if metric.unit else ''}{better}."
    if name.startswith("labels/"):
        return "Nats per token of held-out text of this label, end marks included."
    return _DESCRIPTIONS.get(name, "")


def _shown(texts: Sequence[str], row: int) -> str:
    """A text as HTML, its lines as lines; empty where there are no more."""
    return html.escape(texts[row]).replace("\n", "<br>") if row < len(texts) else ""


def _hyperparameters(job: Job) -> Iterator[tuple[str, float | str | bool]]:
    """The settings that runs are compared by; first those that are not as they are by default."""
    chosen = leaves(job.model_dump(include=_COMPARED, exclude_defaults=True))
    for name, value in (chosen | leaves(job.model_dump(include=_COMPARED))).items():
        if value not in (None, (), {}):
            yield name, value if isinstance(value, bool | int | float) else str(value)
