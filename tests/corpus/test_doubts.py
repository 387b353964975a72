"""What looks wrong with a corpus that could be made, and text that gives no rise to doubt."""

import random
import re
from collections.abc import Callable

import pytest

from lstmgan_dist.corpus.doubts import doubts
from lstmgan_dist.corpus.prepare import PreparedCorpus
from lstmgan_dist.evaluation.synthetic import prepare_synthetic
from lstmgan_dist.storage import Folder
from tests.toy_text import toy_sentences

Write = Callable[..., str]
Prepare = Callable[..., PreparedCorpus]

CHINESE = "".join(
    "".join(random.Random(number).choices("床前明月光疑是地上霜举头望低思故乡白日依山尽黄河入海流", k=20)) + "\n"
    for number in range(300)
)
# Every sentence has words of its own.
NEW_WORDS = "".join(f"the word{number} and the word{number + 1} of x{number}\n" for number in range(0, 600, 2))
# Most words are seen once, and most of the text is of few words.
RARE_WORDS = "".join(f"the cat sees a dog and the rare{number} bird\n" for number in range(300))
RARE_CHINESE = "".join(f"我们今天看见一只猫，x{number}也看见。\n" for number in range(300))


@pytest.mark.parametrize(
    ("content", "settings", "sentence"),
    [
        (CHINESE, {}, "Words have 20 characters on average, .* set corpus.tokenizer.kind .* to character, or to bpe"),
        (
            NEW_WORDS,
            {},
            r"% of the held-out tokens are <unk>: set corpus.tokenizer.kind \(--tokenizer\) to cha",
        ),
        (NEW_WORDS, {}, r"The vocabulary has \d+ words, and the training text only [\d,]+, so that most are seen once"),
        (
            NEW_WORDS,
            {"tokenizer": {"vocabulary_size": 4}},
            r"% of the training tokens are <unk>: raise corpus.tokenizer.vocabulary_size \(--vocabulary-size\), or set",
        ),
        (
            NEW_WORDS,
            {"tokenizer": {"min_count": 9}},
            r"<unk>: lower corpus.tokenizer.min_count \(--min-count\), or",
        ),
        (
            NEW_WORDS,
            {"tokenizer": {"min_count": 2}},
            r"<unk>: set corpus.tokenizer.kind \(--tokenizer\) to character, byte or bpe, which know every word\.$",
        ),
        (
            RARE_WORDS,
            {},
            r"^\d\d% of the [\d,]+ words of the vocabulary are seen once or twice in .*: .*--min-count\) to 2",
        ),
        (
            RARE_CHINESE,
            {"tokenizer": {"segmenter": "chinese"}},
            r"are seen once or twice .* to character or bpe without corpus.tokenizer.segmenter, .*min-count\) to 2",
        ),
        (
            RARE_CHINESE,
            {"tokenizer": {"segmenter": "chinese"}},
            r"^Text is seen in segmenter chinese \(.*lstmgan export will refuse runs on it\.$",
        ),
        (
            "\n".join(toy_sentences(300)),
            {"tokenizer": {"stem": "english"}},
            "lstmgan export will refuse runs on it",
        ),
        (
            NEW_WORDS,
            {"max_length": 3, "on_long_text": "truncate"},
            r"100% of the sentences were too long and are cut to 3 tokens: raise corpus.max_length",
        ),
        (
            "a b c d e f\n" * 9 + "a b\n",
            {"max_length": 3, "on_long_text": "skip", "heldout_fraction": 0.0},
            r"90% of the sentences were too long and are left out: raise .* or, without a game, set corpus.layout",
        ),
        (
            "a b c d e f\n" * 15 + "".join(f"a {number}\n" for number in range(85)),
            {"max_length": 4, "on_long_text": "skip", "heldout_fraction": 0.0},
            r"15% of the sentences were too long and are left out: .* set corpus.split_sentences \(--split-sentences\)",
        ),
        (
            "".join(f"a joke with the number {number}\n%\n" for number in range(100)),
            {},
            r"50% of the sentences are one and the same, '%', which a generator will write as often",
        ),
    ],
)
def test_what_looks_wrong_is_told_with_what_would_mend_it(
    text_file: Write, prepared: Prepare, content: str, settings: dict, sentence: str
):
    corpus = prepared(source=text_file(content), **{"heldout_fraction": 0.2, **settings})
    assert any(re.search(sentence, doubt) for doubt in doubts(corpus)), list(doubts(corpus))


@pytest.mark.parametrize("kind", ["word", "character", "byte"])
def test_ordinary_text_gives_no_rise_to_doubt(text_file: Write, prepared: Prepare, kind: str):
    content = "\n".join(toy_sentences(500))
    corpus = prepared(source=text_file(content), heldout_fraction=0.2, max_length=200, tokenizer={"kind": kind})
    assert list(doubts(corpus)) == []


def test_chinese_by_characters_gives_no_rise_to_doubt(text_file: Write, prepared: Prepare):
    assert list(doubts(prepared(source=text_file(CHINESE), tokenizer={"kind": "character"}))) == []


def test_synthetic_text_gives_no_rise_to_doubt(tmp_path):
    corpus = prepare_synthetic("grammar:seed=1,count=200", Folder(tmp_path / "corpus"), report=lambda progress: None)
    assert list(doubts(corpus)) == []
