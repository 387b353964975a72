"""What a person sees of a run on the terminal: one progress bar, and a sentence now and then."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol, Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

Item = TypeVar("Item")

_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_BETWEEN_TICKS = 0.2

# A call of a screen, on its way from a worker to the terminal: (method, arguments).
Message = tuple[str, dict[str, Any]]


class Screen(Protocol):
    """Where a run tells how it goes on."""

    def begin_phase(self, *, number: int, name: str, done: int, total: int, step: int) -> None:
        """Phase `number`, of `total` steps, of which `done` are behind, begins or is resumed; the run is at `step`."""
        ...

    def tick(self, *, done: int) -> None:
        """So many steps of the phase are over."""
        ...

    def show(self, *, losses: Mapping[str, float], tokens_per_second: float) -> None:
        """The latest losses."""
        ...

    def report(self, *, step: int, figures: Mapping[str, float]) -> None:
        """What an evaluation after this step found."""
        ...

    def saved(self) -> None:
        """A checkpoint of the last step is whole."""
        ...

    def say(self, sentence: str) -> None:
        """A sentence worth keeping."""
        ...


class LogLines:
    """Progress in a log, where no bar can move: a line now and then, with the time that is left."""

    def __init__(self, write: Callable[[str], object], *, first_at_once: bool) -> None:
        self._write = write
        self._written_at = -math.inf if first_at_once else time.monotonic()

    def offer(self, progress: str, *, seconds_left: float) -> None:
        """Write what has been done, such as `1/8, `, and the time left; but not so soon after the last line."""
        now = time.monotonic()
        if now - self._written_at > _SECONDS_BETWEEN_LINES:
            self._written_at = now
            self._write(f"{progress}{duration(seconds_left)} left")


def write_progress(
    items: Iterable[Item], total: int, description: str, write: Callable[[str], object]
) -> Iterator[Item]:
    """The items, while a line now and then says how many have gone by; what takes seconds needs none."""
    lines, started = LogLines(write, first_at_once=False), time.monotonic()
    for done, item in enumerate(items, start=1):
        seconds_each = (time.monotonic() - started) / done
        lines.offer(f"{description} {done}/{total}, ", seconds_left=seconds_each * (total - done))
        yield item


class Terminal:
    """A bar where there is a terminal, else a line now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = _bar(console) if console.is_terminal else None
        self._task: Any = None
        self._meter = _Meter()
        self._lines = LogLines(self.say, first_at_once=True)
        self._name = ""
        self._total = self._done = 0
        # The phase, and the step of it, that the run has ever got to.
        self.furthest = (0, 0)
        self._number = 0

    def begin_phase(self, *, number: int, name: str, done: int, total: int, step: int) -> None:
        self._number, self._name, self._total, self._done = number, name, total, done
        self._meter = _Meter()
        if self._bar:
            self._bar.start()
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(name, total=total, completed=done, losses="")

    def tick(self, *, done: int) -> None:
        self._meter.step(done - self._done)
        self._done = done
        self.furthest = max(self.furthest, (self._number, done))
        if self._bar:
            self._bar.update(self._task, completed=done)

    def show(self, *, losses: Mapping[str, float], tokens_per_second: float) -> None:
        words = "  ".join(f"{name.split('/')[0]} {name.split('/')[1]} {value:.3f}" for name, value in losses.items())
        words += f"  {tokens_per_second:,.0f} tokens/s"
        if self._bar:
            self._bar.update(self._task, losses=words)
        else:
            seconds_left = self._meter.seconds_per_step * (self._total - self._done)
            self._lines.offer(f"{self._name} {self._done}/{self._total}  {words}  ", seconds_left=seconds_left)

    def report(self, *, step: int, figures: Mapping[str, float]) -> None:
        words = "  ".join(f"{name} {value:.4f}" for name, value in figures.items())
        self.say(f"step {step}: {words}")

    def saved(self) -> None:
        pass  # nobody waits for it

    def say(self, sentence: str) -> None:
        (self._bar.console if self._bar else self._console).print(
            sentence, markup=False, highlight=False, soft_wrap=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        # The bar is left as it stands.
        if self._bar:
            self._bar.stop()


class Sentences(Terminal):
    """No terminal: whoever hears it is told sentences, and a line now and then."""

    def __init__(self, hear: Callable[[str], object]) -> None:
        super().__init__(Console(quiet=True, force_terminal=False))
        self._hear = hear

    def say(self, sentence: str) -> None:
        self._hear(sentence)


class Relay:
    """A screen elsewhere: each call becomes a message, and of ticks that come fast the last one does."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        self._forward = send
        self._done: int | None = None  # of a tick that has not been sent
        self._ticked_at = 0.0

    def begin_phase(self, *, number: int, name: str, done: int, total: int, step: int) -> None:
        self._send("begin_phase", number=number, name=name, done=done, total=total, step=step)

    def tick(self, *, done: int) -> None:
        self._done = done
        if time.monotonic() - self._ticked_at > _SECONDS_BETWEEN_TICKS:
            self._send_tick()

    def show(self, *, losses: Mapping[str, float], tokens_per_second: float) -> None:
        self._send("show", losses=dict(losses), tokens_per_second=tokens_per_second)

    def report(self, *, step: int, figures: Mapping[str, float]) -> None:
        self._send("report", step=step, figures=dict(figures))

    def saved(self) -> None:
        self._send("saved")

    def say(self, sentence: str) -> None:
        self._send("say", sentence=sentence)

    def _send(self, name: str, /, **arguments: Any) -> None:
        self._send_tick()
        self._forward((name, arguments))

    def _send_tick(self) -> None:
        if self._done is not None:
            self._forward(("tick", {"done": self._done}))
            self._done, self._ticked_at = None, time.monotonic()


def replay(message: Message, screen: Screen) -> None:
    """Make the call that a `Relay` has sent."""
    name, arguments = message
    getattr(screen, name)(**arguments)


def tells_of_checkpoint(message: Message) -> bool:
    """Whether a `Relay` says by it that a checkpoint is whole."""
    return message[0] == "saved"


class _Meter:
    """Seconds a step takes, over the recent past."""

    def __init__(self) -> None:
        self.seconds_per_step = 0.0
        self._last: float | None = None

    def step(self, steps: int) -> None:
        """So many steps are over."""
        now = time.monotonic()
        if self._last is not None and steps > 0:
            taken = (now - self._last) / steps
            self.seconds_per_step += (taken - self.seconds_per_step) * (0.05 if self.seconds_per_step else 1.0)
        self._last = now


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed}/{task.total}"),
        TextColumn("[dim]{task.fields[losses]}"),
        TimeRemainingColumn(),
        console=console,
    )


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, as on a clock."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
