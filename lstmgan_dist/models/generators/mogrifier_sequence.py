"""Whole sequences of a Mogrifier layer, with a backward pass in which the gradient of each matrix is one product.

Autograd alone would add up a product for each position and matrix, which takes two and a half times as long on a CPU.

Shapes: B rows, T positions, I inputs, H hidden units, R = I + H.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lstmgan_dist.models import fused

Gates = list[list[Tensor]]  # of each round, the matrix that a gate is made by, or the two of which it is the product


class Round(NamedTuple):
    """A round. told: what each of its matrices multiplies. gate: σ of the last product. value: what is gated."""

    told: list[Tensor]
    gate: Tensor
    value: Tensor


class Position(NamedTuple):
    """A position. joined_BR: what the LSTM's weights multiply. before_BH: the cell. shown_BH: tanh of the next one."""

    rounds: list[Round]
    joined_BR: Tensor
    gates: tuple[Tensor, ...]
    before_BH: Tensor
    shown_BH: Tensor


def position(
    x_BI: Tensor, h_BH: Tensor, c_BH: Tensor, gates: Gates, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Position]:
    """The state behind a position (Melis et al. 2020): odd rounds are x = 2σ(Q h) ⊙ x, even ones h = 2σ(R x) ⊙ h.

    weight: of input and state in one, (4H, R).
    """
    rounds = []
    for number, matrices in enumerate(gates):
        is_odd = number % 2 == 0  # the first round is number 1 of the paper
        told = [h_BH if is_odd else x_BI]
        for matrix in matrices:
            told.append(fused.linear(told[-1], matrix))
        value, gate = x_BI if is_odd else h_BH, told.pop().sigmoid()
        rounds.append(Round(told, gate, value))
        if is_odd:
            x_BI = 2 * gate * value
        else:
            h_BH = 2 * gate * value
    joined_BR = torch.cat([x_BI, h_BH], dim=1)
    take, keep, new, show = fused.linear(joined_BR, weight, bias).chunk(4, dim=1)
    take, keep, new, show = take.sigmoid(), keep.sigmoid(), new.tanh(), show.sigmoid()
    behind_BH = keep * c_BH + take * new
    shown_BH = behind_BH.tanh()
    return show * shown_BH, behind_BH, Position(rounds, joined_BR, (take, keep, new, show), c_BH, shown_BH)


class ReadSequence(torch.autograd.Function):
    """(inputs_BTI, h_BH, c_BH, matrices a round, weight, bias, *matrices) -> (outputs_BTH, h_BH, c_BH)."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs_BTI: Tensor,
        h_BH: Tensor,
        c_BH: Tensor,
        factors: int,
        weight: Tensor,
        bias: Tensor,
        *flat: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        gates, outputs, ctx.positions, ctx.factors = _rounds_of(flat, factors), [], [], factors
        for x_BI in inputs_BTI.unbind(1):
            h_BH, c_BH, kept = position(x_BI, h_BH, c_BH, gates, weight, bias)
            outputs.append(h_BH)
            ctx.positions.append(kept)
        ctx.save_for_backward(weight, *flat)
        return torch.stack(outputs, dim=1), h_BH, c_BH

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]  (the decorator takes any arguments)
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        d_outputs_BTH, dh_BH, dc_BH = gradients
        weight, *flat = ctx.saved_tensors
        gates, inputs = _rounds_of(flat, ctx.factors), weight.shape[1] - dh_BH.shape[1]
        d_inputs, d_products = [], []
        # Of every matrix, what it multiplied and the gradient of the product, position by position.
        of_matrices: list[list[list[tuple[Tensor, Tensor]]]] = [[[] for _ in matrices] for matrices in gates]
        for kept, d_output_BH in zip(reversed(ctx.positions), reversed(d_outputs_BTH.unbind(1)), strict=True):
            d_product_B4H, dc_BH = _through_cell(kept, dh_BH + d_output_BH, dc_BH)
            d_products.append(d_product_B4H)
            dx_BI, dh_BH = (d_product_B4H @ weight).split([inputs, dh_BH.shape[1]], dim=1)
            for number in reversed(range(len(gates))):
                told, gate, value = kept.rounds[number]
                is_odd = number % 2 == 0
                d_value = 2 * gate * (dx_BI if is_odd else dh_BH)
                d_told = d_value * value * (1 - gate)
                for part in reversed(range(ctx.factors)):
                    of_matrices[number][part].append((told[part], d_told))
                    d_told = d_told @ gates[number][part]
                dx_BI, dh_BH = (d_value, dh_BH + d_told) if is_odd else (dx_BI + d_told, d_value)
            d_inputs.append(dx_BI)
        joined = [kept.joined_BR for kept in reversed(ctx.positions)]
        d_weight = _gradient(list(zip(joined, d_products, strict=True)))
        d_flat = [_gradient(pairs) for matrices in of_matrices for pairs in matrices]
        d_bias = torch.cat(d_products).sum(0)
        return torch.stack(d_inputs[::-1], dim=1), dh_BH, dc_BH, None, d_weight, d_bias, *d_flat


def _through_cell(kept: Position, dh_BH: Tensor, dc_BH: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of the product behind which the gates are, (B, 4H), and that of the cell before."""
    (take, keep, new, show), shown_BH = kept.gates, kept.shown_BH
    dc_BH = dc_BH + dh_BH * show * (1 - shown_BH * shown_BH)
    d_gates = [
        dc_BH * new * take * (1 - take),
        dc_BH * kept.before_BH * keep * (1 - keep),
        dc_BH * take * (1 - new * new),
        dh_BH * shown_BH * show * (1 - show),
    ]
    return torch.cat(d_gates, dim=1), dc_BH * keep


def _gradient(pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Of a matrix, from what it multiplied and the gradients of the products."""
    multiplied, d_products = zip(*pairs, strict=True)
    return torch.cat(d_products).t() @ torch.cat(multiplied)


def _rounds_of(flat: tuple[Tensor, ...] | list[Tensor], factors: int) -> Gates:
    return [list(flat[start : start + factors]) for start in range(0, len(flat), factors)]
