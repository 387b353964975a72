"""What a person may ask of workers, and what a job can have."""

import pytest

from lstmgan_dist.errors import UserError
from lstmgan_dist.runtime.worker_size import WorkerSize


@pytest.mark.parametrize(
    ("asked", "size"),
    [("4", WorkerSize(4, 4)), ("2..8", WorkerSize(2, 8)), ("3..3", WorkerSize(3, 3)), ("0", WorkerSize(0, 0))],
)
def test_a_number_or_a_range_of_workers_is_read_and_written_alike(asked, size):
    assert WorkerSize.parse(asked) == size
    assert WorkerSize.parse(size.number) == size


@pytest.mark.parametrize("asked", ["4..2", "0..4", "-1", "1.5", "2..", "..2", "many", ""])
def test_what_is_no_number_of_workers_is_refused(asked):
    with pytest.raises(UserError, match=r"^--workers .*: write a number such as 4, or a range such as 2\.\.8\.$"):
        WorkerSize.parse(asked)


def test_a_size_reads_as_a_person_says_it():
    assert str(WorkerSize(1, 1, 1, 0)) == "1 worker with 1 CPU each"
    assert str(WorkerSize(2, 8, 0.5, 1)) == "2 to 8 workers with 0.5 CPUs and 1 GPU each"


def test_more_workers_than_units_are_refused():
    with pytest.raises(UserError, match=r"9 workers cannot share batch.units 8: try 8 workers or fewer, or --set"):
        WorkerSize(2, 9).check_units(8)


@pytest.mark.parametrize("workers", range(9))
def test_any_other_number_will_do_and_one_process_without_ray_has_every_unit(workers):
    WorkerSize(workers, workers).check_units(8)
