"""What all samplers of a contest are measured with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lstmgan_dist.corpus.tokenizer import Tokenizer
from lstmgan_dist.evaluation.embedding import Encoder
from lstmgan_dist.evaluation.grammar import Grammar
from lstmgan_dist.evaluation.judge import Judge
from lstmgan_dist.evaluation.language_model import Recipe
from lstmgan_dist.evaluation.ngrams import NgramIndex
from lstmgan_dist.evaluation.oracle import Oracle
from lstmgan_dist.evaluation.texts import Texts
from lstmgan_dist.runtime.local import DeviceChoice

# Shares of one set of samples, each with a reverse model of its own: how much they differ says what all are worth. With
# fewer the spread itself is known too badly, with more each model has too little to learn from.
SHARES = 6


@dataclass(frozen=True)
class Thoroughness:
    """How thoroughly samplers are compared.

    temperatures: of every sampler but real text. seeds: of samples and their reverse models. samples: texts of each
    sampler, temperature and seed. validation: held-out sentences that training looked at. recipe: of judges and reverse
    models.
    """

    temperatures: tuple[float, ...]
    seeds: int
    samples: int
    validation: int
    recipe: Recipe


@dataclass(frozen=True)
class Bench:
    """What all samplers are measured with.

    samples: texts drawn of each, at each temperature with each seed.
    judges: one for each orientation. test: the real text that reverse models are tested on, for each orientation: the
    half that the judge has not learnt. real_features: embeddings of the first orientation's test text. references: of
    BLEU. training: what could have been copied. validation: real text by which the training of reverse models ends.
    encoder: of the embeddings; None: the first judge. oracle: what the corpus was made with, if it was made.
    """

    samples: int
    vocabulary_size: int
    tokenizer: Tokenizer
    recipe: Recipe
    device: DeviceChoice
    judges: tuple[Judge, Judge]
    test: tuple[Texts, Texts]
    real_features: np.ndarray
    references: NgramIndex
    reference_count: int
    training: Texts
    validation: Texts
    encoder: Encoder | None
    oracle: Oracle | Grammar | None
