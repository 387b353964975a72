"""A function over many items by threads of this process."""

import threading
import time

import pytest

from lstmgan_dist.errors import UserError
from lstmgan_dist.runtime.tasks import InProcess, Threads


def test_results_come_in_order_however_long_each_takes():
    def slow_at_first(number):
        time.sleep(0.05 / (1 + number))
        return number

    assert list(Threads(4).map_in_order(slow_at_first, range(20))) == list(range(20))
    assert list(InProcess().map_in_order(slow_at_first, range(20))) == list(range(20))


def test_only_so_many_parts_are_read_ahead():
    read = []

    def parts(item):
        for number in range(50):
            read.append((item, number))
            yield number

    results = Threads(3).map_parts_in_order(parts, lambda part: part, ["a", "b"])
    assert next(results) == 0
    assert len(read) <= 4
    assert list(results) == [*range(1, 50), *range(50)]


def test_an_error_is_raised_as_it_is_and_ends_the_threads():
    def refuse(number):
        if number == 3:
            raise UserError("Three is too many.")
        return number

    results = Threads(2).map_in_order(refuse, range(10**9))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(UserError, match=r"^Three is too many\.$"):
        next(results)
    assert threading.active_count() == 1 or all("ThreadPool" not in thread.name for thread in threading.enumerate())
