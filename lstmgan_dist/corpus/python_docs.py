"""English prose that every machine has: the interpreter's language reference and the standard library's docstrings."""

from __future__ import annotations

import ast
import re
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path

# Folders of the standard library whose docstrings are no prose about Python, or not part of the library.
_LEFT_OUT = frozenset(
    {"test", "tests", "idlelib", "site-packages", "dist-packages", "lib2to3", "turtledemo", "encodings", "__pycache__"}
)

_MARKUP = [
    (re.compile(r":[a-z:+]+:`~?([^`<]*?)\s*(?:<[^`>]*>)?`"), r"\1"),  # :role:`text`
    (re.compile(r"``([^`]+)``|`([^`<]+?)\s*(?:<[^`>]*>)?`_{0,2}"), r"\1\2"),  # ``code``, `text`, `text <link>`_
    (re.compile(r"\*\*([^*\s](?:[^*]*[^*\s])?)\*\*"), r"\1"),  # **strong**
    (re.compile(r"(?<![\w*])\*([^*\s](?:[^*]*[^*\s])?)\*(?![\w*])"), r"\1"),  # *emphasis*
    (re.compile(r"\s*\[\d+\]_?"), ""),  # [1]
    (re.compile(r"::(?=\s|$)"), ":"),
]
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')]?\s+(?=[A-Z\"'(])")
_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|etc|cf|vs|resp|approx|Fig|No|St|Dr|Mr|Mrs|[A-Z])\.$")
# Lists, tables, headings, grammar and doctests: paragraphs with such a line are no prose.
_NO_PROSE = re.compile(
    r"^\s*(?:>>>|\.\.|[-*+=~^#|]{1}\s|[-=~^+*#|]{3,}|\d+\.\s|[\w.]+\s*(?:::=|--|->|=)\s)", re.MULTILINE
)
_PLAIN = re.compile(r"[A-Z][A-Za-z0-9 ,;:.'\"()/_%&+=*-]*[.!?]")
_STRAIGHT = str.maketrans("‘’“”–—", "''\"\"--")


@cache
def sentences() -> tuple[str, ...]:
    """Sentences in the order of topics and files, each once; parses sources and imports none of them."""
    found: dict[str, None] = {}
    for text in (*_topics(), *_docstrings()):
        for paragraph in paragraphs(text):
            found.update(dict.fromkeys(sentences_of(paragraph)))
    return tuple(found)


def _topics() -> Iterator[str]:
    from pydoc_data.topics import topics

    for name in sorted(topics):
        yield topics[name]


def _docstrings() -> Iterator[str]:
    library = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(library.rglob("*.py"), key=lambda path: path.relative_to(library).parts):
        if _LEFT_OUT.isdisjoint(path.relative_to(library).parts):
            try:
                tree = ast.parse(path.read_bytes())
            except (SyntaxError, ValueError):  # templates that ship with the library
                continue
            for node in ast.walk(tree):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                    yield ast.get_docstring(node) or ""


def paragraphs(text: str) -> Iterator[str]:
    """Paragraphs of prose: those set in from the one before, which ends in a colon, are code."""
    code_indent = -1
    for paragraph in re.split(r"\n\s*\n", text):
        lines = paragraph.strip("\n").splitlines()
        if not lines:
            continue
        indent = min(len(line) - len(line.lstrip()) for line in lines)
        if code_indent >= 0 and indent > code_indent:
            continue
        code_indent = indent if lines[-1].rstrip().endswith(":") else -1
        if not _NO_PROSE.search(paragraph):
            yield " ".join(paragraph.split())


def sentences_of(paragraph: str) -> Iterator[str]:
    """Sentences of a paragraph that read like prose, without markup."""
    paragraph = paragraph.translate(_STRAIGHT)
    for pattern, plain in _MARKUP:
        paragraph = pattern.sub(plain, paragraph)
    start = 0
    for match in _SENTENCE_END.finditer(paragraph):
        end = match.start() + len(match[0].rstrip())
        if not _ABBREVIATION.search(paragraph, start, match.start()):
            yield from _fit(paragraph[start:end])
            start = match.end()
    yield from _fit(paragraph[start:])


def _fit(sentence: str) -> Iterator[str]:
    """The sentence if it reads like one: a capital first, a full stop last, 4 to 60 words, most of them letters."""
    words = sentence.split()
    if not 4 <= len(words) <= 60 or not _PLAIN.fullmatch(sentence):
        return
    ordinary = sum(word.strip(",;:.'\"()").replace("-", "").replace("'", "").isalpha() for word in words)
    if ordinary > 0.7 * len(words) and sentence.count("(") == sentence.count(")") and sentence.count('"') % 2 == 0:
        yield sentence
