"""What a person, or a log, is shown of a piece of work."""

from types import SimpleNamespace

import pytest

from lstmgan_dist.commands.terminal import watch
from lstmgan_dist.training import screen


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test moves."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr("time.monotonic", lambda: clock.now)
    return clock


def test_a_log_gets_a_line_now_and_then_and_none_of_what_takes_seconds(clock, capsys):
    for _ in watch(range(9), 9, "drawing"):
        clock.now += 1
    assert capsys.readouterr().err == ""
    seen = []
    for item in watch(range(100), 100, "drawing"):
        seen.append(item)
        clock.now += 4
    assert seen == list(range(100))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "drawing 4/100, 4:48 left"
    assert len(lines) == 33


def test_lines_of_a_log_leave_ten_seconds_between_them(clock):
    written = []
    lines = screen.LogLines(written.append, first_at_once=True)
    for done in range(25):
        lines.offer(f"{done}/25, ", seconds_left=25 - done)
        clock.now += 1
    assert written == ["0/25, 0:25 left", "11/25, 0:14 left", "22/25, 0:03 left"]
