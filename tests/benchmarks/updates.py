"""Adversarial updates at published sizes, on texts as long as captions and on texts of the greatest length.

TextGAN-PyTorch always works on texts of the greatest length. Its seconds are quoted, not measured in this run: beside
ours for texts that are as long, and with the day and the machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F

from lstmgan_dist.adversarial.baselines import MovingAverage
from lstmgan_dist.adversarial.credits import CREDITS
from lstmgan_dist.adversarial.discrimination import DiscriminatorObjective
from lstmgan_dist.adversarial.estimators.gumbel_softmax_objective import GumbelSoftmaxObjective
from lstmgan_dist.adversarial.estimators.score_function_objective import ScoreFunctionObjective
from lstmgan_dist.adversarial.losses import LOSSES
from lstmgan_dist.corpus.stream import Batch
from lstmgan_dist.models import fused
from lstmgan_dist.models.discriminator import Discriminator
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.phases.optimizer import Optimizer
from lstmgan_dist.runtime.local import choose_device
from tests.benchmarks.players import learner
from tests.benchmarks.table import Row
from tests.benchmarks.timing import fastest
from tests.networks import convolutional_discriminator, lstm_discriminator, lstm_generator

VOCABULARY, BATCH, MAX_LENGTH = 4683, 64, 37
# Logits of the end mark: drawn texts of 11.5 tokens in the mean, as captions have, and such as never end.
_END_LOGITS = {"lengths of captions": 6.05, "full length": -30.0}
_PEER = "TextGAN-PyTorch, quoted"
_PEER_NOTE = "the peer: 2 cores of an AMD EPYC, torch 2.15, November 2026, all texts of full length"
# Seconds of one update there: the fastest of several runs (RelGAN: 4.3 to 5.3 and 4.3 to 5.1).
_PEER_RELGAN_GENERATOR = _PEER_RELGAN_DISCRIMINATOR = 4.3
_ROUNDS = 8
# RelGAN's generator, an LSTM in the place of its memory, and its discriminator.
_EMBEDDING, _HIDDEN, _REPRESENTATIONS, _FILTERS = 32, 256, 64, {2: 300, 3: 300, 4: 300, 5: 300}
_SIDE = 2048  # of the square matrices that are multiplied


def rows() -> Iterator[Row]:
    """RelGAN's two updates, and a generator's with a reward for every token at SeqGAN's size, at both lengths."""
    measured = {length: _updates(length) for length in _END_LOGITS}
    captions, full = measured.values()
    peers = {
        "RelGAN's generator update": (_PEER_RELGAN_GENERATOR, 10.0),
        "RelGAN's discriminator update": (_PEER_RELGAN_DISCRIMINATOR, 10.0),
    }
    note = f"batch {BATCH}, vocabulary {VOCABULARY:,}"
    for name, seconds in full.items():
        at_full = f"{name}, all texts {MAX_LENGTH} tokens"
        if name in peers:
            peer, target = peers[name]
            yield Row(at_full, seconds, "s", peer, _PEER, peer / seconds, target, f"{note}; {_PEER_NOTE}")
        # The same update, so that a ratio within the run says what padding would cost.
        if name in _OPERATIONS:
            rate, (parts, total) = _product_rate(), _OPERATIONS[name]()
            needed = ", ".join(f"{part} {operations / 1e9:.1f}" for part, operations in parts.items())
            yield Row(
                f"arithmetic of {name}, all texts {MAX_LENGTH} tokens",
                total / seconds / 1e9,
                "GFLOP/s",
                rate / 1e9,
                f"{_SIDE}³ matrix product, by the faster kernel",
                total / seconds / rate,
                0.8,
                f"{total / 1e9:.1f} GFLOP that the method needs: {needed}",
            )
        shorter = f"{name}, lengths of captions, 11.5 tokens in the mean"
        yield Row(shorter, captions[name], "s", seconds, "full length", seconds / captions[name], 1.0, note)


def _of_read() -> float:
    """Operations of reading or drawing all tokens, two for each weight of a product: the LSTM and the output layer."""
    return 2.0 * BATCH * MAX_LENGTH * (4 * _HIDDEN * (_EMBEDDING + _HIDDEN) + VOCABULARY * _HIDDEN)


def _of_scores(texts: int) -> tuple[float, float, float]:
    """Operations of scoring so many texts; of the gradient by what is seen; and of that by the weights.

    Both linear layers behind the highway layer are one product. Past a maximum over time a gradient goes to one window.
    """
    features, taps = sum(_FILTERS.values()), sum(width * count for width, count in _FILTERS.items())
    each = 2.0 * texts * _REPRESENTATIONS
    forward = each * (taps * MAX_LENGTH + features**2 + features)
    backward = each * (taps + features**2 + features)
    return forward, backward, backward


def _generator_operations() -> tuple[dict[str, float], float]:
    """By part, and all. The method itself needs no second pass over what is drawn, which is our way to a gradient."""
    forward, by_seen, _ = _of_scores(BATCH)
    parts = {
        "drawing": _of_read(),
        "its gradient": 2 * _of_read(),
        "expected embedding and its gradient": 2 * 2.0 * BATCH * MAX_LENGTH * VOCABULARY * _REPRESENTATIONS,
        "scores of real text": forward,
        "scores of drawn text and their gradient": forward + by_seen,
    }
    return parts, sum(parts.values())


def _discriminator_operations() -> tuple[dict[str, float], float]:
    forward, by_seen, by_weights = _of_scores(2 * BATCH)
    parts = {"drawing": _of_read(), "scores of both texts": forward, "their gradient": by_seen + by_weights}
    return parts, sum(parts.values())


_OPERATIONS = {
    "RelGAN's generator update": _generator_operations,
    "RelGAN's discriminator update": _discriminator_operations,
}


def _product_rate() -> float:
    """Operations a second of a large matrix product, by whichever of torch's two kernels is faster here."""
    left, right = torch.randn(2, _SIDE, _SIDE, device=choose_device("auto"))
    return 2 * _SIDE**3 / min(fastest(lambda: left @ right, lambda: fused.linear(left, right), rounds=_ROUNDS))


def _updates(length: str) -> dict[str, float]:
    """Seconds of each update."""
    device = choose_device("auto")
    text = real_text(length)
    generator, discriminator, relaxed, scoring = relgan(length, device)
    small = generator_for(length, embedding=32, hidden=32).to(device)
    judge: Discriminator = lstm_discriminator(VOCABULARY, scores="per_token", embedding=32, hidden=32).to(device)
    reinforce = rewards_of_tokens(small)
    return {
        "RelGAN's generator update": _seconds(generator, relaxed, discriminator, text, inverse_temperature=10.0),
        "RelGAN's discriminator update": _seconds(discriminator, scoring, generator, text),
        # No peer has this: SeqGAN's 16 rollouts a position are another algorithm, in rollouts.py.
        "REINFORCE update with a reward a token, at SeqGAN's size": _seconds(small, reinforce, judge, text),
    }


def relgan(
    length: str, device: torch.device
) -> tuple[Generator, Discriminator, GumbelSoftmaxObjective, DiscriminatorObjective]:
    """RelGAN's two networks with the LSTM in the place of its memory, and what each learns."""
    generator = generator_for(length, embedding=_EMBEDDING, hidden=_HIDDEN, tied=False).to(device)
    discriminator = convolutional_discriminator(
        VOCABULARY, embedding=_REPRESENTATIONS, representations=_REPRESENTATIONS, filters=_FILTERS, dropout=0.25
    ).to(device)
    loss = LOSSES["relativistic"]
    return (
        generator,
        discriminator,
        GumbelSoftmaxObjective(generator, loss, max_length=MAX_LENGTH, straight_through=False),
        DiscriminatorObjective(discriminator, loss, max_length=MAX_LENGTH),
    )


def rewards_of_tokens(generator: Generator) -> ScoreFunctionObjective:
    """REINFORCE as ScratchGAN has it."""
    return ScoreFunctionObjective(
        generator,
        LOSSES["probability"],
        max_length=MAX_LENGTH,
        credit=CREDITS["discounted"],
        discount=0.23,
        baseline=MovingAverage(decay=0.08),
    )


def generator_for(length: str, **settings: Any) -> Generator:
    generator = lstm_generator(VOCABULARY, **settings)
    with torch.no_grad():
        generator.output_bias[0] = _END_LOGITS[length]
    return generator


def real_text(length: str) -> Batch:
    """Tokens at random, as long as captions are or of full length."""
    random = torch.Generator().manual_seed(1)
    lengths_B = torch.full((BATCH,), MAX_LENGTH)
    if length == "lengths of captions":
        lengths_B = torch.poisson(torch.full((BATCH,), 10.5), generator=random).long().clamp(2, MAX_LENGTH)
    targets_BT = torch.randint(1, VOCABULARY, (BATCH, int(lengths_B.max())), generator=random)
    targets_BT *= torch.arange(targets_BT.shape[1]) < lengths_B[:, None] - 1
    return Batch(F.pad(targets_BT, (1, -1)), targets_BT, lengths_B, fresh=True)


def _seconds(
    network: torch.nn.Module, objective: Any, opponent: torch.nn.Module, text: Batch, **schedules: float
) -> float:
    """The fastest of several updates."""
    optimizer = Optimizer(learning_rate=1e-4)
    update = learner(network, objective, opponent, text, optimizer=optimizer, schedules=schedules)
    (seconds,) = fastest(update, rounds=_ROUNDS)
    return seconds
