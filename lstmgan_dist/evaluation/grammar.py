"""Probabilistic context-free grammars: text whose likelihood, and whose mistakes, are known exactly.

Shapes: N sentences, T words of each; G sentences of one length that are worked on together, W first words of a span,
S symbols, P of them pairs, K of them needed in pairs, V words.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, islice

import numpy as np

Rules = Mapping[str, Sequence[tuple[float, Sequence[str]]]]

_CHART_CELLS = 2**18  # numbers of a row of the chart, and its pairs: what a CPU's cache holds


class Grammar:
    """A grammar that writes sentences, and knows the probability of each.

    rules: what each nonterminal becomes, with its probability; the first nonterminal is the start, and what is no
    nonterminal is a word. No right-hand side is empty. Every derivation must end with probability 1, or the
    probabilities of all sentences do not sum to 1. words: the vocabulary, in the order of the rules.
    """

    def __init__(self, rules: Rules) -> None:
        self.rules = {symbol: [(chance, tuple(side)) for chance, side in sides] for symbol, sides in rules.items()}
        for symbol, sides in self.rules.items():
            assert all(side for _, side in sides), f"{symbol} becomes nothing"
            assert abs(sum(chance for chance, _ in sides) - 1) < 1e-9, f"the probabilities of {symbol} sum to 1"
        self._start = next(iter(self.rules))
        self.words = tuple(
            dict.fromkeys(
                part for sides in self.rules.values() for _, side in sides for part in side if part not in self.rules
            )
        )
        self._choices = {
            symbol: (list(accumulate(chance for chance, _ in sides)), [side for _, side in sides])
            for symbol, sides in self.rules.items()
        }
        self._prepare_chart()

    def sentences(self, seed: int) -> Iterator[list[str]]:
        """The endless sequence of sentences of a seed."""
        uniform = random.Random(seed).random  # whose numbers are the same in every version of Python
        while True:
            sentence: list[str] = []
            waiting = [self._start]
            while waiting:
                symbol = waiting.pop()
                if symbol not in self._choices:
                    sentence.append(symbol)
                    continue
                cumulative, sides = self._choices[symbol]
                chosen = min(bisect_right(cumulative, uniform()), len(sides) - 1)  # the last sum may be rounded down
                waiting += reversed(sides[chosen])
            yield sentence

    def sample(self, count: int, seed: int) -> list[list[str]]:
        """The first sentences of a seed."""
        return list(islice(self.sentences(seed), count))

    def log_likelihoods(self, sentences: Iterable[Sequence[str]]) -> np.ndarray:
        """Log-probability in nats of each sentence, summed over all its parses; -inf where it has none: float64 (N,).

        Each distinct sentence is parsed once, in time cubic in its length. A probability below 1e-300 counts as none:
        sentences of two hundred words and more.
        """
        distinct: dict[tuple[str, ...], int] = {}
        which_N = np.array([distinct.setdefault(tuple(sentence), len(distinct)) for sentence in sentences], np.int64)
        by_length: dict[int, list[tuple[str, ...]]] = {}
        for sentence in distinct:
            by_length.setdefault(len(sentence), []).append(sentence)
        by_length.pop(0, None)
        number = {word: index for index, word in enumerate(self.words)}
        probabilities = np.zeros(len(distinct))
        for length, same in by_length.items():
            words_NT = np.array([[number.get(word, len(number)) for word in sentence] for sentence in same])
            # What no rule writes need not be parsed.
            known = np.flatnonzero((words_NT < len(number)).all(axis=1))
            at_once = max(1, _CHART_CELLS // (length * len(self._chains_KP)))
            for part in (known[start : start + at_once] for start in range(0, len(known), at_once)):
                probabilities[[distinct[same[index]] for index in part]] = self._inside(words_NT[part])
        with np.errstate(divide="ignore"):
            return np.log(probabilities)[which_N]

    def length_probabilities(self, longest: int) -> np.ndarray:
        """P(a sentence has n words) for n = 0 to `longest`: float64.

        The fixed point of what the rules say about lengths, reached from below; no sentence is parsed.
        """
        word = np.eye(1, longest + 1, 1)[0]

        def either(lengths: Mapping[str, np.ndarray], sides: Sequence[tuple[float, Sequence[str]]]) -> np.ndarray:
            total = np.zeros(longest + 1)
            for chance, side in sides:
                together = chance * np.eye(1, longest + 1)[0]
                for part in side:
                    together = np.convolve(together, lengths.get(part, word))[: longest + 1]
                total += together
            return total

        lengths = dict.fromkeys(self.rules, np.zeros(longest + 1))
        while True:
            longer = {symbol: either(lengths, sides) for symbol, sides in self.rules.items()}
            if all(np.array_equal(longer[symbol], lengths[symbol]) for symbol in self.rules):
                return lengths[self._start]
            lengths = longer

    def _prepare_chart(self) -> None:
        """Bring the rules into the form that `_inside` works on.

        A symbol is a sequence of nonterminals and words: one of them, or the right-hand side of a rule, or what is left
        of one behind its first part. So a longer symbol is the pair of its first part and the rest, and every rule
        turns one symbol into one other. The sum over all chains of such turns, I + R + R² + … (Stolcke 1995), is exact
        even where nonterminals turn into each other in a circle.
        """
        single = [*self.rules, *self.words]
        sides = (side for alternatives in self.rules.values() for _, side in alternatives)
        pairs = sorted({side[cut:] for side in sides for cut in range(len(side) - 1)})
        symbols: list[tuple[str, ...]] = [*((part,) for part in single), *pairs]
        number = {symbol: index for index, symbol in enumerate(symbols)}
        turns_SS = np.zeros((len(number), len(number)))
        for symbol, alternatives in self.rules.items():
            for chance, side in alternatives:
                turns_SS[number[(symbol,)], number[side]] += chance
        chains_SS = np.eye(len(number)) + turns_SS
        while turns_SS.any():  # (I + R)(I + R²)(I + R⁴)…: no differences, so what is impossible stays exactly 0
            turns_SS = turns_SS @ turns_SS
            chains_SS += chains_SS @ turns_SS
        firsts, rests = [number[pair[:1]] for pair in pairs], [number[pair[1:]] for pair in pairs]
        kept = sorted({number[(self._start,)], *firsts, *rests})
        self._first_P, self._rest_P = np.searchsorted(kept, firsts), np.searchsorted(kept, rests)
        self._start_row = kept.index(number[(self._start,)])
        self._chains_KP = chains_SS[np.ix_(kept, range(len(single), len(symbols)))]
        self._chains_KV = chains_SS[np.ix_(kept, range(len(self.rules), len(single)))]

    def _inside(self, words_GT: np.ndarray) -> np.ndarray:
        """The probability of each of some sentences of one length (inside algorithm; Baker 1979): float64 (G,)."""
        length = words_GT.shape[1]
        # chart[w][k, i, g]: the probability that symbol k becomes the w words of sentence g from word i on.
        chart = [np.empty(0), self._chains_KV[:, words_GT.T]]
        for width in range(2, length + 1):
            spans = length - width + 1
            pairs_PWG = np.zeros((len(self._first_P), spans, len(words_GT)))
            for left in range(1, width):
                rest_KWG = chart[width - left][:, left : left + spans]
                pairs_PWG += chart[left][self._first_P, :spans] * rest_KWG[self._rest_P]
            chart.append(np.tensordot(self._chains_KP, pairs_PWG, 1))
        return chart[length][self._start_row, 0]


def grammatical(log_likelihoods_N: np.ndarray) -> float:
    """Share of sentences that the grammar can write, 0 to 1."""
    return float(np.isfinite(log_likelihoods_N).mean())


def covered(sentences: Iterable[Sequence[str]], log_likelihoods_N: np.ndarray) -> float:
    """Probability, 0 to 1, that the grammar's next sentence is one of these: each counts once."""
    distinct = dict(zip(map(tuple, sentences), log_likelihoods_N.tolist(), strict=True))
    return float(np.exp([*distinct.values()]).sum())


# --- a little English ------------------------------------------------------------------------------------------------

# Verbs agree in number with a subject that prepositional phrases and relative clauses may part from them. Where a
# phrase belongs is ambiguous, as in English. -s is singular and -p plural; rules with * stand for both.
_PHRASES = {
    "S": [(0.82, "CLAUSE ."), (0.08, "CONJUNCTION CLAUSE , CLAUSE ."), (0.1, "QUESTION ?")],
    "QUESTION": [(0.55, "DO-s NP-s BASE"), (0.45, "DO-p NP-p BASE")],
    "CLAUSE": [(0.55, "NP-s VP-s"), (0.44, "NP-p VP-p"), (0.01, "CLAUSE CONJUNCTION CLAUSE")],
    "NP*": [(0.2, "HE*"), (0.8, "FULL*")],
    "OBJECT": [(0.1, "HIM"), (0.54, "FULL-s"), (0.36, "FULL-p")],
    "FULL-s": [(0.2, "NAME"), (0.8, "DETERMINER-s NOMINAL-s")],
    "FULL-p": [(0.04, "FULL and FULL"), (0.96, "DETERMINER-p NOMINAL-p")],
    "FULL": [(0.6, "FULL-s"), (0.4, "FULL-p")],
    "NOMINAL*": [(0.6, "NOUN*"), (0.22, "ADJECTIVE NOMINAL*"), (0.1, "NOMINAL* PP"), (0.08, "NOMINAL* RELATIVE*")],
    "RELATIVE*": [(0.5, "who VP*"), (0.27, "that NP-s SEE-s"), (0.23, "that NP-p SEE-p")],
    "PP": [(0.2, "PREPOSITION OBJECT"), (0.8, "WHERE PLACE")],
    "PLACE": [(0.7, "DETERMINER-s SITE-s"), (0.3, "DETERMINER-p SITE-p")],
    "VP*": [(0.1, "BE* ADJECTIVE"), (0.07, "DO* not BASE"), (0.03, "SAY* that CLAUSE"), (0.8, "ACT*")],
    "BASE": [(1.0, "ACT-p")],
    "ACT*": [(0.18, "SLEEP*"), (0.54, "SEE* OBJECT"), (0.17, "ACT* PP"), (0.11, "ACT* ADVERB")],
}
# The n-th word of a list has a probability in proportion to 1 / (n + 1).
_WORDS = {
    "NAME": "alice tom mary john anna bob",
    "HE-s": "he she it",
    "HE-p": "they we you",
    "HIM": "him her them us it you",
    "DETERMINER-s": "the a this every no that",
    "DETERMINER-p": "the some these many no two those",
    "NOUN-s": "dog child teacher friend farmer king doctor bird horse sailor writer queen painter soldier cat judge",
    "NOUN-p": "dogs children teachers friends farmers kings doctors birds horses sailors writers queens painters "
    "soldiers cats judges",
    "SITE-s": "house garden village forest school market river hill",
    "SITE-p": "houses gardens villages forests schools markets rivers hills",
    "SLEEP-s": "sleeps runs waits sings smiles works laughs swims falls dances",
    "SLEEP-p": "sleep run wait sing smile work laugh swim fall dance",
    "SEE-s": "sees likes knows helps hears follows finds loves fears calls meets watches admires remembers",
    "SEE-p": "see like know help hear follow find love fear call meet watch admire remember",
    "SAY-s": "says thinks hopes believes",
    "SAY-p": "say think hope believe",
    "BE-s": "is was",
    "BE-p": "are were",
    "DO-s": "does",
    "DO-p": "do",
    "ADJECTIVE": "old small young happy tired kind clever brave quiet tall hungry proud strange",
    "ADVERB": "again today often here slowly quietly alone",
    "PREPOSITION": "with without like against",
    "WHERE": "in near behind from beyond",
    "CONJUNCTION": "when because while if",
}


def _english() -> Rules:
    rules: dict[str, list[tuple[float, tuple[str, ...]]]] = {}
    for symbol, sides in _PHRASES.items():
        for number in ("-s", "-p") if "*" in symbol else ("",):
            rules[symbol.replace("*", number)] = [
                (chance, tuple(side.replace("*", number).split())) for chance, side in sides
            ]
    for symbol, words in _WORDS.items():
        weights = [1 / (rank + 2) for rank in range(len(words.split()))]
        rules[symbol] = [(weight / sum(weights), (word,)) for weight, word in zip(weights, words.split(), strict=True)]
    return rules


ENGLISH = Grammar(_english())
