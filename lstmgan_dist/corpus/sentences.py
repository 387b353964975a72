"""Running text cut into its sentences: by sentencex where the language is known, else by rules of our own.

Of pySBD's 284 golden examples in 23 languages sentencex cuts 263 as they should be, at 100 MB/s of English, but 189
where it takes all of them for English; ours, which need no language, 205, at 19 MB/s; pySBD itself has 0.1 MB/s.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa

from lstmgan_dist.corpus.libraries import SENTENCEX
from lstmgan_dist.corpus.settings import SentenceLanguage

# After a full stop, a question or exclamation mark or an ellipsis, and the quotes or brackets that close with it, there
# must be space. The marks of Chinese, Japanese and Hindi need none. An empty line ends a sentence, too.
_END = re.compile(
    r"""(?: ( [.!?…؟۔]+ (?:[ ]\.)* ) ["'”’»)\]]* \s+ | [。！？｡।॥]+ [”’」』）]* \s* | \n\s*\n )""", re.VERBOSE
)
_EMPTY_LINE = re.compile(r"\n\s*\n")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What stands before a full stop that ends nothing, whatever follows: titles, and what speaks of what comes next.
_GOES_ON = _words("""
    dr mr mrs ms messrs mx prof profs st mt ft gen col maj capt cpt cmdr lt sgt cpl rev hon gov sen rep pres supt fr br
    vs cf viz esp e.g i.e eg ie ca approx resp incl excl
    hr hrn dipl bzw z.b d.h u.a v.a sog evtl ggf vgl inkl
    mme mmes mlle mgr sr sra srta srs dña dott avv dra drs mevr
    т.е т.к г-н г-жа им ул
""")
# And what does so before a number.
_COUNTED = _words("""
    no nos n° nr nrs fig figs vol vols p pp ch chap sec sect art par eq eqs tab ex op abb abs bd kap ziff s jan feb mar
    apr jun jul aug sep sept oct nov dec okt dez núm pág рис стр гл
""")
# With these a sentence begins, also behind initials such as those of the U.S.
_BEGINS = _words("""
    The A An This That These Those It Its He His She Her They Their We Our You Your But And So In On At As For If When
    While After Before There However Then What Who Why How Is Are Was Were Do Does Did
""")
# German numbers days and centuries with a full stop.
_NUMBERED = _words("""
    Januar Jänner Februar Feber März April Mai Juni Juli August September Oktober November Dezember Jahrhundert
    Jahrhunderts
""")
_WORD = re.compile(r"\w+")
_INITIAL = re.compile(r"(?:\w\.)*[^\W\d_]")
_OPENING = "\"'“‘«([{¿¡"
_LONGEST = 12  # characters of what is looked up

# A mark by itself is no sentence, nor is the number of an item.
_NO_WORD = string.punctuation + string.whitespace + "”’»」』）"
_ITEM = re.compile(r"[\s(•⁃–-]*(?:\d{1,3}|[A-Za-z])[.)]+\s*")


def sentences_of(text: str) -> Iterator[str]:
    """The sentences of a text, without the white space around them."""
    start, last = 0, len(text.rstrip(_NO_WORD))
    for end in _END.finditer(text):
        at = end.end()
        if at >= last or _goes_on(text, end) or _ITEM.fullmatch(text, start, at):
            continue
        if sentence := text[start:at].strip():
            yield sentence
        start = at
    if sentence := text[start:].strip():
        yield sentence


def _goes_on(text: str, end: re.Match[str]) -> bool:
    """Whether a sentence is not over at a mark: what follows is small, or what stands before is an abbreviation."""
    at = end.end()
    if text[at].islower() and not _EMPTY_LINE.search(end[0]):
        return True
    if end[1] != ".":
        return False
    before = text[max(0, end.start() - _LONGEST) : end.start()].rsplit(maxsplit=1)
    word = before[-1].lstrip(_OPENING) if before else ""
    known = word if word.isalpha() and word.isupper() else word.lower()  # CA is California
    if known in _GOES_ON:
        return True
    if known in _COUNTED:
        return text[at].isdigit()
    following = _WORD.match(text, at)
    if word.isdigit():
        return len(word) <= 2 and following is not None and following[0] in _NUMBERED
    # Of small letters, such as p.m., an abbreviation may well end it.
    if _INITIAL.fullmatch(word) and (len(word) == 1 or word[0].isupper()):
        return following is None or following[0] not in _BEGINS
    return False


_CODES: dict[SentenceLanguage, str] = {
    "amharic": "am",
    "arabic": "ar",
    "armenian": "hy",
    "bengali": "bn",
    "bulgarian": "bg",
    "burmese": "my",
    "catalan": "ca",
    "chinese": "zh",
    "danish": "da",
    "dutch": "nl",
    "english": "en",
    "finnish": "fi",
    "french": "fr",
    "german": "de",
    "greek": "el",
    "gujarati": "gu",
    "hindi": "hi",
    "italian": "it",
    "japanese": "ja",
    "kannada": "kn",
    "kazakh": "kk",
    "malayalam": "ml",
    "marathi": "mr",
    "polish": "pl",
    "portuguese": "pt",
    "punjabi": "pa",
    "russian": "ru",
    "slovak": "sk",
    "spanish": "es",
    "tamil": "ta",
    "telugu": "te",
    "ukrainian": "uk",
}


def splitter_of(language: SentenceLanguage | None) -> Callable[[str], Iterable[str]]:
    """What gives the sentences of a text, without the white space around them.

    Raises:
        UserError: if the library for a language is not installed here.
    """
    if language is None:
        return sentences_of
    segment, code = SENTENCEX.load().segment, _CODES[language]

    def sentences(text: str) -> Iterable[str]:
        return filter(None, map(str.strip, segment(code, text)))

    return sentences


def split_rows(texts: pa.StringArray, language: SentenceLanguage | None) -> tuple[pa.StringArray, np.ndarray]:
    """The sentences of some texts, and which text each is of: int64."""
    split = splitter_of(language)
    found = [list(split(text)) for text in texts.to_pylist()]
    sentences = pa.array([sentence for row in found for sentence in row], pa.string())
    return sentences, np.repeat(np.arange(len(found)), list(map(len, found)))
