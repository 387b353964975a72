"""Rows of unequal length read forwards and backwards.

Shapes: B rows, T positions, H hidden units of each direction, I inputs of a layer.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from lstmgan_dist.models.fused import LSTMLayer


def read(layers: Iterable[list[LSTMLayer]], x_BTI: Tensor, lengths_B: Tensor) -> Tensor:
    """What the last of these layers gives at every position, (B, T, H) or (B, T, 2H).

    layers: from the input upwards, each forwards and, where it reads both ways, backwards: from a row's own end.
    """
    position_T = torch.arange(x_BTI.shape[1], device=x_BTI.device)
    # Where position t of a row is in the row read backwards; its own inverse, and padding stays in place.
    mirror_BT = lengths_B[:, None] - 1 - position_T
    mirror_BT = torch.where(mirror_BT >= 0, mirror_BT, position_T)
    for forwards, *backwards in layers:
        outputs_BTH, _ = forwards.read(x_BTI)
        for layer in backwards:
            mirrored_BTH, _ = layer.read(_at(x_BTI, mirror_BT))
            outputs_BTH = torch.cat([outputs_BTH, _at(mirrored_BTH, mirror_BT)], dim=-1)
        x_BTI = outputs_BTH
    return x_BTI


def ends(outputs_BTH: Tensor, lengths_B: Tensor, hidden: int) -> Tensor:
    """Where each direction of so many units ended: forwards at the last token, backwards at the first."""
    last_BH = _at(outputs_BTH, lengths_B[:, None] - 1)[:, 0]
    return torch.cat([last_BH[:, :hidden], outputs_BTH[:, 0, hidden:]], dim=-1)


def _at(x_BTI: Tensor, position_BT: Tensor) -> Tensor:
    """Each row's vectors at the given positions."""
    return x_BTI.gather(1, position_BT[..., None].expand(-1, -1, x_BTI.shape[-1]))
