"""Completions of texts that are begun: free running from many states at once, without gradient.

Shapes: P beginnings, R completions of each, N = P * R completions one after the other, T positions, S slots that are
worked on together, Z latent dimensions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lstmgan_dist.models.drawing import Drawn, inverse_cdf
from lstmgan_dist.models.generator import Generator, State
from lstmgan_dist.tokens import END_ID as END

_SLOTS = 512  # rows whose logits fit into a CPU's cache, and enough of them for fast matrix products
_SLOT_STEP = 16
_ON_CUDA = 2**28  # logits of all slots: 1 GiB


class Begun(NamedTuple):
    """Texts that are to be gone on with.

    tokens_P: the last token of each, which the generator has not read yet. state: what it has read before, rows first.
    left_P: int64, how many tokens may follow, at least 1. latent_PZ: for a generator that has a latent vector.
    """

    tokens_P: Tensor
    state: State
    left_P: Tensor
    latent_PZ: Tensor | None

    def take(self, index_N: Tensor) -> Begun:
        """Those with these indices."""
        latent_NZ = None if self.latent_PZ is None else self.latent_PZ[index_N]
        return Begun(
            self.tokens_P[index_N], tuple(tensor[index_N] for tensor in self.state), self.left_P[index_N], latent_NZ
        )


@torch.no_grad()
def states_along(generator: Generator, inputs_BT: Tensor, latent_BZ: Tensor | None = None) -> tuple[Tensor, ...]:
    """The states before each position of texts is read, by one pass: the state's tensors, each (T, B, ...)."""
    dtype = _number_of(inputs_BT.device)
    state = generator.initial_state(len(inputs_BT), latent_BZ)
    state = tuple(tensor.to(dtype) for tensor in state)
    states = [state]
    with torch.autocast(inputs_BT.device.type, enabled=False):  # a step computes in the type that it is told
        step = generator.step(latent_BZ, dtype)
        for token_B in inputs_BT[:, :-1].unbind(1):
            _, state = step(token_B, state)
            states.append(state)
    return tuple(torch.stack(tensors) for tensors in zip(*states, strict=True))


@torch.no_grad()
def complete(generator: Generator, begun: Begun, uniforms_PRT: Tensor) -> Drawn:
    """Go on with every text R times: token t of a completion is its distribution's inverse at uniforms_PRT[..., t].

    A completion that is over makes room for the next. So that few are left at the end, those that may become longest
    belong to the front.

    Returns:
        What follows the texts, N rows: all completions of the first, all of the second, ...
    """
    dtype = _number_of(uniforms_PRT.device)
    with torch.autocast(uniforms_PRT.device.type, enabled=False):
        return _complete(generator, begun, uniforms_PRT, dtype)


def _complete(generator: Generator, begun: Begun, uniforms_PRT: Tensor, dtype: torch.dtype) -> Drawn:
    texts, completions, positions = uniforms_PRT.shape
    rows, device = texts * completions, uniforms_PRT.device
    uniforms_NT = uniforms_PRT.flatten(0, 1)
    drawn_NT = torch.zeros(rows, positions, dtype=torch.int64, device=device)
    lengths_N = torch.zeros(rows, dtype=torch.int64, device=device)
    entered = min(rows, _ON_CUDA // generator.vocabulary_size if uniforms_PRT.is_cuda else _SLOTS)
    row_S = torch.arange(entered, device=device)
    written_S = torch.zeros_like(row_S)
    slots = begun.take(row_S // completions)
    logits = generator.logits_reader(dtype)
    # A kind may put its weights together for this, so once, unless it also takes in what slots hold just now.
    step = generator.step(None, dtype) if begun.latent_PZ is None else None
    while len(row_S):
        token_S, state, left_S, latent_SZ = slots
        features_SF, state = (step or generator.step(latent_SZ, dtype))(token_S, state)
        # Rows are filled up to a number that has fast kernels.
        features_SF = F.pad(features_SF, (0, 0, 0, -len(row_S) % _SLOT_STEP))
        weights_SV = logits(features_SF)[: len(row_S)].softmax(dim=-1)
        token_S = inverse_cdf(weights_SV, uniforms_NT[row_S, written_S])
        drawn_NT[row_S, written_S] = token_S
        written_S += 1
        slots = Begun(token_S, state, left_S, latent_SZ)
        is_over_S = (token_S == END) | (written_S == left_S)
        over = is_over_S.nonzero().squeeze(1)
        if not len(over):
            continue
        lengths_N[row_S[over]] = written_S[over]
        refill = over[: rows - entered]
        if len(refill):
            row_S[refill] = torch.arange(entered, entered + len(refill), device=device)
            written_S[refill] = 0
            entered += len(refill)
            _put(slots, refill, begun.take(row_S[refill] // completions))
        if len(refill) < len(over):
            is_over_S[refill] = False
            keep = (~is_over_S).nonzero().squeeze(1)
            row_S, written_S, slots = row_S[keep], written_S[keep], slots.take(keep)
    return Drawn(drawn_NT, lengths_N)


def _number_of(device: torch.device) -> torch.dtype:
    """The type of number in which steps compute: on CPUs float32 always, as when drawing."""
    if device.type == "cuda" and torch.is_autocast_enabled("cuda"):
        return torch.get_autocast_dtype("cuda")
    return torch.float32


def _put(slots: Begun, index: Tensor, new: Begun) -> None:
    slots.tokens_P[index], slots.left_P[index] = new.tokens_P, new.left_P
    for old, of_new in zip(slots.state, new.state, strict=True):
        old[index] = of_new.to(old.dtype)
    if slots.latent_PZ is not None and new.latent_PZ is not None:
        slots.latent_PZ[index] = new.latent_PZ
