"""Who may see which text, against sets of sentences that are numbers."""

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from lstmgan_dist.corpus.prepare import encode_sentences
from lstmgan_dist.corpus.stream import heldout_batches, read_sentences
from lstmgan_dist.errors import UserError
from lstmgan_dist.evaluation.heldout import (
    _check_apart,
    digest,
    divide,
    fingerprints,
    training_texts,
    validation_rows,
)
from lstmgan_dist.evaluation.texts import Texts, join_texts
from tests.evaluation.toy import DIGITS


def numbers(corpus, texts):
    """The numbers that these texts say."""
    return [int("".join(corpus.tokenizer.tokens[token] for token in row)) for row in texts.rows()]


def shuffled(values):
    return np.random.default_rng(1).permutation(values).tolist()


def test_halves_share_no_sentence_and_miss_none(corpus_of_numbers):
    heldout = shuffled([*range(1000, 1600), *range(1000, 1300)])
    made = corpus_of_numbers([], heldout)
    parts = divide(made, validation=200, most=10**6)
    first, second = (numbers(made, half) for half in parts.test)
    assert not set(first) & set(second)
    assert Counter(first) + Counter(second) == Counter(heldout) - Counter(numbers(made, parts.validation))
    assert len(parts.validation) == 200
    assert min(len(set(first)), len(set(second))) > 200


def test_a_sentence_is_in_the_same_half_whatever_stands_beside_it(corpus_of_numbers):
    made = corpus_of_numbers([], [*range(1000, 1800)])
    halves = [set(numbers(made, half)) for half in divide(made, validation=0, most=10**6).test]
    other = corpus_of_numbers([], shuffled([*range(1400, 2200), *range(1400, 1500)]))
    others = [set(numbers(other, half)) for half in divide(other, validation=100, most=10**6).test]
    for half in (0, 1):
        assert len(halves[half] & others[half]) > 80
        assert not halves[half] & others[1 - half]


def test_judges_learn_no_sentence_that_players_have_seen(corpus_of_numbers):
    training, new, twice = range(1000, 1500), range(2000, 2700), range(3000, 3150)
    heldout = shuffled([*range(1200, 1500), *new, *twice, *twice])
    made = corpus_of_numbers(training, heldout)
    parts = divide(made, validation=300, most=10**6)
    validation = set(numbers(made, parts.validation))
    # The case is there: sentences of which one copy validates and another does not, and training text beyond both.
    rest = Counter(heldout) - Counter(numbers(made, parts.validation))
    assert validation & set(rest) & set(twice)
    assert set(rest) & set(training)
    for judge, test in zip(parts.judge, parts.test, strict=True):
        wanted = {n: count for n, count in Counter(numbers(made, test)).items() if n not in validation | {*training}}
        assert Counter(numbers(made, judge)) == wanted
    assert parts.excluded == sum(count for n, count in rest.items() if n in validation | {*training})


def test_a_large_corpus_is_used_in_part(corpus_of_numbers):
    made = corpus_of_numbers([], [*range(1000, 2000)])
    parts = divide(made, validation=100, most=400)
    assert sum(map(len, parts.test)) == 400
    assert not {*numbers(made, parts.validation)} & {n for half in parts.test for n in numbers(made, half)}


@pytest.mark.parametrize(("rows", "most", "expected"), [(900, 10**6, 300), (901, 10**6, 301), (900, 70, 70)])
def test_validation_is_what_training_looks_at(rows, most, expected, corpus_of_numbers):
    made = corpus_of_numbers([], [*range(1000, 1000 + rows)])
    validation = validation_rows(made.splits["heldout"], most)
    assert validation == expected
    looked_at = [
        targets[: length - 1]
        for share in range(3)
        for batch in heldout_batches(made, batch_size=16, most_sequences=validation, share=share, shares=3)
        for targets, length in zip(batch.targets_BT.tolist(), batch.lengths_B.tolist(), strict=True)
    ]
    assert Counter(numbers(made, divide(made, validation=validation, most=10**6).validation)) == Counter(
        numbers(made, Texts.of(looked_at))
    )


def test_too_little_text_is_an_error_that_says_how_much_there_is(corpus_of_numbers):
    made = corpus_of_numbers(range(1000, 1150), [*range(1000, 1340), *range(1300, 1340)])
    seen = numbers(made, Texts.encoded(read_sentences(made, "heldout", range(60))))
    rest = Counter([*range(1000, 1340), *range(1300, 1340)]) - Counter(seen)
    known = sum(count for number, count in rest.items() if number < 1150 or number in seen)
    with pytest.raises(UserError, match=r"larger heldout_fraction.* lower evaluate\.heldout_sequences") as raised:
        divide(made, validation=60, most=10**6)
    assert f"has 380 held-out sentences, of which 60 validate training and {known} others" in str(raised.value)
    left = int(re.findall(r"leaves (\d+) for a judge: it needs 100", str(raised.value))[0])
    assert 40 < left <= (380 - 60 - known) / 2


def test_text_that_is_given_besides_joins_the_halves_unless_it_was_seen(corpus_of_numbers, tmp_path):
    made = corpus_of_numbers(range(1000, 1100), range(2000, 2300))
    path = tmp_path / "more.txt"
    path.write_text("".join(" ".join(str(number)) + "\n" for number in [*range(4000, 4400), *range(1000, 1050)]))
    more = Texts.encoded(encode_sentences((str(path),), made))
    parts = divide(made, validation=100, most=10**6, more=more)
    assert parts.added == 450
    assert sum(map(len, parts.judge)) == 200 + 400
    assert sum(map(len, parts.test)) == 200 + 450
    assert parts.excluded == 50


def test_text_that_was_seen_is_refused_as_held_out_text(corpus_of_numbers):
    made = corpus_of_numbers(range(1000, 1500), range(2000, 2600))
    seen = Texts.encoded(read_sentences(made, "train", range(300)))
    more = join_texts([seen, Texts.of([[7]] * 200)])
    with pytest.raises(UserError, match=r"300 of these 500 sentences are training or validation text of the runs"):
        divide(made, validation=100, most=10**6, more=more)
    with pytest.raises(UserError, match="no sentence"):
        divide(made, validation=100, most=10**6, more=Texts.of([]))


@pytest.mark.parametrize("fault", ["training", "validation", "test"])
def test_a_judge_that_would_learn_what_others_see_is_found_out(fault, corpus_of_numbers):
    made = corpus_of_numbers(range(1000, 1100), [*range(2000, 2600)])
    parts = divide(made, validation=100, most=10**6)
    wrong = {"training": training_texts(made, 10), "validation": parts.validation, "test": parts.test[1]}[fault]
    _check_apart(made, parts)
    with pytest.raises(AssertionError, match=fault):
        _check_apart(made, replace(parts, judge=(wrong.take(slice(5, 6)), parts.judge[1])))


def test_training_texts_are_so_many_of_the_training_text(corpus_of_numbers):
    made = corpus_of_numbers(range(1000, 1800), [1])
    assert sorted(numbers(made, training_texts(made, 10**6))) == [*range(1000, 1800), DIGITS]
    some = numbers(made, training_texts(made, 500))
    assert len(set(some)) == 500
    assert set(some) <= {*range(1000, 1800), DIGITS}


def test_fingerprints_are_equal_for_equal_texts_alone():
    rows = [[1, 2, 3], [3, 2, 1], [2, 1, 3], [1, 2], [1], [], [1, 2, 3, 1], [1, 1], [1, 1, 1], [1, 2, 3], []]
    marks = fingerprints(Texts.of(rows)).tolist()
    assert (marks[9], marks[10]) == (marks[0], marks[5])
    assert len(set(marks)) == 9
    assert fingerprints(Texts.of([[9, 9], *reversed(rows)])).tolist()[1:] == marks[::-1]
    assert len(fingerprints(Texts.of([]))) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("vocabulary", "longest"), [(7, 12), (70_000, 4)])
def test_fingerprints_of_many_short_texts_do_not_collide(vocabulary, longest):
    draw = np.random.default_rng(1)
    lengths_N = draw.integers(0, longest, 100_000)
    texts = Texts(draw.integers(1, vocabulary, lengths_N.sum()), lengths_N)
    marks = fingerprints(texts)
    different = len(set(map(tuple, texts.rows())))
    assert different > 50_000
    assert len(np.unique(marks)) == different
    # A fair coin for every bit decides the halves.
    assert np.unique(marks & np.uint64(1), return_counts=True)[1] == pytest.approx([50_000] * 2, rel=0.5)


def test_digests_tell_texts_apart_that_are_equal_end_to_end():
    digests = {digest(Texts.of(rows)) for rows in ([[1, 2], [3]], [[1], [2, 3]], [[3], [1, 2]], [[1, 2, 3]], [])}
    assert len(digests) == 5
    assert digest(Texts.of([[1, 2], [3]])) == digest(Texts.of([[7], [1, 2], [3]]).take(slice(1, None)))
