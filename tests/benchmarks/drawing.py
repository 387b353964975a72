"""Drawing sentences of COCO captions' size, beside the loop that everybody writes first."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lstmgan_dist.models.drawing import draw
from lstmgan_dist.models.generators.lstm_network import LSTMGenerator
from lstmgan_dist.runtime.local import choose_device
from lstmgan_dist.runtime.randomness import Noise
from tests.benchmarks.table import Row
from tests.benchmarks.timing import fastest
from tests.networks import lstm_generator

_VOCABULARY, _EMBEDDING, _HIDDEN, _MAX_LENGTH, _SENTENCES = 4700, 256, 512, 37, 10_000
# With this logit the end is as likely everywhere as it takes for captions' mean length of 11.5 tokens.
_END_BIAS = 6.05
_NAIVE_POSITIONS = 6  # of the loop that are timed on CPUs: each costs the same


def rows() -> Iterator[Row]:
    """Sentences a second, in one large draw and, on CUDA, in one of a training update's size as well."""
    device = choose_device("auto")
    generator = lstm_generator(_VOCABULARY, embedding=_EMBEDDING, hidden=_HIDDEN).to(device)
    with torch.no_grad():
        generator.output_bias[0] = _END_BIAS
    if device.type == "cpu":
        yield _row(generator, _SENTENCES, "naive loop", 5.0, _NAIVE_POSITIONS)
        return
    yield _row(generator, 64, "eager loop", 10.0, _MAX_LENGTH)
    yield _row(generator, _SENTENCES, "eager loop", 10.0, _MAX_LENGTH)


def _row(generator: LSTMGenerator, sentences: int, reference: str, target: float, positions: int) -> Row:
    numbers = torch.arange(sentences, device=generator.output_bias.device)
    uniforms_BT = Noise(1, numbers).uniform("tokens", _MAX_LENGTH)
    ours, some = fastest(
        lambda: draw(generator, uniforms_BT), lambda: _naive(generator, sentences, positions), rounds=2
    )
    naive = some * _MAX_LENGTH / positions
    mean_length = draw(generator, uniforms_BT).lengths_B.float().mean().item()
    return Row(
        f"drawing {sentences:,} sentences",
        sentences / ours,
        "sentences/s",
        sentences / naive,
        reference,
        naive / ours,
        target,
        f"hidden {_HIDDEN}, vocabulary {_VOCABULARY:,}, mean length {mean_length:.1f} of at most {_MAX_LENGTH}",
    )


@torch.no_grad()
def _naive(generator: LSTMGenerator, sentences: int, positions: int) -> Tensor:
    """nn.LSTM on one position, softmax, multinomial, for all sentences to the last position."""
    (layer,) = generator.lstm_layers()
    assert generator.projection is not None
    token_B1 = torch.zeros(sentences, 1, dtype=torch.int64, device=generator.output_bias.device)
    state, drawn = None, []
    for _ in range(positions):
        hidden_B1H, state = layer(generator.embedding(token_B1), state)
        features_BE = generator.projection(hidden_B1H[:, 0])
        logits_BV = features_BE @ generator.embedding.weight.T + generator.output_bias
        token_B1 = torch.multinomial(logits_BV.softmax(dim=-1), 1)
        drawn.append(token_B1)
    return torch.cat(drawn, dim=1)
