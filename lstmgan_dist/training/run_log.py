"""What a person can watch: the progress bar, TensorBoard, and one JSON line a measurement."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.tensorboard.summary import hparams
from torch.utils.tensorboard.writer import SummaryWriter

from lstmgan_dist.config import Job, dump_job
from lstmgan_dist.storage import Folder

METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"
SAMPLES = "samples"

# One chart for the game: who is winning is only seen with both losses on one pair of axes.
_LAYOUT = {
    "game": {
        "losses of both players": ["Multiline", ["discriminator/loss", "generator/cost"]],
        "scores of real and generated text": ["Multiline", ["discriminator/real_score", "discriminator/fake_score"]],
    },
    "likelihood": {"training and held-out": ["Multiline", ["likelihood/nll", "heldout/nll"]]},
}
_COMPARED = {"seed", "corpus", "batch", "generator", "discriminator", "phases"}
_FINAL_METRICS = ("heldout/nll", "samples/distinct_2")
_SECONDS_BETWEEN_PLAIN_LINES = 10.0


class RunLog:
    """Everything that a run writes for people, from one worker.

    Metrics carry no clock times, so that a resumed run writes the very lines of an uninterrupted one; rates go to
    TensorBoard and the console only. What was logged after `step`, by an attempt that then died, is dropped.
    """

    def __init__(self, folder: Folder, job: Job, *, step: int, console: Console) -> None:
        self._folder = folder
        self._console = console
        # Event files need a file system that appends: elsewhere they grow here and are published whole.
        self._staging = None if folder.local_path else Path(tempfile.mkdtemp(prefix="lstmgan-"))
        self._local = folder.local_path or self._staging
        assert self._local is not None
        self._published: dict[str, int] = {}
        self._metrics = self._open_metrics(step)
        self._writer = SummaryWriter(str(self._local / TENSORBOARD), purge_step=step + 1, flush_secs=10)
        if not step:
            self._writer.add_text("job", f"```yaml\n{dump_job(job)}```")
            self._writer.add_custom_scalars(_LAYOUT)
        self._hparams = _hyperparameters(job)
        for summary in hparams(self._hparams, dict.fromkeys(_FINAL_METRICS, 0.0))[:2]:
            self._writer.file_writer.add_summary(summary)  # type: ignore[union-attr]
        self._bar = _bar(console) if console.is_terminal else None
        self._task = None
        self._meter = Meter()
        self._said_at = 0.0
        self._phase = ""
        self._total = self._done = 0

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar:
            self._bar.stop()
        self._writer.close()
        self._metrics.close()
        self.publish()
        if self._staging:
            shutil.rmtree(self._staging)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """One line of metrics.jsonl, and a point on each TensorBoard curve."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        # JSON has no NaN; a loss that is not a number must not make the file unreadable.
        plain = {name: value if math.isfinite(value) else str(value) for name, value in values.items()}
        self._metrics.write(json.dumps({"step": step, **plain}) + "\n")
        self._metrics.flush()

    def rate(self, step: int, tokens_per_second: float) -> None:
        """Throughput, which is the machine's and not the run's, so it goes to TensorBoard alone."""
        self._writer.add_scalar("throughput/tokens_per_second", tokens_per_second, step)

    def histograms(self, step: int, values: Mapping[str, Tensor]) -> None:
        """Distributions, such as the scores of real and of generated text."""
        for name, tensor in values.items():
            self._writer.add_histogram(name, tensor.float().cpu().numpy(), step)

    def samples(self, step: int, texts: Sequence[str]) -> None:
        """Generated texts, to read in TensorBoard and in samples/."""
        self._writer.add_text("samples", "\n\n".join(f"```\n{text}\n```" for text in texts), step)
        self._folder.write(f"{SAMPLES}/step-{step:08d}.txt", ("\n".join(texts) + "\n").encode())

    def final(self, step: int, values: Mapping[str, float]) -> None:
        """Tie the job's settings to how it came out, for TensorBoard's HParams tab."""
        known = {name: values[name] for name in _FINAL_METRICS if name in values}
        self._writer.file_writer.add_summary(hparams(self._hparams, known)[2])  # type: ignore[union-attr]

    def publish(self) -> None:
        """Bring everything to where the run is, if that is not here; files that have not grown stay."""
        self._writer.flush()
        if self._staging is None:
            return
        for path in sorted(self._staging.rglob("*")):
            name = path.relative_to(self._staging).as_posix()
            if path.is_file() and self._published.get(name) != path.stat().st_size:
                self._published[name] = path.stat().st_size
                self._folder.write(name, path.read_bytes())

    # --- the console ---

    def begin_phase(self, name: str, *, done: int, total: int) -> None:
        """Start the bar of a phase of `total` steps, of which `done` are behind."""
        self._phase, self._total, self._done = name, total, done
        self._meter = Meter()
        if self._bar:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(name, total=total, completed=done, losses="")

    def tick(self, done: int) -> None:
        """A step of the phase is over."""
        self._done = done
        self._meter.step()
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=done)

    def show(self, losses: Mapping[str, float], tokens_per_second: float) -> None:
        """The latest losses, beside the bar or as a line now and then."""
        words = "  ".join(f"{name.split('/')[0]} {name.split('/')[1]} {value:.3f}" for name, value in losses.items())
        words += f"  {tokens_per_second:,.0f} tokens/s"
        if self._bar and self._task is not None:
            self._bar.update(self._task, losses=words)
        elif time.monotonic() - self._said_at > _SECONDS_BETWEEN_PLAIN_LINES:
            self._said_at = time.monotonic()
            left = _duration(self._meter.seconds_per_step * (self._total - self._done))
            self.say(f"{self._phase} {self._done}/{self._total}  {words}  {left} left")

    def say(self, sentence: str) -> None:
        """A sentence above the bar."""
        (self._bar.console if self._bar else self._console).print(
            sentence, markup=False, highlight=False, soft_wrap=True
        )

    def _open_metrics(self, step: int) -> Any:
        assert self._local is not None
        path = self._local / METRICS
        if self._staging and self._folder.exists(METRICS):
            path.write_bytes(self._folder.read(METRICS))
        kept = [line for line in _whole_lines(path) if json.loads(line)["step"] <= step]
        Folder(self._local).write(METRICS, "".join(kept).encode())
        return path.open("a", encoding="utf-8")


class Meter:
    """Seconds a step takes, over the recent past."""

    def __init__(self) -> None:
        self.seconds_per_step = 0.0
        self._last: float | None = None

    def step(self) -> None:
        """A step is over."""
        now = time.monotonic()
        if self._last is not None:
            taken = now - self._last
            self.seconds_per_step += (taken - self.seconds_per_step) * (0.05 if self.seconds_per_step else 1.0)
        self._last = now


def read_metrics(folder: Folder) -> list[dict[str, Any]]:
    """All measurements of a run, in order."""
    return [json.loads(line) for line in folder.read(METRICS).decode().splitlines()] if folder.exists(METRICS) else []


def _whole_lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    # A kill can leave half a last line.
    return [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed}/{task.total}"),
        TextColumn("[dim]{task.fields[losses]}"),
        TimeRemainingColumn(),
        console=console,
    )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _hyperparameters(job: Job) -> dict[str, float | str | bool]:
    """The settings that runs are compared by, as one flat table."""

    def leaves(prefix: str, value: Any) -> dict[str, Any]:
        if isinstance(value, dict):
            return {path: leaf for key, item in value.items() for path, leaf in leaves(f"{prefix}{key}.", item).items()}
        if isinstance(value, list | tuple):
            return leaves(prefix, dict(enumerate(value)))
        return {prefix.rstrip("."): value}

    return {
        name: value if isinstance(value, bool | int | float) else str(value)
        for name, value in leaves("", job.model_dump(include=_COMPARED)).items()
        if value is not None
    }
