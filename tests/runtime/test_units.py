"""Sums over units in one order, and the gradient that they give.

For runtime/tree.py, runtime/units.py and runtime/gradients.py; workers are in tests/training/test_exactness.py, and of
runtime/distributed.py here is what becomes of one that hangs.
"""

import random
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
from torch import nn

from lstmgan_dist.runtime.distributed import DistributedRuntime
from lstmgan_dist.runtime.gradients import GradientSum
from lstmgan_dist.runtime.local import LocalRuntime
from lstmgan_dist.runtime.signals import StopRequest
from lstmgan_dist.runtime.tree import add_up, part_of, total, whole_nodes
from lstmgan_dist.runtime.units import Units
from tests.bare_workers import side_by_side
from tests.waiting import wait_until

RUNTIME = LocalRuntime(torch.device("cpu"))


def bracketed(left, right):
    """An addition that tells its order, but not the sides, for these make no difference to a rounded sum."""
    return "(" + "+".join(sorted((left, right), key=lambda text: int(text.strip("()").split("+")[0].strip("(")))) + ")"


@pytest.mark.parametrize("units", [1, 2, 3, 5, 6, 8, 13])
def test_the_order_of_additions_depends_on_the_units_alone(units):
    root = range(units)
    leaves = {range(unit, unit + 1): str(unit) for unit in root}
    expected = total(leaves.items(), bracketed, root)
    for seed in range(5):
        shuffled = [*leaves.items()]
        random.Random(seed).shuffle(shuffled)
        assert total(shuffled, bracketed, root) == expected
    for workers in range(1, units + 1):
        nodes = []
        for rank in range(workers):
            own = part_of(units, rank, workers)
            sums = {}
            add_up(sums, [(range(unit, unit + 1), str(unit)) for unit in own], bracketed, root)
            assert [*sums] == whole_nodes(own, root)
            nodes += sums.items()
        assert total(nodes, bracketed, root) == expected


def test_a_power_of_two_of_workers_has_one_node_each():
    for workers in (1, 2, 4, 8, 16):
        assert all(len(whole_nodes(part_of(16, rank, workers), range(16))) == 1 for rank in range(workers))


@pytest.fixture
def four_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("four_threads")
def test_threads_take_one_core_each_and_leave_the_others_as_they_were():
    with Units(RUNTIME, 3) as units:
        assert units.threads == 3
        assert torch.get_num_threads() == 1
        assert units.map(lambda unit: (unit, torch.get_num_threads()), units.own) == [(0, 1), (1, 1), (2, 1)]
    assert torch.get_num_threads() == 4


def test_what_goes_wrong_in_a_unit_is_raised():
    with Units(RUNTIME, 2) as units, pytest.raises(ZeroDivisionError):
        units.map(lambda unit: 1 / unit, units.own)


class Affine(nn.Module):
    """Has a parameter that no loss depends on."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([2.0, 3.0]))
        self.unused = nn.Parameter(torch.tensor([1.0]))

    def forward(self, x):
        return (self.weight * x).sum()


@pytest.mark.usefixtures("four_threads")
def test_parameters_get_the_sum_of_the_units_gradients():
    objective = Affine()
    with Units(RUNTIME, 3) as units:
        gradients = GradientSum(objective, units, alone=False, leaves_out=True, compression="none")

        def loss(number):
            def of(module):
                return module(torch.tensor([1.0, float(number)])), f"unit {number}"

            return of

        assert gradients.backward([loss(unit) for unit in units.own]) == ["unit 0", "unit 1", "unit 2"]
    assert objective.weight.grad is not None
    assert objective.weight.grad.tolist() == [3.0, 3.0]
    assert objective.unused.grad is None


def _wait_for_one_that_hangs(rank, meeting, said):
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    runtime = DistributedRuntime(torch.device("cpu"), lambda: StopRequest.NONE, timeout=timedelta(seconds=2))
    with Units(runtime, 2) as units:
        objective = Affine()
        gradients = GradientSum(objective, units, alone=False, leaves_out=True, compression="none")
        runtime.barrier()
        if rank:
            wait_until(said.exists, what="the end of the other's patience")
            return
        try:
            gradients.backward([lambda module: (module(torch.ones(2)), None)])
        except RuntimeError as error:
            said.write_text(str(error))


@pytest.mark.slow
def test_a_worker_that_sends_no_gradients_is_waited_for_as_long_as_was_said(tmp_path):
    side_by_side(_wait_for_one_that_hangs, tmp_path / "meeting", tmp_path / "said", workers=2)
    assert "Timed out" in (tmp_path / "said").read_text()
