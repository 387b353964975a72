"""What text goes through before it is cut into tokens: views, pure functions from text to text, in one fixed order.

They travel with the tokenizer, so that training text, prompts and the texts of judges go through the same ones. What
the `tokenizers` library can do is its normaliser in tokenizer.json; whole columns come out the same here, several times
faster.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tokenizers import Regex, normalizers

from lstmgan_dist.corpus.bulk import JoinedRows, character_counts, lowered
from lstmgan_dist.corpus.detokenize import UNSPACED
from lstmgan_dist.corpus.libraries import PYSTEMMER, RJIEBA, Library
from lstmgan_dist.corpus.segmentation import cut
from lstmgan_dist.corpus.settings import UnicodeForm

if TYPE_CHECKING:
    from lstmgan_dist.corpus.settings import TokenizerSettings

NUMBER = "<number>"


@dataclass(frozen=True)
class Views:
    """Which views a text goes through, as `TokenizerSettings` describes them, in their order.

    made_with: the library that segments or stems, and its version: another one may cut otherwise.
    """

    fold_width: bool = False
    unicode: UnicodeForm | None = None
    lower: bool = False
    mark_numbers: bool = False
    segmenter: str | None = None
    stem: str | None = None
    made_with: str = ""

    @classmethod
    def of(cls, settings: TokenizerSettings) -> Views:
        """Those that settings ask for.

        Raises:
            UserError: if the library of one of them is not installed here.
        """
        chosen = {name: getattr(settings, name) for name in _VIEWS}
        library = _library_of(chosen)
        return cls(**chosen, made_with=library.with_version if library else "")

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Views:
        """Those that a tokenizer.json tells of."""
        if kept := state.get("views"):
            return cls(**kept)
        normalizer = state["normalizer"] or {"normalizers": []}
        types = [one["type"] for one in normalizer.get("normalizers", [normalizer])]
        forms: list[UnicodeForm] = [form for form in _FORMS if form.upper() in types]
        return cls(unicode=forms[0] if forms else None, lower="Lowercase" in types, mark_numbers="Replace" in types)

    @property
    def chosen(self) -> dict[str, Any]:
        """Those in use, in their order."""
        return {name: value for name in _VIEWS if (value := getattr(self, name))}

    @property
    def are_the_librarys(self) -> bool:
        """Whether the `tokenizers` library can do all of them by itself."""
        return self.chosen.keys() <= {"unicode", "lower", "mark_numbers"}

    @property
    def hide_characters(self) -> bool:
        """Whether some of what is seen stands for characters that are not told."""
        return self.mark_numbers or self.stem is not None

    def normalizer(self) -> normalizers.Normalizer | None:
        """What the library does to text before it cuts it; nothing where it could only do a part."""
        if not self.are_the_librarys:
            return None
        steps: list[normalizers.Normalizer] = []
        if self.unicode:
            steps.append(_FORMS[self.unicode]())
        if self.lower:
            steps.append(normalizers.Lowercase())
        if self.mark_numbers:
            steps.append(normalizers.Replace(Regex(_NUMBER_BEHIND), NUMBER))
        return normalizers.Sequence(steps) if len(steps) > 1 else steps[0] if steps else None

    def state(self) -> dict[str, Any]:
        """What tokenizer.json keeps of views that the library cannot do."""
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name))}

    def check_here(self) -> None:
        """See that their library is installed here.

        Raises:
            UserError: if it is not.
        """
        if library := _library_of(self.chosen):
            library.load()

    def seen(self, rows: pa.StringArray) -> pa.StringArray:
        """Rows of text as the tokenizer sees them; none holds NUL.

        Raises:
            UserError: if a library that it takes is not installed here.
        """
        for name, value in self.chosen.items():
            rows = _VIEWS[name](rows, value)
        return rows

    def seen_text(self, text: str) -> str:
        """One text as the tokenizer sees it."""
        return self.seen(pa.array([text], pa.string()))[0].as_py() if text else text

    def character_counts(self, rows: pa.StringArray) -> np.ndarray:
        """Characters of each row that has gone through these, int64; spaces that a segmenter has put are none."""
        counts_N = character_counts(rows)
        if self.segmenter and len(rows):
            counts_N -= _added_spaces(rows)
        return counts_N

    def unlike(self, other: Views) -> list[str]:
        """The names of the views in which two differ, lower case left out."""
        mine, others = asdict(self), asdict(other)
        return [name for name in _VIEWS if name != "lower" and mine[name] != others[name]]

    def __str__(self) -> str:
        named = (
            name.replace("_", " ") + (f" {value}" if isinstance(value, str) else "")
            for name, value in self.chosen.items()
        )
        return ", ".join(named) + (f" ({self.made_with})" if self.made_with else "")

    def notes(self) -> list[str]:
        """What texts that come out have lost for good, and what may differ here, a sentence each: for people."""
        found = (_LOSSES.get((name, value)) or _LOSSES.get(name, "") for name, value in self.chosen.items())
        lost = [words.format(self.stem) for words in found if words]
        told = [f"Texts are written as the model sees them: {', and '.join(lost)}."] if lost else []
        library = _library_of(self.chosen)
        if library and library.is_installed and library.with_version != self.made_with:
            told.append(
                f"This text was prepared with {self.made_with}, and here is {library.with_version}, which may see some "
                "words otherwise."
            )
        return told


# What cannot be undone, by view, or by view and value.
_LOSSES: dict[Any, str] = {
    "mark_numbers": f"with {NUMBER} for every number",
    "fold_width": "with half-width letters, digits and signs for full-width ones",
    ("unicode", "nfkc"): "with plain characters for their variants (NFKC)",
    ("unicode", "nfkd"): "with plain characters for their variants (NFKD)",
    "stem": "with stems for words ({})",
}


_LIBRARIES = {"segmenter": RJIEBA, "stem": PYSTEMMER}


def _library_of(chosen: Mapping[str, Any]) -> Library | None:
    return next((library for view, library in _LIBRARIES.items() if chosen.get(view)), None)


# --- characters ------------------------------------------------------------------------------------------------------

_FORMS: dict[UnicodeForm, type[normalizers.Normalizer]] = {
    "nfc": normalizers.NFC,
    "nfd": normalizers.NFD,
    "nfkc": normalizers.NFKC,
    "nfkd": normalizers.NFKD,
}


def _folded(rows: pa.StringArray, _: bool) -> pa.StringArray:
    if JoinedRows(rows).is_ascii:
        return rows
    text = _LongText.of(rows)
    points = text.points.copy()
    points[(points >= 0xFF01) & (points <= 0xFF5E)] -= 0xFEE0
    points[points == 0x3000] = 0x20
    return _LongText(points, text.marks_N).rows()


def _normalised(rows: pa.StringArray, form: UnicodeForm) -> pa.StringArray:
    """Rows in a Unicode form, as the library brings them into it."""
    joined = JoinedRows(rows)
    if joined.is_ascii:
        return rows
    stable = _stable_points()
    normal = pc.call_function("utf8_normalize", [rows], pc.Utf8NormalizeOptions(form.upper()))
    if stable[joined.code_points()].all():
        return normal
    normalizer = _FORMS[form]()
    texts = zip(rows.to_pylist(), normal.to_pylist(), strict=True)
    return pa.array(
        [easy if stable[_points(text)].all() else normalizer.normalize_str(text) for text, easy in texts], pa.string()
    )


@cache
def _stable_points() -> np.ndarray:
    """The code points that every Unicode since 3.2 normalises alike, a flag each; of the emoji, too."""
    old = unicodedata.ucd_3_2_0
    stable = np.zeros(0x110000, bool)
    stable[:0x10000] = [old.category(chr(point)) != "Cn" for point in range(0x10000)]
    stable[0x1F300:0x1F700] = stable[0x20000:0x2A6D7] = True
    return stable


# Digits of several scripts, and letters behind which they are part of a name such as mp3; spelt out, for what two
# libraries know of Unicode differs.
_DIGIT = "0-9٠-٩۰-۹०-९০-৯๐-๙０-９"
_LETTER = "A-Za-zÀ-ÖØ-öø-ɏͰ-ϿЀ-ӿ_"
_NUMBER = f"[{_DIGIT}]+(?:[.,][{_DIGIT}]+)*"
_NUMBER_BEHIND = f"(?<![{_LETTER}{_DIGIT}]){_NUMBER}"


def _numbers_marked(rows: pa.StringArray, _: bool) -> pa.StringArray:
    pattern = f"(^|[^{_LETTER}{_DIGIT}]){_NUMBER}"
    return pc.call_function("replace_substring_regex", [rows], pc.ReplaceSubstringOptions(pattern, rf"\1{NUMBER}"))


# --- words -----------------------------------------------------------------------------------------------------------

_UNSPACED = re.compile(UNSPACED)
_BLANKS, _GAPS = [ord(blank) for blank in "\t "], [ord(gap) for gap in "\t\n\r \u3000"]


def _segmented(rows: pa.StringArray, _: str) -> pa.StringArray:
    """Rows with a space between the words of Chinese, also at their borders with other script; all else stays."""
    if JoinedRows(rows).is_ascii:
        return rows
    text = _LongText.of(rows)
    if np.isin(text.points, _BLANKS).any():
        text = text.filtered(~_blanks_within(text.points))
    # The words with a NUL between them, which no text has. None is across the end of a row, for that is a line end.
    points = _points(cut(_text(text.points)))
    is_border = points == 0
    # Only beside Chinese: what the library cuts in other script, such as don't, is left together.
    is_unspaced, is_gap = _unspaced_points()[points], np.isin(points, _GAPS)
    is_wanted = is_border.copy()
    is_wanted[1:-1] &= (is_unspaced[:-2] | is_unspaced[2:]) & ~is_gap[:-2] & ~is_gap[2:]
    points = np.where(is_border, np.uint32(0x20), points)
    marks_N = np.flatnonzero(~is_border)[text.marks_N]
    return _LongText(points, marks_N).filtered(~is_border | is_wanted).rows()


def _blanks_within(points: np.ndarray) -> np.ndarray:
    """Blanks that have nothing but blanks between them and Chinese to either side: a flag for each character."""
    is_blank, is_unspaced = np.isin(points, _BLANKS), _unspaced_points()[points]
    places = np.arange(len(points))
    before = np.maximum.accumulate(np.where(is_blank, 0, places))
    after = np.minimum.accumulate(np.where(is_blank, len(points) - 1, places)[::-1])[::-1]
    return is_blank & is_unspaced[before] & is_unspaced[after]


def _added_spaces(rows: pa.StringArray) -> np.ndarray:
    """Spaces beside Chinese in each row."""
    text = _LongText.of(rows)
    is_unspaced = _unspaced_points()[text.points]
    is_added = text.points == 0x20
    is_added[:1] = False
    is_added[1:-1] &= is_unspaced[:-2] | is_unspaced[2:]
    return np.diff(np.append(0, np.cumsum(is_added)[text.marks_N]))


@cache
def _unspaced_points() -> np.ndarray:
    unspaced = np.zeros(0x110000, bool)
    unspaced[[point for point in range(0x2E80, 0x40000) if _UNSPACED.match(chr(point))]] = True
    return unspaced


_TO_STEM = re.compile(r"<unk>|<number>|([^\W\d_]+(?:['’][^\W\d_]+)*)")


def _stemmed(rows: pa.StringArray, language: str) -> pa.StringArray:
    """Rows with stems instead of words; each distinct piece is looked at once."""
    stem = PYSTEMMER.load().Stemmer(language).stemWord  # one for each call, for it is no thing for threads
    if not len(rows):
        return rows
    text = JoinedRows(rows)
    starts = text.piece_starts()
    pieces = text.pieces(starts).dictionary_encode()

    def stem_of(word: re.Match[str]) -> str:
        return (word[1] and stem(word[1])) or word[0]

    stems = pa.array([_TO_STEM.sub(stem_of, piece) for piece in pieces.dictionary.to_pylist()], pa.string())
    marks = np.searchsorted(starts, text.marks_N)
    inside = np.ones(len(starts), bool)
    inside[marks] = False
    ends = marks - np.arange(len(marks))
    offsets = pa.array(np.append(0, ends), pa.int32())
    of_rows = stems.take(pieces.indices.filter(pa.array(inside)))
    return pc.call_function("binary_join", [pa.ListArray.from_arrays(offsets, of_rows), ""])


_VIEWS: dict[str, Callable[[pa.StringArray, Any], pa.StringArray]] = {
    "fold_width": _folded,
    "unicode": _normalised,
    "lower": lambda rows, _: lowered(rows),
    "mark_numbers": _numbers_marked,
    "segmenter": _segmented,
    "stem": _stemmed,
}


# --- whole columns ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _LongText:
    """Rows laid end to end, with a line end as a mark after each, character by character.

    points: uint32. marks_N: where the marks are.
    """

    points: np.ndarray
    marks_N: np.ndarray

    @classmethod
    def of(cls, rows: pa.StringArray) -> _LongText:
        return cls(JoinedRows(rows).code_points(), np.cumsum(character_counts(rows) + 1) - 1)

    def filtered(self, kept: np.ndarray) -> _LongText:
        """Without the characters of no flag; marks stay."""
        return _LongText(self.points[kept], (np.cumsum(kept) - 1)[self.marks_N])

    def rows(self) -> pa.StringArray:
        sizes = np.ones(len(self.points), np.int64)
        for least in (0x80, 0x800, 0x10000):
            sizes += self.points >= least
        sizes[self.marks_N] = 0
        offsets = np.append(0, np.cumsum(sizes)[self.marks_N]).astype(np.int32)
        is_text = np.ones(len(self.points), bool)
        is_text[self.marks_N] = False
        content = _text(self.points[is_text]).encode()
        return pa.StringArray.from_buffers(len(self.marks_N), pa.py_buffer(offsets), pa.py_buffer(content))


def _points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def _text(points: np.ndarray) -> str:
    return points.tobytes().decode("utf-32-le")
