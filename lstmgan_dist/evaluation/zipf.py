"""How unequal the frequencies of words are."""

from __future__ import annotations

import numpy as np

from lstmgan_dist.evaluation.protocol import Explanation
from lstmgan_dist.evaluation.texts import Texts

ZIPF = Explanation(
    "Zipf coefficient",
    lambda bench: (
        "The exponent of Zipf's law that fits the frequencies of the samples' words best, by least squares over the "
        "logarithms of rank and frequency: to be compared with that of real text."
    ),
)


def zipf_coefficient(texts: Texts) -> float:
    """The exponent s of Zipf's law, frequency ∝ 1 / rank^s: least squares over the logarithms of all words.

    About 1 for real text, larger where frequent words are too frequent (Holtzman et al. 2020, who compare samples with
    real text by it). 0 for fewer than two different words.
    """
    counts_V = np.bincount(texts.tokens_T)
    frequencies_W = np.sort(counts_V[counts_V > 0])[::-1]
    if len(frequencies_W) < 2:
        return 0.0
    slope, _ = np.polyfit(np.log(np.arange(1, len(frequencies_W) + 1)), np.log(frequencies_W), 1)
    return -float(slope)
