"""Pure functions over many items on a Ray cluster: as tasks, or in a number of processes that keep what they load.

To be imported where this process is connected to a cluster already (see `ray_cluster`).
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import lru_cache
from types import TracebackType
from typing import Any, Self, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

from lstmgan_dist.errors import UserError
from lstmgan_dist.runtime.worker_size import WorkerSize

Item = TypeVar("Item")
Part = TypeVar("Part")
Result = TypeVar("Result")

# How often the work on one item may lose its process before we give up.
_RETRIES = 3
# Parts of one item that are read before somebody works on them.
_PARTS_AHEAD = 4
# Items that are read at a time, at most.
_MOST_READERS = 32
# Reading takes little of a core, but some: a node that offers no cores (a head node often) is not to do it. As nobody
# reads more items than there are cores, there is always room for the work on one part somewhere.
_READING_CORES, _WORKING_CORES = 0.1, 0.9
# Results of a worker that may wait for those of slower ones.
_WAITING_PER_WORKER = 4
_SECONDS_TO_START = 120.0


class RayTasks:
    """As many tasks side by side as the cluster has cores; it may grow and shrink meanwhile."""

    def map_in_order(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        return _map_in_order(function, items)

    def map_parts_in_order(
        self,
        read: Callable[[Item], Iterator[Part]],
        function: Callable[[Part], Result],
        items: Sequence[Item],
    ) -> Iterator[Result]:
        """As in `ReadingWorkers`: the parts go from the node that reads them to the one that works on them."""
        with closing(_parts_in_order(read, items)) as parts:
            yield from _map_in_order(function, parts)


def _map_in_order(function: Callable[[Any], Result], items: Iterable[Any]) -> Iterator[Result]:
    """Results for items, or for what references refer to."""
    shared = _packed(function)
    under_way: deque[ray.ObjectRef] = deque()
    try:
        for item in items:
            under_way.append(_apply.remote(shared, item))
            if len(under_way) > 2 * _cores():
                yield _result(under_way.popleft())
        while under_way:
            yield _result(under_way.popleft())
    finally:
        _cancel(under_way)


def _parts_in_order(read: Callable[[Item], Iterator[Part]], items: Sequence[Item]) -> Generator[ray.ObjectRef]:
    """References to all parts; some items are read ahead, so that many small ones do not wait for each other."""
    shared = _packed(read)
    readers: deque[ray.ObjectRefGenerator] = deque()
    try:
        for item in items:
            readers.append(_parts.remote(shared, item))
            if len(readers) >= min(_cores(), _MOST_READERS):
                yield from readers[0]
                readers.popleft()
        while readers:
            yield from readers[0]
            readers.popleft()
    finally:
        _cancel(readers)


def _cancel(tasks: Iterable[Any]) -> None:
    # An iterator that nobody closed may end after the connection, and to cancel would open a new one.
    if ray.is_initialized():
        for task in tasks:
            ray.cancel(task)


def _cores() -> int:
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


_WORKING: dict[str, Any] = {"num_cpus": _WORKING_CORES, "max_retries": _RETRIES}
_READING: dict[str, Any] = {
    "num_cpus": _READING_CORES,
    "max_retries": _RETRIES,
    "num_returns": "streaming",
    "scheduling_strategy": "SPREAD",
    "_generator_backpressure_num_objects": _PARTS_AHEAD,
}


@ray.remote(**_WORKING)
def _apply(shared: list[ray.ObjectRef], item: Any) -> Any:
    return _fetched(shared[0])(item)


@ray.remote(**_READING)
def _parts(shared: list[ray.ObjectRef], item: Any) -> Iterator[Any]:
    # Not `yield from`: Ray sends into the generator, which an iterator does not take.
    for part in _fetched(shared[0])(item):  # noqa: UP028
        yield part


def _packed(function: Callable[..., Any]) -> list[ray.ObjectRef]:
    # In a list Ray does not unpack it for every call; and what goes wrong in unpacking bytes is an error like others.
    return [ray.put(pickle.dumps(function))]


@lru_cache(maxsize=4)
def _fetched(reference: ray.ObjectRef) -> Callable[..., Any]:
    """A function with all that is bound to it: fetched and unpacked once by each process."""
    return pickle.loads(ray.get(reference))


def _result(reference: ray.ObjectRef) -> Any:
    try:
        return ray.get(reference)
    except RayTaskError as error:
        # Ray raises a child of both its own error and the function's, whose text is a remote traceback.
        raise error.cause from error
    except RayError as error:
        raise UserError(
            f"A worker on the Ray cluster was lost {_RETRIES + 1} times at the same work ({_first_line(error)}): "
            "look for a lack of memory on its nodes."
        ) from error


def _first_line(error: Exception) -> str:
    return next((line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()), type(error).__name__)


class RayProcesses:
    """A fixed number of processes on a cluster, each with cores and GPUs of its own, that keep what they have loaded.

    Work begins as soon as the first of them has started; they end with the `with` block.
    """

    def __init__(self, size: WorkerSize) -> None:
        start = _Process.options(num_cpus=size.cpus, num_gpus=size.gpus, max_restarts=-1, max_task_retries=_RETRIES)
        self._processes: list[Any] = [start.remote() for _ in range(size.most)]
        self._has_begun = False
        # What each process is busy with: at first, with starting.
        self._busy: dict[ray.ObjectRef, Any] = {process.begin.remote(): process for process in self._processes}
        self._free: deque[Any] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in self._processes:
            ray.kill(process)

    def map_in_order(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        shared = _packed(function)
        under_way: deque[ray.ObjectRef] = deque()
        for item in items:
            process = self._free_process()
            call = process.apply.remote(shared, item)
            self._busy[call] = process
            under_way.append(call)
            while under_way and (len(under_way) > _WAITING_PER_WORKER * len(self._processes) or _is_done(under_way[0])):
                yield _result(under_way.popleft())
        while under_way:
            yield _result(under_way.popleft())

    def _free_process(self) -> Any:
        if not self._free:
            done, _ = ray.wait(list(self._busy), timeout=None if self._has_begun else _SECONDS_TO_START)
            if not done:
                raise UserError(
                    f"No worker has started within {_SECONDS_TO_START:.0f} s, for the cluster is busy with other work: "
                    "wait for that to end, or ask for workers with less (--cpus-per-worker, --gpus-per-worker)."
                )
            self._has_begun = True
            self._free.extend(self._busy.pop(call) for call in done)
        return self._free.popleft()


@ray.remote
class _Process:
    """Calls functions, one after the other."""

    def begin(self) -> None:
        """Nothing: the answer shows that the process is there."""

    def apply(self, shared: list[ray.ObjectRef], item: Any) -> Any:
        return _fetched(shared[0])(item)


def _is_done(call: ray.ObjectRef) -> bool:
    return bool(ray.wait([call], timeout=0)[0])
