"""Language models that evaluation trains for itself: judges of samples, and models of samples that real text judges.

Shapes: N texts, B rows of a batch, P positions of a batch, M valid positions, F features, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lstmgan_dist.evaluation.counting import frequencies
from lstmgan_dist.evaluation.texts import Texts
from lstmgan_dist.models.drawing import END
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.models.generators.lstm import GeneratorDropout, LSTMGeneratorKind
from lstmgan_dist.runtime.randomness import Noise, derive, permutation

# Texts of like length share a batch: of so many batches' worth of shuffled texts, those next to each other in length.
_WINDOW_BATCHES = 16
_SCORED_ROWS = 256
# To be raised when a recipe learns otherwise than before, so that what was learnt then is not taken for the same.
METHOD = 2


@dataclass(frozen=True)
class Recipe:
    """How a language model of evaluation is built and trained; the same for every judge and every reverse model.

    epochs, least_steps: training lasts so many epochs, or more where these are fewer steps than that. It ends earlier
    when `patience` epochs in a row have not lowered the loss on the texts that are held back, a share `held_back` of
    its own if there are no others; the best weights are kept. The weights are a moving average of those that are
    trained (Polyak and Juditsky 1992), which makes two models of one text more alike: `averaged` is the weight of the
    older ones. The learning rate falls as a half cosine.
    """

    embedding: int = 128
    hidden: int = 256
    dropout: float = 0.4
    batch: int = 32
    learning_rate: float = 4e-3
    weight_decay: float = 0.1
    epochs: int = 8
    least_steps: int = 300
    patience: int = 1
    held_back: float = 0.05
    averaged: float = 0.995


STANDARD = Recipe()


@dataclass(frozen=True)
class Trained:
    """A language model, and what it reached on the texts that were held back: nats per token."""

    network: Generator
    held_back_nll: float
    epochs: int


def build(vocabulary_size: int, recipe: Recipe, *, seed: int) -> Generator:
    """The language model before it has learnt, on the CPU."""
    dropout = GeneratorDropout(embedding=recipe.dropout, output=recipe.dropout)
    kind = LSTMGeneratorKind(embedding=recipe.embedding, hidden=recipe.hidden, dropout=dropout)
    return kind.build(vocabulary_size=vocabulary_size, seed=derive(seed, "language model"))


def fit(
    texts: Texts,
    *,
    vocabulary_size: int,
    recipe: Recipe,
    seed: int,
    device: torch.device,
    held_back: Texts | None = None,
) -> Trained:
    """A fresh language model of these texts: the same for a seed, on like machines with as many threads.

    It begins with the frequencies of their tokens, so that what it learns is what is beyond these; where there is too
    little text for that, it stays there.

    held_back: texts that decide when training ends; without, some of its own, which it then does not learn.
    """
    if held_back is None:
        shuffled, count = (
            permutation(derive(seed, "held back"), len(texts)),
            max(1, round(recipe.held_back * len(texts))),
        )
        texts, held_back = texts.take(shuffled[count:].numpy()), texts.take(shuffled[:count].numpy())
    network = build(vocabulary_size, recipe, seed=seed).to(device)
    with torch.no_grad():
        network.output_bias.copy_(torch.from_numpy(np.log(frequencies(texts, vocabulary_size))))
    average = deepcopy(network)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    steps_per_epoch = -(-len(texts) // recipe.batch)
    epochs = max(recipe.epochs, -(-recipe.least_steps // steps_per_epoch))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * steps_per_epoch)
    best, best_weights, best_epoch, epoch = float("inf"), {}, 0, 0
    noise = Noise(derive(seed, "dropout"), torch.arange(recipe.batch, device=device))
    for epoch in range(epochs):
        for step, batch in enumerate(_batches(texts, recipe.batch, derive(seed, "epoch", epoch))):
            targets_BP = batch.padded().to(device)
            features_BPF, valid_BP = _features(network, targets_BP, noise.at(epoch, step).part(slice(len(batch))))
            log_likelihoods_M = network.log_likelihoods(features_BPF[valid_BP], targets_BP[valid_BP])
            optimizer.zero_grad(set_to_none=True)
            (-log_likelihoods_M.mean()).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            _draw_towards(average, network, _newest_weight(epoch * steps_per_epoch + step, recipe.averaged))
        loss = nll(read(average, held_back, device), held_back)
        if loss < best:
            best, best_epoch = loss, epoch
            best_weights = {name: tensor.clone() for name, tensor in average.state_dict().items()}
        elif epoch - best_epoch >= recipe.patience:
            break
    average.load_state_dict(best_weights)
    return Trained(average, best, epoch + 1)


def _newest_weight(step: int, averaged: float) -> float:
    """The weight of what is newest in a moving average, which is larger while there are few to average."""
    return max(1 - averaged, 1 / (1 + step / 10))


@torch.no_grad()
def _draw_towards(average: Generator, network: Generator, weight: float) -> None:
    for slow, fast in zip(average.parameters(), network.parameters(), strict=True):
        slow.lerp_(fast, weight)


@dataclass(frozen=True)
class Reading:
    """What a language model makes of texts.

    nats_N: negative log-likelihood of each text with its end mark, float64. features_NF: the mean over all its
    positions of what the output layer multiplies, float32.
    """

    nats_N: np.ndarray
    features_NF: np.ndarray


@torch.no_grad()
def read(network: Generator, texts: Texts, device: torch.device) -> Reading:
    """Read texts without dropout."""
    network.to(device)
    nats_N = np.zeros(len(texts))
    features_NF = np.zeros((len(texts), network.output_matrix.shape[1]), np.float32)
    by_length = np.argsort(texts.lengths_N, kind="stable")
    for start in range(0, len(texts), _SCORED_ROWS):
        which = by_length[start : start + _SCORED_ROWS]
        targets_BP = texts.take(which).padded().to(device)
        features_BPF, valid_BP = _features(network, targets_BP)
        log_likelihoods_M = network.log_likelihoods(features_BPF[valid_BP], targets_BP[valid_BP])
        log_likelihoods_BP = torch.zeros(valid_BP.shape, dtype=torch.float64, device=device)
        log_likelihoods_BP[valid_BP] = log_likelihoods_M.double()
        nats_N[which] = -log_likelihoods_BP.sum(1).cpu().numpy()
        means_BF = (features_BPF * valid_BP[:, :, None]).sum(1) / valid_BP.sum(1, keepdim=True)
        features_NF[which] = means_BF.cpu().numpy()
    return Reading(nats_N, features_NF)


def nll(reading: Reading, texts: Texts) -> float:
    """Nats per token, end marks included."""
    return float(reading.nats_N.sum() / tokens_of(texts).sum())


def tokens_of(texts: Texts) -> np.ndarray:
    """Tokens of each text that a language model predicts: its own and the end mark."""
    return texts.lengths_N + 1


def _features(network: Generator, targets_BP: Tensor, noise: Noise | None = None) -> tuple[Tensor, Tensor]:
    """What each position's token is predicted from, and which positions are a text's, its end mark included."""
    before_BP = F.pad(targets_BP[:, :-1], (1, 0), value=END)
    features_BPF, _ = network(before_BP, noise=noise)
    # No token of a text is END: the end mark is the first, and what follows is padding.
    return features_BPF, (targets_BP == END).cumsum(1) - (targets_BP == END).long() == 0


def _batches(texts: Texts, size: int, key: int) -> Iterator[Texts]:
    """All texts once, in shuffled batches of texts of like length."""
    shuffled = permutation(derive(key, "texts"), len(texts)).numpy()
    batches: list[np.ndarray] = []
    for start in range(0, len(texts), _WINDOW_BATCHES * size):
        window = shuffled[start : start + _WINDOW_BATCHES * size]
        window = window[np.argsort(texts.lengths_N[window], kind="stable")]
        batches += [window[first : first + size] for first in range(0, len(window), size)]
    for number in permutation(derive(key, "batches"), len(batches)).tolist():
        yield texts.take(batches[number])
