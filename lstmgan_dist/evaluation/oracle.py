"""A random LSTM as the source of text, whose likelihood is known: the oracle of SeqGAN (Yu et al. 2017).

Shapes: N texts, B of them in a block, T positions, V vocabulary, M positions whose logits are made
at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lstmgan_dist.evaluation.sampling import BLOCK, Sampling, sample
from lstmgan_dist.evaluation.texts import Texts, join_texts
from lstmgan_dist.models.generators.lstm import LSTMGeneratorKind
from lstmgan_dist.models.initialise import normal_
from lstmgan_dist.models.padding import valid
from lstmgan_dist.runtime.randomness import derive
from lstmgan_dist.tokens import END_ID, UNKNOWN_ID

HIDDEN = 32  # of the papers' text of 20 words; that of 40 is of 64 (LeakGAN's code, which RelGAN's table quotes)
_MARKS = (END_ID, UNKNOWN_ID)
_CHUNK_LOGITS = 2**20  # 4 MiB: what a CPU's cache holds


class Entropy(NamedTuple):
    """An estimate in nats per token, and its standard error."""

    nats: float
    error: float


class Oracle:
    """An LSTM whose weights are all N(0, 1): embedding, gates and their biases, output layer and its biases.

    hidden: dimensions of its embedding and of its state; the wider, the less entropy has its text.

    It writes texts of `length` tokens, out of as many words as `vocabulary` says: "0", "1" and so on, whose ids a word
    tokenizer counts from 2. `<end>`, which it reads first, and `<unk>` have probability 0. Everything follows from the
    seed, or from the weights that `generator` is given afterwards.
    """

    def __init__(self, *, length: int, seed: int, vocabulary: int = 5000, hidden: int = HIDDEN) -> None:
        self.length = length
        self.words = tuple(map(str, range(vocabulary)))
        size = vocabulary + len(_MARKS)
        kind = LSTMGeneratorKind(embedding=hidden, hidden=hidden, tied=False)
        self.generator = kind.build(vocabulary_size=size, seed=seed).eval()
        self.generator.requires_grad_(False)
        for name, weight in self.generator.named_parameters():
            normal_(weight, 1, seed, f"oracle {name}")
        for layer in self.generator.lstm_layers():
            layer.bias_hh_l0.zero_()  # the paper's gates have one bias, ours the sum of two
        self.generator.output_bias[list(_MARKS)] = -torch.inf

    def draw(self, count: int, seed: int) -> Texts:
        """Texts number 0 to `count - 1` of a seed."""
        noise_seed, device = derive(seed, "oracle"), torch.device("cpu")
        blocks = sample(self.generator, Sampling(self.length), count=count, seed=noise_seed, device=device)
        return join_texts([Texts.drawn(block) for block in blocks])

    def nll(self, texts: Texts) -> np.ndarray:
        """-log p of each text in nats, the sum over its tokens, however many they are: float64 (N,).

        Infinite where a text holds `<unk>` or `<end>`, which the oracle never writes.
        """
        return self._sums(texts, lambda logits_MV, tokens_M: F.cross_entropy(logits_MV, tokens_M, reduction="none"))

    def entropy(self, count: int, seed: int) -> Entropy:
        """The entropy of a text per token: the exact entropies of the next token, averaged over so many drawn texts."""
        nats_N = self._sums(
            self.draw(count, seed), lambda logits_MV, _: torch.special.entr(logits_MV.softmax(1)).sum(1)
        )
        return Entropy(float(nats_N.mean()) / self.length, float(nats_N.std(ddof=1)) / self.length / count**0.5)

    @torch.no_grad()
    def _sums(self, texts: Texts, function: Callable[[Tensor, Tensor], Tensor]) -> np.ndarray:
        """For each text, the sum over its tokens of what a function says of the logits before them: float64 (N,)."""
        at_once = max(1, _CHUNK_LOGITS // self.generator.vocabulary_size)
        said = [np.array([])]
        for start in range(0, len(texts), BLOCK):
            block = texts.take(slice(start, start + BLOCK))
            targets_BT = block.padded()
            features_BTF, _ = self.generator(F.pad(targets_BT, (1, -1), value=END_ID))
            valid_BT = valid(torch.from_numpy(block.lengths_N), targets_BT.shape[1])
            chunks = zip(features_BTF[valid_BT].split(at_once), targets_BT[valid_BT].split(at_once), strict=True)
            said += [function(self.generator.logits(features), tokens).double().numpy() for features, tokens in chunks]
        text_T = np.repeat(np.arange(len(texts)), texts.lengths_N)
        return np.bincount(text_T, np.concatenate(said), minlength=len(texts))
