"""Likelihoods under a grammar against enumeration, counting, and cases done by hand."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from lstmgan_dist.evaluation.grammar import ENGLISH, Grammar, covered, grammatical

# Recursive, ambiguous, with words inside right-hand sides, and with nonterminals that turn into each other in a circle.
SMALL = Grammar(
    {
        "S": [(0.2, ("S", "S")), (0.3, ("T",)), (0.3, ("a",)), (0.2, ("b", "S", "c"))],
        "T": [(0.4, ("S",)), (0.4, ("b",)), (0.2, ("a", "T"))],
    }
)


def probability(grammar: Grammar, sentence: str) -> float:
    return float(np.exp(grammar.log_likelihoods([sentence.split()])[0]))


def test_all_sentences_of_a_length_sum_to_its_probability():
    lengths = SMALL.length_probabilities(8)
    assert lengths[0] == 0
    for length in range(1, 9):
        likelihoods = SMALL.log_likelihoods(itertools.product("abc", repeat=length))
        assert np.exp(likelihoods).sum() == pytest.approx(lengths[length], abs=1e-12)
    assert 0.9 < lengths.sum() < 1
    assert SMALL.length_probabilities(300).sum() == pytest.approx(1, abs=1e-9)


def test_a_finite_grammar_sums_to_one():
    grammar = Grammar(
        {
            "S": [(0.7, ("A", "and", "A")), (0.3, ("A",))],
            "A": [(0.5, ("x",)), (0.3, ("y", "B")), (0.2, ("B",))],
            "B": [(0.9, ("z",)), (0.1, ("x", "z"))],
        }
    )
    sentences = [s for n in range(1, 8) for s in itertools.product(grammar.words, repeat=n)]
    log_likelihoods = grammar.log_likelihoods(sentences)
    assert np.exp(log_likelihoods).sum() == pytest.approx(1, abs=1e-14)
    assert covered(sentences, log_likelihoods) == pytest.approx(1, abs=1e-14)


def test_the_likelihood_of_an_ambiguous_sentence_is_the_sum_over_its_parses():
    grammar = Grammar({"S": [(0.4, ("S", "S")), (0.6, ("a",))]})
    for length in range(1, 12):
        parses = math.comb(2 * length - 2, length - 1) // length  # Catalan's number
        expected = parses * 0.4 ** (length - 1) * 0.6**length
        assert probability(grammar, "a " * length) == pytest.approx(expected, rel=1e-13)


def test_a_circle_of_nonterminals_is_summed_to_its_end():
    grammar = Grammar({"S": [(0.5, ("T",)), (0.5, ("a",))], "T": [(0.5, ("S",)), (0.5, ("b",))]})
    assert probability(grammar, "a") == pytest.approx(2 / 3, rel=1e-14)
    assert probability(grammar, "b") == pytest.approx(1 / 3, rel=1e-14)
    assert grammar.length_probabilities(3) == pytest.approx([0, 1, 0, 0], abs=1e-14)


def test_samples_are_as_frequent_as_their_likelihood_says():
    count = 20_000
    found = Counter(map(tuple, SMALL.sample(count, seed=1)))
    expected = count * np.exp(SMALL.log_likelihoods(found))
    frequent = expected > 40
    assert frequent.sum() > 20
    deviations = (np.array([*found.values()]) - expected)[frequent] / np.sqrt(expected[frequent])
    assert np.abs(deviations).max() < 4.5
    assert np.square(deviations).mean() == pytest.approx(1, abs=0.7)


def test_samples_follow_from_the_seed():
    assert ENGLISH.sample(5, seed=3) == ENGLISH.sample(9, seed=3)[:5]
    assert ENGLISH.sample(5, seed=3) != ENGLISH.sample(5, seed=4)


def test_sentences_in_any_order_and_number_have_the_same_likelihood():
    sentences = ENGLISH.sample(400, seed=1)
    together = ENGLISH.log_likelihoods(sentences + sentences[::-1])
    assert np.array_equal(together[:400], together[400:][::-1])
    alone = [ENGLISH.log_likelihoods([sentence])[0] for sentence in sentences[:20]]
    assert together[:20] == pytest.approx(alone, rel=1e-12)
    assert len(ENGLISH.log_likelihoods([])) == 0


def test_what_no_rule_writes_is_ungrammatical():
    likelihoods = ENGLISH.log_likelihoods([[], ["<unk>"], ["the", "dog", "sleeps"], ["the", "<unk>", "sleeps", "."]])
    assert np.array_equal(likelihoods, np.full(4, -np.inf))


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("the dog * .", "sleeps sleep"),
        ("the dogs * .", "sleep sleeps"),
        ("alice and the dog * .", "sleep sleeps"),
        ("the dog in the houses * .", "sleeps sleep"),
        ("the dog that the kings see * .", "sleeps sleep"),
        ("the dogs that the king sees * .", "sleep sleeps"),
        ("the dogs that the king * sleep .", "sees see"),
        ("the dog who likes the old kings that the queens see in the gardens * .", "sleeps sleep"),
        ("the kings who like the dog that alice and the queens see near a house * old .", "are is"),
        ("if the cat that they * sleeps , we run .", "see sees"),
        ("* the dogs that the king sees sleep ?", "do does"),
        ("does the dog that the kings * sleep ?", "see sees"),
        ("every king * that the dogs sleep .", "says say"),
        ("the queen sees * .", "him he"),
    ],
)
def test_agreement_is_never_violated(sentence: str, words: str):
    right, wrong = words.split()
    assert probability(ENGLISH, sentence.replace("*", wrong)) == 0
    assert probability(ENGLISH, sentence.replace("*", right)) > 0


@pytest.mark.slow
def test_english_sentences_end():
    lengths = ENGLISH.length_probabilities(150)
    assert lengths.sum() == pytest.approx(1, abs=1e-7)
    assert 9 < lengths @ np.arange(151) < 11
    assert lengths[38:].sum() < 0.003


@pytest.mark.slow
def test_english_samples_have_the_lengths_that_are_expected():
    count = 5000
    found = np.bincount([len(sentence) for sentence in ENGLISH.sample(count, seed=2)], minlength=200)[:30]
    expected = count * ENGLISH.length_probabilities(29)
    assert (found[expected == 0] == 0).all()
    assert np.abs((found - expected) / np.sqrt(np.maximum(expected, 1))).max() < 4.5


def test_the_vocabulary_is_that_of_the_rules():
    assert len(set(ENGLISH.words)) == len(ENGLISH.words) > 150
    assert {word for sentence in ENGLISH.sample(3000, seed=1) for word in sentence} == set(ENGLISH.words)


def test_coverage_counts_each_sentence_once():
    grammar = Grammar({"S": [(0.5, ("a",)), (0.3, ("b",)), (0.2, ("c", "c"))]})
    sentences = [["a"], ["b"], ["a"], ["a", "a"], ["a"]]
    log_likelihoods = grammar.log_likelihoods(sentences)
    assert covered(sentences, log_likelihoods) == pytest.approx(0.8)
    assert grammatical(log_likelihoods) == pytest.approx(0.8)
