"""Adversarial updates at published sizes, beside TextGAN-PyTorch's time for them on two cores of one machine."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from lstmgan_dist.adversarial import credit
from lstmgan_dist.adversarial.losses import LOSSES
from lstmgan_dist.adversarial.objectives import DiscriminatorObjective, GumbelSoftmaxObjective, ScoreFunctionObjective
from lstmgan_dist.config import Optimizer, Synchronisation
from lstmgan_dist.corpus.stream import Batch
from lstmgan_dist.models.discriminators import ConvolutionalDiscriminator, Discriminator, LSTMDiscriminator
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.runtime.local import LocalRuntime, choose_device
from lstmgan_dist.runtime.randomness import Noise
from lstmgan_dist.training.players import Moment, Player
from tests.benchmarks.table import Row
from tests.benchmarks.timing import fastest

_VOCABULARY, _BATCH, _MAX_LENGTH = 4683, 64, 37
_END_LOGIT = 6.05  # makes drawn text as long as captions are, 11.5 tokens in the mean
_PEER = "TextGAN-PyTorch"
# seconds of one update, measured once on two cores that multiply 2048³ matrices at 184 GFLOP/s
_PEER_RELGAN_GENERATOR, _PEER_RELGAN_DISCRIMINATOR, _PEER_SEQGAN_GENERATOR = 7.7, 7.9, 131.0
_ROUNDS = 8


def rows() -> Iterator[Row]:
    """RelGAN's two updates, then SeqGAN's with a reward for every token instead of rollouts."""
    device = choose_device("auto")
    generator = _generator(embedding=32, hidden=256, tied=False).to(device)
    discriminator = ConvolutionalDiscriminator(
        vocabulary_size=_VOCABULARY,
        embedding=64,
        representations=64,
        filters={2: 300, 3: 300, 4: 300, 5: 300},
        dropout=0.25,
    ).to(device)
    loss = LOSSES["relativistic"]
    relaxed = GumbelSoftmaxObjective(generator, loss, max_length=_MAX_LENGTH, straight_through=False)
    seconds = _seconds(generator, relaxed, discriminator, device, inverse_temperature=10.0)
    yield _row("RelGAN's generator update", seconds, _PEER_RELGAN_GENERATOR, 20.0)
    scoring = DiscriminatorObjective(discriminator, loss, max_length=_MAX_LENGTH)
    seconds = _seconds(discriminator, scoring, generator, device)
    yield _row("RelGAN's discriminator update", seconds, _PEER_RELGAN_DISCRIMINATOR, 20.0)

    generator = _generator(embedding=32, hidden=32).to(device)
    judge: Discriminator = LSTMDiscriminator(
        vocabulary_size=_VOCABULARY, scores="per_token", embedding=32, hidden=32
    ).to(device)
    reinforce = ScoreFunctionObjective(
        generator,
        LOSSES["probability"],
        max_length=_MAX_LENGTH,
        credit=partial(credit.discounted, discount=0.23),
        baseline=credit.MovingAverage(decay=0.08),
    ).to(device)
    seconds = _seconds(generator, reinforce, judge, device)
    yield _row("dense-reward generator update at SeqGAN's size", seconds, _PEER_SEQGAN_GENERATOR, 200.0)


def _row(name: str, seconds: float, peer: float, target: float) -> Row:
    note = f"batch {_BATCH}, vocabulary {_VOCABULARY:,}, lengths of captions, at most {_MAX_LENGTH}"
    return Row(name, seconds, "s", peer, _PEER, peer / seconds, target, note)


def _generator(**settings: Any) -> Generator:
    generator = Generator(vocabulary_size=_VOCABULARY, **settings)
    with torch.no_grad():
        generator.output_bias[0] = _END_LOGIT
    return generator


def _captions() -> Batch:
    """Tokens at random, as long as captions are."""
    random = torch.Generator().manual_seed(1)
    lengths_B = torch.poisson(torch.full((_BATCH,), 10.5), generator=random).long().clamp(2, _MAX_LENGTH)
    targets_BT = torch.randint(1, _VOCABULARY, (_BATCH, int(lengths_B.max())), generator=random)
    targets_BT *= torch.arange(targets_BT.shape[1]) < lengths_B[:, None] - 1
    return Batch(F.pad(targets_BT, (1, -1)), targets_BT, lengths_B, fresh=True)


def _seconds(
    network: torch.nn.Module, objective: Any, opponent: torch.nn.Module, device: torch.device, **schedules: float
) -> float:
    """The fastest of several updates, all of it: drawing, scoring, backward pass, clipping and Adam."""
    player = Player(
        "player",
        network,
        objective,
        Optimizer(learning_rate=1e-4),
        schedules=schedules,
        steps=1000,
        parts=1,
        precision="fp32",
        synchronisation=Synchronisation(),
        runtime=LocalRuntime(device),
    )
    moment = Moment(0, 1.0, Noise(1, torch.arange(_BATCH, device=device)))
    captions, numbers = _captions(), iter(range(1000))
    (seconds,) = fastest(
        lambda: player.learn(captions, opponent=opponent, moment=moment.at(next(numbers))), rounds=_ROUNDS
    )
    return seconds
