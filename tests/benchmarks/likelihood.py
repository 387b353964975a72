"""A likelihood step of jobs/char_lm.yaml, beside a bare PyTorch loop and the device's matrix products."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lstmgan_dist.adversarial.likelihood import LikelihoodObjective
from lstmgan_dist.corpus.stream import Batch
from lstmgan_dist.phases.optimizer import Optimizer
from lstmgan_dist.runtime.local import choose_device
from tests.benchmarks.players import learner
from tests.benchmarks.table import Row
from tests.benchmarks.timing import fastest
from tests.networks import lstm_generator

_VOCABULARY, _EMBEDDING, _HIDDEN, _BATCH, _LENGTH = 65, 256, 1024, 128, 100
_ROUNDS = 5
_SIDE = 2048  # of the square matrices that are multiplied


def rows() -> Iterator[Row]:
    """The step's time against the bare loop's, and its rate against a matrix product's; all in fp32."""
    device = choose_device("auto")
    tokens_BT = torch.randint(0, _VOCABULARY, (_BATCH, _LENGTH + 1), generator=torch.Generator().manual_seed(1))
    left, right = torch.randn(2, _SIDE, _SIDE, device=device)
    step, bare, product = fastest(
        _our_step(tokens_BT, device), _bare_step(tokens_BT, device), lambda: left @ right, rounds=_ROUNDS
    )
    characters = _BATCH * _LENGTH
    yield Row(
        "likelihood step of char_lm",
        characters / step,
        "characters/s",
        characters / bare,
        "bare PyTorch loop",
        bare / step,
        0.95,
        f"embedding {_EMBEDDING}, hidden {_HIDDEN}, batch {_BATCH}, length {_LENGTH}, {device.type}",
    )
    per_token = 2 * 4 * _HIDDEN * (_EMBEDDING + _HIDDEN) + 2 * _HIDDEN * _VOCABULARY
    rate = 3 * per_token * characters / step / 1e9  # a backward pass is twice the forward pass
    product_rate = 2 * _SIDE**3 / product / 1e9
    yield Row(
        "arithmetic of that step",
        rate,
        "GFLOP/s",
        product_rate,
        f"{_SIDE}³ matrix product",
        rate / product_rate,
        0.9,
    )


def _our_step(tokens_BT: Tensor, device: torch.device) -> Callable[[], object]:
    generator = lstm_generator(_VOCABULARY, embedding=_EMBEDDING, hidden=_HIDDEN, tied=False).to(device)
    objective: Any = LikelihoodObjective(generator, carries_state=True)
    lengths_B = torch.full((_BATCH,), _LENGTH)
    text = Batch(tokens_BT[:, :-1], tokens_BT[:, 1:], lengths_B, fresh=False)
    return learner(generator, objective, None, text, optimizer=Optimizer(clip=None))


def _bare_step(tokens_BT: Tensor, device: torch.device) -> Callable[[], None]:
    embedding = nn.Embedding(_VOCABULARY, _EMBEDDING, device=device)
    lstm = nn.LSTM(_EMBEDDING, _HIDDEN, batch_first=True, device=device)
    output = nn.Linear(_HIDDEN, _VOCABULARY, device=device)
    optimizer = torch.optim.Adam(nn.ModuleList([embedding, lstm, output]).parameters(), lr=1e-3, fused=True)
    tokens_BT = tokens_BT.to(device)
    zeros = torch.zeros(1, _BATCH, _HIDDEN, device=device)
    state = zeros, zeros

    def step() -> None:
        nonlocal state
        hidden, ends = lstm(embedding(tokens_BT[:, :-1]), state)
        state = ends[0].detach(), ends[1].detach()
        loss = F.cross_entropy(output(hidden).flatten(0, 1), tokens_BT[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step
