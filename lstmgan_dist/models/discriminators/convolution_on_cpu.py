"""The memory-bound half of a convolutional discriminator that reads one number at each position, on CPUs.

RelGAN's discriminator reads 64 such texts, the representations, for every sentence. Its responses (texts × positions ×
filters) are hundreds of millions of numbers of which only the maxima over time are used, and the features behind them
tens of millions that a linear head reads at once; written to memory they cost more than all arithmetic. Here they stay
in the cache.

Shapes: B sentences, R representations (texts of one sentence), M texts, T positions, P windows, W positions of the
widest filter, I inputs of the product that gives the responses, D widths, K filters of all widths in ascending order of
width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from lstmgan_dist.models.fused import linear

_NEVER = -1e30  # response of a window that reaches beyond the text
_TEXTS = 512  # worked on together: enough for fast matrix products, and their features still fit into the cache


def max_over_time(x_BRT: Tensor, lengths_B: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor:
    """relu of the largest response of each filter to the windows of each text, (B, R, K).

    Args:
        x_BRT: zero at padded positions.
        lengths_B: a text shorter than a filter has one window, which zeros fill up.
        weights: one tensor (filters, width) for each width, in ascending order of width.
        biases: one tensor (filters,) for each width.
    """
    widths = [weight.shape[1] for weight in weights]
    counts = [len(weight) for weight in weights]
    weight_KW = torch.cat([F.pad(weight, (0, widths[-1] - weight.shape[1])) for weight in weights])
    return _MaxOverTime.apply(x_BRT, lengths_B.tolist(), weight_KW, torch.cat(list(biases)), widths, counts)


def highway_scores(
    features_BRK: Tensor, weight_KK: Tensor, bias_K: Tensor, head_K: Tensor, keep_BRK: Tensor | None
) -> Tensor:
    """Highway layer, dropout and the product with a linear head, (B, R).

    head · (keep y) with y = sigmoid(h) relu(h) + (1 - sigmoid(h)) x and h = W x + b.

    Args:
        keep_BRK: dropout masks; none without.
    """
    return _HighwayScores.apply(features_BRK, weight_KK, bias_K, head_K, keep_BRK)


class _MaxOverTime(torch.autograd.Function):
    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)
    def forward(
        ctx: Any,
        x_BRT: Tensor,
        lengths: list[int],
        weight_KW: Tensor,
        bias_K: Tensor,
        widths: list[int],
        counts: list[int],
    ) -> Tensor:
        rows, representations, positions = x_BRT.shape
        filters, widest = weight_KW.shape
        x_BRT = F.pad(x_BRT, (0, widest - 1)).contiguous()
        # Further inputs of the product are 1, for the bias, and a flag for each width that is 1 where a window of that
        # width would reach beyond the text: so neither costs a pass over the responses.
        of_width_DK = torch.eye(len(widths)).repeat_interleave(torch.tensor(counts), dim=1)
        matrix_IK = torch.cat([weight_KW.T, bias_K[None], _NEVER * of_width_DK])
        wants_gradient = any(ctx.needs_input_grad)
        pooled_BRK = x_BRT.new_empty(rows, representations, filters)
        index_BRK = torch.empty(rows, representations, filters if wants_gradient else 0, dtype=torch.int32)
        most = max(1, max(lengths) - widths[0] + 1)
        memory = x_BRT.new_empty(most * representations * filters)
        for row, length in enumerate(lengths):
            windows = max(1, length - widths[0] + 1)
            position_P = torch.arange(windows)
            last_D = torch.tensor([max(0, length - width) for width in widths])
            constants_PI = torch.cat([torch.ones(windows, 1), (position_P[:, None] > last_D).float()], dim=1)
            windows_RPW = x_BRT[row].unfold(1, widest, 1)[:, :windows]
            inputs_RPI = torch.cat([windows_RPW, constants_PI.expand(representations, -1, -1)], dim=-1)
            responses_RPK = memory[: windows * representations * filters].view(representations, windows, filters)
            torch.mm(inputs_RPI.flatten(0, 1), matrix_IK, out=responses_RPK.flatten(0, 1))
            torch.amax(responses_RPK, dim=1, out=pooled_BRK[row])
            if wants_gradient:
                at_maximum_RPK = responses_RPK.eq_(pooled_BRK[row][:, None])
                index_BRK[row] = at_maximum_RPK.mul_(position_P[:, None]).amax(dim=1)
            pooled_BRK[row].relu_()
        ctx.save_for_backward(x_BRT, weight_KW, index_BRK, pooled_BRK)
        # The filters that reach tap w are the last ones, from here on.
        ctx.first_filters = [sum(counts[: sum(width <= tap for width in widths)]) for tap in range(widest)]
        ctx.positions = positions
        return pooled_BRK

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]  (the decorator hides the names)
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        x_BRT, weight_KW, index_BRK, pooled_BRK = ctx.saved_tensors
        x_MT, index_MK, pooled_MK = (tensor.flatten(0, 1) for tensor in (x_BRT, index_BRK, pooled_BRK))
        gradient_MK = grad_outputs[0].flatten(0, 1)
        wants_x, wants_weights = ctx.needs_input_grad[0], ctx.needs_input_grad[2]
        x_gradient_MT = torch.zeros_like(x_MT)
        weight_WK = weight_KW.T.contiguous()
        weight_gradient_WK, bias_gradient_K = torch.zeros_like(weight_WK), torch.zeros_like(weight_WK[0])
        for texts in _slices(len(x_MT)):
            gradient = gradient_MK[texts] * pooled_MK[texts].sign()  # relu's is 1 where the feature is above 0
            index = index_MK[texts].long()
            if wants_weights:
                bias_gradient_K += gradient.sum(dim=0)
            for tap, first in enumerate(ctx.first_filters):
                if wants_weights:
                    at_maximum = x_MT[texts].gather(1, index[:, first:])
                    weight_gradient_WK[tap, first:] += at_maximum.mul_(gradient[:, first:]).sum(dim=0)
                if wants_x:
                    to_maximum = gradient[:, first:] * weight_WK[tap, first:]
                    x_gradient_MT[texts].scatter_add_(1, index[:, first:], to_maximum)
                index += 1
        x_gradient = x_gradient_MT.view_as(x_BRT)[..., : ctx.positions] if wants_x else None
        if not wants_weights:
            return x_gradient, None, None, None, None, None
        return x_gradient, None, weight_gradient_WK.T, bias_gradient_K, None, None


class _HighwayScores(torch.autograd.Function):
    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)
    def forward(
        ctx: Any,
        features_BRK: Tensor,
        weight_KK: Tensor,
        bias_K: Tensor,
        head_K: Tensor,
        keep_BRK: Tensor | None,
    ) -> Tensor:
        rows, representations, _ = features_BRK.shape
        scores_BR = torch.empty(rows, representations)
        saved_h = []
        for some in _slices(rows, _TEXTS // representations):
            x = features_BRK[some]
            h = linear(x, weight_KK, bias_K)
            if any(ctx.needs_input_grad):
                saved_h.append(h)
            gate = h.sigmoid()
            y = torch.lerp(x, h.relu(), gate, out=gate)
            if keep_BRK is not None:
                y *= keep_BRK[some]
            torch.matmul(y, head_K, out=scores_BR[some])
        ctx.save_for_backward(features_BRK, weight_KK, head_K, keep_BRK, *saved_h)
        return scores_BR

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]  (the decorator hides the names)
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        features_BRK, weight_KK, head_K, keep_BRK, *saved_h = ctx.saved_tensors
        rows, representations, _ = features_BRK.shape
        wants_weights = ctx.needs_input_grad[1]
        x_gradient_BRK = torch.empty_like(features_BRK)
        weight_gradient_KK = torch.zeros_like(weight_KK)
        bias_gradient_K, head_gradient_K = torch.zeros_like(head_K), torch.zeros_like(head_K)
        transposed_KK = weight_KK.T.contiguous()
        for some, h in zip(_slices(rows, _TEXTS // representations), saved_h, strict=True):
            x, score_gradient = features_BRK[some], grad_outputs[0][some]
            # dy/dh = gate (1 - gate) (relu(h) - x) + gate [h > 0], and beside W's path dy/dx = 1 - gate
            gate, relu = h.sigmoid(), h.relu()
            y_gradient = score_gradient[..., None] * head_K
            if keep_BRK is not None:
                y_gradient *= keep_BRK[some]
            if wants_weights:
                y = torch.lerp(x, relu, gate)
                if keep_BRK is not None:
                    y *= keep_BRK[some]
                head_gradient_K += score_gradient.flatten() @ y.flatten(0, 1)
            closed_gradient = torch.addcmul(y_gradient, y_gradient, gate, value=-1)
            h_gradient = (relu - x).mul_(closed_gradient).addcmul_(y_gradient, relu.sign_()).mul_(gate)
            torch.add(linear(h_gradient, transposed_KK), closed_gradient, out=x_gradient_BRK[some])
            if wants_weights:
                h_gradient_MK = h_gradient.flatten(0, 1)
                weight_gradient_KK += linear(h_gradient_MK.T.contiguous(), x.flatten(0, 1).T.contiguous())
                bias_gradient_K += h_gradient_MK.sum(dim=0)
        if not wants_weights:
            return x_gradient_BRK, None, None, None, None
        return x_gradient_BRK, weight_gradient_KK, bias_gradient_K, head_gradient_K, None


def _slices(length: int, size: int = _TEXTS) -> Iterator[slice]:
    for start in range(0, length, max(1, size)):
        yield slice(start, min(length, start + max(1, size)))
