"""Who may see which text: players, judges and tests share none, and that is checked sentence by sentence.

Training looks at the `validation` part of the held-out text, at most a third of it. The rest is cut in two halves by a
hash of each sentence, so that equal sentences share a half. A judge learns one half, and the other is the test; then
they change places.

Shapes: N texts, T tokens of all of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from lstmgan_dist.corpus.manifest import PreparedCorpus, Split
from lstmgan_dist.corpus.stream import read_sentences
from lstmgan_dist.errors import UserError
from lstmgan_dist.evaluation.texts import Texts, join_texts
from lstmgan_dist.runtime.randomness import GOLDEN_GAMMA, split_mix_64

# Fewer sentences teach a judge nothing and measure nothing; of so few it knows few words well.
LEAST_TEXTS, FEW_TEXTS = 100, 2000
_ROWS_AT_ONCE = 65536
# Text that is given as unseen may repeat so much of what was seen: short sentences come twice.
_MOST_SEEN = 0.5


def validation_rows(split: Split, most_sequences: int) -> int:
    """How many sentences of the held-out split training looks at: so many, but at most a third of all, rounded up."""
    return min(most_sequences, -(-split.rows // 3))


def fingerprints(texts: Texts) -> np.ndarray:
    """A 64-bit hash of each text's tokens, uint64 (N,): equal for equal texts."""
    positions_T = np.arange(len(texts.tokens_T)) - np.repeat(texts.starts_N, texts.lengths_N)
    hashes_T = _hashed(_hashed(texts.tokens_T.astype(np.int64)) + positions_T * GOLDEN_GAMMA)
    sums = np.append(0, np.cumsum(hashes_T))
    starts_N = texts.starts_N
    return _hashed(sums[starts_N + texts.lengths_N] - sums[starts_N] + texts.lengths_N).view(np.uint64)


def digest(texts: Texts) -> str:
    """Hexadecimal SHA-256 of texts in their order."""
    return hashlib.sha256(texts.lengths_N.tobytes() + texts.tokens_T.tobytes()).hexdigest()


@dataclass(frozen=True)
class HeldOut:
    """The held-out text of a corpus that training has not looked at, in two halves.

    judge: of each half, what a judge may learn: without the sentences that players have seen, in training or in
    validation. test: all of each half. excluded: how many sentences were left out of the judges' halves. added: how
    many were given besides those of the corpus.
    """

    judge: tuple[Texts, Texts]
    test: tuple[Texts, Texts]
    validation: Texts
    excluded: int
    added: int = 0


def divide(corpus: PreparedCorpus, *, validation: int, most: int, more: Texts | None = None) -> HeldOut:
    """Divide the held-out text of which training has looked at the first `validation` sentences.

    most: sentences of the rest that are used, for a very large corpus. more: held-out sentences besides.

    Raises:
        UserError: if too little is left for a judge and a test, or if players have seen most of `more`.
    """
    split = corpus.splits["heldout"]
    seen = join_texts([*_texts_of(corpus, "heldout", range(validation))])
    rest = join_texts([*_texts_of(corpus, "heldout", range(validation, min(split.rows, validation + most)))])
    if more is not None:
        rest = join_texts([rest, more])
    marks_N = fingerprints(rest)
    known = np.isin(marks_N, fingerprints(seen)) | _in_training(corpus, marks_N)
    if more is not None:
        _refuse_seen(known[len(known) - len(more) :])
    halves = _halves(marks_N)
    judge = [rest.take(half & ~known) for half in halves]
    fewest = min(map(len, judge))
    if fewest < LEAST_TEXTS:
        raise UserError(
            f"{corpus.folder} has {split.rows:,} held-out sentences, of which {validation:,} validate training and "
            f"{int(known.sum()):,} others are training or validation text too, which leaves {fewest} for a judge: "
            f"it needs {LEAST_TEXTS}. Prepare the corpus with a larger heldout_fraction, or lower "
            "evaluate.heldout_sequences."
        )
    parts = HeldOut(
        (judge[0], judge[1]),
        (rest.take(halves[0]), rest.take(halves[1])),
        seen,
        int(known.sum()),
        added=len(more) if more is not None else 0,
    )
    _check_apart(corpus, parts)
    return parts


def unseen_halves(corpus: PreparedCorpus, validation: int) -> tuple[Texts, Texts]:
    """Both halves of the held-out text behind validation, all of it in memory, with what training text has of them."""
    rest = join_texts([*_texts_of(corpus, "heldout", range(validation, corpus.splits["heldout"].rows))])
    first, second = _halves(fingerprints(rest))
    return rest.take(first), rest.take(second)


def _halves(marks_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which texts are in each half, by their fingerprints."""
    second = (marks_N & np.uint64(1)).astype(bool)
    return ~second, second


def _refuse_seen(known: np.ndarray) -> None:
    if not len(known):
        raise UserError("--heldout: there is no sentence in this text.")
    if known.mean() > _MOST_SEEN:
        raise UserError(
            f"--heldout: {int(known.sum()):,} of these {len(known):,} sentences are training or validation text of the "
            "runs: give text that they have not seen."
        )


def training_texts(corpus: PreparedCorpus, most: int) -> Texts:
    """At most so many sentences that the players were trained on, from all over the training text."""
    return join_texts([*_texts_of(corpus, "train", range(min(most, corpus.splits["train"].rows)))])


def _check_apart(corpus: PreparedCorpus, parts: HeldOut) -> None:
    """See that no judge learns what a player has seen, or what it will be tested on."""
    for learnt, tested in zip(parts.judge, reversed(parts.test), strict=True):
        marks_N = fingerprints(learnt)
        assert not np.isin(marks_N, fingerprints(parts.validation)).any(), "a judge would learn validation text"
        assert not np.isin(marks_N, fingerprints(tested)).any(), "a judge would learn the text it is tested on"
        assert not _in_training(corpus, marks_N).any(), "a judge would learn training text"


def _in_training(corpus: PreparedCorpus, marks_N: np.ndarray) -> np.ndarray:
    """Which of these fingerprints a training sentence has."""
    found = np.zeros(len(marks_N), bool)
    for texts in _texts_of(corpus, "train", range(corpus.splits["train"].rows)):
        found |= np.isin(marks_N, fingerprints(texts))
    return found


def _texts_of(corpus: PreparedCorpus, split: str, rows: range) -> Iterator[Texts]:
    for start in range(rows.start, rows.stop, _ROWS_AT_ONCE):
        yield Texts.encoded(read_sentences(corpus, split, range(start, min(rows.stop, start + _ROWS_AT_ONCE))))


def _hashed(numbers: np.ndarray) -> np.ndarray:
    return split_mix_64(torch.from_numpy(numbers)).numpy()
