"""Figures of a run among those of Ray, where Prometheus finds them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from ray.util.metrics import Gauge

# Ray forgets a gauge that was not set for half a minute.
_SECONDS_BETWEEN_READINGS = 2.0


@contextmanager
def exported(
    descriptions: Mapping[str, str], readings: Callable[[], Iterable[tuple[str, float, str]]], *, run: str
) -> Iterator[None]:
    """Meanwhile Ray exports gauges, with the labels `run` and `figure`; Ray puts `ray_` before their names.

    descriptions: of each gauge, by its name. readings: gives, whenever it is asked, (name, value, figure) of those that
    have a value. This process is connected to a cluster.
    """
    gauges = {name: Gauge(name, description=text, tag_keys=("run", "figure")) for name, text in descriptions.items()}
    over = threading.Event()

    def export() -> None:
        while not over.is_set():
            for name, value, figure in readings():
                gauges[name].set(value, tags={"run": run, "figure": figure})
            over.wait(_SECONDS_BETWEEN_READINGS)

    thread = threading.Thread(target=export, name="gauges", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
