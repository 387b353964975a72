"""When things are due: how long a phase and an epoch are in steps, and what is to be done after each step."""

from __future__ import annotations

from dataclasses import dataclass

from lstmgan_dist.config import Job
from lstmgan_dist.phases.kind import Phase
from lstmgan_dist.runtime.signals import StopRequest
from lstmgan_dist.settings import Interval
from lstmgan_dist.training.progress import Progress


@dataclass(frozen=True)
class Due:
    """What is to be done after a step.

    checkpoint: one of those that every run of the job has. save: that, or one which somebody has asked for. stop: once
    it is saved.
    """

    log: bool
    evaluate: bool
    checkpoint: bool
    save: bool
    stop: bool

    @property
    def anything(self) -> bool:
        """Whether the step is to be looked at."""
        return self.log or self.evaluate or self.save


class Clock:
    """The clock of a run's phases, read after each step; it also keeps a request to save or stop until that can be.

    batches_per_epoch: of one pass over the training text.
    """

    def __init__(self, job: Job, batches_per_epoch: float) -> None:
        self._job = job
        self._batches_per_epoch = batches_per_epoch
        self._request = StopRequest.NONE

    def steps(self, phase: int) -> int:
        """The most steps that a phase takes."""
        return steps_of(self._job.phases[phase], self._batches_per_epoch)

    def hear(self, request: StopRequest) -> None:
        """Take in what the workers are asked for; the greatest request that waits is the one that counts."""
        self._request = max(self._request, request)

    def is_meeting(self, progress: Progress) -> bool:
        """Whether this step is one at which all workers are to have the same weights, for these are saved or judged."""
        return self._is_end_of(self._job.checkpoint.every, progress) or self._is_end_of(
            self._job.evaluate.every, progress
        )

    def due(self, progress: Progress, *, synchronised: bool) -> Due:
        """What is to be done after this step.

        synchronised: whether all workers have the same weights. A request waits until they have: to average the weights
        for its sake would change the numbers.
        """
        granted = StopRequest.NONE
        if synchronised:
            granted, self._request = self._request, granted
        checkpoint = self._is_end_of(self._job.checkpoint.every, progress)
        return Due(
            log=self._is_end_of(self._job.log.every, progress),
            evaluate=self._is_end_of(self._job.evaluate.every, progress),
            checkpoint=checkpoint,
            save=checkpoint or granted is not StopRequest.NONE,
            stop=granted is StopRequest.STOP,
        )

    def is_over(self, progress: Progress) -> bool:
        """Whether the phase has run its steps, or stopped getting better."""
        early_stop = self._job.phases[progress.phase].early_stop
        has_stalled = early_stop is not None and progress.evaluations_since_best >= early_stop
        return progress.phase_step >= self.steps(progress.phase) or has_stalled

    def _is_end_of(self, interval: Interval, progress: Progress) -> bool:
        """Whether the step ends an interval, or the phase."""
        batches_per_step = self._job.phases[progress.phase].batches_per_step
        steps_per_epoch = max(1, round(self._batches_per_epoch / batches_per_step))
        is_last = progress.phase_step >= self.steps(progress.phase)
        return is_last or progress.phase_step % interval.steps(steps_per_epoch) == 0


def steps_of(phase: Phase, batches_per_epoch: float) -> int:
    """The most steps that a phase takes, where an epoch is over when as many batches were read as the text holds."""
    if phase.steps is not None:
        return phase.steps
    assert phase.epochs is not None
    return max(1, round(phase.epochs * batches_per_epoch / phase.batches_per_step))
