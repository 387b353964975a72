"""Work beside the step loop is done in order, one piece at once, and what fails is heard of."""

import threading

import pytest

from lstmgan_dist.training.background import OneAtATime


def fail():
    raise ZeroDivisionError


def test_a_piece_begins_when_the_one_before_is_done():
    done, door = [], threading.Event()

    def first():
        door.wait(60)
        done.append(1)

    with OneAtATime() as background:
        background.start(first)
        background.check()  # does not wait
        assert done == []
        door.set()
        background.start(lambda: done.append(2))
        assert done[0] == 1
    assert done == [1, 2]


def test_what_a_piece_raises_is_raised_once():
    with OneAtATime() as background:
        background.start(fail)
        with pytest.raises(ZeroDivisionError):
            background.wait()
        background.wait()


def begin_and_end_with(error):
    with OneAtATime() as background:
        background.start(fail)
        if error:
            raise error


@pytest.mark.parametrize("error", [None, KeyError()])
def test_the_end_raises_what_a_piece_has_raised_unless_the_block_failed_already(error):
    with pytest.raises(type(error) if error else ZeroDivisionError):
        begin_and_end_with(error)
