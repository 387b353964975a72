"""Counting n-grams, those of all texts at once.

An n-gram is a number. One of n tokens is known by its key, which packs the number of its first n-1 tokens with its last
token; numbers are places in the sorted keys. So n-grams of any length cost one sort or binary search for each n.

Shapes: N texts, T tokens of all of them, R lengths of references, K orders (n = 1, 2, ...), D different n-grams of one
order, M places where one stands, P pairs of a text and an n-gram that it holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lstmgan_dist.errors import UserError
from lstmgan_dist.evaluation.texts import Texts, join_texts

# What NLTK's smoothing `method1` takes for a count of 0 (Chen and Cherry 2014).
_EPSILON = 0.1
# Ends every array of keys, so that a binary search always points at one.
_NO_KEY = np.iinfo(np.int64).max


class NgramIndex:
    """References: the largest count of every n-gram in any one of them, and their lengths."""

    def __init__(self, references: Texts, order: int = 5) -> None:
        if not len(references):
            raise UserError("There are no references to compare texts with: BLEU needs at least one sentence of them.")
        self._size = _vocabulary_size(references)
        self._lengths_R = np.unique(references.lengths_N)
        self._keys: list[np.ndarray] = []
        self._largest: list[np.ndarray] = []
        ngrams = _Ngrams(references, self._size)
        for _ in range(order):
            self._keys.append(ngrams.lengthen())
            counts = ngrams.counts()
            firsts_D = np.flatnonzero(np.diff(counts.numbers_P, prepend=-1))
            self._largest.append(np.maximum.reduceat(counts.counts_P, firsts_D))

    def sentence_bleu(self, hypotheses: Texts) -> np.ndarray:
        """BLEU of each text against all references: column k-1 is BLEU-k with weights 1/k, 0 to 1, float64 (N, K).

        Equals NLTK's `sentence_bleu` with the smoothing `method1`.
        """
        return _sentence_bleu(self._matches(hypotheses), hypotheses.lengths_N, self._closest(hypotheses.lengths_N))

    def corpus_bleu(self, hypotheses: Texts) -> float:
        """BLEU-4 of all texts as one, 0 to 100.

        Equals sacrebleu's corpus BLEU (tokenize none, smoothing exp) with every reference for every text.
        """
        lengths_N, length = hypotheses.lengths_N, int(hypotheses.lengths_N.sum())
        matches_K = self._matches(hypotheses)[:, :4].sum(0)
        assert len(matches_K) == 4, "an index of fewer than 4 orders has no BLEU-4"
        possible_K = np.maximum(lengths_N[:, None] - np.arange(4), 0).sum(0)
        if not matches_K[0] or not possible_K[3]:
            return 0.0
        # The first order without a match counts as half a match, the second as a quarter.
        missed_K = matches_K == 0
        smoothed_K = np.where(missed_K, 0.5 ** np.cumsum(missed_K), matches_K)
        brevity = min(0.0, 1 - self._closest(lengths_N).sum() / length)
        return 100 * float(np.exp(brevity + np.log(smoothed_K / possible_K).mean()))

    def _matches(self, hypotheses: Texts) -> np.ndarray:
        """N-grams that each text shares with the references, each no oftener than one reference has it: (N, K)."""
        if not len(hypotheses):
            raise UserError("There are no texts to compare with the references: BLEU needs at least one of them.")
        matches_NK = np.zeros((len(hypotheses), len(self._keys)))
        ngrams = _Ngrams(hypotheses, self._size)
        for k, (keys_D, largest_D) in enumerate(zip(self._keys, self._largest, strict=True)):
            ngrams.lengthen_among(keys_D)
            counts = ngrams.counts()
            matches_NK[:, k] = counts.clipped(largest_D[counts.numbers_P], len(hypotheses))
        return matches_NK

    def _closest(self, lengths_N: np.ndarray) -> np.ndarray:
        places_N = np.searchsorted(self._lengths_R, lengths_N)
        below_N = self._lengths_R[np.maximum(places_N - 1, 0)]
        above_N = self._lengths_R[np.minimum(places_N, len(self._lengths_R) - 1)]
        return _closer(lengths_N, below_N, above_N)


def self_bleu(texts: Texts, order: int = 5) -> np.ndarray:
    """BLEU of each text against all the others (Zhu et al. 2018), as `NgramIndex.sentence_bleu` has it: (N, K)."""
    if len(texts) < 2:
        raise UserError(f"Self-BLEU compares texts with each other and there are {len(texts)}: draw at least 2.")
    matches_NK = np.zeros((len(texts), order))
    ngrams = _Ngrams(texts, _vocabulary_size(texts))
    for k in range(order):
        ngrams.lengthen()
        counts = ngrams.counts().ascending()
        # In all texts but one, the largest count is the largest of all, or the second where that is the text's own.
        lasts_D = np.flatnonzero(np.diff(counts.numbers_P, append=-1))
        alone_D = np.diff(lasts_D, prepend=-1) == 1
        others_P = counts.counts_P[lasts_D][counts.numbers_P]
        others_P[lasts_D] = np.where(alone_D, 0, counts.counts_P[lasts_D - 1])
        matches_NK[:, k] = counts.clipped(others_P, len(texts))
    ranks_N = np.argsort(texts.lengths_N)
    sorted_N = texts.lengths_N[ranks_N]
    closest_N = np.empty_like(sorted_N)
    below_N, above_N = np.append(sorted_N[1], sorted_N[:-1]), np.append(sorted_N[1:], sorted_N[-2])
    closest_N[ranks_N] = _closer(sorted_N, below_N, above_N)
    return _sentence_bleu(matches_NK, texts.lengths_N, closest_N)


def distinct(texts: Texts, n: int) -> float:
    """Distinct-n (Li et al. 2016): different n-grams over all n-grams of the texts, 0 to 1; 0 if there are none."""
    ngrams = _ngrams_of(texts, n)
    return len(np.unique(ngrams.numbers_M)) / max(1, len(ngrams.numbers_M))


def repetition(texts: Texts, n: int = 2) -> float:
    """Share of a text's n-grams that occurred earlier in the same text, over all texts; 0 if there are none."""
    ngrams = _ngrams_of(texts, n)
    occurrences = len(ngrams.numbers_M)
    return (occurrences - len(ngrams.counts().counts_P)) / max(1, occurrences)


@dataclass(frozen=True)
class Copied:
    """What of some texts is in the training text.

    exact_N: bool, is the text a training sentence. longest_N: int64, tokens of its longest stretch that some training
    sentence holds literally.
    """

    exact_N: np.ndarray
    longest_N: np.ndarray


def copied(texts: Texts, training: Texts) -> Copied:
    """What of each text is in the training text."""
    exact_N = (texts.lengths_N == 0) & bool((training.lengths_N == 0).any())
    longest_N = np.zeros(len(texts), np.int64)
    size = _vocabulary_size(texts)
    own, known = _Ngrams(texts, size), _Ngrams(training, size)
    for n in range(1, int(texts.lengths_N.max(initial=0)) + 1):
        known.lengthen_among(own.lengthen())
        own.keep(np.isin(own.numbers_M, known.numbers_M))
        if not len(own.numbers_M):
            break
        longest_N[own.texts_M] = n
        # An n-gram of a text of n tokens is that text.
        whole_M = texts.lengths_N[own.texts_M] == n
        sentences = known.numbers_M[training.lengths_N[known.texts_M] == n]
        exact_N[own.texts_M[whole_M]] = np.isin(own.numbers_M[whole_M], sentences)
    return Copied(exact_N, longest_N)


def coverage(texts: Texts, real: Texts, order: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """How the n-grams of some texts and of real text overlap, each n-gram counted once: two float64 (K,).

    The first is the share of the real text's n-grams that the texts hold; the second the share of the texts' n-grams
    that the real text holds. 0 where there are none.
    """
    both = join_texts([texts, real])
    ngrams = _Ngrams(both, _vocabulary_size(both))
    shares_K2 = np.zeros((order, 2))
    for k in range(order):
        in_texts_D, in_real_D = np.zeros((2, len(ngrams.lengthen()) - 1), bool)
        in_texts_D[ngrams.numbers_M[ngrams.texts_M < len(texts)]] = True
        in_real_D[ngrams.numbers_M[ngrams.texts_M >= len(texts)]] = True
        held = (in_texts_D & in_real_D).sum()
        shares_K2[k] = held / max(1, in_real_D.sum()), held / max(1, in_texts_D.sum())
    return shares_K2[:, 0], shares_K2[:, 1]


def nearest(texts: Texts, training: Texts) -> np.ndarray:
    """Number of the training sentence that has most in common with each of a few texts: int64 (N,).

    That is the largest F1 of the counts of unigrams and bigrams; an exact copy before all others, then the first.
    """
    size = _vocabulary_size(texts)
    own, known = _Ngrams(texts, size), _Ngrams(training, size)
    shared_NS = np.zeros((len(texts), len(training)))
    for _ in range(2):
        keys_D = own.lengthen()
        known.lengthen_among(keys_D)
        own_counts, known_counts = own.counts(), known.counts()
        for text in range(len(texts)):
            held_D = np.zeros(len(keys_D), np.int64)
            mine_P = own_counts.texts_P == text
            held_D[own_counts.numbers_P[mine_P]] = own_counts.counts_P[mine_P]
            shared_NS[text] += known_counts.clipped(held_D[known_counts.numbers_P], len(training))
    # Other sentences may have all unigrams and bigrams in common, too.
    exact_NS = np.stack([_is_exactly(row, training) for row in np.split(texts.tokens_T, texts.starts_N[1:])])
    totals_NS = _unigrams_and_bigrams(texts)[:, None] + _unigrams_and_bigrams(training)
    return np.where(exact_NS, 2.0, 2 * shared_NS / np.maximum(totals_NS, 1)).argmax(1)


class _Counts(NamedTuple):
    """How often texts hold n-grams, sorted by n-gram: numbers_P of these, texts_P, counts_P."""

    numbers_P: np.ndarray
    texts_P: np.ndarray
    counts_P: np.ndarray

    def ascending(self) -> _Counts:
        """Those of each n-gram from the smallest count to the largest."""
        order_P = np.lexsort((self.counts_P, self.numbers_P))
        return _Counts(self.numbers_P[order_P], self.texts_P[order_P], self.counts_P[order_P])

    def clipped(self, most_P: np.ndarray, texts: int) -> np.ndarray:
        """For each of so many texts, the sum of its counts, none larger than the most allowed: float64 (N,)."""
        return np.bincount(self.texts_P, np.minimum(self.counts_P, most_P), minlength=texts)


class _Ngrams:
    """Where n-grams stand in some texts, n growing from 0 on.

    texts_M: number of the text. numbers_M: number of the n-gram.
    """

    def __init__(self, texts: Texts, size: int) -> None:
        """size: tokens from this one on are unknown."""
        self.texts_M = np.repeat(np.arange(len(texts)), texts.lengths_N)
        self.numbers_M = np.zeros(len(texts.tokens_T), np.int64)
        self._next_M = np.arange(len(texts.tokens_T))
        self._stops_N = np.cumsum(texts.lengths_N)
        self._tokens_T = np.minimum(texts.tokens_T, size)
        self._texts, self._base = len(texts), size + 1

    def lengthen(self) -> np.ndarray:
        """Take in the next token wherever the text has one, and number what was found: the keys (D + 1,)."""
        keys_M = self._longer()
        keys_D = np.append(np.unique(keys_M), _NO_KEY)
        self.numbers_M = np.searchsorted(keys_D, keys_M)
        return keys_D

    def lengthen_among(self, keys_D: np.ndarray) -> None:
        """Take in the next token and keep n-grams that have one of these keys, from the same step of other texts."""
        keys_M = self._longer()
        self.numbers_M = np.searchsorted(keys_D, keys_M)
        self.keep(keys_D[self.numbers_M] == keys_M)

    def keep(self, which_M: np.ndarray) -> None:
        """Forget all others."""
        self.texts_M, self.numbers_M, self._next_M = (
            values_M[which_M] for values_M in (self.texts_M, self.numbers_M, self._next_M)
        )

    def counts(self) -> _Counts:
        """How often each text holds each n-gram."""
        pairs_P, counts_P = np.unique(self.numbers_M * self._texts + self.texts_M, return_counts=True)
        return _Counts(*np.divmod(pairs_P, max(1, self._texts)), counts_P)

    def _longer(self) -> np.ndarray:
        self.keep(self._next_M < self._stops_N[self.texts_M])
        keys_M = self.numbers_M * self._base + self._tokens_T[self._next_M]
        self._next_M += 1
        return keys_M


def _ngrams_of(texts: Texts, n: int) -> _Ngrams:
    ngrams = _Ngrams(texts, _vocabulary_size(texts))
    for _ in range(n):
        ngrams.lengthen()
    return ngrams


def _vocabulary_size(texts: Texts) -> int:
    return int(texts.tokens_T.max(initial=-1)) + 1


def _sentence_bleu(matches_NK: np.ndarray, lengths_N: np.ndarray, closest_N: np.ndarray) -> np.ndarray:
    orders_K = np.arange(1, matches_NK.shape[1] + 1)
    possible_NK = np.maximum(lengths_N[:, None] - orders_K + 1, 1)
    precisions_NK = np.where(matches_NK == 0, _EPSILON, matches_NK) / possible_NK
    brevity_N = np.minimum(0, 1 - closest_N / np.maximum(lengths_N, 1))
    bleu_NK = np.exp(brevity_N[:, None] + np.log(precisions_NK).cumsum(1) / orders_K)
    return np.where(matches_NK[:, :1] > 0, bleu_NK, 0.0)


def _closer(lengths_N: np.ndarray, below_N: np.ndarray, above_N: np.ndarray) -> np.ndarray:
    """Of the closest reference lengths on either side the closer one; of equally close ones the shorter."""
    return np.where(np.abs(lengths_N - below_N) <= np.abs(lengths_N - above_N), below_N, above_N)


def _unigrams_and_bigrams(texts: Texts) -> np.ndarray:
    return texts.lengths_N + np.maximum(texts.lengths_N - 1, 0)


def _is_exactly(tokens_L: np.ndarray, training: Texts) -> np.ndarray:
    """Which training sentences are these tokens: bool."""
    same = training.lengths_N == len(tokens_L)
    rows_SL = training.tokens_T[training.starts_N[same, None] + np.arange(len(tokens_L))]
    same[same] = (rows_SL == tokens_L).all(1)
    return same
