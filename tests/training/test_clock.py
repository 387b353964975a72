import pytest

from lstmgan_dist.config import Job, parse_job
from lstmgan_dist.runtime.signals import StopRequest
from lstmgan_dist.training.clock import Clock, Due
from lstmgan_dist.training.progress import Progress

JOB = """
name: clocked
corpus: {source: text.txt}
phases:
  - {kind: likelihood, epochs: 2.5, early_stop: 3}
  - {kind: adversarial, steps: 7, discriminator_updates: 2, loss: relativistic, estimator: {kind: gumbel_softmax}}
discriminator: {kind: lstm}
evaluate: {every: 1 epoch}
checkpoint: {every: 4 steps}
log: {every: 3 steps}
"""
NOTHING = Due(log=False, evaluate=False, checkpoint=False, save=False, stop=False)


def clock(batches_per_epoch: float = 10.2, *overrides: str) -> Clock:
    job: Job = parse_job(JOB, name="clocked.yaml", overrides=overrides)
    return Clock(job, batches_per_epoch)


def at(phase_step: int, phase: int = 0, **values) -> Progress:
    return Progress(step=100, phase=phase, phase_step=phase_step, **values)


def due_steps(found: list[Due], name: str) -> list[int]:
    return [number for number, due in enumerate(found, start=1) if getattr(due, name)]


def test_everything_is_due_at_the_ends_of_its_intervals_and_of_the_phase():
    here = clock()
    assert here.steps(0) == 26  # 2.5 * 10.2, rounded
    found = [here.due(at(step), synchronised=True) for step in range(1, 27)]
    assert due_steps(found, "log") == [3, 6, 9, 12, 15, 18, 21, 24, 26]
    assert due_steps(found, "evaluate") == [10, 20, 26]
    assert due_steps(found, "save") == [4, 8, 12, 16, 20, 24, 26]
    assert due_steps(found, "stop") == []
    assert [step for step in range(1, 27) if here.is_meeting(at(step))] == [4, 8, 10, 12, 16, 20, 24, 26]


def test_an_epoch_of_a_game_is_as_many_steps_as_read_the_text_once():
    # Three batches a step: 10.2 / 3 is 3, rounded.
    here = clock()
    assert here.steps(1) == 7
    found = [here.due(at(step, phase=1), synchronised=True) for step in range(1, 8)]
    assert due_steps(found, "evaluate") == [3, 6, 7]


def test_a_text_of_less_than_a_batch_has_epochs_of_one_step():
    here = clock(0.3)
    assert here.steps(0) == 1
    assert here.due(at(1, phase=1), synchronised=True).evaluate


@pytest.mark.parametrize(("step", "stale", "over"), [(25, 0, False), (26, 0, True), (9, 2, False), (9, 3, True)])
def test_a_phase_is_over_after_its_steps_or_when_it_no_longer_gets_better(step, stale, over):
    assert clock().is_over(at(step, evaluations_since_best=stale)) == over


def test_a_request_to_save_is_granted_once():
    here = clock()
    here.hear(StopRequest.SAVE)
    assert here.due(at(1), synchronised=True) == Due(log=False, evaluate=False, checkpoint=False, save=True, stop=False)
    assert here.due(at(2), synchronised=True) == NOTHING


def test_a_request_waits_until_the_workers_have_the_same_weights_and_the_greatest_counts():
    here = clock()
    here.hear(StopRequest.STOP)
    assert here.due(at(1), synchronised=False) == NOTHING
    here.hear(StopRequest.SAVE)
    here.hear(StopRequest.NONE)
    assert here.due(at(2), synchronised=False) == NOTHING
    assert here.due(at(5), synchronised=True) == Due(log=False, evaluate=False, checkpoint=False, save=True, stop=True)
