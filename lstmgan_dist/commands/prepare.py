"""Making a corpus of text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lstmgan_dist import config
from lstmgan_dist.commands.terminal import preparation_bar, print_rows, warn
from lstmgan_dist.commands.workers import readers
from lstmgan_dist.corpus.settings import (
    Corpus,
    LabelBy,
    Layout,
    OnBadText,
    OnLongText,
    Segmenter,
    SentenceLanguage,
    StemmedLanguage,
    TokenizerSettings,
    UnicodeForm,
)
from lstmgan_dist.corpus.tokenizers import TOKENIZERS
from lstmgan_dist.errors import UserError

if TYPE_CHECKING:
    from lstmgan_dist.storage import Folder

    TokenizerWord = str
else:
    TokenizerWord = Literal[*TOKENIZERS]  # as Typer wants choices

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

Sources = Annotated[
    list[str],
    typer.Argument(metavar="SOURCE...", help="Files, folders, globs or URLs; or oracle: or grammar:, synthetic text."),
]
ReadersAddress = Annotated[
    str | None,
    typer.Option(help="Ray cluster whose nodes read the text: auto or HOST:PORT.  (default: this process)"),
]


def _setting(key: str, *names: str) -> Any:
    """An option for a setting of a corpus, described as in job files; `prepare` has it checked as theirs are."""
    fields = TokenizerSettings.model_fields if key.startswith("tokenizer.") else Corpus.model_fields
    return typer.Option(*names, help=fields[key.removeprefix("tokenizer.")].description)


def prepare(
    sources: Sources,
    out: Annotated[str, typer.Option(help="Folder or URL of the corpus to make.")],
    heldout: Annotated[list[str] | None, typer.Option(help="Separate held-out text; repeatable.")] = None,
    heldout_fraction: Annotated[float | None, _setting("heldout_fraction")] = _CORPUS.heldout_fraction,
    layout: Annotated[Layout, _setting("layout")] = _CORPUS.layout,
    tokenizer: Annotated[TokenizerWord, _setting("tokenizer.kind")] = _CORPUS.tokenizer.kind,
    lower: Annotated[bool, _setting("tokenizer.lower", "--lower")] = _CORPUS.tokenizer.lower,
    fold_width: Annotated[bool, _setting("tokenizer.fold_width", "--fold-width")] = _CORPUS.tokenizer.fold_width,
    unicode: Annotated[UnicodeForm | None, _setting("tokenizer.unicode")] = _CORPUS.tokenizer.unicode,
    mark_numbers: Annotated[
        bool, _setting("tokenizer.mark_numbers", "--mark-numbers")
    ] = _CORPUS.tokenizer.mark_numbers,
    segmenter: Annotated[Segmenter | None, _setting("tokenizer.segmenter")] = _CORPUS.tokenizer.segmenter,
    stem: Annotated[StemmedLanguage | None, _setting("tokenizer.stem")] = _CORPUS.tokenizer.stem,
    vocabulary_size: Annotated[int | None, _setting("tokenizer.vocabulary_size")] = _CORPUS.tokenizer.vocabulary_size,
    min_count: Annotated[int, _setting("tokenizer.min_count")] = _CORPUS.tokenizer.min_count,
    split_sentences: Annotated[bool, _setting("split_sentences", "--split-sentences")] = _CORPUS.split_sentences,
    language: Annotated[SentenceLanguage | None, _setting("language")] = _CORPUS.language,
    max_length: Annotated[int, _setting("max_length")] = _CORPUS.max_length,
    column: Annotated[str | None, _setting("column", "--column", "--target-column")] = _CORPUS.column,
    source_column: Annotated[str | None, _setting("source_column")] = _CORPUS.source_column,
    max_source_length: Annotated[int, _setting("max_source_length")] = _CORPUS.max_source_length,
    label_column: Annotated[str | None, _setting("label_column")] = _CORPUS.label_column,
    label_by: Annotated[LabelBy | None, _setting("label_by")] = _CORPUS.label_by,
    encoding: Annotated[str, _setting("encoding")] = _CORPUS.encoding,
    on_bad_text: Annotated[OnBadText, _setting("on_bad_text")] = _CORPUS.on_bad_text,
    on_long_text: Annotated[OnLongText, _setting("on_long_text")] = _CORPUS.on_long_text,
    address: ReadersAddress = None,
) -> None:
    """Turn text into a corpus of token shards that jobs can name as their source.

    [dim]
    lstmgan prepare captions.txt --out corpora/captions --lower --max-length 32\n
    lstmgan prepare 'books/*.txt.gz' --out corpora/books --layout continuous --tokenizer character\n
    lstmgan prepare data.parquet --column text --out s3://bucket/corpus --tokenizer bpe --vocabulary-size 8192\n
    lstmgan prepare articles/ --split-sentences --on-long-text skip --out corpora/articles\n
    lstmgan prepare artikel/ --split-sentences --language german --on-long-text skip --out corpora/artikel\n
    lstmgan prepare reviews.csv --column review --out corpora/reviews --on-long-text skip\n
    lstmgan prepare reviews.csv --column review --label-column stars --out corpora/reviews\n
    lstmgan prepare newsgroups/ --label-by folder --on-long-text truncate --out corpora/newsgroups\n
    lstmgan prepare talk.csv --source-column said --target-column answer --out corpora/talk\n
    lstmgan prepare poems/ --encoding auto --tokenizer character --out corpora/poems\n
    lstmgan prepare novels/ --segmenter chinese --split-sentences --on-long-text skip --out corpora/novels\n
    lstmgan prepare captions.txt --lower --unicode nfkc --mark-numbers --stem english --out corpora/stems\n
    lstmgan prepare s3://bucket/text --out s3://bucket/corpus --address auto\n
    lstmgan prepare oracle:length=20,seed=1 --out corpora/oracle\n
    lstmgan prepare grammar:seed=1,count=10000 --out corpora/grammar
    [/dim]
    """
    settings = _settings(
        sources,
        {
            "heldout_source": tuple(heldout) if heldout else None,
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
    _make(settings, out, address)


def _make(settings: Corpus, out: str, address: str | None) -> None:
    """Make the corpus, and say what it is and what speaks against it."""
    from lstmgan_dist.corpus.doubts import doubts
    from lstmgan_dist.corpus.prepare import prepare as prepare_text
    from lstmgan_dist.evaluation.synthetic import is_synthetic, prepare_synthetic
    from lstmgan_dist.runs.inspection import describe_corpus

    folder, sources = _vacant_folder(out), settings.sources
    if len(sources) == 1 and is_synthetic(sources[0]) and not settings.heldout_sources:
        with preparation_bar() as report:
            corpus = prepare_synthetic(sources[0], folder, report=report)
    else:
        with readers(address) as workers, preparation_bar() as report:
            corpus = prepare_text(settings, folder, report=report, workers=workers)
    print_rows(describe_corpus(corpus))
    for sentence in doubts(corpus):
        warn(f"Note: {sentence}")


def _settings(sources: list[str], of_corpus: dict[str, Any], of_tokenizer: dict[str, Any]) -> Corpus:
    """What the options say, checked as a job's settings are."""
    # Defaults are not given: which of them have no use depends on the others.
    given = {
        "source": tuple(sources),
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
