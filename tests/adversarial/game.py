"""A tiny game that the tests of this folder play."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lstmgan_dist.adversarial.baselines import MovingAverage
from lstmgan_dist.adversarial.credits import CREDITS
from lstmgan_dist.adversarial.discrimination import DiscriminatorObjective
from lstmgan_dist.adversarial.estimators.gumbel_softmax_objective import GumbelSoftmaxObjective
from lstmgan_dist.adversarial.estimators.normalised_weights_objective import NormalisedWeightsObjective
from lstmgan_dist.adversarial.estimators.score_function_objective import ScoreFunctionObjective
from lstmgan_dist.adversarial.estimators.soft_text_objective import SoftTextObjective
from lstmgan_dist.adversarial.estimators.taylor_objective import TaylorObjective
from lstmgan_dist.adversarial.likelihood import LikelihoodObjective
from lstmgan_dist.adversarial.losses import LOSSES
from lstmgan_dist.adversarial.regularisers import REGULARISERS
from lstmgan_dist.adversarial.rollouts import Rollouts
from lstmgan_dist.adversarial.soft_text import gumbel_softmax, softmax
from lstmgan_dist.corpus.stream import Batch
from lstmgan_dist.models.discriminator import Discriminator, TokenReader
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.runtime.randomness import Noise
from tests.networks import convolutional_discriminator, lstm_discriminator, lstm_generator

V, B, MAX_LENGTH = 19, 8, 7
# What a discriminator is shown of drawn text in its own updates.
SHOWN = {"discriminator": None, "discriminator of distributions": softmax, "discriminator of samples": gumbel_softmax}


def sentences(rows: int = B, seed: int = 1) -> Batch:
    random = torch.Generator().manual_seed(seed)
    lengths_B = torch.randint(1, MAX_LENGTH + 1, (rows,), generator=random)
    lengths_B[0] = MAX_LENGTH - 1
    targets_BT = torch.randint(1, V, (rows, int(lengths_B.max())), generator=random)
    position = torch.arange(targets_BT.shape[1])
    targets_BT = targets_BT * (position < lengths_B[:, None] - 1)
    return Batch(F.pad(targets_BT, (1, -1)), targets_BT, lengths_B, fresh=True)


def continuous(number: int, rows: int = B) -> Batch:
    text = torch.randint(1, V, (rows, 40), generator=torch.Generator().manual_seed(5))
    start = number * 6
    lengths = torch.full((rows,), 6)
    return Batch(text[:, start : start + 6], text[:, start + 1 : start + 7], lengths, fresh=number == 0)


def make_generator(**settings: Any) -> Generator:
    generator = lstm_generator(V, **{"embedding": 6, "hidden": 10, "seed": 2, **settings})
    with torch.no_grad():
        generator.output_bias[0] = 0.5
    return generator


def make_discriminator(kind: str, dropout: float = 0.2) -> TokenReader:
    if kind == "convolutional":
        return convolutional_discriminator(
            V, embedding=4, representations=4, filters={2: 3, 3: 4}, dropout=dropout, dense=5
        )
    scores = "per_token" if kind == "per_token" else "per_sentence"
    return lstm_discriminator(V, scores=scores, embedding=6, hidden=8, dropout=dropout)


def make_objective(name: str, loss: str, scores: str, generator: Generator, discriminator: Discriminator) -> Any:
    if name == "likelihood":
        return LikelihoodObjective(generator, carries_state=False)
    name, _, regulariser = name.partition(" with ")
    if name in SHOWN:
        return DiscriminatorObjective(
            discriminator,
            LOSSES[loss],
            max_length=MAX_LENGTH,
            soften=SHOWN[name],
            regulariser=REGULARISERS[regulariser] if regulariser else None,
            weight=0.5,
        )
    if name == "normalised_weights":
        return NormalisedWeightsObjective(generator, LOSSES[loss], max_length=MAX_LENGTH, likelihood_weight=0.3)
    if name in ("score_function", "rollouts"):
        rollouts = Rollouts(generator, count=3, decay=0.8, max_length=MAX_LENGTH) if name == "rollouts" else None
        credit = "discounted" if scores == "per_token" else "sentence"
        return ScoreFunctionObjective(
            generator,
            LOSSES[loss],
            max_length=MAX_LENGTH,
            credit=CREDITS["rollouts" if rollouts else credit],
            discount=0.7,
            baseline=MovingAverage(decay=0.8, positions=MAX_LENGTH),
            rollouts=rollouts,
            likelihood_weight=0.3,
        )
    if name == "softmax":
        return SoftTextObjective(generator, LOSSES[loss], max_length=MAX_LENGTH, soften=softmax, likelihood_weight=0.3)
    if name == "taylor":
        return TaylorObjective(
            generator,
            LOSSES[loss],
            max_length=MAX_LENGTH,
            baseline=MovingAverage(decay=0.8, positions=MAX_LENGTH),
            bandwidth=2.0,
            entropy_weight=0.1,
            likelihood_weight=0.3,
        )
    return GumbelSoftmaxObjective(
        generator,
        LOSSES[loss],
        max_length=MAX_LENGTH,
        straight_through=name == "straight_through",
        likelihood_weight=0.3,
    )


def extra(name: str) -> dict[str, float]:
    if name == "normalised_weights":
        return {"baseline": 1.7}
    soft = ("straight_through", "relaxed", "softmax", "discriminator of")
    return {"inverse_temperature": 1.7} if name.startswith(soft) else {}


def noise_of(rows: Tensor | None = None, key: int = 7) -> Noise:
    return Noise(key, torch.arange(B) if rows is None else rows)


def some_rows(real: Batch, rows: slice) -> Batch:
    return replace(real, **{name: value[rows] for name, value in vars(real).items() if isinstance(value, Tensor)})


def prepare(
    objective: Any,
    real: Batch,
    *,
    opponent: torch.nn.Module | None,
    noise: Noise,
    units: int = 1,
    schedules: dict[str, float] | None = None,
    carried: list[dict[str, Tensor]] | None = None,
) -> list[tuple[dict[str, Tensor], Noise]]:
    """The first half of an update: what the second half finds of each unit, and its noise."""
    size = len(real.lengths_B) // units
    slices = [slice(unit * size, (unit + 1) * size) for unit in range(units)]
    prepared = [
        objective.prepare(
            some_rows(real, rows), opponent=opponent, noise=noise.part(rows), schedules=schedules or {}, carried=before
        )
        for rows, before in zip(slices, carried or [{}] * units, strict=True)
    ]
    added = {name: torch.stack([unit.added[name] for unit in prepared]).sum(0) for name in prepared[0].added}
    joined = {name: torch.cat([unit.joined[name] for unit in prepared]) for name in prepared[0].joined}
    objective.hear(added)
    return [(unit.own | added | joined, noise.part(rows)) for unit, rows in zip(prepared, slices, strict=True)]


def update(
    objective: Any,
    player: torch.nn.Module,
    opponent: torch.nn.Module | None,
    real: Batch,
    noise: Noise,
    units: int = 1,
    schedules: dict[str, float] | None = None,
    carried: list[dict[str, Tensor]] | None = None,
) -> tuple[float, dict[str, float], dict[str, Tensor]]:
    """One update as a player makes it: loss, report and gradients. carried: of each unit, and replaced."""
    player.zero_grad()
    found = prepare(objective, real, opponent=opponent, noise=noise, units=units, schedules=schedules, carried=carried)
    total, report = 0.0, {}
    for number, (part, own_noise) in enumerate(found):
        outcome = objective(part, opponent=opponent, noise=own_noise)
        outcome.loss.backward()
        total += outcome.loss.item()
        for name, share in outcome.report.items():
            assert not share.requires_grad
            report[name] = report.get(name, 0.0) + share.item()
        if carried is not None:
            carried[number] = outcome.carried
    return total, report, gradients_of(player)


def gradients_of(network: torch.nn.Module) -> dict[str, Tensor]:
    return {
        name: parameter.grad.clone() for name, parameter in network.named_parameters() if parameter.grad is not None
    }


GAMES = [
    (objective, loss, kind)
    for objective in (
        "discriminator",
        "score_function",
        "taylor",
        "rollouts",
        "normalised_weights",
        "straight_through",
        "relaxed",
    )
    for loss in LOSSES
    for kind in ("per_token", "per_sentence", "convolutional")
    if not (LOSSES[loss].compares != "nothing" and kind == "per_token")
    and not (LOSSES[loss].compares == "batch" and objective in ("score_function", "rollouts", "taylor"))  # or by units
    and not (objective == "rollouts" and (kind == "per_token" or loss not in ("probability", "relativistic")))
    and not (objective == "normalised_weights" and (kind == "per_token" or not LOSSES[loss].is_of_log_odds))
    and not (LOSSES[loss].of_vectors and kind != "convolutional")
] + [
    (f"discriminator with {regulariser}", "hinge", kind)
    for regulariser in REGULARISERS
    for kind in ("per_token", "per_sentence", "convolutional")
]
GAMES += [
    (f"discriminator of {shown} with token_gradient_penalty", "wasserstein", kind)
    for shown in ("distributions", "samples")
    for kind in ("per_sentence", "convolutional")
]
GAMES += [
    ("discriminator of samples", "relativistic_average", "convolutional"),
    ("softmax", "wasserstein", "convolutional"),
]
