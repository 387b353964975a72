"""Dynamic evaluation (Krause et al. 2018): a generator goes on learning from the text that it is measured on.

Each segment is scored before anything is learnt from it, so the figure is a likelihood of the text; but of a model that
changes on the way, so it stands beside the likelihood of the trained one, never in its place.

Shapes: B rows, T tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lstmgan_dist.corpus.stream import Batch
from lstmgan_dist.evaluation.likelihood import Likelihood
from lstmgan_dist.models.generator import Generator, State


@dataclass(frozen=True)
class DynamicSettings:
    """How weights follow the text.

    segment: tokens of a row between two updates. rate: η of the paper. decay: λ, by which weights go back towards the
    trained ones. epsilon: added to the size of a weight's gradients.
    """

    segment: int = 20
    rate: float = 1e-4
    decay: float = 0.01
    epsilon: float = 1e-5


def gradient_sizes(generator: Generator, batches: Iterable[Batch], settings: DynamicSettings) -> list[Tensor]:
    """The root mean square over segments of training text of every weight's gradient (equation 6)."""
    squares, segments, state = [torch.zeros_like(weight) for weight in generator.parameters()], 0, None
    for segment in _segments(batches, settings.segment):
        nll, state = _mean_nll(generator, segment, state)
        for square, gradient in zip(squares, _gradients(nll, generator), strict=True):
            square += gradient.square()
        segments += 1
    return [(square / max(1, segments)).sqrt() for square in squares]


def dynamic_likelihood(
    generator: Generator, batches: Iterable[Batch], sizes: list[Tensor], settings: DynamicSettings
) -> Likelihood:
    """Likelihood of one long text, without dropout, by a copy of the generator that learns each segment behind it.

    The paper's update with global statistics and decay (section 4.3): θ - η g / (RMS + ε) + λ (θ_trained - θ) RMS /
    mean(RMS), where what λ multiplies is at most 1 / λ. The paper reads one row; here rows side by side share the
    weights that learn.
    """
    learner = deepcopy(generator)
    trained = [weight.detach() for weight in generator.parameters()]
    mean = torch.cat([size.flatten() for size in sizes]).mean().clamp(min=torch.finfo(torch.float32).tiny)
    pulls = [(settings.decay * size / mean).clamp(max=1) for size in sizes]
    nats, tokens, state = torch.zeros((), dtype=torch.float64, device=mean.device), 0, None
    for segment in _segments(batches, settings.segment):
        nll, state = _mean_nll(learner, segment, state)
        nats += nll.detach().double() * segment.targets_BT.numel()
        tokens += segment.targets_BT.numel()
        gradients = _gradients(nll, learner)
        with torch.no_grad():
            for weight, gradient, start, size, pull in zip(
                learner.parameters(), gradients, trained, sizes, pulls, strict=True
            ):
                back = (start - weight) * pull
                weight.sub_(gradient / (size + settings.epsilon), alpha=settings.rate).add_(back)
    return Likelihood(nats.item(), tokens)


def _segments(batches: Iterable[Batch], length: int) -> Iterator[Batch]:
    """One long text in shorter pieces, of which the first one is fresh."""
    for batch in batches:
        for start in range(0, batch.inputs_BT.shape[1], length):
            inputs_BT, targets_BT = (text[:, start : start + length] for text in (batch.inputs_BT, batch.targets_BT))
            yield replace(batch, inputs_BT=inputs_BT, targets_BT=targets_BT, fresh=batch.fresh and not start)


def _mean_nll(generator: Generator, segment: Batch, state: State | None) -> tuple[Tensor, State]:
    features_BTF, end = generator(segment.inputs_BT, None if segment.fresh else state)
    nll = -generator.log_likelihoods(features_BTF.flatten(0, 1), segment.targets_BT.flatten()).mean()
    return nll, tuple(tensor.detach() for tensor in end)


def _gradients(nll: Tensor, generator: Generator) -> tuple[Tensor, ...]:
    return torch.autograd.grad(nll, list(generator.parameters()), materialize_grads=True)
