"""What a person should know of a judgement before it is made: whether there is text enough, and how much would do.

Pairs of words are counted for that: what they know grows with the text as what language models know does, so that they
tell before anything is trained how much text is missing.
"""

from __future__ import annotations

from lstmgan_dist.corpus.manifest import PreparedCorpus
from lstmgan_dist.evaluation.bench import SHARES, Bench
from lstmgan_dist.evaluation.counting import known_by_pairs, texts_that_teach
from lstmgan_dist.evaluation.frontier import LEAST_KNOWLEDGE
from lstmgan_dist.evaluation.heldout import FEW_TEXTS, LEAST_TEXTS, unseen_halves, validation_rows
from lstmgan_dist.evaluation.judge import SMALLER_VOCABULARY
from lstmgan_dist.evaluation.texts import join_texts

# What text can spare.
_MOST_HELD_OUT = 0.3
_ABOUT_MOST_HELD_OUT = 0.28  # which sentence is held out is drawn
# Where pairs know less than this, nats a token, a judge has hardly learnt anything: see `judge.LEAST_LEARNT`.
_LEAST_TAUGHT = 0.2


def can_be_judged(corpus: PreparedCorpus, most_sequences: int) -> bool:
    """Whether a training that looks at so many held-out sentences leaves judges enough of them to begin with."""
    return _of_each_judge(corpus, most_sequences) >= LEAST_TEXTS


def _of_each_judge(corpus: PreparedCorpus, most_sequences: int) -> int:
    held_out = corpus.splits["heldout"]
    return (held_out.rows - validation_rows(held_out, most_sequences)) // 2


def doubt_about_judges(corpus: PreparedCorpus, most_sequences: int, *, is_prepared: bool = False) -> str | None:
    """What a person should know, before a training that looks at so many held-out sentences, of judging it later.

    is_prepared: whether the corpus was prepared before, so that settings of the job no longer change it.
    """
    held_out, train = corpus.splits["heldout"], corpus.splits["train"]
    validation = validation_rows(held_out, most_sequences)
    each, or_else = _of_each_judge(corpus, most_sequences), ""
    if each >= FEW_TEXTS:
        return None
    if each < LEAST_TEXTS:
        outcome = "too few to learn from, so that this run can never be judged (lstmgan evaluate)"
    elif known_by_pairs(*unseen_halves(corpus, validation), corpus.tokenizer.vocabulary_size) >= _LEAST_TAUGHT:
        outcome = "few, so that verdicts may end in too little evidence"
    else:
        outcome = "too few for words as different as these, so that judging may be refused (lstmgan evaluate)"
        or_else = f", or {SMALLER_VOCABULARY}"
    rows = held_out.rows + train.rows
    share, wanted_share = held_out.rows / rows, 3 * FEW_TEXTS / rows
    setting, or_larger = "set corpus.heldout_fraction to ", "corpus.heldout_source"
    if is_prepared:
        setting, or_larger = f"prepare {corpus.folder} again, with --heldout-fraction ", "--heldout there"
    if wanted_share <= _MOST_HELD_OUT:
        wanted = f"{setting}{wanted_share:.2f}"
    elif share < _ABOUT_MOST_HELD_OUT:
        wanted = f"{setting}{_MOST_HELD_OUT} and give more text"
    else:
        wanted = "give more text"
    return (
        f"Of {held_out.rows:,} held-out sentences {each:,} are left for each of two judges, which is {outcome}: "
        f"{wanted}, or give a larger {or_larger}{or_else}."
    )


def doubt_about_samples(bench: Bench, knowledge: float) -> str:
    """That so many samples teach reverse models too little, and how many would do.

    knowledge: what those of as much real text know beyond the frequencies of words, nats a token.
    """
    share, test = bench.samples // SHARES, join_texts(bench.test)
    known = known_by_pairs(bench.training.take(slice(0, share)), test, bench.vocabulary_size)
    wanted = known + LEAST_KNOWLEDGE - knowledge
    enough = texts_that_teach(bench.training, test, bench.vocabulary_size, wanted=wanted)
    if enough is not None and SHARES * enough <= len(bench.training):
        way = f"about {SHARES * enough:,} would do (--samples)"
    else:
        way = f"more would need more training text, for as many of it are compared with; or take {SMALLER_VOCABULARY}"
    return (
        f"{bench.samples:,} samples are few: models that learn as many real texts know only {max(0.0, knowledge):.2f} "
        "nats a token more than the frequencies of words, so that all texts look much alike to them, and verdicts may "
        f"end in too little evidence: {way}."
    )
