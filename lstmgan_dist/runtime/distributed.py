"""Where workers synchronise: gradients by DistributedDataParallel, the rest by torch.distributed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torch.nn.parallel import DistributedDataParallel

from lstmgan_dist.runtime.signals import StopRequest

# A barrier may wait for an upload, which a slow or failing storage can stretch, an exchange for the measurement of a
# sampler; a dead worker ends both at once.
_BARRIER_TIMEOUT = timedelta(hours=1)


T = TypeVar("T")


class DistributedRuntime:
    """One worker of an initialised process group.

    Args:
        device: where this worker computes.
        stop_request: what this worker has been asked for; called once a step, so it must not wait for anything.
    """

    def __init__(self, device: torch.device, stop_request: Callable[[], StopRequest]) -> None:
        self.device = device
        self.rank = dist.get_rank()
        self.world_size = dist.get_world_size()
        self._own_request = stop_request
        # On the CPU always, so that asking does not wait for a GPU.
        control = dist.new_group(backend="gloo", timeout=_BARRIER_TIMEOUT)
        assert isinstance(control, dist.ProcessGroup)
        self._control = control
        self._asking: tuple[Tensor, dist.Work] | None = None

    def parallel(self, objective: nn.Module, *, compression: Literal["none", "bf16"] = "none") -> nn.Module:
        # Without find_unused_parameters DDP lays its buckets out anew after the first update, and more than two workers
        # then add gradients up in another order than after a resume.
        parallel = DistributedDataParallel(
            objective, broadcast_buffers=False, find_unused_parameters=True, gradient_as_bucket_view=True
        )
        if compression == "bf16":
            parallel.register_comm_hook(None, bf16_compress_hook)
        return parallel

    def accumulating(self, objective: nn.Module) -> AbstractContextManager[object]:
        assert isinstance(objective, DistributedDataParallel)
        return objective.no_sync()

    def sum(self, tensor: Tensor) -> Tensor:
        total = tensor.detach().clone()
        dist.all_reduce(total)
        return total

    @torch.no_grad()
    def average(self, tensors: list[Tensor]) -> None:
        # One message for all of them.
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        flat /= self.world_size
        for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))

    def gather(self, rows: Tensor) -> Tensor:
        counts = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(self.world_size)]
        dist.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
        most = int(max(counts))
        # Collectives take one shape; workers of an elastic group may own different numbers of lanes.
        padded = rows.new_zeros(most, *rows.shape[1:])
        padded[: len(rows)] = rows
        everyone = [torch.empty_like(padded) for _ in range(self.world_size)]
        dist.all_gather(everyone, padded)
        return torch.cat([part[: int(count)] for part, count in zip(everyone, counts, strict=True)])

    def exchange(self, own: T) -> list[T]:
        everyone: list[Any] = [None] * self.world_size
        dist.all_gather_object(everyone, own, group=self._control)
        return everyone

    def stop_request(self) -> StopRequest:
        # The answer of one step is read at the next, so that nobody waits for it.
        answered, requests = self._asking, torch.tensor(int(self._own_request()))
        work = dist.all_reduce(requests, op=dist.ReduceOp.MAX, group=self._control, async_op=True)
        assert work is not None
        self._asking = requests, work
        if answered is None:
            return StopRequest.NONE
        answered[1].wait()
        return StopRequest(int(answered[0]))

    def barrier(self) -> None:
        dist.barrier(group=self._control)
