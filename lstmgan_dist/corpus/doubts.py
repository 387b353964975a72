"""What looks wrong with a corpus although it could be made, and what would mend it: sentences for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from lstmgan_dist.corpus.manifest import PreparedCorpus

# Shares of tokens that are <unk>, of sentences that were too long, of different words among all words, and of sentences
# that are one and the same.
_MANY_UNKNOWN, _MANY_LONG, _MANY_DIFFERENT, _MANY_EQUAL = 0.05, 0.1, 1 / 3, 0.05
# Of fewer it is chance. And blocks of each split that are looked at for that: some 16,000 sentences.
_FEWEST_EQUAL, _BLOCKS = 10, 64
# A word is rare that is seen so many times; and the share of rare ones beyond which a vocabulary has too many, which
# matters, and can be counted at once, in a text of so many tokens.
_RARE, _MANY_RARE, _FEW_TOKENS = 2, 2 / 3, 300_000
# Mean characters of a word, its space included, beyond which words seem not to be parted by spaces.
_LONG_WORD = 10


def doubts(corpus: PreparedCorpus) -> Iterator[str]:
    """What a person should know before training on it."""
    settings = corpus.made.get("settings")
    if settings is None:  # synthetic text is as it should be
        return
    is_of_words = corpus.tokenizer.kind == "word"
    train = corpus.splits["train"]
    ends = train.rows if corpus.layout == "sentences" else 0
    word_length = (train.characters - ends) / max(train.tokens - ends, 1)
    is_unparted = is_of_words and word_length > _LONG_WORD
    if is_unparted:
        yield (
            f"Words have {word_length:.0f} characters on average, so this text seems not to part "
            "its words by spaces: set corpus.tokenizer.kind (--tokenizer) to character, or to bpe, or, for Chinese, "
            "corpus.tokenizer.segmenter (--segmenter) to chinese."
        )
    for name, unknown in corpus.made["unknown_tokens"].items():
        tokens = corpus.splits[name].tokens
        if unknown > _MANY_UNKNOWN * tokens and not is_unparted:
            yield f"{unknown / tokens:.0%} of the {_IN_WORDS[name]} tokens are <unk>: {_against_unknown(settings)}."
    vocabulary_size, min_count = corpus.tokenizer.vocabulary_size, settings["tokenizer"].get("min_count", 1)
    against_rare = (
        f"{_BY_OTHER_TOKENS} to character or bpe{_without_segmenter(settings)}, "
        f"{'corpus.tokenizer.min_count (--min-count) to 2, ' if min_count == 1 else ''}or give more text."
    )
    if is_of_words and vocabulary_size > _MANY_DIFFERENT * train.tokens and not is_unparted:
        yield (
            f"The vocabulary has {vocabulary_size:,} words, and the training text only {train.tokens:,}, so that most "
            f"are seen once or twice: {against_rare}"
        )
    elif is_of_words and min_count == 1 and train.tokens <= _FEW_TOKENS and not is_unparted:
        rare = _seen_at_most_twice(corpus) / vocabulary_size
        if rare > _MANY_RARE:
            yield (
                f"{rare:.0%} of the {vocabulary_size:,} words of the vocabulary are seen once or twice in the training "
                f"text: {against_rare}"
            )
    if not corpus.tokenizer.views.are_the_librarys:
        yield (
            f"Text is seen in {corpus.tokenizer.views}, of which other programs' tokenizers have not all: lstmgan "
            "export will refuse runs on it."
        )
    skipped, truncated = (corpus.made["long_text"][what] for what in ("skipped", "truncated"))
    rows = sum(split.rows for split in corpus.splits.values()) + skipped
    if skipped + truncated > _MANY_LONG * rows:
        done = "left out" if skipped else f"cut to {corpus.max_length} tokens"
        yield (
            f"{(skipped + truncated) / rows:.0%} of the sentences were too long and are {done}: raise "
            f"corpus.max_length (--max-length), {_splitting(settings)}or, without a game, set corpus.layout (--layout) "
            "to continuous, which reads text of any length."
        )
    if corpus.layout == "sentences":
        yield from _about_repetition(corpus)


_IN_WORDS = {"train": "training", "heldout": "held-out"}


def _seen_at_most_twice(corpus: PreparedCorpus) -> int:
    """Tokens of the vocabulary that the training text has so few times."""
    counts = np.zeros(corpus.tokenizer.vocabulary_size, np.int64)
    for block in corpus.read_blocks("train", range(len(corpus.splits["train"].blocks))):
        counts += np.bincount(block.texts.tokens_T, minlength=len(counts))
    return int(np.count_nonzero(counts <= _RARE))


_BY_OTHER_TOKENS = "set corpus.tokenizer.kind (--tokenizer)"


def _without_segmenter(settings: dict) -> str:
    return " without corpus.tokenizer.segmenter" if settings["tokenizer"].get("segmenter") else ""


def _splitting(settings: dict) -> str:
    return "" if settings["split_sentences"] else "set corpus.split_sentences (--split-sentences) for running text, "


def _about_repetition(corpus: PreparedCorpus) -> Iterator[str]:
    """Whether one sentence makes up much of the beginning of the text."""
    counted: Counter[bytes] = Counter()
    for name in corpus.splits:  # equal sentences are all in one of them
        for block in corpus.read_blocks(name, range(min(len(corpus.splits[name].blocks), _BLOCKS))):
            texts = block.texts
            offsets = [0, *texts.stops_N.tolist()]
            counted.update(texts.tokens_T[start:stop].tobytes() for start, stop in pairwise(offsets))
    (sentence, count), *_ = counted.most_common(1)
    if count >= _FEWEST_EQUAL and count > _MANY_EQUAL * counted.total():
        text = corpus.tokenizer.decode(np.frombuffer(sentence, corpus.tokenizer.token_type).tolist())
        yield (
            f"{count / counted.total():.0%} of the sentences are one and the same, {text!r}, which a generator will "
            "write as often: take it out of the text if it only parts others."
        )


def _against_unknown(settings: dict) -> str:
    tokenizer = settings["tokenizer"]
    ways = []
    if tokenizer["vocabulary_size"]:
        ways.append("raise corpus.tokenizer.vocabulary_size (--vocabulary-size)")
    if tokenizer["min_count"] > 2:  # 2 is what small texts are advised
        ways.append("lower corpus.tokenizer.min_count (--min-count)")
    if tokenizer["kind"] == "word":
        others = f"character, byte or bpe{_without_segmenter(settings)}"
        ways.append(f"{_BY_OTHER_TOKENS} to {others}, which know every word")
    return ", or ".join(ways or ["give more text"])
