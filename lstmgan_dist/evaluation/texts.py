"""Texts as evaluation sees them: tokens end to end, without end marks.

Shapes: N texts, T tokens of all of them, B rows of a batch, P positions of a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lstmgan_dist.corpus.bulk import gather_index
from lstmgan_dist.corpus.stream import Batch
from lstmgan_dist.corpus.tokenizer import Encoded, Tokenizer
from lstmgan_dist.models.drawing import END, Drawn

_ROWS = 128


@dataclass(frozen=True)
class Texts:
    """Some texts.

    tokens_T: int64, text after text. lengths_N: int64, tokens of each; 0 is an empty text.
    """

    tokens_T: np.ndarray
    lengths_N: np.ndarray

    @classmethod
    def of(cls, rows: Iterable[Sequence[int]]) -> Self:
        """The texts that these lists of tokens are."""
        lists = list(rows)
        tokens = np.concatenate([np.asarray(row, np.int64) for row in lists] or [np.array([], np.int64)])
        return cls(tokens, np.array([len(row) for row in lists], np.int64))

    @classmethod
    def encoded(cls, encoded: Encoded) -> Self:
        """Sentences of a corpus, without their contexts and end marks."""
        encoded = encoded.texts
        keep_T = encoded.tokens_T != END
        assert np.count_nonzero(~keep_T) == len(encoded.lengths_N), "every sentence ends, and only there"
        return cls(encoded.tokens_T[keep_T].astype(np.int64), encoded.lengths_N - 1)

    @classmethod
    def drawn(cls, drawn: Drawn) -> Self:
        """What a generator drew, without what was given and without the end marks."""
        tokens_BP, lengths_B = drawn.tokens_BT.cpu().numpy(), drawn.lengths_B.cpu().numpy()
        if not len(lengths_B):
            return cls.of([])
        last_B = tokens_BP[np.arange(len(lengths_B)), lengths_B - 1]
        stops_N = lengths_B - (last_B == END)
        starts_N = np.zeros_like(stops_N) if drawn.starts_B is None else drawn.starts_B.cpu().numpy()
        position_P = np.arange(tokens_BP.shape[1])
        of_text_NP = (position_P >= starts_N[:, None]) & (position_P < stops_N[:, None])
        return cls(tokens_BP[of_text_NP], stops_N - starts_N)

    def __len__(self) -> int:
        return len(self.lengths_N)

    @property
    def starts_N(self) -> np.ndarray:
        """Where each text begins in tokens_T."""
        return np.cumsum(self.lengths_N) - self.lengths_N

    def take(self, which: np.ndarray | slice) -> Texts:
        """Some of the texts: by their numbers, by a mask, or a slice."""
        lengths_N = self.lengths_N[which]
        return Texts(self.tokens_T[gather_index(self.starts_N[which], lengths_N)], lengths_N)

    def rows(self) -> list[list[int]]:
        """The tokens of each text."""
        tokens = self.tokens_T.tolist()
        return [
            tokens[start : start + length]
            for start, length in zip(self.starts_N.tolist(), self.lengths_N.tolist(), strict=True)
        ]

    def padded(self) -> Tensor:
        """All texts side by side, each followed by at least one END and padded with it: int64 (B, P)."""
        longest = int(self.lengths_N.max(initial=0)) + 1
        padded_BP = np.full((len(self), longest), END, np.int64)
        padded_BP[np.arange(longest) < self.lengths_N[:, None]] = self.tokens_T
        return torch.from_numpy(padded_BP)


def join_texts(parts: Sequence[Texts]) -> Texts:
    """Several collections of texts as one."""
    none = np.array([], np.int64)
    return Texts(
        np.concatenate([none, *(part.tokens_T for part in parts)]),
        np.concatenate([none, *(part.lengths_N for part in parts)]),
    )


def batches_of(texts: Texts, *, ends: bool = True) -> Iterator[Batch]:
    """Texts as generators read them, in their order. ends: whether the end marks are among the targets."""
    for start in range(0, len(texts), _ROWS):
        part = texts.take(slice(start, start + _ROWS))
        targets_BP = part.padded()
        inputs_BP = F.pad(targets_BP[:, :-1], (1, 0), value=END)
        yield Batch(inputs_BP, targets_BP, torch.from_numpy(part.lengths_N + ends), fresh=True, first_row=start)


def decoded(texts: Texts, tokenizer: Tokenizer) -> list[str]:
    """Texts as people read them."""
    return [tokenizer.decode(tokens) for tokens in texts.rows()]
