"""Pieces that objectives share: text drawn and read, and its valid positions.

Shapes: B rows, T positions, N valid positions of all rows, Z latent dimensions.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from lstmgan_dist.adversarial.objective import Prepared, Tensors
from lstmgan_dist.models.drawing import Drawn, Given, draw
from lstmgan_dist.models.generator import Generator, State
from lstmgan_dist.models.padding import valid
from lstmgan_dist.runtime.randomness import Noise

if TYPE_CHECKING:
    from lstmgan_dist.adversarial.estimators.exploration_weights import Exploration
    from lstmgan_dist.corpus.stream import Batch


def real_text(generator: Generator, real: Batch, noise: Noise) -> Prepared:
    """What `mean_nll` reads."""
    own = {"real_inputs_BT": real.inputs_BT, "real_targets_BT": real.targets_BT, "real_lengths_B": real.lengths_B}
    if real.starts_B is not None:
        own["real_starts_B"] = real.starts_B
    if generator.latent_size:
        own["real_latent_BZ"] = noise.normal("latent of real text", generator.latent_size)
    count = real.lengths_B if real.starts_B is None else real.lengths_B - real.starts_B
    return Prepared(own, {"real_token_count": count.sum().float()}, {})


def mean_nll(generator: Generator, part: Tensors, state: State | None, noise: Noise) -> tuple[Tensor, State]:
    """These rows' share of the global mean negative log-likelihood of the real text, contexts not, with dropout."""
    features_BTF, end = generator(
        part["real_inputs_BT"], state, latent_BZ=part.get("real_latent_BZ"), noise=noise.at("likelihood")
    )
    index_N = real_positions(part, features_BTF.shape[1])
    log_likelihoods_N = generator.log_likelihoods(
        select(features_BTF, index_N), select(part["real_targets_BT"], index_N)
    )
    return -log_likelihoods_N.sum() / part["real_token_count"], end


def own_loss(generator: Generator, part: Tensors) -> Tensor | None:
    """What the real text costs beside that, of a generator that learns more of it; None: nothing."""
    total = generator.own_loss(part["real_targets_BT"], part["real_lengths_B"], part.get("real_starts_B"))
    return None if total is None else total / part["real_token_count"]


def real_positions(part: Tensors, positions: int) -> Tensor:
    """Where the tokens of the real text are among so many positions of every row, contexts not, for `select`."""
    valid_BT = valid(part["real_lengths_B"], positions, part.get("real_starts_B"))
    return valid_BT.flatten().nonzero().squeeze(1)


def drawn_positions(part: Tensors) -> Tensor:
    """Where the tokens of the drawn text are among all positions of its rows, contexts not, for `select`."""
    valid_BT = valid(part["lengths_B"], part["tokens_BT"].shape[1], part.get("starts_B"))
    return valid_BT.flatten().nonzero().squeeze(1)


def named_state(state: State, prefix: str = "state_") -> Tensors:
    """A generator's state as tensors by names that begin alike."""
    return {f"{prefix}{number}": tensor for number, tensor in enumerate(state)}


def state_named(part: Tensors, prefix: str = "state_") -> State | None:
    """The inverse of `named_state`; None where there is none."""
    return tuple(part[name] for name in sorted(part) if name.startswith(prefix)) or None


def draw_text(
    generator: Generator,
    noise: Noise,
    max_length: int,
    real: Batch,
    *,
    drafts: int = 1,
    exploration: Exploration | None = None,
) -> tuple[Drawn, Tensor | None]:
    """A text for each row, behind the real one's context, cut to the longest; and the latent vectors behind them.

    Where real text has been cut, drawn text ends at as many tokens. drafts: texts of each row with the same context and
    latent vector, one after the other. exploration: draws them otherwise than the generator would.
    """
    if real.most is not None:
        max_length = min(max_length, real.most)
    latent_BZ = noise.normal("latent", generator.latent_size) if generator.latent_size else None
    given = given_of(real)
    if drafts > 1:
        noise = texts_a_row(noise, drafts)
        latent_BZ = None if latent_BZ is None else latent_BZ.repeat_interleave(drafts, dim=0)
        given = given and Given(*(tensor.repeat_interleave(drafts, dim=0) for tensor in given))
    drawing = partial(draw, generator, noise.uniform("tokens", max_length), latent_BZ=latent_BZ, given=given)
    drawn = exploration.drawn(drawing, noise) if exploration else drawing()
    longest = int(drawn.lengths_B.max())
    return Drawn(drawn.tokens_BT[:, :longest], drawn.lengths_B, drawn.starts_B), latent_BZ


def drawn_text(drawn: Drawn, latent_BZ: Tensor | None) -> Tensors:
    """Drawn text by name, with the inputs of a teacher-forced pass over it and the latent vectors behind it."""
    text = {
        "tokens_BT": drawn.tokens_BT,
        "inputs_BT": F.pad(drawn.tokens_BT, (1, -1)),  # a sentence starts with <end>, which is 0
        "lengths_B": drawn.lengths_B,
    }
    if drawn.starts_B is not None:
        text["starts_B"] = drawn.starts_B
    if latent_BZ is not None:
        text["latent_BZ"] = latent_BZ
    return text


def given_of(real: Batch) -> Given | None:
    """What a text of the same context begins with."""
    if real.contexts_BP is None or real.starts_B is None:
        return None
    return Given(real.contexts_BP, real.starts_B)


def two_texts_a_row(noise: Noise) -> Noise:
    """Noise for twice the rows: first each row's first text, then each row's second."""
    return Noise(noise.key, torch.cat([2 * noise.rows_B, 2 * noise.rows_B + 1]))


def texts_a_row(noise: Noise, texts: int) -> Noise:
    """Noise for so many times the rows: each row's texts one after the other."""
    text_B = torch.arange(texts, device=noise.rows_B.device)
    return Noise(noise.key, (noise.rows_B[:, None] * texts + text_B).flatten())


def equally_long(first_BT: Tensor, second_BT: Tensor) -> tuple[Tensor, Tensor]:
    longest = max(first_BT.shape[1], second_BT.shape[1])
    return F.pad(first_BT, (0, longest - first_BT.shape[1])), F.pad(second_BT, (0, longest - second_BT.shape[1]))


def select(values_BT: Tensor, index_N: Tensor) -> Tensor:
    """The values at the valid positions, (B, T, ...) -> (N, ...)."""
    flat = values_BT.flatten(0, 1)
    return flat if len(index_N) == len(flat) else flat.index_select(0, index_N)


def number_of_rows(lengths_B: Tensor) -> Tensor:
    """Float32, 0-dim."""
    return lengths_B.new_tensor(len(lengths_B)).float()
