"""Where workers synchronise: gradients by DistributedDataParallel, the rest by torch.distributed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import chain
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import GradBucket
from torch.nn.parallel import DistributedDataParallel

from lstmgan_dist.runtime.base import GradientExchange
from lstmgan_dist.runtime.signals import StopRequest
from lstmgan_dist.runtime.tree import part_of, total

# A barrier may wait for an upload, which a slow or failing storage can stretch, an exchange for the measurement of a
# sampler; a dead worker ends both at once.
_BARRIER_TIMEOUT = timedelta(hours=1)


T = TypeVar("T")


class DistributedRuntime:
    """One worker of an initialised process group.

    Args:
        device: where this worker computes.
        stop_request: what this worker has been asked for; called once a step, so it must not wait for anything.
        timeout: after which a worker that sends no gradients counts as lost; torch's own where none is given.
    """

    def __init__(
        self, device: torch.device, stop_request: Callable[[], StopRequest], *, timeout: timedelta | None = None
    ) -> None:
        self.device = device
        self.rank = dist.get_rank()
        self.world_size = dist.get_world_size()
        self._own_request = stop_request
        # On the CPU always, so that asking does not wait for a GPU.
        control = dist.new_group(backend="gloo", timeout=_BARRIER_TIMEOUT)
        assert isinstance(control, dist.ProcessGroup)
        self._control = control
        # Of gradients a thread speaks, in its own group and in the order of buckets, while the backward pass goes on.
        gradients = dist.new_group(timeout=timeout)
        assert isinstance(gradients, dist.ProcessGroup)
        self._gradients = gradients
        self._talk = ThreadPoolExecutor(1, "gradients")
        self._asking: tuple[Tensor, dist.Work] | None = None

    def parallel(self, objective: nn.Module, exchange: GradientExchange) -> nn.Module:
        if self.world_size == 1:
            return objective
        # Buffers are of what every worker has already.
        parallel = DistributedDataParallel(
            objective,
            find_unused_parameters=exchange.leaves_out,
            gradient_as_bucket_view=True,
            broadcast_buffers=False,
        )

        def reduce(bucket: GradBucket) -> Tensor:
            into_N = bucket.buffer()
            own_KN = exchange.own_sums(cast("list[nn.Parameter]", bucket.parameters()), bucket.gradients(), into_N)
            if exchange.compression == "bf16":
                return self._add_up_compressed(own_KN)
            return self._add_up(own_KN, exchange, into_N)

        def hook(state, bucket):  # DistributedDataParallel takes no annotation that is a string
            if self.device.type == "cuda":  # what follows is put in line there, and nothing waits
                future = torch.futures.Future(devices=[self.device])
                future.set_result(reduce(bucket))
                return future
            future = torch.futures.Future()
            self._talk.submit(_fulfil, future, reduce, bucket)
            return future

        parallel.register_comm_hook(None, hook)
        return parallel

    def _add_up(self, own_KN: Tensor, exchange: GradientExchange, into_N: Tensor) -> Tensor:
        """The sum of the nodes of all workers, in the order of the tree; what each had of its own is lost.

        Each worker adds up one shard of the numbers and sends it to all: the bytes of a ring where each has one node.
        """
        workers, nodes = range(self.world_size), exchange.nodes
        shards = [part_of(len(into_N), worker, self.world_size) for worker in workers]
        own_WKS = [own_KN[:, shard.start : shard.stop].contiguous() for shard in shards]
        mine_WKS = [own_KN.new_empty(len(nodes[worker]), len(shards[self.rank])) for worker in workers]
        mine_WKS[self.rank] = own_WKS[self.rank]
        self._swap(own_WKS, mine_WKS)
        all_nodes = chain(*(zip(*pair, strict=True) for pair in zip(nodes, mine_WKS, strict=True)))
        sums_W = [into_N[shard.start : shard.stop] for shard in shards]
        sums_W[self.rank].copy_(total(all_nodes, torch.Tensor.add_, exchange.root))
        self._swap([sums_W[self.rank]] * self.world_size, sums_W)
        return into_N

    def _swap(self, given_W: Sequence[Tensor], taken_W: Sequence[Tensor]) -> None:
        """Give each of the others a tensor, and take one from it: twice as fast as gloo's collectives for the same."""
        others = [worker for worker in range(self.world_size) if worker != self.rank]
        messages = [dist.P2POp(dist.isend, given_W[other], other, self._gradients) for other in others]
        messages += [dist.P2POp(dist.irecv, taken_W[other], other, self._gradients) for other in others]
        for message in dist.batch_isend_irecv(messages):
            message.wait()

    def _add_up_compressed(self, own_KN: Tensor) -> Tensor:
        """The same in bf16, added up in any order."""
        half = own_KN.sum(0).bfloat16()
        dist.all_reduce(half, group=self._gradients)
        return half.float()

    @torch.no_grad()
    def average(self, tensors: list[Tensor]) -> None:
        # One message for all of them.
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        flat /= self.world_size
        for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))

    def gather(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        # Collectives take one shape; workers may have different numbers of units.
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        everyone = padded.new_empty(len(counts) * len(padded), *rows.shape[1:])
        dist.all_gather_into_tensor(everyone, padded)
        parts = everyone.view(len(counts), *padded.shape)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

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


def _fulfil(future: torch.futures.Future[Tensor], reduce: Callable[[GradBucket], Tensor], bucket: GradBucket) -> None:
    try:
        future.set_result(reduce(bucket))
    except Exception as error:  # it is raised where the backward pass waits
        future.set_exception(error)  # pyright: ignore[reportArgumentType]  (its stub is wrong)
