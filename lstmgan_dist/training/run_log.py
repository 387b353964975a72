"""What a run leaves for people to look at: TensorBoard, samples, and one JSON line a measurement."""

from __future__ import annotations

import io
import json
import math
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Any, Protocol, Self

from torch import Tensor
from torch.utils.tensorboard.summary import hparams
from torch.utils.tensorboard.writer import SummaryWriter

from lstmgan_dist.config import Job, dump_job
from lstmgan_dist.errors import UserError
from lstmgan_dist.evaluation.findings import ContestFindings
from lstmgan_dist.nested import leaves
from lstmgan_dist.storage import Folder
from lstmgan_dist.training.run import Run

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


class Log(Protocol):
    """What the trainer writes."""

    def scalars(self, step: int, values: Mapping[str, float], *, phase: int) -> None:
        """One line of metrics.jsonl, which says its phase (from 0), and a point on each TensorBoard curve."""
        ...

    def rates(self, step: int, values: Mapping[str, float]) -> None:
        """Figures that are the machine's and not the run's, so they go to TensorBoard alone."""
        ...

    def histograms(self, step: int, values: Mapping[str, Tensor]) -> None:
        """Distributions, such as the scores of real and of generated text."""
        ...

    def samples(self, step: int, texts: Sequence[str]) -> None:
        """Generated texts, to read in TensorBoard and in samples/."""
        ...

    def final(self, step: int, values: Mapping[str, float]) -> None:
        """Tie the job's settings to how it came out, for TensorBoard's HParams tab."""
        ...

    def publish(self) -> None:
        """Bring everything to where the run is."""
        ...


def open_log(run: Run, *, step: int, rank: int, warn: Callable[[str], None]) -> AbstractContextManager[Log]:
    """The log of a run: of the workers, the first alone writes one."""
    return nullcontext(_NoLog()) if rank else RunLog(run, step=step, warn=warn)


class RunLog:
    """Everything that a run writes for people, from one worker.

    Metrics carry no clock times, so that a resumed run writes the very lines of an uninterrupted one; rates go to
    TensorBoard and the terminal only. What was logged after `step`, by an attempt that then died, is dropped.

    A remote run's files grow on this machine, for event files need a file system that appends, and a thread brings them
    to the run every `log.publish_seconds`, unless another training has taken the run meanwhile.
    """

    def __init__(self, run: Run, *, step: int, warn: Callable[[str], None]) -> None:
        self._run = run
        self._folder, job = run.folder, run.job
        self._warn = warn
        self._staging = None if run.folder.local_path else Path(tempfile.mkdtemp(prefix="lstmgan-"))
        local = run.folder.local_path or self._staging
        assert local is not None
        self._local = local
        self._published: dict[str, int] = {}
        self._publishing = threading.Lock()
        self._closed = threading.Event()
        self._drop_samples(step)
        self._metrics = self._open_metrics(step)
        self._writer = SummaryWriter(str(self._local / TENSORBOARD), purge_step=step + 1, flush_secs=10)
        if not step:
            self._writer.add_text("job", f"```yaml\n{dump_job(job)}```")
            self._writer.add_custom_scalars(_LAYOUT)
        self._hparams = _hyperparameters(job)
        for summary in hparams(self._hparams, dict.fromkeys(_FINAL_METRICS, 0.0))[:2]:
            self._writer.file_writer.add_summary(summary)  # type: ignore[union-attr]
        self._publisher = threading.Thread(
            target=self._publish_regularly, args=(job.log.publish_seconds,), name="publisher", daemon=True
        )

    def __enter__(self) -> Self:
        if self._staging:
            self._publisher.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._writer.close()
        self._metrics.close()
        if self._staging:
            self._closed.set()
            self._publisher.join()
            try:
                self.publish()
            finally:
                shutil.rmtree(self._staging)

    def scalars(self, step: int, values: Mapping[str, float], *, phase: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        # JSON has no NaN; a loss that is not a number must not make the file unreadable.
        plain = {name: value if math.isfinite(value) else str(value) for name, value in values.items()}
        self._metrics.write(json.dumps({"step": step, "phase": phase, **plain}) + "\n")
        self._metrics.flush()

    def rates(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def histograms(self, step: int, values: Mapping[str, Tensor]) -> None:
        for name, tensor in values.items():
            self._writer.add_histogram(name, tensor.float().cpu().numpy(), step)

    def samples(self, step: int, texts: Sequence[str]) -> None:
        self._writer.add_text("samples", "\n\n".join(f"```\n{text}\n```" for text in texts), step)
        Folder(self._local).write(f"{SAMPLES}/step-{step:08d}.txt", ("\n".join(texts) + "\n").encode())

    def final(self, step: int, values: Mapping[str, float]) -> None:
        known = {name: values[name] for name in _FINAL_METRICS if name in values}
        self._writer.file_writer.add_summary(hparams(self._hparams, known)[2])  # type: ignore[union-attr]

    def publish(self) -> None:
        if self._staging is None:
            return
        self._writer.flush()
        with self._publishing:
            self._run.check_lease()
            for path in sorted(self._staging.rglob("*")):
                name, size = path.relative_to(self._staging).as_posix(), path.stat().st_size
                if path.is_file() and self._published.get(name) != size:
                    self._folder.write(name, path.read_bytes()[:size])
                    self._published[name] = size

    def _publish_regularly(self, seconds: float) -> None:
        while not self._closed.wait(seconds):
            try:
                self.publish()
            except UserError:
                return  # the run has been taken over, which the next checkpoint finds, too, and says
            except OSError as error:
                self._warn(f"The curves of {self._folder} could not be brought up to date, and will be later: {error}")

    def _drop_samples(self, step: int) -> None:
        folder = self._folder / SAMPLES
        for name in folder.list():
            if (match := re.fullmatch(r"step-(\d+)\.txt", name)) and int(match[1]) > step:
                folder.delete(name)

    def _open_metrics(self, step: int) -> Any:
        path = self._local / METRICS
        if self._staging and self._folder.exists(METRICS):
            path.write_bytes(self._folder.read(METRICS))
        kept = [line for line in _whole_lines(path) if json.loads(line)["step"] <= step]
        Folder(self._local).write(METRICS, "".join(kept).encode())
        return path.open("a", encoding="utf-8")


def log_findings(folder: Folder, step: int, found: ContestFindings, figures: Mapping[str, bytes]) -> None:
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
            folder.write(f"{TENSORBOARD}/{path.name}", path.read_bytes())


class _NoLog:
    """What every worker but the first has."""

    def scalars(self, step: int, values: Mapping[str, float], *, phase: int) -> None:
        pass

    def rates(self, step: int, values: Mapping[str, float]) -> None:
        pass

    def histograms(self, step: int, values: Mapping[str, Tensor]) -> None:
        pass

    def samples(self, step: int, texts: Sequence[str]) -> None:
        pass

    def final(self, step: int, values: Mapping[str, float]) -> None:
        pass

    def publish(self) -> None:
        pass


def read_metrics(folder: Folder) -> list[dict[str, Any]]:
    """All measurements of a run, in order."""
    return [json.loads(line) for line in folder.read(METRICS).decode().splitlines()] if folder.exists(METRICS) else []


def _whole_lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    # A kill can leave half a last line.
    return [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]


def _hyperparameters(job: Job) -> dict[str, float | str | bool]:
    """The settings that runs are compared by, as one flat table."""
    return {
        name: value if isinstance(value, bool | int | float) else str(value)
        for name, value in leaves(job.model_dump(include=_COMPARED)).items()
        if value not in (None, (), {})
    }
