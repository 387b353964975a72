"""Text to token shards: one pass over the sources to make the vocabulary, and one to encode.

Every pass maps pure functions over chunks of text, on all cores or on a cluster, and gathers the results in order, so
the bytes that come out depend neither on who does the work nor on how fast. Memory is bounded by the chunks under way.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from itertools import accumulate
from typing import Any, TypeVar

import numpy as np

from lstmgan_dist import __version__
from lstmgan_dist.corpus.chunks import Chunk
from lstmgan_dist.corpus.findings import Findings
from lstmgan_dist.corpus.libraries import SENTENCEX
from lstmgan_dist.corpus.manifest import (
    FORMAT,
    LABELS,
    MANIFEST,
    SPLITS,
    TOKENIZER,
    PreparedCorpus,
    Split,
    fingerprint_of,
    is_prepared,
    open_corpus,
    write_manifest,
)
from lstmgan_dist.corpus.passes import count, encode, measure, numbered_chunks, with_location
from lstmgan_dist.corpus.sentences import splitter_of
from lstmgan_dist.corpus.settings import Corpus
from lstmgan_dist.corpus.shards import SplitWriter
from lstmgan_dist.corpus.sources import Source, Sources, check_columns, find_sources
from lstmgan_dist.corpus.splits import Cut, Purpose, heldout_fraction
from lstmgan_dist.corpus.tokenizer import Counted, Encoded, Tokenizer
from lstmgan_dist.corpus.tokenizers import TOKENIZERS
from lstmgan_dist.corpus.views import Views
from lstmgan_dist.errors import UserError
from lstmgan_dist.runtime.tasks import LOCAL_THREADS, ReadingWorkers
from lstmgan_dist.storage import BY_ENVIRONMENT, Folder, content_mark
from lstmgan_dist.storage_settings import Storage

__all__ = [
    "PreparationProgress",
    "PreparedCorpus",
    "content_key",
    "is_corpus_file",
    "is_prepared",
    "open_corpus",
    "prepare",
]

_PROBE = ".lstmgan-may-write"
_MOST_LABELS = 1000
# What evaluation keeps beside the shards: where synthetic text is from, and the folder of those who judge texts.
ORACLE, ORACLE_WEIGHTS, JUDGES = "oracle.json", "oracle.safetensors", "judges"
_FILES = "|".join([*map(re.escape, (TOKENIZER, LABELS, ORACLE, ORACLE_WEIGHTS)), rf"(?:{'|'.join(SPLITS)})-\d+\.arrow"])
# What a preparation leaves behind, finished or torn from its work; the manifest goes first, by itself.
_OUR_FILES = re.compile(rf"{_FILES}|{JUDGES}|\.(?:{_FILES}|{re.escape(MANIFEST)})\.\d+\.part")

# Of fewer labels it is chance that most have one text.
_FEWEST_CLASSES = 10

Result = TypeVar("Result")


@dataclass(frozen=True)
class PreparationProgress:
    """How far a preparation is. stage: what is being done. bytes_done, bytes_total: over all passes, as stored."""

    stage: str
    bytes_done: int
    bytes_total: int


def prepare(
    settings: Corpus,
    out: Folder,
    *,
    report: Callable[[PreparationProgress], None],
    workers: ReadingWorkers = LOCAL_THREADS,
    tokenizer: Tokenizer | None = None,
) -> PreparedCorpus:
    """Tokenize the sources into shards in `out`, its manifest last; an older corpus there is replaced.

    out: its storage is how the sources are reached, too. workers: who reads, counts and encodes; the vocabulary and the
    shards are put together here. tokenizer: None: its vocabulary is chosen by the text.

    Raises:
        UserError: if a source cannot be read, holds text that the settings call an error, or holds none at all.
    """
    work = _Preparation(settings, out.storage, report, workers)
    if tokenizer:
        _check_views(settings, tokenizer)
    is_new = not out.exists()
    try:
        # A folder that cannot be written to is found out now, not after the first pass over all the text.
        out.write(_PROBE, b"")
        out.delete(_PROBE)
        tokenizer = tokenizer or work.make_tokenizer()
        with replacing(out):
            return work.write(tokenizer, out)
    except BaseException:
        if is_new and not out.list():
            out.delete()
        raise


@contextmanager
def replacing(out: Folder) -> Iterator[None]:
    """Clear a folder of an older corpus, and again if writing the new one fails."""
    out.delete(MANIFEST)  # before anything else changes
    _clear(out)
    try:
        yield
    except BaseException:
        _clear(out)
        raise


def is_corpus_file(name: str) -> bool:
    """Whether a file or folder of this name belongs to a corpus, finished or not."""
    return name == MANIFEST or _OUR_FILES.fullmatch(name) is not None


def content_key(settings: Corpus, storage: Storage = BY_ENVIRONMENT, *, tokenizer: Tokenizer | None = None) -> str:
    """A key for a cache of prepared corpora: equal text under equal settings has an equal key.

    Local files are hashed; of remote ones the key knows their address and what the storage says of their version.

    Raises:
        UserError: if a source matches nothing.
    """
    shaping = settings.model_dump(exclude={"source", "heldout_source", "shuffle_window"})
    parts: list[Any] = [FORMAT, sorted(shaping.items())]
    for found in _sources_of(settings, storage):
        parts.append([_mark(source) for source in found.files])
    if made_with := Views.of(settings.tokenizer).made_with:
        parts.append(made_with)
    if settings.language:
        parts.append(SENTENCEX.with_version)
    if tokenizer:
        parts.append(hashlib.sha256(tokenizer.to_json()).hexdigest())
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _sources_of(settings: Corpus, storage: Storage) -> tuple[Sources, Sources]:
    """What trains, or is for both, and what is held out by name."""
    heldout = find_sources(settings.heldout_sources, storage, known_as="held-out source (corpus.heldout_source)")
    return find_sources(settings.sources, storage), heldout


def _mark(source: Source) -> tuple[Any, ...]:
    if source.format == "made":
        mark = __version__
    else:
        mark = platform.python_version() if source.format == "builtin" else content_mark(source.url, source.storage)
    return source.format, source.compression, mark


def _check_views(settings: Corpus, tokenizer: Tokenizer) -> None:
    """See that text is to be seen as a vocabulary's own text was.

    Raises:
        UserError: if not, with the settings that differ.
    """
    differing = Views.of(settings.tokenizer).unlike(tokenizer.views)
    if differing:
        wanted = [
            f"corpus.tokenizer.{name} to {getattr(tokenizer.views, name) or 'what it is by default'}"
            for name in differing
        ]
        raise UserError(
            f"The vocabulary that this starts from is of text that was seen otherwise: set {', '.join(wanted)}."
        )


def _clear(out: Folder) -> None:
    for name in out.list():
        if _OUR_FILES.fullmatch(name):
            out.delete(name)


class _Preparation:
    """The passes over the sources of one corpus."""

    def __init__(
        self,
        settings: Corpus,
        storage: Storage,
        report: Callable[[PreparationProgress], None],
        workers: ReadingWorkers,
    ) -> None:
        self._report = report
        self._workers = workers
        # So that a library that is not there is missed now.
        Views.of(settings.tokenizer)
        splitter_of(settings.language)
        self._sources, self._heldout_sources = _sources_of(settings, storage)
        self._share = heldout_fraction(settings, self._sources.size)
        self._settings = settings.model_copy(update={"heldout_fraction": self._share})
        check_columns(settings, [*self._sources.files, *self._heldout_sources.files])
        is_shared = not settings.heldout_sources and self._share > 0
        self._purpose: Purpose = "both" if is_shared else "train"
        self._kind = TOKENIZERS[settings.tokenizer.kind]
        # A long text is cut at a share of its characters, so these are counted first.
        self._counts = self._kind.is_counted or settings.has_labels
        passes = 1 + (is_shared and settings.layout == "continuous") + self._counts
        self._bytes_total = passes * self._sources.size + self._heldout_sources.size
        self._bytes_done = 0

    def make_tokenizer(self) -> Tokenizer:
        """Read the training text for its vocabulary and its labels, unless there is nothing to choose."""
        labels: Counter[str] = Counter()
        counts = self._counted(labels) if self._counts else iter(())
        tokenizer = self._kind.open().choose(self._settings.tokenizer, counts if self._kind.is_counted else ())
        for _ in counts:  # where only labels are wanted
            pass
        self._refuse_single(labels)
        return tokenizer.with_labels(sorted(labels))

    def _refuse_single(self, labels: Counter[str]) -> None:
        """See that labels are classes.

        Raises:
            UserError: if most are each of one text, and texts of labels that are not in training are an error.
        """
        single = sum(texts == 1 for texts in labels.values())
        if len(labels) >= _FEWEST_CLASSES and 2 * single > len(labels) and self._settings.on_bad_text == "error":
            column = self._settings.label_column
            asked = f"is {column!r} the right column" if column else "is corpus.label_by what you want"
            raise UserError(
                f"{single:,} of {len(labels):,} labels occur once, such as {min(labels)!r}: {asked}"
                f"{' (corpus.label_column, --label-column)' if column else ''}? A label is a class of many texts."
            )

    def _counted(self, labels: Counter[str]) -> Iterator[Counted]:
        """What the vocabulary is chosen by; nothing is read before it is asked for. labels: where those found go.

        Raises:
            UserError: if these are so many that they can be no labels.
        """
        function = partial(count, self._settings, self._purpose, self._cut)
        for _, chunk in self._over_chunks("counting", self._sources, function):
            labels.update(chunk.labels)
            if len(labels) > _MOST_LABELS:
                raise UserError(
                    f"There are more than {_MOST_LABELS:,} different labels, such as {min(labels)!r}, by "
                    f"{'corpus.label_column (--label-column)' if self._settings.label_column else 'corpus.label_by'}: "
                    "a label is a class of many texts."
                )
            if chunk.counted is not None:
                yield chunk.counted

    def write(self, tokenizer: Tokenizer, out: Folder) -> PreparedCorpus:
        """Encode all text into shards, then declare the corpus finished."""
        settings = self._settings
        out.write(TOKENIZER, tokenizer.to_json())
        has_contexts = settings.has_labels or settings.source_column is not None
        writers = {
            name: SplitWriter(out, name, settings.layout, tokenizer.token_type, has_contexts=has_contexts)
            for name in SPLITS
        }
        unknown = dict.fromkeys(writers, 0)
        labels = {name: np.zeros(len(tokenizer.labels), np.int64) for name in SPLITS}
        findings = Findings()
        inputs: tuple[tuple[Sources, Purpose], ...] = (
            (self._sources, self._purpose),
            (self._heldout_sources, "heldout"),
        )
        for sources, purpose in inputs:
            function = partial(encode, settings, purpose, self._cut, tokenizer)
            for _, encoded_chunk in self._over_chunks("encoding", sources, function):
                findings.add(encoded_chunk.findings)
                for name, part in encoded_chunk.parts.items():
                    writers[name].add(part.encoded, part.characters)
                    unknown[name] += part.unknown
                    labels[name] += part.labels
        splits = {name: writer.close() for name, writer in writers.items()}
        self._refuse_empty(splits, findings)
        if tokenizer.labels:
            out.write(LABELS, _labels_file(tokenizer, labels))
        corpus = PreparedCorpus(
            folder=out,
            layout=settings.layout,
            max_length=settings.max_length,
            token_type="uint16" if tokenizer.token_type == np.uint16 else "uint32",
            tokenizer=tokenizer,
            splits=splits,
            fingerprint="",
            made=self._made(findings, unknown),
            max_context=settings.has_labels + (settings.max_source_length if settings.source_column else 1)
            if has_contexts
            else 0,
        )
        corpus = replace(corpus, fingerprint=fingerprint_of(corpus))
        write_manifest(corpus)
        return corpus

    @cached_property
    def _cut(self) -> Cut | None:
        """Where a continuous text is cut in two; finding it is a pass of its own."""
        if self._settings.layout != "continuous" or self._purpose != "both":
            return None
        starts: dict[str, list[int]] = {}
        total = 0
        for source, characters in self._over_chunks("measuring", self._sources, partial(measure, self._settings)):
            starts.setdefault(source, []).append(total)
            total += characters
        return Cut(starts, int(total * (1 - self._share)))

    def _over_chunks(
        self, stage: str, sources: Sources, function: Callable[[int, Chunk], Result]
    ) -> Iterator[tuple[str, Result]]:
        """Apply a pure function to every chunk, and report progress: the source's address and the result of each."""
        starts = dict(
            zip(
                (source.url for source in sources.files),
                accumulate((source.size for source in sources.files), initial=0),
                strict=False,
            )
        )
        done = self._workers.map_parts_in_order(
            partial(numbered_chunks, self._settings), partial(with_location, function), sources.files
        )
        for source, bytes_read, result in done:
            self._report(PreparationProgress(stage, self._bytes_done + starts[source] + bytes_read, self._bytes_total))
            yield source, result
        self._bytes_done += sources.size
        self._report(PreparationProgress(stage, self._bytes_done, self._bytes_total))

    def _refuse_empty(self, splits: dict[str, Split], findings: Findings) -> None:
        train, heldout = splits["train"], splits["heldout"]
        if not train.rows:
            left_out = findings.bad_skipped + findings.long_skipped
            why = (
                f"all its {left_out} texts were left out (see on_bad_text, on_long_text)" if left_out else "it is empty"
            )
            raise UserError(f"The source {', '.join(self._settings.sources)} gives no text to train on: {why}.")
        if not heldout.rows and self._settings.heldout_sources:
            raise UserError(
                f"The held-out source {', '.join(self._settings.heldout_sources)} gives no text: it is empty."
            )
        if not heldout.rows and self._purpose == "both":
            raise UserError(
                f"The source {', '.join(self._settings.sources)} gives no held-out text, for it has only {train.rows} "
                "texts: raise corpus.heldout_fraction, or give a corpus.heldout_source."
            )

    def _made(self, findings: Findings, unknown: dict[str, int]) -> dict[str, Any]:
        return {
            "by": f"lstmgan-dist {__version__}",
            "settings": self._settings.model_dump(mode="json"),
            "sources": [{"url": source.url, "size": source.size} for source in self._sources.files],
            "heldout_sources": [{"url": source.url, "size": source.size} for source in self._heldout_sources.files],
            "files_left_out": [*self._sources.left_out, *self._heldout_sources.left_out],
            "encodings": findings.encodings,
            "empty_lines": findings.empty,
            "bad_text": {
                "skipped": findings.bad_skipped,
                "replaced": findings.bad_replaced,
                "cases": [asdict(case) for case in findings.bad_cases],
            },
            "long_text": {
                "skipped": findings.long_skipped,
                "truncated": findings.long_truncated,
                "cases": [asdict(case) for case in findings.long_cases],
            },
            "unknown_tokens": unknown,
        }


def encode_sentences(names: tuple[str, ...], corpus: PreparedCorpus) -> Encoded:
    """The sentences of other sources as those of a corpus are: cleaned and cut in the same way, in its vocabulary.

    Raises:
        UserError: if a source cannot be read, or holds text that the corpus's settings call an error; or if the corpus
            was made by a known source of text.
    """
    made = corpus.made.get("settings")
    if made is None:
        raise UserError(f"{corpus.folder} was made by a known source of text, which no other text can be of.")
    without_contexts = {"source_column": None, "label_column": None, "label_by": None}
    settings = Corpus.model_validate({**made, **without_contexts})
    sources = find_sources(names, corpus.folder.storage)
    check_columns(settings, sources.files)
    parts = [
        encode(settings, "heldout", None, corpus.tokenizer, number, chunk).parts["heldout"].encoded
        for source in sources.files
        for number, chunk in numbered_chunks(settings, source)
    ]
    return Encoded.join([Encoded(np.array([], corpus.tokenizer.token_type), np.array([], np.int64)), *parts])


def _labels_file(tokenizer: Tokenizer, texts_of: Mapping[str, np.ndarray]) -> bytes:
    """What labels there are, for people and other programs: their tokens, and how many texts of each split have one."""
    labels = {
        label: {"token": tokenizer.label_id(label), **{name: int(counts[number]) for name, counts in texts_of.items()}}
        for number, label in enumerate(tokenizer.labels)
    }
    return (json.dumps(labels, ensure_ascii=False, indent=1) + "\n").encode()
