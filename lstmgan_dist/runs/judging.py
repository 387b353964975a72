"""Judging runs, as the command and Python programs ask for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from lstmgan_dist import config
from lstmgan_dist.errors import UserError
from lstmgan_dist.runs.opened import SAMPLES
from lstmgan_dist.runs.preparation import Paths, names_of
from lstmgan_dist.runs.workers import Sharing, for_the_work, quiet
from lstmgan_dist.runtime.tasks import unwatched

if TYPE_CHECKING:
    from lstmgan_dist.evaluation.findings import ContestFindings
    from lstmgan_dist.runtime.local import DeviceChoice
    from lstmgan_dist.runtime.tasks import Watch


def judge(
    runs: Paths,
    *,
    temperatures: str | Sequence[float] = "0.6..1.3",
    seeds: int = 3,
    samples: int = SAMPLES,
    checkpoint: str | int = "best",
    heldout: Paths = (),
    encoder: str | None = None,
    device: DeviceChoice = "auto",
    workers: Sharing | None = None,
    watch: Watch = unwatched,
    say: Callable[[str], None] = quiet,
) -> ContestFindings:
    """Judge runs of one corpus as `lstmgan evaluate` does: figures, verdicts, and a report in each. It takes minutes.

    What was measured is kept with the corpus: the same call goes on where it was stopped.

    Args:
        runs: Folders or URLs.
        temperatures: to sample at: a range in tenths such as `0.6..1.3`, or numbers.
        seeds: times that everything is drawn and learnt anew.
        samples: texts drawn for each temperature and seed.
        checkpoint: as of `lstmgan.open`.
        heldout: files of more held-out text, which no run has seen.
        encoder: `sentence-transformers:MODEL`, which embeds texts; the judge without.
        device: `auto` takes a GPU where there is one; `workers` have their own.
        workers: who shares the work: see `lstmgan.workers`; this process without.
        watch: shows progress: passes items on.
        say: is told which checkpoints these are, and what a person should know.

    Raises:
        UserError: if the runs cannot be compared, or there is too little held-out text.

    >>> lstmgan.judge("runs/tiny", samples=30)
    Traceback (most recent call last):
    lstmgan_dist.errors.UserError: --samples: 30 will not do: it must be 300 or more.
    """
    settings = config.check_frontier(temperatures=_numbers(temperatures), seeds=seeds, samples=samples)
    from lstmgan_dist.evaluation.embedding import encoder_called
    from lstmgan_dist.runs import contest

    embedding = encoder_called(encoder) if encoder else None
    entries = contest.enter_all(names_of(runs), str(checkpoint), say=say)
    with for_the_work(workers, device) as pool:
        found = contest.hold(
            entries,
            settings,
            encoder=embedding,
            workers=pool.workers,
            watch=watch,
            device=pool.device,
            heldout=names_of(heldout),
            say=lambda sentence: say(f"Note: {sentence}"),
        )
    contest.write(entries, found)
    return found


def _numbers(wanted: str | Sequence[float]) -> tuple[float, ...]:
    """The temperatures of `0.6..1.3`, in tenths, or of `0.7,1`."""
    if not isinstance(wanted, str):
        return tuple(wanted)
    number = r"\d+(?:\.\d+)?"
    if match := re.fullmatch(rf"({number})\.\.({number})", wanted):
        first, last = float(match[1]), float(match[2])
        if last < first:
            raise UserError(f"--temperatures {wanted}: a range begins with its lower end: {match[2]}..{match[1]}.")
        return tuple(round(first + step / 10, 6) for step in range(round((last - first) * 10) + 1))
    if re.fullmatch(rf"{number}(?:,{number})*", wanted):
        return tuple(map(float, wanted.split(",")))
    raise UserError(f"--temperatures {wanted}: write a range such as 0.6..1.3, or a list such as 0.7,0.85,1.")
