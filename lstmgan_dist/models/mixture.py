"""A mixture of softmaxes as output layer (Yang, Dai, Salakhutdinov and Cohen 2018).

Shapes: H hidden units, K softmaxes, D dimensions that the output matrix multiplies, F = K·D + K features, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lstmgan_dist.models import fused
from lstmgan_dist.models.initialise import uniform_


class MixtureOfSoftmaxes(nn.Module):
    """K softmaxes over the same output matrix, weighted by a softmax of their own (equation 2, without its bias).

    Features are the contexts tanh(W_k h) of all softmaxes, one after the other, and the logits of their weights.
    """

    def __init__(self, hidden: int, dimensions: int, softmaxes: int) -> None:
        super().__init__()
        self.softmaxes = softmaxes
        self.contexts = nn.Linear(hidden, softmaxes * dimensions, bias=False)
        self.weights = nn.Linear(hidden, softmaxes, bias=False)

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Weights that follow from the seed."""
        for name, layer in (("contexts", self.contexts), ("weights", self.weights)):
            uniform_(layer.weight, math.sqrt(3 / layer.in_features), seed, f"mixture {name}")

    def reader(self, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """How hidden states become features, (..., H) -> (..., F), in a type of number; the weights are read once."""
        contexts, weights = self.contexts.weight.to(dtype), self.weights.weight.to(dtype)

        def read(hidden_H: Tensor) -> Tensor:
            parts = [fused.linear(hidden_H, contexts).tanh(), fused.linear(hidden_H, weights)]
            return torch.cat(parts, dim=-1)

        return read

    def log_probabilities(self, features_F: Tensor, output_VD: Tensor, bias_V: Tensor) -> Tensor:
        """Of the next token, float32: the log of the softmaxes' weighted mean, (..., F) -> (..., V)."""
        contexts, weights_K = features_F.split([features_F.shape[-1] - self.softmaxes, self.softmaxes], dim=-1)
        contexts_KD = contexts.unflatten(-1, (self.softmaxes, -1))
        logs_KV = fused.linear(contexts_KD, output_VD, bias_V).float().log_softmax(dim=-1)
        return (logs_KV + weights_K.float().log_softmax(dim=-1)[..., None]).logsumexp(dim=-2)
