"""Words and signs put together the way one writes them."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Sequence

_LEAN_LEFT = frozenset(",.;:!?%)]}…”»’、。，；：！？）】》」』〉") | {"()", "..."}
_LEAN_RIGHT = frozenset("([{“«‘（【《「『〈")
_QUOTES = {'"': '"', "``": '"', "''": '"', "'": "'"}
_CONTRACTION = re.compile(r"(?:['’](?:s|re|ve|ll|d|m|t)|n['’]t)", re.IGNORECASE)
# Han, kana and their punctuation are written without spaces.
UNSPACED = r"[\u2e80-\u2fdf\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]"
_UNSPACED, _UNSPACED_RUN = re.compile(UNSPACED), re.compile(f"{UNSPACED}{{2,}}")
_LONGEST_WORD = 16


def join_words(words: Sequence[str], *, unspaced_borders: bool = False) -> str:
    """One text of words and signs: no space before a full stop, quotes and brackets close around what they hold.

    unspaced_borders: none between a script without spaces and others either.
    """
    parts: list[str] = []
    last = {sign: index for index, word in enumerate(words) if (sign := _QUOTES.get(word))}
    open_quotes: set[str] = set()
    glued = True  # nothing stands between the text so far and what comes next
    for index, word in enumerate(words):
        quote = _QUOTES.get(word)
        text = quote or word
        if quote:
            # A quote that nothing closes, such as the apostrophe of "the dogs' bowl", belongs to the word before it.
            opens = word == "``" or (word != "''" and quote not in open_quotes and index < last[quote])
            (open_quotes.add if opens else open_quotes.discard)(quote)
            leans_left, leans_right = not opens, opens
        else:
            leans_left = word in _LEAN_LEFT or word == "\n" or _CONTRACTION.fullmatch(word) is not None
            leans_right = (
                word in _LEAN_RIGHT or word == "\n" or (word in ("$", "£", "€", "#") and _is_number(words, index + 1))
            )
        unspaced = [bool(_UNSPACED.match(end)) for end in (parts[-1][-1], text[0])] if parts else [False]
        if not (glued or leans_left or (any(unspaced) if unspaced_borders else all(unspaced))):
            parts.append(" ")
        parts.append(text)
        glued = leans_right
    return "".join(parts)


def part_words(text: str, known: Container[str]) -> str:
    """A text with spaces between its words where it is written without: the longest known word from the left on."""
    return _UNSPACED_RUN.sub(lambda run: run[0] if run[0] in known else f" {' '.join(_parted(run[0], known))} ", text)


def _parted(run: str, known: Container[str]) -> Iterator[str]:
    while run:
        length = next((size for size in range(min(len(run), _LONGEST_WORD), 1, -1) if run[:size] in known), 1)
        yield run[:length]
        run = run[length:]


def _is_number(words: Sequence[str], index: int) -> bool:
    return index < len(words) and words[index][0].isdigit()
