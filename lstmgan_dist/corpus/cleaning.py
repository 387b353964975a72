"""Texts that are fit for use, from chunks as they were read.

Cleaning is a pure function of one chunk, so that chunks can be cleaned side by side, on as many cores or machines as
there are.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lstmgan_dist.corpus.bulk import byte_counts
from lstmgan_dist.corpus.chunks import LONGEST_DOCUMENT_BYTES, LONGEST_SENTENCE_BYTES, Chunk
from lstmgan_dist.corpus.encodings import SAMPLE_BYTES, looks_like_another
from lstmgan_dist.corpus.findings import Case, Findings
from lstmgan_dist.corpus.sentences import split_rows
from lstmgan_dist.corpus.settings import UTF_8, Corpus, OnBadText
from lstmgan_dist.corpus.sources import Source
from lstmgan_dist.settings import either

_ONE_A_LINE = "write one object in braces a line (JSON Lines)"


@dataclass(frozen=True)
class Rows:
    """Clean texts of one chunk: valid UTF-8 without NUL.

    numbers: line or row number of each text, int64. ends: the last text ends here (continuous text goes on else).
    cut: the numbers of those that were cut short already and are counted in the findings.
    """

    source: Source
    texts: pa.StringArray
    numbers: np.ndarray
    ends: bool
    findings: Findings
    cut: frozenset[int] = frozenset()


def clean(chunk: Chunk, settings: Corpus) -> Rows:
    """The texts of a chunk that are fit for use: a pure function.

    Sentences lose the white space around them, and those that are empty then are left out; if so set, lines are cut
    into sentences. Text that is not valid UTF-8 or holds NUL, and sentences of more than LONGEST_SENTENCE_BYTES, are
    dealt with as the settings say.

    Raises:
        UserError: with file and line, if the settings want an error.
    """
    findings = Findings()
    if chunk.encoding != UTF_8:
        findings.encodings[chunk.source.url] = chunk.encoding
    if chunk.objection:
        # There is nothing to put right in it.
        case = Case(str(chunk.source), chunk.source.location(chunk.first), chunk.objection)
        findings.bad(case, _no_mending(settings.on_bad_text))
        return Rows(chunk.source, pa.array([], pa.string()), np.array([], np.int64), True, findings)
    if settings.layout == "continuous" and chunk.source.format in ("text", "builtin"):
        assert isinstance(chunk.content, bytes)
        text = _clean_text(chunk, chunk.content.replace(b"\r\n", b"\n"), settings, findings)
        return Rows(chunk.source, pa.array([text], pa.string()), np.array([chunk.first]), chunk.ends, findings)
    if not isinstance(chunk.content, bytes):
        lines, numbers = chunk.content, np.arange(chunk.first, chunk.first + len(chunk.content))
        present = lines.is_valid()
        findings.empty += lines.null_count
        lines, numbers = lines.filter(present), numbers[present.to_numpy(zero_copy_only=False)]
    else:
        lines = _lines(chunk.content)
        numbers = np.arange(chunk.first, chunk.first + len(lines))
        if chunk.source.format == "json":
            lines, numbers = _parsed(chunk, lines, numbers, settings, findings)
    lines, numbers, cut = _without_endless(chunk.source, lines, numbers, settings, findings)
    texts, numbers = _without_bad(chunk, lines, numbers, settings, findings)
    if settings.layout == "sentences":
        texts = pc.call_function("utf8_trim_whitespace", [texts])
    filled = byte_counts(texts) > 0
    findings.empty += len(filled) - int(np.count_nonzero(filled))
    texts, numbers = texts.filter(pa.array(filled)), numbers[filled]
    if settings.split_sentences:
        texts, numbers = split_rows(texts, numbers, settings.language)
    return Rows(chunk.source, texts, numbers, True, findings, cut)


def _lines(content: bytes) -> pa.Array:
    """Lines, each with its line end: no copy."""
    data = np.frombuffer(content, np.uint8)
    offsets = np.append(0, np.flatnonzero(data == 0x0A) + 1)
    if offsets[-1] < len(data):
        offsets = np.append(offsets, len(data))
    offsets = pa.py_buffer(offsets.astype(np.int64))
    return pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(offsets) // 8 - 1, [None, offsets, pa.py_buffer(content)]
    )


def _parsed(
    chunk: Chunk, lines: pa.Array, numbers: np.ndarray, settings: Corpus, findings: Findings
) -> tuple[pa.Array, np.ndarray]:
    """The column's text of every JSON line. Lines without it cannot be mended, only skipped."""
    name, source = settings.column_name, chunk.source
    texts: list[bytes] = []
    kept: list[int] = []
    for number, line in zip(numbers.tolist(), lines.to_pylist(), strict=True):
        if not line.strip():
            findings.empty += 1
            continue
        value, reason, remedy = _field(line, name, settings.on_bad_text)
        if reason:
            findings.bad(Case(str(source), source.location(number), reason), _no_mending(settings.on_bad_text), remedy)
        elif value is None:
            findings.empty += 1
        else:
            # A lone surrogate is valid JSON but no text: its bytes are found invalid with the others.
            texts.append(value.encode("utf-8", "surrogatepass"))
            kept.append(number)
    return pa.array(texts, pa.large_binary()), np.array(kept, np.int64)


def _field(line: bytes, name: str, policy: OnBadText) -> tuple[str | None, str, str]:
    """The text under a name, None if it is null; or the reason why there is none, and what would mend it."""
    if len(line) > LONGEST_DOCUMENT_BYTES:
        return None, f"a line of more than {LONGEST_DOCUMENT_BYTES >> 20} MiB", ""
    try:
        record = json.loads(line.decode("utf-8", "replace" if policy == "replace" else "strict"))
    except UnicodeDecodeError as error:
        reason, remedy = _with_guess(_invalid(error), line) if policy == "error" else (_invalid(error), "")
        return None, reason, remedy
    except (ValueError, RecursionError) as error:
        return None, f"this is not valid JSON ({getattr(error, 'msg', error)})", _ONE_A_LINE
    if not isinstance(record, dict):
        return None, "this is JSON but no object, which starts with {", _ONE_A_LINE
    if name not in record:
        others = [key for key, value in record.items() if isinstance(value, str)]
        remedy = f"set corpus.column (--column) to {either(others)}" if others else ""
        return None, f"there is no {name!r} among {', '.join(map(repr, record)) or 'its keys'}", remedy
    value = record[name]
    if value is not None and not isinstance(value, str):
        return None, f"{name!r} is not text but {type(value).__name__}", ""
    return value, "", ""


def _without_endless(
    source: Source, lines: pa.Array, numbers: np.ndarray, settings: Corpus, findings: Findings
) -> tuple[pa.Array, np.ndarray, frozenset[int]]:
    """Without what must not be held in memory; also the numbers of what was cut short instead."""
    sentences = settings.layout == "sentences"
    longest = LONGEST_SENTENCE_BYTES if sentences else LONGEST_DOCUMENT_BYTES
    lengths = byte_counts(lines)
    endless = np.flatnonzero(lengths > longest)
    if not len(endless):
        return lines, numbers, frozenset()
    what = f"a {'sentence' if sentences else 'document'} of more than {longest >> 20} MiB"
    cases = (Case(str(source), source.location(number), what) for number in numbers[endless].tolist())
    findings.long(cases, len(endless), settings)
    if settings.on_long_text == "skip":
        kept = lengths <= longest
        return lines.filter(pa.array(kept)), numbers[kept], frozenset()
    texts = [line if len(line) <= longest else _head(line, longest) for line in lines.to_pylist()]
    return pa.array(texts, pa.large_binary()), numbers, frozenset(numbers[endless].tolist())


def _head(line: bytes, length: int) -> bytes:
    while length and line[length] & 0xC0 == 0x80:
        length -= 1
    return line[:length]


def _without_bad(
    chunk: Chunk, lines: pa.Array, numbers: np.ndarray, settings: Corpus, findings: Findings
) -> tuple[pa.StringArray, np.ndarray]:
    try:
        texts = lines.cast(pa.large_string()).cast(pa.string())
        if not _holds_nul(texts):
            return texts, numbers
    except pa.ArrowInvalid:
        pass
    kept_texts: list[str] = []
    kept: list[int] = []
    for number, line in zip(numbers.tolist(), lines.to_pylist(), strict=True):
        text = _mended(line, number, chunk, settings, findings)
        if text is not None:
            kept_texts.append(text)
            kept.append(number)
    return pa.array(kept_texts, pa.string()), np.array(kept, np.int64)


def _holds_nul(texts: pa.StringArray) -> bool:
    if not len(texts):
        return False
    _, offsets, data = texts.buffers()
    bounds = np.frombuffer(offsets, np.int32)[[texts.offset, texts.offset + len(texts)]]
    return not np.frombuffer(data or b"", np.uint8)[bounds[0] : bounds[1]].all()


def _mended(line: bytes, number: int, chunk: Chunk, settings: Corpus, findings: Findings) -> str | None:
    """A line as text; None where it is bad and to be skipped."""
    try:
        text = line.decode("utf-8")
        if "\0" not in text:
            return text
        reason = "this line holds a NUL character"
    except UnicodeDecodeError as error:
        reason = _invalid(error) if chunk.encoding == UTF_8 else f"this is not valid {chunk.encoding.upper()}"
    remedy = ""
    if settings.on_bad_text == "error" and chunk.encoding == UTF_8:
        reason, remedy = _with_guess(reason, chunk.content if isinstance(chunk.content, bytes) else line)
    findings.bad(Case(str(chunk.source), chunk.source.location(number), reason), settings.on_bad_text, remedy)
    if settings.on_bad_text == "skip":
        return None
    return line.decode("utf-8", errors="replace").replace("\0", "\ufffd")


def _clean_text(chunk: Chunk, content: bytes, settings: Corpus, findings: Findings) -> str:
    try:
        text = content.decode("utf-8")
        if "\0" not in text:
            return text
    except UnicodeDecodeError:
        pass
    lines = enumerate(io.BytesIO(content).readlines(), start=chunk.first)
    mended = (_mended(line, number, chunk, settings, findings) for number, line in lines)
    return "".join(text for text in mended if text is not None)


def _invalid(error: UnicodeDecodeError) -> str:
    return f"this is not valid UTF-8 (byte 0x{error.object[error.start]:02x})"


def _with_guess(reason: str, around: bytes) -> tuple[str, str]:
    """What is wrong with a line, and what would mend it where the text around it is in another encoding."""
    likely = looks_like_another(around[:SAMPLE_BYTES])
    if likely is None:
        return reason, ""
    return f"{reason}, but {likely} by its looks", f"set corpus.encoding (--encoding) to {likely}, or to auto"


def _no_mending(policy: OnBadText) -> Literal["error", "skip"]:
    return "error" if policy == "error" else "skip"
