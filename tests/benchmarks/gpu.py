"""What only a GPU can show: how much of an update it computes, what bf16 gives there, and what exact kernels cost."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from lstmgan_dist.phases.optimizer import Optimizer
from lstmgan_dist.runtime.units import kernels_that_repeat_themselves
from tests.benchmarks.exactness import CAPTIONS, updates
from tests.benchmarks.players import learner
from tests.benchmarks.table import Row
from tests.benchmarks.timing import fastest
from tests.benchmarks.updates import real_text

_ROUNDS = 10


def rows() -> Iterator[Row]:
    """Of each kind of update at the sizes of the recipes for COCO captions; nothing where there is no GPU."""
    if not torch.cuda.is_available():
        return
    text, optimizer = real_text(CAPTIONS), Optimizer(learning_rate=1e-4)
    for name, (network, objective, opponent, schedules) in updates().items():
        player = partial(learner, network, objective, opponent, text, optimizer=optimizer, schedules=schedules)
        single, half = player(), player(precision="bf16")
        exact, free, in_half = fastest(_exactly(single), single, half, rounds=_ROUNDS)
        busy, waits = _seconds_of_kernels(single), _waits_of_the_host(single)
        note = f"the host waits {waits} times for the GPU"
        yield Row(f"{name}: kernels", busy, "s", free, "whole update", busy / free, 0.9, note)
        yield Row(f"{name} in bf16", in_half, "s", free, "fp32", free / in_half, 1.0)
        yield Row(f"{name} by exact kernels", exact, "s", free, "torch's choice", free / exact, 0.95)


def _exactly(update: Callable[[], None]) -> Callable[[], None]:
    def exact() -> None:
        with kernels_that_repeat_themselves():
            update()

    return exact


def _seconds_of_kernels(update: Callable[[], None]) -> float:
    """How long the GPU computes or copies in one update."""
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as record:
        for _ in range(_ROUNDS):
            update()
        torch.cuda.synchronize()
    events = record.events()
    assert events is not None, "it has ended"
    ranges = sorted(
        (event.time_range.start, event.time_range.end) for event in events if event.device_type == DeviceType.CUDA
    )
    busy, until = 0.0, 0.0
    for start, end in ranges:
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    return busy / 1e6 / _ROUNDS


def _waits_of_the_host(update: Callable[[], None]) -> int:
    """How often it asks for a number that the GPU has yet to compute."""
    torch.cuda.set_sync_debug_mode("warn")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        update()
    torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(warning.message) for warning in caught)
