"""How far one distribution over the vocabulary is from another, at many positions.

Shapes: N positions, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def divergence(logits_NV: Tensor, other_NV: Tensor) -> Tensor:
    """KL(G || M) = sum over the vocabulary of g (log g - log m), in nats, (N,), with a gradient by G's logits alone.

    Both are given by logits, unnormalised.
    """
    divergence_N = _Divergence.apply(logits_NV, other_NV)
    assert isinstance(divergence_N, Tensor)
    return divergence_N


class _Divergence(torch.autograd.Function):
    """Keeps its gradient, g (log g - log m - KL), and nothing else: one number for each logit instead of four."""

    @staticmethod
    def forward(ctx: Any, logits_NV: Tensor, other_NV: Tensor) -> Tensor:
        generator_NV = logits_NV.log_softmax(-1)
        difference_NV = other_NV.log_softmax(-1).neg_().add_(generator_NV)
        generator_NV.exp_()
        divergence_N1 = (generator_NV * difference_NV).sum(-1, keepdim=True)
        ctx.save_for_backward(generator_NV.mul_(difference_NV.sub_(divergence_N1)))
        return divergence_N1.squeeze(-1)

    @staticmethod
    def backward(ctx: Any, *gradients_N: Tensor) -> tuple[Tensor, None]:
        (slope_NV,) = ctx.saved_tensors
        return slope_NV * gradients_N[0][:, None], None
