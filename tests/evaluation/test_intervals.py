"""Intervals against published quantiles, textbook formulas, and what they promise."""

import numpy as np
import pytest

from lstmgan_dist.evaluation.findings import Estimate
from lstmgan_dist.evaluation.intervals import detectable, interval, students_t, without_each


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    # Abramowitz and Stegun (1964), table 26.10.
    [(3, 3.182), (4, 2.776), (5, 2.571), (7, 2.365), (11, 2.201), (23, 2.069), (60, 2.000), (np.inf, 1.960)],
)
def test_quantiles_of_students_t_are_those_of_the_tables(freedom, quantile):
    assert students_t(freedom) == pytest.approx(quantile, rel=2e-3 if freedom == 3 else 4e-4)


def test_interval_of_a_mean_is_the_textbooks():
    values_R = np.array([1.0, 2.0, 4.0, 7.0, 7.0])
    versions_V = np.concatenate([[values_R.mean()], without_each(values_R), np.full(50, values_R.mean())])
    found = interval(versions_V, len(values_R))
    reach = 2.776 * values_R.std(ddof=1) / np.sqrt(5)
    assert (found.value, found.low) == (4.2, pytest.approx(4.2 - reach, rel=1e-3))
    assert found.high == pytest.approx(4.2 + reach, rel=1e-3)


def test_variances_of_replicates_and_sentences_add_up():
    values_R, drawn_D = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.0, 5.0, np.nan, 0.0, 5.0])
    found = interval(np.concatenate([[2.5], without_each(values_R), drawn_D]), 4)
    of_replicates, of_sentences = values_R.var(ddof=1) / 4, 25 / 3
    freedom = 3 * ((of_replicates + of_sentences) / of_replicates) ** 2
    assert freedom > 1000
    assert found.high - found.value == pytest.approx(1.96 * np.sqrt(of_replicates + of_sentences), rel=1e-2)
    # Nothing is uncertain where nothing differs.
    assert interval(np.full(20, 3.0), 4).low == interval(np.full(20, 3.0), 4).high == 3.0


def test_intervals_hold_what_they_promise():
    """Of 2,000 means of few values, 95 % are held, to four standard errors."""
    draw, held = np.random.default_rng(2), 0
    for values_R in draw.normal(0, 1, (2000, 4)):
        found = interval(np.concatenate([[values_R.mean()], without_each(values_R), np.full(9, values_R.mean())]), 4)
        held += found.low <= 0 <= found.high
    assert abs(held / 2000 - 0.95) < 0.02


def test_what_is_detectable_is_detected_in_four_cases_of_five():
    draw = np.random.default_rng(3)
    error = 0.1
    least = detectable(Estimate(0, -1.96 * error, 1.96 * error))
    values = draw.normal(least, error, 20_000)
    assert abs((values > 1.96 * error).mean() - 0.8) < 0.01
