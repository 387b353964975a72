"""Running text cut into its sentences."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

# After a full stop, a question or exclamation mark or an ellipsis, and the quotes or brackets that close with it, there
# must be space and no small letter; a full stop after a single letter, as of an initial, ends nothing. The marks of
# Chinese and Japanese need no space behind them. An empty line ends a sentence, too.
_END = re.compile(
    r"""(?: (?: (?<!\b\w)\. | [!?…] )+ ["'”’»)\]]* \s+ | [。！？]+ [”’」』）]* \s* | \n\s*\n )""", re.VERBOSE
)

# A mark by itself is no sentence.
_NO_WORD = string.punctuation + string.whitespace + "”’»」』）"


def sentences_of(text: str) -> Iterator[str]:
    """The sentences of a text, without the white space around them."""
    start, last = 0, len(text.rstrip(_NO_WORD))
    for end in _END.finditer(text):
        at = end.end()
        if at >= last or (text[at].islower() and "\n" not in end[0]):
            continue
        if sentence := text[start:at].strip():
            yield sentence
        start = at
    if sentence := text[start:].strip():
        yield sentence


def split_rows(texts: pa.StringArray) -> tuple[pa.StringArray, np.ndarray]:
    """The sentences of some texts, and which text each is of: int64."""
    found = [list(sentences_of(text)) for text in texts.to_pylist()]
    sentences = pa.array([sentence for row in found for sentence in row], pa.string())
    return sentences, np.repeat(np.arange(len(found)), list(map(len, found)))
