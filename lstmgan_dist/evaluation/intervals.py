"""How certain a figure is: its 95 % interval, from what it is without some of the data and with other data.

A figure comes in *versions*, V along the first axis: first what was measured; then, R of them, without one replicate
each (jackknife; Quenouille, Tukey), which tells what samples and reverse models can do; then, D of them, with others of
the test sentences (bootstrap). A replicate is left out everywhere at once, and all samplers are tested on the same
sentences, so that whatever errors figures share are taken into account without being modelled.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from lstmgan_dist.evaluation.findings import Estimate

_QUANTILE, _POWER = 0.975, 0.8


def without_each(values_R: np.ndarray) -> np.ndarray:
    """The mean of all but one of the first axis, for each of it."""
    return (values_R.sum(0) - values_R) / (len(values_R) - 1)


def interval(versions_V: np.ndarray, replicates: int) -> Estimate:
    """A figure with its 95 % interval.

    The variance that replicates show has as many degrees of freedom as there are replicates, less one; that of the test
    sentences has any number; those of the sum are Welch's (1947). Versions that are not finite do not count.
    """
    of_replicates, of_sentences = variances(versions_V, replicates)
    variance = of_replicates + of_sentences
    freedom = (replicates - 1) * (variance / of_replicates) ** 2 if of_replicates else np.inf
    value, reach = versions_V[0], students_t(freedom) * np.sqrt(variance)
    return Estimate(float(value), float(value - reach), float(value + reach))


def variances(versions_V: np.ndarray, replicates: int) -> tuple[float, float]:
    """What samples and reverse models, and what the choice of test sentences, contribute to a figure's variance."""
    without_R, drawn_D = versions_V[1 : 1 + replicates], versions_V[1 + replicates :]
    of_replicates = (replicates - 1) / replicates * ((without_R - without_R.mean()) ** 2).sum()
    return float(of_replicates), float(drawn_D[np.isfinite(drawn_D)].var(ddof=1))


def detectable(estimate: Estimate) -> float:
    """The least true value other than 0 that such an interval leaves 0 out for in four cases of five (its power)."""
    return (estimate.high - estimate.low) / 2 * (1 + NormalDist().inv_cdf(_POWER) / NormalDist().inv_cdf(_QUANTILE))


def students_t(freedom: float) -> float:
    """The 97.5 % quantile of Student's t, to 0.2 % from 3 degrees of freedom, of which there may be a fraction.

    Abramowitz and Stegun (1964), 26.7.5: the quantile of the normal distribution and terms in 1 / freedom.
    """
    x = NormalDist().inv_cdf(_QUANTILE)
    terms = (
        x,
        (x**3 + x) / 4,
        (5 * x**5 + 16 * x**3 + 3 * x) / 96,
        (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384,
        (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / 92160,
    )
    return sum(term / freedom**power for power, term in enumerate(terms))
