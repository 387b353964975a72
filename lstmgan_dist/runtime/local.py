"""One process: no Ray, no process group."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from lstmgan_dist.errors import UserError
from lstmgan_dist.runtime.base import GradientExchange
from lstmgan_dist.runtime.signals import StopRequest, StopSignal, stop_signals

T = TypeVar("T")

DeviceChoice = Literal["auto", "cpu", "cuda"]


class LocalRuntime:
    """A world of one worker, in which every collective is the identity."""

    rank = 0
    world_size = 1

    def __init__(self, device: torch.device, stop: StopSignal | None = None) -> None:
        self.device = device
        self._stop = stop or StopSignal()

    def parallel(self, objective: nn.Module, exchange: GradientExchange) -> nn.Module:
        return objective

    def average(self, tensors: list[Tensor]) -> None:
        pass

    def gather(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        return rows

    def exchange(self, own: T) -> list[T]:
        return [own]

    def stop_request(self) -> StopRequest:
        return StopRequest.NONE if self._stop.number is None else StopRequest.STOP

    def barrier(self) -> None:
        pass


def choose_device(wanted: DeviceChoice) -> torch.device:
    """The device of this process.

    Raises:
        UserError: if CUDA is wanted and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError("device: cuda is asked for, but this machine has no usable GPU: try device: auto.")
    return torch.device("cpu" if wanted == "cpu" or not torch.cuda.is_available() else "cuda")


def memory_of(device: torch.device) -> int:
    """Bytes that a process may use there: of the GPU, or of this machine or the container that it is in."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    limit = Path("/sys/fs/cgroup/memory.max")
    allowed = limit.read_text().strip() if limit.exists() else "max"
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(installed, int(allowed)) if allowed.isdigit() else installed


@contextmanager
def two_threads_or_more() -> Iterator[None]:
    """Meanwhile a process with one core, or one that trains, takes two threads.

    Matrix products round by the number of threads, so numbers are equal only where processes have as many. With this,
    workers of one core are equal to a process of two, which is the machine that most have; and judges of a run that is
    being trained are the same on all workers, whatever cores these have.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(max(2, threads))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def launch(function: Callable[[LocalRuntime], T], device: DeviceChoice) -> tuple[T, StopSignal]:
    """Run `function` in this process; tells its result, and whether it was asked to stop."""
    with stop_signals() as stop:
        return function(LocalRuntime(choose_device(device), stop)), stop
