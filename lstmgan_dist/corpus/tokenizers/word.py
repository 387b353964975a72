"""Words and signs are tokens."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from tokenizers.pre_tokenizers import PreTokenizer

from lstmgan_dist.corpus.detokenize import join_words, part_words
from lstmgan_dist.corpus.pieces import MOST_DISTINCT, PieceCounter, PieceTokenizer
from lstmgan_dist.corpus.settings import TokenizerSettings
from lstmgan_dist.corpus.tokenizer import UNKNOWN, Counted, OnUnknown, most_frequent, splitter_at, whole_tokens
from lstmgan_dist.corpus.views import NUMBER, Views
from lstmgan_dist.errors import UserError
from lstmgan_dist.tokens import UNKNOWN_ID

# A word keeps what ties it together (don't, close-up, e.g, 10:30, and/or, 1,000); a contraction that the text has cut
# off already ('s) stays whole; line ends, dashes, dots, quotes and () are tokens; so is every other sign by itself.
_WORDS = r"\n|<unk>|\w+(?:[-'’./:]\w+|,\d+)*|['’](?:s|re|ve|ll|d|m|t)\b|\.{2,}|-{2,}|``|''|\(\)|\S"
# Where numbers are marked, a mark is a word.
_WORDS_AND_MARKS = rf"{re.escape(NUMBER)}|{_WORDS}"
_SPLITTER, _SPLITTER_AT_MARKS = splitter_at(_WORDS), splitter_at(_WORDS_AND_MARKS)

# Most pieces are one plain word, perhaps with a sign behind it: no need to ask the library.
_PLAIN = re.compile(r"[ \t\r]?([A-Za-z0-9]+)([,.;:!?)]?)")


class WordTokenizer(PieceTokenizer):
    """Words and signs are tokens; those outside the vocabulary are `<unk>`."""

    kind = "word"
    unknown_id = UNKNOWN_ID

    @classmethod
    def recognises(cls, model: dict[str, Any], splitter: dict[str, Any]) -> bool:
        patterns = [{"Regex": pattern} for pattern in (_WORDS, _WORDS_AND_MARKS)]
        return model["type"] == "WordLevel" and splitter.get("pattern") in patterns

    @classmethod
    def choose(cls, settings: TokenizerSettings, chunks: Iterable[Counted]) -> WordTokenizer:
        counter, splitter = PieceCounter(chunks), _splitter(marks=settings.mark_numbers)
        counts: dict[str, int] = {}
        for piece, times in counter.pieces():
            for word in split_words(piece, splitter):
                counts[word] = counts.get(word, 0) + times
        counts.pop(UNKNOWN, None)  # text in which somebody has marked unknown words already
        words = most_frequent(counts, settings)
        room = (settings.vocabulary_size or sys.maxsize) - 2 - len(words)
        if room and settings.min_count <= counter.forgotten:
            raise UserError(
                f"This text has more than {MOST_DISTINCT:,} different words, too many to count all of them: "
                "set corpus.tokenizer.vocabulary_size, 50000 for example."
            )
        return word_tokenizer(words, Views.of(settings))

    def encode_prompt(self, text: str, *, on_unknown: OnUnknown = "error") -> list[int]:
        """As of every kind; a script without spaces may be written without, as texts come out."""
        return self._ids_of_text(part_words(self._seen(text), self._vocabulary), on_unknown)

    def _text_of(self, ids: Sequence[int]) -> str:
        return join_words([self.tokens[token] for token in ids], unspaced_borders=self.views.segmenter is not None)

    def _ids_of(self, pieces: list[str]) -> Iterable[list[int]]:
        vocabulary, splitter = self._vocabulary, _splitter(marks=self.views.mark_numbers)
        return ([vocabulary.get(word, UNKNOWN_ID) for word in split_words(piece, splitter)] for piece in pieces)

    @cached_property
    def _vocabulary(self) -> dict[str, int]:
        return self.library.get_vocab()


def word_tokenizer(words: Sequence[str], views: Views) -> WordTokenizer:
    """The tokenizer of a list of words and signs."""
    return WordTokenizer(whole_tokens(words, _splitter(marks=views.mark_numbers)), views)


def _splitter(*, marks: bool) -> PreTokenizer:
    return _SPLITTER_AT_MARKS if marks else _SPLITTER


def split_words(text: str, splitter: PreTokenizer = _SPLITTER) -> list[str]:
    """The words and signs of a text, as the library cuts them."""
    plain = _PLAIN.fullmatch(text)
    if plain:
        return [part for part in plain.groups() if part]
    return [word for word, _ in splitter.pre_tokenize_str(text)]
