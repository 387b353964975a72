"""What networks make of given texts, text by text and token by token.

Texts of like length share a batch, and long ones are read in stretches, so memory is bounded whatever the texts are.

Shapes: N texts, T tokens of all of them, S scores of all of them; B rows of a batch, P positions of a stretch, M valid
ones, H hidden units, Z latent dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lstmgan_dist.evaluation.texts import Texts
from lstmgan_dist.models.discriminator import Discriminator
from lstmgan_dist.models.drawing import END
from lstmgan_dist.models.generator import Generator, State
from lstmgan_dist.models.padding import valid
from lstmgan_dist.runtime.randomness import Noise, derive

# Of a batch: rows and positions at most, and numbers of its logits, 128 MiB of them. A stretch is of so many positions.
_ROWS, _POSITIONS, _LOGITS, _STRETCH = 256, 2**15, 2**25, 256


@dataclass(frozen=True)
class _Stretch:
    """Some positions of the texts of a batch, read.

    which: the numbers of the texts. start: the first position. hidden_BPH: from which each position's token is told.
    targets_BP: those tokens, END behind the last one.
    """

    which: np.ndarray
    start: int
    hidden_BPH: Tensor
    targets_BP: Tensor
    lengths_B: Tensor

    def among(self, first: int, lengths_B: Tensor) -> Tensor:
        """Which positions are of those from `first` to behind the first so many of each text, (B, P)."""
        position_P = torch.arange(self.start, self.start + self.targets_BP.shape[1], device=lengths_B.device)
        return (position_P >= first) & (position_P < lengths_B[:, None])


@torch.no_grad()
def token_log_likelihoods(
    generator: Generator,
    texts: Texts,
    device: torch.device,
    *,
    prompt: Sequence[int] = (END,),
    ends: bool = True,
    first: int = 0,
) -> np.ndarray:
    """Log-probability in nats of each token behind all that stand before it, without dropout: float32, text after text.

    prompt: read before each text, at least one token; a sentence starts with END. ends: whether the end mark counts,
    behind the last token of each. first: the number of the first text, on which the latent vector of a generator that
    has one depends: as in `heldout_likelihood`, the sum then is a lower bound, estimated with one vector a text.
    """
    lengths_N = texts.lengths_N + ends
    starts_T = torch.from_numpy(np.cumsum(lengths_N) - lengths_N).to(device)
    found_T = torch.zeros(int(lengths_N.sum()), device=device)
    for stretch in _read(generator, texts, device, prompt, first=first):
        valid_BP = stretch.among(0, stretch.lengths_B + ends)
        place_BP = starts_T[stretch.which][:, None] + stretch.start + torch.arange(valid_BP.shape[1], device=device)
        features_MF = generator.features(stretch.hidden_BPH)[valid_BP]
        found_T[place_BP[valid_BP]] = generator.log_likelihoods(features_MF, stretch.targets_BP[valid_BP])
    return found_T.cpu().numpy()


@torch.no_grad()
def mean_hidden_states(generator: Generator, texts: Texts, device: torch.device, prompt: Sequence[int]) -> np.ndarray:
    """The mean over the tokens of each text of the hidden state behind the token, without dropout: float32 (N, H).

    Of a text without tokens it is the state behind the prompt. A latent vector is zero, the middle of what it may be.
    """
    sums_NH = torch.zeros(len(texts), generator.hidden_size, dtype=torch.float64, device=device)
    for stretch in _read(generator, texts, device, prompt, first=None):
        # At a position the generator has read what stands before it.
        behind_BP = stretch.among(1, stretch.lengths_B + 1)
        behind_BP |= stretch.among(0, torch.where(stretch.lengths_B == 0, 1, 0))
        sums_NH[stretch.which] += (stretch.hidden_BPH * behind_BP[:, :, None]).sum(1).double()
    counts_N = torch.from_numpy(np.maximum(texts.lengths_N, 1)).to(device)
    return (sums_NH / counts_N[:, None]).float().cpu().numpy()


@torch.no_grad()
def discriminator_scores(
    discriminator: Discriminator,
    generator: Generator,
    texts: Texts,
    device: torch.device,
    *,
    context: Sequence[int] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """What a discriminator says of texts that end, without dropout. context: of all of them, seen and not scored.

    Returns:
        Its scores, float32 (S,), text after text: one for each token with the end mark, for each representation, or for
        the text; and the score of each text (N,), their mean.
    """
    lengths_N = texts.lengths_N + 1
    each_N = lengths_N if discriminator.scores == "per_token" else np.full(len(texts), discriminator.representations)
    starts_S = torch.from_numpy(np.cumsum(each_N) - each_N).to(device)
    found_S, of_texts_N = torch.zeros(int(each_N.sum()), device=device), torch.zeros(len(texts), device=device)
    for which in _batches(lengths_N, most_positions=_POSITIONS):
        targets_BP = texts.take(which).padded().to(device)
        before_BP = torch.tensor([context], dtype=torch.int64, device=device).expand(len(targets_BP), -1)
        lengths_B = torch.from_numpy(lengths_N[which]).to(device) + len(context)
        starts_B = torch.full_like(lengths_B, len(context)) if context else None
        scores = discriminator(discriminator.see(torch.cat([before_BP, targets_BP], dim=1), generator), lengths_B)
        of_texts_N[which] = discriminator.of_sentences(scores, lengths_B, starts_B)
        if discriminator.scores == "per_token":
            scores = scores[:, len(context) :]
        scores_BR = scores if scores.dim() > 1 else scores[:, None]
        valid_BR = valid(torch.from_numpy(each_N[which]).to(device), scores_BR.shape[1])
        place_BR = starts_S[which][:, None] + torch.arange(scores_BR.shape[1], device=device)
        found_S[place_BR[valid_BR]] = scores_BR[valid_BR]
    return found_S.cpu().numpy(), of_texts_N.cpu().numpy()


def _read(
    generator: Generator, texts: Texts, device: torch.device, prompt: Sequence[int], *, first: int | None
) -> Iterator[_Stretch]:
    """All texts behind a prompt, stretch by stretch. first: as above; None: every latent vector is zero."""
    most_positions = max(_STRETCH, min(_POSITIONS, _LOGITS // generator.vocabulary_size))
    for which in _batches(np.minimum(texts.lengths_N + 1, _STRETCH), most_positions=most_positions, by=texts.lengths_N):
        part = texts.take(which)
        targets_BP = part.padded().to(device)
        inputs_BP = F.pad(targets_BP[:, :-1], (1, 0), value=prompt[-1])
        lengths_B = torch.from_numpy(part.lengths_N).to(device)
        latent_BZ = _latent(generator, which, first, device)
        state: State | None = None
        if len(prompt) > 1:
            before_BP = torch.tensor([prompt[:-1]], device=device).expand(len(part), -1)
            _, state = generator.read(before_BP, None, latent_BZ=latent_BZ, noise=None)
        for start in range(0, inputs_BP.shape[1], _STRETCH):
            span = slice(start, start + _STRETCH)
            hidden_BPH, state = generator.read(inputs_BP[:, span], state, latent_BZ=latent_BZ, noise=None)
            yield _Stretch(which, start, hidden_BPH, targets_BP[:, span], lengths_B)


def _latent(generator: Generator, which: np.ndarray, first: int | None, device: torch.device) -> Tensor | None:
    if not generator.latent_size:
        return None
    if first is None:
        return torch.zeros(len(which), generator.latent_size, device=device)
    rows_B = torch.from_numpy(first + which).to(device)
    return Noise(derive("heldout"), rows_B).normal("latent", generator.latent_size)


def _batches(positions_N: np.ndarray, *, most_positions: int, by: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """The numbers of all texts, batch by batch, in the order of their lengths.

    positions_N: what each takes at once. by: the lengths; the same without.
    """
    order = np.argsort(positions_N if by is None else by, kind="stable")
    start = 0
    while start < len(order):
        # The last of a batch is its longest.
        widths = positions_N[order[start : start + _ROWS]] * np.arange(1, len(order[start : start + _ROWS]) + 1)
        rows = max(1, int(np.searchsorted(widths, most_positions, side="right")))
        yield order[start : start + rows]
        start += rows
