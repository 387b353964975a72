"""What a run tells becomes figures; that Prometheus gets them is tested in tests/runtime/test_ray_jobs.py."""

import time

import pytest

from lstmgan_dist.training.gauges import GAUGES, GaugeReading, RunGauges


@pytest.fixture
def gauges():
    made = RunGauges()
    made.begin_phase(number=2, name="3/4 adversarial", done=10, total=40, step=110)
    return made


def test_before_anything_is_measured_only_its_place_is_known(gauges):
    assert set(gauges.readings()) == {
        GaugeReading("lstmgan_step", 110),
        GaugeReading("lstmgan_phase", 3),
        GaugeReading("lstmgan_phase_share", 0.25),
        GaugeReading("lstmgan_restarts", 0),
    }


def test_steps_are_counted_over_phases_and_fall_with_a_restart(gauges):
    gauges.tick(done=30)
    assert GaugeReading("lstmgan_step", 130) in gauges.readings()
    assert GaugeReading("lstmgan_phase_share", 0.75) in gauges.readings()
    gauges.restarted()
    gauges.begin_phase(number=2, name="3/4 adversarial", done=20, total=40, step=120)
    assert {GaugeReading("lstmgan_step", 120), GaugeReading("lstmgan_restarts", 1)} <= set(gauges.readings())


def test_the_latest_figures_are_those_that_count(gauges):
    for loss in (2.0, 1.0):
        gauges.show(losses={"generator/cost": loss, "discriminator/loss": 0.7}, tokens_per_second=100 * loss)
    gauges.report(step=120, figures={"heldout/nll": 4.5})
    before = time.time()
    gauges.saved()
    readings = {(name, figure): value for name, value, figure in gauges.readings()}
    assert readings["lstmgan_loss", "generator/cost"] == 1.0
    assert readings["lstmgan_loss", "discriminator/loss"] == 0.7
    assert readings["lstmgan_tokens_per_second", ""] == 100
    assert readings["lstmgan_evaluation", "heldout/nll"] == 4.5
    assert before <= readings["lstmgan_checkpoint_time_seconds", ""] <= time.time()
    assert {name for name, _ in readings} == set(GAUGES), "each is described"
