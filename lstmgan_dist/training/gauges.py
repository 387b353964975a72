"""What is measured of a run while it trains on a cluster, for those who watch many at once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

# What Prometheus reads, with `ray_` before each name; Grafana's page in cluster/monitoring is made of these.
GAUGES = {
    "lstmgan_step": "Steps of the run.",
    "lstmgan_phase": "The phase that it is in, from 1.",
    "lstmgan_phase_share": "How much of that phase is done, from 0 to 1.",
    "lstmgan_loss": "The latest of each loss that training shows.",
    "lstmgan_evaluation": "What the last evaluation found: heldout/nll is in nats per token.",
    "lstmgan_tokens_per_second": "Real text that all workers together read, in tokens per second.",
    "lstmgan_checkpoint_time_seconds": "When the newest checkpoint of this submission became whole, in Unix time.",
    "lstmgan_restarts": "How often workers were lost and started again, in this submission.",
}


class GaugeReading(NamedTuple):
    """The value of a gauge; figure: which loss or evaluation, where there are several."""

    name: str
    value: float
    figure: str = ""


class RunGauges:
    """A screen for programs: it keeps the latest figures of what a run tells."""

    def __init__(self) -> None:
        self._step = self._phase = self._done = self._restarts = 0
        self._total = 1
        self._losses: Mapping[str, float] = {}
        self._evaluation: Mapping[str, float] = {}
        self._tokens_per_second: float | None = None
        self._checkpoint_time: float | None = None

    def begin_phase(self, *, number: int, name: str, done: int, total: int, step: int) -> None:
        self._phase, self._done, self._total, self._step = number + 1, done, total, step

    def tick(self, *, done: int) -> None:
        self._step += done - self._done
        self._done = done

    def show(self, *, losses: Mapping[str, float], tokens_per_second: float) -> None:
        self._losses, self._tokens_per_second = losses, tokens_per_second

    def report(self, *, step: int, figures: Mapping[str, float]) -> None:
        self._evaluation = figures

    def saved(self) -> None:
        self._checkpoint_time = time.time()

    def say(self, sentence: str) -> None:
        pass  # a program has no use for it

    def restarted(self) -> None:
        """Workers were lost."""
        self._restarts += 1

    def readings(self) -> list[GaugeReading]:
        """What is known now."""
        known = [
            GaugeReading("lstmgan_step", self._step),
            GaugeReading("lstmgan_phase", self._phase),
            GaugeReading("lstmgan_phase_share", self._done / self._total),
            GaugeReading("lstmgan_restarts", self._restarts),
            *(GaugeReading("lstmgan_loss", value, figure) for figure, value in self._losses.items()),
            *(GaugeReading("lstmgan_evaluation", value, figure) for figure, value in self._evaluation.items()),
        ]
        if self._tokens_per_second is not None:
            known.append(GaugeReading("lstmgan_tokens_per_second", self._tokens_per_second))
        if self._checkpoint_time is not None:
            known.append(GaugeReading("lstmgan_checkpoint_time_seconds", self._checkpoint_time))
        return known
