"""One process: no Ray, no process group."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import FrameType
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from lstmgan_dist.errors import UserError

T = TypeVar("T")


class LocalRuntime:
    """A world of one worker, in which every collective is the identity."""

    rank = 0
    world_size = 1

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stop_signal: int | None = None

    def parallel(self, objective: nn.Module) -> nn.Module:
        return objective

    def accumulating(self, objective: nn.Module) -> AbstractContextManager[object]:
        return nullcontext()

    def sum(self, tensor: Tensor) -> Tensor:
        return tensor.detach()

    def gather(self, rows: Tensor) -> Tensor:
        return rows

    def should_stop(self) -> bool:
        return self.stop_signal is not None

    def barrier(self) -> None:
        pass


def choose_device(wanted: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """The device of this process.

    Raises:
        UserError: if CUDA is wanted and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError("device: cuda is asked for, but this machine has no usable GPU: try device: auto.")
    return torch.device("cpu" if wanted == "cpu" or not torch.cuda.is_available() else "cuda")


def launch(function: Callable[[LocalRuntime], T], device: Literal["auto", "cpu", "cuda"]) -> T:
    """Run `function` in this process; Ctrl-C or SIGTERM asks it to stop, and a second one no longer asks."""
    runtime = LocalRuntime(choose_device(device))
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        runtime.stop_signal = number
        signal.signal(number, previous[signal.Signals(number)])

    for number in previous:
        signal.signal(number, ask_to_stop)
    try:
        return function(runtime)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
