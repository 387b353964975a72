"""What it costs that a batch is computed in fixed units, in one thread each: beside one pass with all threads.

The sizes are those of the recipes for COCO captions: LSTMs of 512 units, and RelGAN's networks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from lstmgan_dist.adversarial.discrimination import DiscriminatorObjective
from lstmgan_dist.adversarial.likelihood import LikelihoodObjective
from lstmgan_dist.adversarial.losses import LOSSES
from lstmgan_dist.phases.optimizer import Optimizer
from lstmgan_dist.runtime.local import choose_device
from tests.benchmarks.players import learner
from tests.benchmarks.table import Row
from tests.benchmarks.timing import fastest
from tests.benchmarks.updates import BATCH, MAX_LENGTH, VOCABULARY, generator_for, real_text, relgan, rewards_of_tokens
from tests.networks import lstm_discriminator

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
    small, convolutional, relaxed, telling_apart = relgan(CAPTIONS, device)
    none: Mapping[str, float] = MappingProxyType({})
    return {
        "likelihood": (generator, LikelihoodObjective(generator, carries_state=False), None, none),
        "LSTM discriminator": (
            scoring,
            DiscriminatorObjective(scoring, LOSSES["probability"], max_length=MAX_LENGTH),
            generator,
            none,
        ),
        "REINFORCE": (generator, rewards_of_tokens(generator), scoring, none),
        "RelGAN's discriminator": (convolutional, telling_apart, small, none),
        "RelGAN's generator": (small, relaxed, convolutional, {"inverse_temperature": 10.0}),
    }
