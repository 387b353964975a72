"""What it costs that a batch is computed in fixed units, in one thread each: beside one pass with all threads.

The sizes are those of the recipes for COCO captions: LSTMs of 512 units, and RelGAN's networks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from lstmgan_dist.adversarial.baselines import MovingAverage
from lstmgan_dist.adversarial.credits import CREDITS
from lstmgan_dist.adversarial.discrimination import DiscriminatorObjective
from lstmgan_dist.adversarial.estimators.gumbel_softmax_objective import GumbelSoftmaxObjective
from lstmgan_dist.adversarial.estimators.score_function_objective import ScoreFunctionObjective
from lstmgan_dist.adversarial.likelihood import LikelihoodObjective
from lstmgan_dist.adversarial.losses import LOSSES
from lstmgan_dist.phases.optimizer import Optimizer
from lstmgan_dist.runtime.local import choose_device
from tests.benchmarks.players import learner
from tests.benchmarks.table import Row
from tests.benchmarks.timing import fastest
from tests.benchmarks.updates import BATCH, MAX_LENGTH, VOCABULARY, generator_for, real_text
from tests.networks import convolutional_discriminator, lstm_discriminator

_UNITS = (2, 4, 8)
_ROUNDS = 6
CAPTIONS = "lengths of captions"


def rows() -> Iterator[Row]:
    """Each kind of update in 2, 4 and 8 units."""
    for name, (network, objective, opponent, schedules) in updates().items():
        text, optimizer = real_text(CAPTIONS), Optimizer(learning_rate=1e-4)
        in_parts = [
            learner(network, objective, opponent, text, optimizer=optimizer, units=units, schedules=schedules)
            for units in _UNITS
        ]
        threads = torch.get_num_threads()
        one_pass = learner(
            network, objective, opponent, text, optimizer=optimizer, units=1, threads=threads, schedules=schedules
        )
        *in_units, whole = fastest(*in_parts, one_pass, rounds=_ROUNDS)
        for units, seconds in zip(_UNITS, in_units, strict=True):
            yield Row(
                f"{name} in {units} units",
                seconds,
                "s",
                whole,
                "one pass",
                whole / seconds,
                0.95,
                f"{threads} threads, batch {BATCH}",
            )


def updates() -> Mapping[str, tuple[nn.Module, Any, nn.Module | None, Mapping[str, float]]]:
    """Of each kind of update who learns, what, against whom, and its schedules."""
    device = choose_device("auto")
    generator = generator_for(CAPTIONS, embedding=256, hidden=512).to(device)
    scoring = lstm_discriminator(VOCABULARY, scores="per_token", embedding=128, hidden=256).to(device)
    reinforce = ScoreFunctionObjective(
        generator,
        LOSSES["probability"],
        max_length=MAX_LENGTH,
        credit=CREDITS["discounted"],
        discount=0.23,
        baseline=MovingAverage(decay=0.08),
    )
    small = generator_for(CAPTIONS, embedding=32, hidden=256, tied=False).to(device)
    convolutional = convolutional_discriminator(
        VOCABULARY, embedding=64, representations=64, filters={2: 300, 3: 300, 4: 300, 5: 300}, dropout=0.25
    ).to(device)
    paired = LOSSES["relativistic"]
    none: Mapping[str, float] = MappingProxyType({})
    return {
        "likelihood": (generator, LikelihoodObjective(generator, carries_state=False), None, none),
        "LSTM discriminator": (
            scoring,
            DiscriminatorObjective(scoring, LOSSES["probability"], max_length=MAX_LENGTH),
            generator,
            none,
        ),
        "REINFORCE": (generator, reinforce, scoring, none),
        "RelGAN's discriminator": (
            convolutional,
            DiscriminatorObjective(convolutional, paired, max_length=MAX_LENGTH),
            small,
            none,
        ),
        "RelGAN's generator": (
            small,
            GumbelSoftmaxObjective(small, paired, max_length=MAX_LENGTH, straight_through=False),
            convolutional,
            {"inverse_temperature": 10.0},
        ),
    }
