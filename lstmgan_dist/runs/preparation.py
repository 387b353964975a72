"""Making a corpus of text, as the command and Python programs ask for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lstmgan_dist import config
from lstmgan_dist.corpus.settings import (
    Corpus,
    LabelBy,
    Layout,
    OnBadText,
    OnLongText,
    Segmenter,
    SentenceLanguage,
    StemmedLanguage,
    UnicodeForm,
)
from lstmgan_dist.errors import UserError
from lstmgan_dist.runs.workers import quiet, readers

if TYPE_CHECKING:
    from lstmgan_dist.corpus.manifest import PreparedCorpus
    from lstmgan_dist.corpus.prepare import PreparationProgress
    from lstmgan_dist.storage import Folder

# What the settings of a corpus are called on a command line, and their defaults.
_CORPUS_OPTIONS = {
    "source": "SOURCE",
    "heldout_source": "--heldout",
    "heldout_fraction": "--heldout-fraction",
    "layout": "--layout",
    "tokenizer.kind": "--tokenizer",
    "tokenizer.fold_width": "--fold-width",
    "tokenizer.unicode": "--unicode",
    "tokenizer.lower": "--lower",
    "tokenizer.mark_numbers": "--mark-numbers",
    "tokenizer.segmenter": "--segmenter",
    "tokenizer.stem": "--stem",
    "tokenizer.vocabulary_size": "--vocabulary-size",
    "tokenizer.min_count": "--min-count",
    "split_sentences": "--split-sentences",
    "language": "--language",
    "max_length": "--max-length",
    "column": "--column",
    "source_column": "--source-column",
    "max_source_length": "--max-source-length",
    "label_column": "--label-column",
    "label_by": "--label-by",
    "encoding": "--encoding",
    "on_bad_text": "--on-bad-text",
    "on_long_text": "--on-long-text",
}
_CORPUS = Corpus(source="SOURCE")

# One file or several.
Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def not_reported(progress: PreparationProgress) -> None:
    """Show no progress."""


def prepare(
    sources: Paths,
    out: str | os.PathLike[str],
    *,
    heldout: Paths = (),
    heldout_fraction: float | None = _CORPUS.heldout_fraction,
    layout: Layout = _CORPUS.layout,
    tokenizer: str = _CORPUS.tokenizer.kind,
    lower: bool = _CORPUS.tokenizer.lower,
    fold_width: bool = _CORPUS.tokenizer.fold_width,
    unicode: UnicodeForm | None = _CORPUS.tokenizer.unicode,
    mark_numbers: bool = _CORPUS.tokenizer.mark_numbers,
    segmenter: Segmenter | None = _CORPUS.tokenizer.segmenter,
    stem: StemmedLanguage | None = _CORPUS.tokenizer.stem,
    vocabulary_size: int | None = _CORPUS.tokenizer.vocabulary_size,
    min_count: int = _CORPUS.tokenizer.min_count,
    split_sentences: bool = _CORPUS.split_sentences,
    language: SentenceLanguage | None = _CORPUS.language,
    max_length: int = _CORPUS.max_length,
    column: str | None = _CORPUS.column,
    source_column: str | None = _CORPUS.source_column,
    max_source_length: int = _CORPUS.max_source_length,
    label_column: str | None = _CORPUS.label_column,
    label_by: LabelBy | None = _CORPUS.label_by,
    encoding: str = _CORPUS.encoding,
    on_bad_text: OnBadText = _CORPUS.on_bad_text,
    on_long_text: OnLongText = _CORPUS.on_long_text,
    address: str | None = None,
    report: Callable[[PreparationProgress], None] = not_reported,
    say: Callable[[str], None] = quiet,
) -> PreparedCorpus:
    """Turn text into a corpus of token shards, which jobs can name as their source.

    The defaults are those of a job's `corpus`, and jobs/schema.json describes each.

    Args:
        sources: Files, folders, globs or URLs; or `oracle:` or `grammar:`, synthetic text.
        out: Folder or URL of the corpus to make.
        heldout: Separate held-out text.
        address: Ray cluster whose nodes read the text: `auto` or HOST:PORT; this process without.
        report: is told how far it is: a stage, the bytes done and those of all passes.
        say: is told what a person should know of the text.

    Raises:
        UserError: if a source cannot be read or holds what the settings call an error, or the folder something else.

    >>> corpus = lstmgan.prepare("grammar:seed=1,count=200", "corpora/grammar")
    >>> corpus.layout, corpus.splits["train"].rows
    ('sentences', 200)
    >>> lstmgan.prepare("absent.txt", "corpora/absent")
    Traceback (most recent call last):
    lstmgan_dist.errors.UserError: The source absent.txt matches no file: check the path.
    """
    settings = _settings(
        names_of(sources),
        {
            "heldout_source": names_of(heldout) or None,
            "heldout_fraction": heldout_fraction,
            "layout": layout,
            "split_sentences": split_sentences,
            "language": language,
            "max_length": max_length,
            "column": column,
            "source_column": source_column,
            "max_source_length": max_source_length,
            "label_column": label_column,
            "label_by": label_by,
            "encoding": encoding,
            "on_bad_text": on_bad_text,
            "on_long_text": on_long_text,
        },
        {
            "kind": tokenizer,
            "lower": lower,
            "fold_width": fold_width,
            "unicode": unicode,
            "mark_numbers": mark_numbers,
            "segmenter": segmenter,
            "stem": stem,
            "vocabulary_size": vocabulary_size,
            "min_count": min_count,
        },
    )
    corpus = _made(settings, os.fspath(out), address, report, say)
    from lstmgan_dist.corpus.doubts import doubts

    for sentence in doubts(corpus):
        say(f"Note: {sentence}")
    return corpus


def _made(
    settings: Corpus,
    out: str,
    address: str | None,
    report: Callable[[PreparationProgress], None],
    say: Callable[[str], None],
) -> PreparedCorpus:
    from lstmgan_dist.corpus.prepare import prepare as prepare_text
    from lstmgan_dist.evaluation.synthetic import is_synthetic, prepare_synthetic

    folder, sources = _vacant_folder(out), settings.sources
    if len(sources) == 1 and is_synthetic(sources[0]) and not settings.heldout_sources:
        return prepare_synthetic(sources[0], folder, report=report)
    with readers(address, say=say) as workers:
        return prepare_text(settings, folder, report=report, workers=workers)


def names_of(paths: Paths) -> tuple[str, ...]:
    """Paths and URLs as text, of which there may be one by itself."""
    return tuple(os.fspath(path) for path in ([paths] if isinstance(paths, str | os.PathLike) else paths))


def _settings(sources: tuple[str, ...], of_corpus: dict[str, Any], of_tokenizer: dict[str, Any]) -> Corpus:
    """What the arguments say, checked as a job's settings are."""
    # Defaults are not given: which of them have no use depends on the others.
    given = {
        "source": sources,
        **{key: value for key, value in of_corpus.items() if value != getattr(_CORPUS, key)},
        "tokenizer": {key: value for key, value in of_tokenizer.items() if value != getattr(_CORPUS.tokenizer, key)},
    }
    return config.from_options(Corpus, given, _CORPUS_OPTIONS)


def _vacant_folder(out: str) -> Folder:
    from lstmgan_dist.corpus.prepare import is_corpus_file, is_prepared
    from lstmgan_dist.storage import Folder

    folder = Folder(out)
    if is_prepared(folder):
        raise UserError(f"{out} holds a corpus already: choose another folder with --out, or delete it.")
    if not all(is_corpus_file(name) for name in folder.list()):
        raise UserError(f"{out} holds other files: choose another folder with --out.")
    return folder
