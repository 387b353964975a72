"""Texts that are fit for use, from chunks as they were read.

Cleaning is a pure function of one chunk, so that chunks can be cleaned side by side, on as many cores or machines as
there are.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lstmgan_dist.corpus.bulk import byte_counts
from lstmgan_dist.corpus.chunks import LONGEST_DOCUMENT_BYTES, LONGEST_SENTENCE_BYTES, Chunk
from lstmgan_dist.corpus.encodings import SAMPLE_BYTES, looks_like_another
from lstmgan_dist.corpus.findings import Case, Findings
from lstmgan_dist.corpus.sentences import split_rows
from lstmgan_dist.corpus.settings import UTF_8, Corpus, OnBadText, Role
from lstmgan_dist.corpus.sources import OPTIONS, Source
from lstmgan_dist.corpus.tables import in_columns
from lstmgan_dist.settings import either

_ONE_A_LINE = "write one object in braces a line (JSON Lines)"


@dataclass(frozen=True)
class Rows:
    """Clean texts of one chunk: valid UTF-8 without NUL.

    numbers: line or row number of each text, int64. ends: the last text ends here (continuous text goes on else).
    cut: the numbers of those that were cut short already and are counted in the findings. beside: what belongs to each
    text, by what it is for: what it answers, and its label.
    """

    source: Source
    texts: pa.StringArray
    numbers: np.ndarray
    ends: bool
    findings: Findings
    cut: frozenset[int] = frozenset()
    beside: Mapping[Role, pa.StringArray] = field(default_factory=dict)


def clean(chunk: Chunk, settings: Corpus) -> Rows:
    """The texts of a chunk that are fit for use: a pure function.

    Sentences lose the white space around them, and those that are empty then are left out; if so set, lines are cut
    into sentences. Text that is not valid UTF-8 or holds NUL, and sentences of more than LONGEST_SENTENCE_BYTES, are
    dealt with as the settings say. So is a text that lacks its label or what it answers, or that is no answer: empty.

    Raises:
        UserError: with file and line, if the settings want an error.
    """
    findings = Findings()
    if chunk.encoding != UTF_8:
        findings.encodings[chunk.source.url] = chunk.encoding
    if chunk.objection:
        # There is nothing to put right in it.
        case = Case(str(chunk.source), chunk.source.location(chunk.first), chunk.objection)
        findings.bad(case, no_mending(settings.on_bad_text))
        none = pa.array([], pa.string())
        beside = dict.fromkeys(_roles_beside(settings), none)
        return Rows(chunk.source, none, np.array([], np.int64), True, findings, beside=beside)
    if settings.layout == "continuous" and chunk.source.format in ("text", "builtin"):
        assert isinstance(chunk.content, bytes)
        text = _clean_text(chunk, chunk.content.replace(b"\r\n", b"\n"), settings, findings)
        return Rows(chunk.source, pa.array([text], pa.string()), np.array([chunk.first]), chunk.ends, findings)
    if not isinstance(chunk.content, bytes):
        rows, numbers = chunk.content, np.arange(chunk.first, chunk.first + len(chunk.content))
    else:
        lines = _lines(chunk.content)
        rows, numbers = _of_texts(lines), np.arange(chunk.first, chunk.first + len(lines))
        if chunk.source.format == "json":
            rows, numbers = _parsed(chunk, lines, numbers, settings, findings)
    rows, numbers, cut = _without_endless(chunk.source, rows, numbers, settings, findings)
    rows, numbers = _without_bad(chunk, rows, numbers, settings, findings)
    if settings.layout == "sentences":
        trimmed = [pc.call_function("utf8_trim_whitespace", [column]) for column in rows.columns]
        rows = pa.record_batch(trimmed, names=rows.schema.names)
    rows, numbers = _without_empty(chunk.source, rows, numbers, settings, findings)
    texts = rows.column("text")
    beside: dict[Role, pa.StringArray] = {
        role: rows.column(role) for role in _roles_beside(settings) if role in rows.schema.names
    }
    if settings.label_by:
        label = chunk.source.called if settings.label_by == "file" else chunk.source.folder
        beside["label"] = pa.repeat(label, len(texts))
    if settings.split_sentences:
        texts, row_of_text = split_rows(texts, settings.language)
        numbers = numbers[row_of_text]
        beside = {role: column.take(pa.array(row_of_text)) for role, column in beside.items()}
    return Rows(chunk.source, texts, numbers, True, findings, cut, beside)


def _roles_beside(settings: Corpus) -> list[Role]:
    """What belongs to every text."""
    named: list[Role] = [role for role in settings.columns if role != "text"]
    return [*named, "label"] if settings.label_by else named


def _of_texts(texts: pa.Array) -> pa.RecordBatch:
    return pa.record_batch([texts], names=["text"])


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
) -> tuple[pa.RecordBatch, np.ndarray]:
    """The text under every column of every JSON line. Lines without it cannot be mended, only skipped."""
    columns, source = settings.columns, chunk.source
    fields: list[list[bytes | None]] = []
    kept: list[int] = []
    for number, line in zip(numbers.tolist(), lines.to_pylist(), strict=True):
        if not line.strip():
            findings.empty += 1
            continue
        record, reason, remedy = _record(line, settings.on_bad_text)
        values: list[str | None] = []
        for role, name in columns.items() if not reason else ():
            value, reason, remedy = _field(record, role, name)
            if reason:
                break
            values.append(value)
        if reason:
            # The very first line shows what is called wrongly in all of them.
            is_of_all = number == 1 and remedy.startswith("set ")
            case = Case(str(source), source.location(number), reason)
            findings.bad(case, no_mending(settings.on_bad_text), remedy, is_of_all=is_of_all)
        else:
            # A lone surrogate is valid JSON but no text: its bytes are found invalid with the others.
            fields.append([None if value is None else value.encode("utf-8", "surrogatepass") for value in values])
            kept.append(number)
    return in_columns([*columns], fields, pa.large_binary()), np.array(kept, np.int64)


def _record(line: bytes, policy: OnBadText) -> tuple[dict[str, Any], str, str]:
    """The object that a JSON line holds; or the reason why there is none, and what would mend it."""
    if len(line) > LONGEST_DOCUMENT_BYTES:
        return {}, f"a line of more than {LONGEST_DOCUMENT_BYTES >> 20} MiB", ""
    try:
        record = json.loads(line.decode("utf-8", "replace" if policy == "replace" else "strict"))
    except UnicodeDecodeError as error:
        reason, remedy = _with_guess(_invalid(error), line) if policy == "error" else (_invalid(error), "")
        return {}, reason, remedy
    except (ValueError, RecursionError) as error:
        return {}, f"this is not valid JSON ({getattr(error, 'msg', error)})", _ONE_A_LINE
    if not isinstance(record, dict):
        return {}, "this is JSON but no object, which starts with {", _ONE_A_LINE
    return record, "", ""


def _field(record: Mapping[str, Any], role: Role, name: str) -> tuple[str | None, str, str]:
    """The text under a name, None if it is null; or the reason why there is none, and what would mend it."""
    if name not in record:
        others = [key for key, value in record.items() if isinstance(value, str)]
        remedy = f"set {OPTIONS[role]} to {either(others)}" if others else ""
        return None, f"there is no {name!r} among {', '.join(map(repr, record)) or 'its keys'}", remedy
    value = record[name]
    if role == "label" and isinstance(value, int):  # true and false among them
        value = json.dumps(value)
    if value is not None and not isinstance(value, str):
        return None, f"{name!r} is not text but {type(value).__name__}", ""
    return value, "", ""


def _without_endless(
    source: Source, rows: pa.RecordBatch, numbers: np.ndarray, settings: Corpus, findings: Findings
) -> tuple[pa.RecordBatch, np.ndarray, frozenset[int]]:
    """Without what must not be held in memory; also the numbers of what was cut short instead."""
    sentences = settings.layout == "sentences"
    longest = LONGEST_SENTENCE_BYTES if sentences else LONGEST_DOCUMENT_BYTES
    lengths = np.max([byte_counts(column) for column in rows.columns], axis=0)
    endless = np.flatnonzero(lengths > longest)
    if not len(endless):
        return rows, numbers, frozenset()
    what = f"a {'sentence' if sentences else 'document'} of more than {longest >> 20} MiB"
    cases = (Case(str(source), source.location(number), what) for number in numbers[endless].tolist())
    findings.long(cases, len(endless), settings)
    if settings.on_long_text == "skip":
        kept = lengths <= longest
        return rows.filter(pa.array(kept)), numbers[kept], frozenset()
    shortened = [
        pa.array([_head(text, longest) for text in column.to_pylist()], pa.large_binary()) for column in rows.columns
    ]
    return pa.record_batch(shortened, names=rows.schema.names), numbers, frozenset(numbers[endless].tolist())


def _head(line: bytes | None, length: int) -> bytes | None:
    if line is None or len(line) <= length:
        return line
    while length and line[length] & 0xC0 == 0x80:
        length -= 1
    return line[:length]


def _without_bad(
    chunk: Chunk, rows: pa.RecordBatch, numbers: np.ndarray, settings: Corpus, findings: Findings
) -> tuple[pa.RecordBatch, np.ndarray]:
    """Rows of valid text; null where it was."""
    names = rows.schema.names
    try:
        columns = [column.cast(pa.large_string()).cast(pa.string()) for column in rows.columns]
        if not any(map(_holds_nul, columns)):
            return pa.record_batch(columns, names=names), numbers
    except pa.ArrowInvalid:
        pass
    kept: list[int] = []
    mended: list[list[str | None]] = []
    lines = zip(*(column.to_pylist() for column in rows.columns), strict=True)
    for number, line in zip(numbers.tolist(), lines, strict=True):
        texts: list[str | None] = []
        for text in line:
            sound = None if text is None else _mended(text, number, chunk, settings, findings)
            if sound is None and text is not None:
                break
            texts.append(sound)
        else:
            mended.append(texts)
            kept.append(number)
    return in_columns(names, mended, pa.string()), np.array(kept, np.int64)


def _without_empty(
    source: Source, rows: pa.RecordBatch, numbers: np.ndarray, settings: Corpus, findings: Findings
) -> tuple[pa.RecordBatch, np.ndarray]:
    """Without empty texts, which are only counted; but a row that is not empty as a whole ought to be whole."""
    filled = {name: byte_counts(column) > 0 for name, column in zip(rows.schema.names, rows.columns, strict=True)}
    whole, empty = np.logical_and.reduce([*filled.values()]), ~np.logical_or.reduce([*filled.values()])
    findings.empty += int(np.count_nonzero(empty))
    for at in np.flatnonzero(~whole & ~empty).tolist():
        lacking = next(name for name, is_filled in filled.items() if not is_filled[at])
        reason = f"the {settings.columns[lacking]} of this row is empty"
        findings.bad(Case(str(source), source.location(int(numbers[at])), reason), no_mending(settings.on_bad_text))
    return rows.filter(pa.array(whole)), numbers[whole]


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


def no_mending(policy: OnBadText) -> Literal["error", "skip"]:
    """What is done to text that cannot be mended."""
    return "error" if policy == "error" else "skip"
