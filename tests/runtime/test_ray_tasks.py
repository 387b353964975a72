"""A function over many items on a Ray cluster: in order, in bounded memory, whatever happens to its workers."""

import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from lstmgan_dist.errors import UserError
from lstmgan_dist.runtime.worker_size import WorkerSize

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(200), pytest.mark.usefixtures("local_ray")]


def tasks():
    from lstmgan_dist.runtime.ray_tasks import RayTasks

    return RayTasks()


def processes(workers, cpus=1.0):
    from lstmgan_dist.runtime.ray_tasks import RayProcesses

    return RayProcesses(WorkerSize(workers, workers, cpus, 0))


def die_once(mark: Path) -> None:
    """End this process the hard way, unless one has done so before."""
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def slow_at_first(number):
    time.sleep(0.2 / (1 + number))
    return number


def refuse_three(number):
    if number == 3:
        raise UserError("Three is too many.")
    if number == 5:
        raise ZeroDivisionError
    return number


def dying_on_seven(folder, number):
    if number == 7:
        die_once(folder / "seven")
    return number


def always_dying(number):
    os.kill(os.getpid(), signal.SIGKILL)


def parts_of(folder, item):
    for number in range(40):
        with (folder / f"read-{item}").open("a") as file:
            file.write(".")
        if item == "b" and number == 17:
            die_once(folder / "b")
        yield item, number


def broken_parts(item):
    yield item, 0
    raise UserError("The second part is torn.")


def same(part):
    return part


def own_process(number):
    time.sleep(0.02)
    return os.getpid()


def test_results_come_in_order_and_errors_as_they_are():
    assert list(tasks().map_in_order(slow_at_first, range(30))) == list(range(30))
    results = tasks().map_in_order(refuse_three, range(30))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(UserError, match=r"^Three is too many\.$") as raised:
        next(results)
    assert type(raised.value) is UserError
    with pytest.raises(ZeroDivisionError) as defect:
        list(tasks().map_in_order(refuse_three, [4, 5]))
    assert type(defect.value) is ZeroDivisionError


def test_parts_are_read_on_the_workers_a_few_ahead_and_again_if_a_reader_dies(tmp_path):
    results = tasks().map_parts_in_order(partial(parts_of, tmp_path), same, ["a", "b", "c"])
    assert next(results) == ("a", 0)
    time.sleep(1)
    assert len((tmp_path / "read-a").read_text()) < 30
    expected = [(item, number) for item in "abc" for number in range(40)]
    assert [("a", 0), *results] == expected
    assert (tmp_path / "b").exists()
    assert len((tmp_path / "read-b").read_text()) > 40


def test_an_error_of_a_reader_comes_in_its_place():
    results = tasks().map_parts_in_order(broken_parts, same, ["a", "b"])
    assert next(results) == ("a", 0)
    with pytest.raises(UserError, match=r"^The second part is torn\.$"):
        next(results)


def test_work_that_lost_its_process_is_done_again(tmp_path):
    assert list(tasks().map_in_order(partial(dying_on_seven, tmp_path), range(12))) == list(range(12))
    (tmp_path / "seven").unlink()
    with processes(2) as pool:
        assert list(pool.map_in_order(partial(dying_on_seven, tmp_path), range(12))) == list(range(12))
        # The pool is whole again.
        assert len(set(pool.map_in_order(own_process, range(20)))) == 2


def test_work_that_loses_every_process_is_given_up_in_one_line():
    with pytest.raises(UserError, match=r"was lost 4 times at the same work.*lack of memory") as raised:
        list(tasks().map_in_order(always_dying, [1]))
    assert "\n" not in str(raised.value)


def test_a_pool_keeps_its_processes_and_ends_them():
    with processes(2) as pool:
        used = set(pool.map_in_order(own_process, range(40)))
        assert used == set(pool.map_in_order(own_process, range(40)))
    assert len(used) == 2
    end = time.monotonic() + 10
    while any(Path(f"/proc/{process}").exists() for process in used) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{process}").exists() for process in used)
