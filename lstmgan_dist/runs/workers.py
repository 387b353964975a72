"""Who does the work on a run: this process, or workers on Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lstmgan_dist.errors import UserError
from lstmgan_dist.runtime.tasks import IN_PROCESS
from lstmgan_dist.runtime.worker_size import WorkerSize

if TYPE_CHECKING:
    from lstmgan_dist.runtime.local import DeviceChoice
    from lstmgan_dist.runtime.tasks import ReadingWorkers, Workers


def quiet(sentence: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Pool:
    """Workers that are there, and the device that they take."""

    workers: Workers
    device: DeviceChoice


# Whoever shares a piece of work: workers that are there, or that are to be there meanwhile.
Sharing = Pool | AbstractContextManager[Pool]


def for_the_work(workers: Sharing | None, device: DeviceChoice) -> AbstractContextManager[Pool]:
    """Meanwhile the workers are there; without any it is this process, with its device."""
    if workers is None:
        return nullcontext(Pool(IN_PROCESS, device))
    return nullcontext(workers) if isinstance(workers, Pool) else workers


def wanted_size(number: str | int, *, cpus: float | None, gpus: float | None, address: str | None) -> WorkerSize:
    """The workers that a piece of work is to have, on a local Ray or on that of an address.

    Raises:
        UserError: if `number` is none, or is 0 although there is an address.
    """
    size = WorkerSize.parse(str(number), cpus=cpus, gpus=gpus)
    if address and not size.most:
        raise UserError(f"--address {address} needs --workers, which says how many workers to start there.")
    return size


@contextmanager
def workers(
    number: str | int,
    *,
    gpus_per_worker: float | None = None,
    cpus_per_worker: float | None = None,
    address: str | None = None,
    device: DeviceChoice = "auto",
    say: Callable[[str], None] = quiet,
) -> Iterator[Pool]:
    """So many processes on Ray that share the work which they are given to, or all of it in a `with` block.

    gpus_per_worker, cpus_per_worker: what each takes; without, a GPU where the cluster has them, and one core or its
    share of this machine. address: the Ray cluster to join, `auto` or HOST:PORT; without, one of its own, here. device:
    which one they take. say: is told what is waited for. Of no workers at all, this process does the work, without Ray.

        run.write("s3://bucket/texts/", count=1_000_000, workers=lstmgan.workers(8, address="auto"))

    Raises:
        UserError: if there is no such cluster, or it has no room for them.
    """
    size = wanted_size(number, cpus=cpus_per_worker, gpus=gpus_per_worker, address=address)
    with pool_of(size, device, address, say=say) as pool:
        yield pool


@contextmanager
def pool_of(
    size: WorkerSize, device: DeviceChoice, address: str | None, *, say: Callable[[str], None]
) -> Iterator[Pool]:
    """The same for a size that is known."""
    if not size.most:
        yield Pool(IN_PROCESS, device)
        return
    from lstmgan_dist.runtime.ray_cluster import connected_for

    with connected_for(size, device=device, address=address, say=say) as decided:
        from lstmgan_dist.runtime.ray_tasks import RayProcesses

        with RayProcesses(decided) as processes:
            yield Pool(processes, device if decided.gpus else "cpu")


@contextmanager
def readers(address: str | None, *, say: Callable[[str], None]) -> Iterator[ReadingWorkers]:
    """Who prepares text: threads of this process, or the cluster at an address."""
    from lstmgan_dist.runtime.tasks import LOCAL_THREADS

    if address is None:
        yield LOCAL_THREADS
        return
    from lstmgan_dist.runtime.ray_cluster import await_room, connected

    with connected(address):
        await_room(WorkerSize(1, 1, 1, 0), say=say)
        from lstmgan_dist.runtime.ray_tasks import RayTasks

        yield RayTasks()
