"""BLEU against NLTK's and sacrebleu's; everything else against counting by hand."""

import random
from collections import Counter
from collections.abc import Sequence
from pydoc_data.topics import topics

import numpy as np
import pytest
from nltk.translate.bleu_score import SmoothingFunction
from nltk.translate.bleu_score import sentence_bleu as nltk_bleu
from sacrebleu.metrics.bleu import BLEU

from lstmgan_dist.corpus.python_docs import paragraphs, sentences_of
from lstmgan_dist.errors import UserError
from lstmgan_dist.evaluation.ngrams import NgramIndex, copied, coverage, distinct, nearest, repetition, self_bleu
from lstmgan_dist.evaluation.texts import Texts

Row = list[int]

SEEDS = range(8)


def random_rows(seed: int, count: int, *, words: int = 4, longest: int = 9) -> list[Row]:
    """Texts of few words, so that these repeat; some are empty."""
    draw = random.Random(seed)
    return [[draw.randrange(words) for _ in range(draw.randrange(longest + 1))] for _ in range(count)]


@pytest.fixture(scope="module")
def english() -> list[Row]:
    """Sentences of the interpreter's language reference."""
    found = [s for topic in topics.values() for p in paragraphs(topic) for s in sentences_of(p)]
    assert len(found) > 1000
    numbers: dict[str, int] = {}
    return [[numbers.setdefault(word, len(numbers)) for word in sentence.split()] for sentence in found]


def nltk_sentence_bleu(references: Sequence[Row], hypothesis: Row, order: int = 5) -> list[float]:
    weights = [(1 / k,) * k for k in range(1, order + 1)]
    found = nltk_bleu(references, hypothesis, weights, smoothing_function=SmoothingFunction().method1)
    # For one set of weights NLTK gives the number itself.
    return np.atleast_1d(found).tolist()


def sacre_corpus_bleu(references: Sequence[Row], hypotheses: Sequence[Row]) -> float:
    lines = [" ".join(map(str, row)) for row in hypotheses]
    streams = [[" ".join(map(str, row))] * len(lines) for row in references]
    return BLEU(tokenize="none", smooth_method="exp", force=True).corpus_score(lines, streams).score


def ngrams(row: Row, n: int) -> list[tuple[int, ...]]:
    return [tuple(row[i : i + n]) for i in range(len(row) - n + 1)]


def assert_equals_nltk(references: Sequence[Row], hypotheses: Sequence[Row], order: int = 5) -> None:
    found = NgramIndex(Texts.of(references), order).sentence_bleu(Texts.of(hypotheses))
    expected = [nltk_sentence_bleu(references, hypothesis, order) for hypothesis in hypotheses]
    assert found.shape == (len(hypotheses), order)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("order", [1, 3, 5])
def test_sentence_bleu_equals_nltk_on_words_that_repeat(seed: int, order: int):
    references = random_rows(seed, 1 + 2 * seed)
    # Some words are in no reference, and some hypotheses longer than each.
    assert_equals_nltk(references, random_rows(seed + 100, 40, words=6, longest=12), order)


@pytest.mark.parametrize(
    ("references", "hypotheses"),
    [
        pytest.param([[1, 2, 3]], [[]], id="empty hypothesis"),
        pytest.param([[]], [[], [1], [1, 2]], id="nothing but an empty reference"),
        pytest.param([[], [1, 2, 3]], [[1], [1, 2, 3], [9]], id="an empty reference among others"),
        pytest.param([[1, 2, 3, 4]], [[1], [2, 3], [1, 2, 3, 4], [1, 2, 3, 4, 5, 6, 7]], id="shorter than the order"),
        pytest.param([[1], [2]], [[1], [2], [3], [1, 1], [1, 2]], id="references of one token"),
        pytest.param([[1, 2, 3]], [[7, 8, 9], [4, 9, 7]], id="no word in common"),
        pytest.param([[1] * 13, [1] * 11], [[1] * 12, [1] * 14, [1] * 10], id="two references equally close"),
        pytest.param([[1] * 3, [1] * 9], [[1] * 6, [1] * 7, [1] * 5], id="between two lengths"),
        pytest.param([[1, 2], [1, 1, 2]], [[1, 1, 1, 1, 2]], id="longer than every reference"),
        pytest.param([[1, 2, 1, 2], [1, 1, 1]], [[1, 1, 1, 1, 2, 1, 2, 1, 2]], id="largest counts in different ones"),
        pytest.param([[0, 0, 1]], [[0, 2, 0, 0, 1, 2], [2, 0, 3, 0]], id="unknown words between known ones"),
    ],
)
def test_sentence_bleu_equals_nltk_at_the_edges(references: list[Row], hypotheses: list[Row]):
    assert_equals_nltk(references, hypotheses)


@pytest.mark.slow
def test_sentence_bleu_equals_nltk_on_english(english: list[Row]):
    assert_equals_nltk(english[1:400:2], english[0:400:2])


def test_one_index_serves_many_sets_of_hypotheses(english: list[Row]):
    references, hypotheses = Texts.of(english[1:400:2]), Texts.of(english[0:400:2])
    index = NgramIndex(references)
    together = index.sentence_bleu(hypotheses)
    for part in (slice(0, 1), slice(1, 50), slice(50, 200), slice(0, 200)):
        assert (index.sentence_bleu(hypotheses.take(part)) == together[part]).all()
    assert index.corpus_bleu(hypotheses) == NgramIndex(references).corpus_bleu(hypotheses)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("words", [4, 40])
def test_corpus_bleu_equals_sacrebleu_on_random_words(seed: int, words: int):
    references = random_rows(seed, 1 + 2 * seed, words=words, longest=6 + seed)
    for count in (1, 3, 20):
        hypotheses = random_rows(seed + 100, count, words=words, longest=12)
        expected = sacre_corpus_bleu(references, hypotheses)
        assert NgramIndex(Texts.of(references)).corpus_bleu(Texts.of(hypotheses)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("references", "hypotheses", "is_zero"),
    [
        pytest.param([[1, 2, 3, 4, 5]], [[]], True, id="empty"),
        pytest.param([[1, 2, 3, 4, 5]], [[6, 7, 8, 9, 6]], True, id="no word in common"),
        pytest.param([[1, 2, 3, 4, 5]], [[1, 2, 3], [3, 4, 5]], True, id="all shorter than four words"),
        pytest.param([[1, 2, 3, 4, 5]], [[1, 9, 2, 9, 3], [1, 2, 3]], False, id="one order without a match"),
        pytest.param([[1, 2, 3, 4, 5]], [[1, 9, 2, 9, 3], [4]], False, id="all orders but one without a match"),
        pytest.param([[1, 2, 3, 4, 5], [1] * 9], [[1, 2, 3, 4, 5, 6, 7]], False, id="two references equally close"),
        pytest.param([[1, 2, 3, 4, 5]], [[1, 2, 3, 4, 5]], False, id="equal"),
    ],
)
def test_corpus_bleu_equals_sacrebleu_at_the_edges(references: list[Row], hypotheses: list[Row], is_zero: bool):
    found = NgramIndex(Texts.of(references)).corpus_bleu(Texts.of(hypotheses))
    assert found == pytest.approx(sacre_corpus_bleu(references, hypotheses), rel=1e-9)
    assert (found == 0) == is_zero


@pytest.mark.slow
def test_corpus_bleu_equals_sacrebleu_on_english(english: list[Row]):
    references, hypotheses = english[1:300:2], english[0:120:2]
    expected = sacre_corpus_bleu(references, hypotheses)
    assert 1 < expected < 99
    assert NgramIndex(Texts.of(references)).corpus_bleu(Texts.of(hypotheses)) == pytest.approx(expected, rel=1e-9)


def assert_self_bleu_equals_nltk(rows: list[Row], order: int = 5) -> None:
    found = self_bleu(Texts.of(rows), order)
    expected = [nltk_sentence_bleu(rows[:i] + rows[i + 1 :], row, order) for i, row in enumerate(rows)]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("count", [2, 3, 25])
def test_self_bleu_equals_nltk_with_all_other_texts_for_references(seed: int, count: int):
    # Two words make equal texts and equal counts likely; many make n-grams that only one text has.
    assert_self_bleu_equals_nltk(random_rows(seed, count, words=2, longest=5))
    assert_self_bleu_equals_nltk(random_rows(seed, count, words=12, longest=14), order=3)


@pytest.mark.slow
def test_self_bleu_equals_nltk_on_english(english: list[Row]):
    assert_self_bleu_equals_nltk(english[:100])


def test_self_bleu_of_equal_texts_is_one_and_of_empty_ones_zero():
    assert self_bleu(Texts.of([[1, 2, 3, 4, 5]] * 3)) == pytest.approx(np.ones((3, 5)))
    assert (self_bleu(Texts.of([[], []])) == 0).all()


def test_bleu_without_texts_is_refused():
    some, none = Texts.of([[1, 2]]), Texts.of([])
    with pytest.raises(UserError, match="no references"):
        NgramIndex(none)
    for bleu in (NgramIndex(some).sentence_bleu, NgramIndex(some).corpus_bleu):
        with pytest.raises(UserError, match="no texts"):
            bleu(none)
    for texts in (none, some):
        with pytest.raises(UserError, match=f"there are {len(texts)}"):
            self_bleu(texts)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n", [1, 2, 3, 5, 9])
def test_distinct_and_repetition_equal_counting_by_hand(seed: int, n: int):
    rows = random_rows(seed, 10, words=3)
    everything = [ngram for row in rows for ngram in ngrams(row, n)]
    again = 0
    for row in rows:
        seen: set[tuple[int, ...]] = set()
        for ngram in ngrams(row, n):
            again += ngram in seen
            seen.add(ngram)
    assert distinct(Texts.of(rows), n) == pytest.approx(len(set(everything)) / max(1, len(everything)))
    assert repetition(Texts.of(rows), n) == pytest.approx(again / max(1, len(everything)))


@pytest.mark.parametrize("rows", [[], [[]], [[1], [2]]])
def test_texts_without_bigrams_are_neither_distinct_nor_repetitive(rows: list[Row]):
    assert distinct(Texts.of(rows), 2) == 0
    assert repetition(Texts.of(rows)) == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_copied_stretches_are_the_longest_that_a_training_sentence_holds(seed: int):
    rows, training = random_rows(seed, 30, words=5, longest=7), random_rows(seed + 100, 30, longest=7)
    held = {ngram for row in training for n in range(1, 8) for ngram in ngrams(row, n)}
    found = copied(Texts.of(rows), Texts.of(training))
    assert found.exact_N.tolist() == [row in training for row in rows]
    assert found.longest_N.tolist() == [
        max((n for n in range(1, 8) if not held.isdisjoint(ngrams(row, n))), default=0) for row in rows
    ]
    assert 0 < found.exact_N.sum() < 30


def test_a_stretch_across_two_training_sentences_is_not_copied():
    found = copied(Texts.of([[1, 2, 3, 4], [2, 3], []]), Texts.of([[9, 1, 2], [3, 4, 9], [7, 2, 3, 7]]))
    assert found.longest_N.tolist() == [2, 2, 0]
    # [2, 3] is a part of a training sentence, but none.
    assert found.exact_N.tolist() == [False, False, False]


def test_nothing_is_copied_from_no_training_text():
    found = copied(Texts.of([[1, 2], []]), Texts.of([]))
    assert found.longest_N.tolist() == [0, 0]
    assert found.exact_N.tolist() == [False, False]


@pytest.mark.parametrize("seed", SEEDS)
def test_coverage_equals_sets_of_ngrams(seed: int):
    rows, real = random_rows(seed, 6, words=5), random_rows(seed + 100, 9, words=6)
    found = coverage(Texts.of(rows), Texts.of(real), order=4)
    for n in range(1, 5):
        ours, theirs = ({ngram for row in some for ngram in ngrams(row, n)} for some in (rows, real))
        assert found[0][n - 1] == pytest.approx(len(ours & theirs) / len(theirs))
        assert found[1][n - 1] == pytest.approx(len(ours & theirs) / len(ours))


def test_coverage_by_no_text_is_zero():
    for shares in coverage(Texts.of([]), Texts.of([[1, 2]]), order=3):
        assert shares.tolist() == [0, 0, 0]


def in_common(row: Row, sentence: Row) -> float:
    """F1 of the unigrams and bigrams; above 1 for equal ones."""
    mine, theirs = (Counter(ngrams(some, 1) + ngrams(some, 2)) for some in (row, sentence))
    return 2.0 if row == sentence else 2 * (mine & theirs).total() / max(1, mine.total() + theirs.total())


@pytest.mark.parametrize("seed", SEEDS)
def test_nearest_sentence_has_most_in_common(seed: int):
    rows, training = random_rows(seed, 12, words=5), random_rows(seed + 100, 60)
    expected = [max(range(60), key=lambda number, row=row: in_common(row, training[number])) for row in rows]
    assert nearest(Texts.of(rows), Texts.of(training)).tolist() == expected


def test_an_exact_copy_is_nearest_even_if_others_have_the_same_bigrams():
    training = [[1, 3, 1, 2, 1], [1, 2, 1, 3, 1], [1, 2], [], [1, 2]]
    assert nearest(Texts.of([[1, 2, 1, 3, 1], [1, 2], []]), Texts.of(training)).tolist() == [1, 2, 3]
