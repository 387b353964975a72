"""Who does the work of a command: this process, or workers on Ray."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from lstmgan_dist.commands.terminal import warn
from lstmgan_dist.runtime.worker_size import WorkerSize

if TYPE_CHECKING:
    from lstmgan_dist.runs.result import Result
    from lstmgan_dist.runtime.local import DeviceChoice
    from lstmgan_dist.runtime.tasks import ReadingWorkers, Workers


@contextmanager
def readers(address: str | None) -> Iterator[ReadingWorkers]:
    """Who prepares text: threads of this process, or the cluster at an address."""
    from lstmgan_dist.runtime.tasks import LOCAL_THREADS

    if address is None:
        yield LOCAL_THREADS
        return
    from lstmgan_dist.runtime.ray_cluster import await_room, connected

    with connected(address):
        await_room(WorkerSize(1, 1, 1, 0), say=warn)
        from lstmgan_dist.runtime.ray_tasks import RayTasks

        yield RayTasks()


@contextmanager
def result_and_workers(
    run: str, checkpoint: str, device: DeviceChoice, size: WorkerSize, address: str | None
) -> Iterator[tuple[Result, Workers]]:
    """A run's result and who works with it."""
    from lstmgan_dist.runs.result import load_result

    # What is wrong with the run is found out before anything is started.
    loaded = load_result(run, checkpoint, device="cpu" if size.most else device, say=warn)
    with workers_and_device(device, size, address) as (pool, their_device):
        yield replace(loaded, device_of_others=their_device), pool


@contextmanager
def workers_and_device(
    device: DeviceChoice, size: WorkerSize, address: str | None
) -> Iterator[tuple[Workers, DeviceChoice]]:
    """Who works: this process, or so many on Ray; and the device they take."""
    from lstmgan_dist.runtime.tasks import IN_PROCESS

    if not size.most:
        yield IN_PROCESS, device
        return
    from lstmgan_dist.runtime.ray_cluster import connected_for

    with connected_for(size, device=device, address=address, say=warn) as decided:
        from lstmgan_dist.runtime.ray_tasks import RayProcesses

        with RayProcesses(decided) as processes:
            yield processes, device if decided.gpus else "cpu"
