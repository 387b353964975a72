"""The kinds of tokenizer, by their word in a job file.

To add one: a file with a class of `Tokenizer`, and a line in `TOKENIZERS`. What stands here any command can read; the
class, which needs the `tokenizers` library, is opened when text is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lstmgan_dist.corpus.tokenizer import Tokenizer


@dataclass(frozen=True)
class TokenizerKind:
    """One way to cut text into tokens.

    open: gives its class. is_counted: whether its vocabulary is chosen by what a text is made of, which takes a pass
    over the text. spans_characters: whether one token may stand for several characters, so that text must not be cut
    just anywhere.
    """

    open: Callable[[], type[Tokenizer]]
    is_counted: bool
    spans_characters: bool


def _characters() -> type[Tokenizer]:
    from lstmgan_dist.corpus.tokenizers.character import CharacterTokenizer

    return CharacterTokenizer


def _bytes() -> type[Tokenizer]:
    from lstmgan_dist.corpus.tokenizers.byte import ByteTokenizer

    return ByteTokenizer


def _words() -> type[Tokenizer]:
    from lstmgan_dist.corpus.tokenizers.word import WordTokenizer

    return WordTokenizer


def _byte_pairs() -> type[Tokenizer]:
    from lstmgan_dist.corpus.tokenizers.bpe import PairTokenizer

    return PairTokenizer


TOKENIZERS = {
    "character": TokenizerKind(_characters, is_counted=True, spans_characters=False),
    "byte": TokenizerKind(_bytes, is_counted=False, spans_characters=False),
    "word": TokenizerKind(_words, is_counted=True, spans_characters=True),
    "bpe": TokenizerKind(_byte_pairs, is_counted=True, spans_characters=True),
}
