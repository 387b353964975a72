"""Making a corpus of text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lstmgan_dist.commands.options import defaults_of
from lstmgan_dist.commands.terminal import preparation_bar, print_rows, warn
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
from lstmgan_dist.runs import preparation

if TYPE_CHECKING:
    TokenizerWord = str
else:
    TokenizerWord = Literal[*TOKENIZERS]  # as Typer wants choices

_DEFAULT = defaults_of(preparation.prepare)

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
    description = fields[key.removeprefix("tokenizer.")].description or ""
    return typer.Option(*names, help=description.replace("[", r"\["))  # help is in Rich's markup


def prepare(
    sources: Sources,
    out: Annotated[str, typer.Option(help="Folder or URL of the corpus to make.")],
    heldout: Annotated[list[str] | None, typer.Option(help="Separate held-out text; repeatable.")] = None,
    heldout_fraction: Annotated[float | None, _setting("heldout_fraction")] = _DEFAULT.heldout_fraction,
    layout: Annotated[Layout, _setting("layout")] = _DEFAULT.layout,
    tokenizer: Annotated[TokenizerWord, _setting("tokenizer.kind")] = _DEFAULT.tokenizer,
    lower: Annotated[bool, _setting("tokenizer.lower", "--lower")] = _DEFAULT.lower,
    fold_width: Annotated[bool, _setting("tokenizer.fold_width", "--fold-width")] = _DEFAULT.fold_width,
    unicode: Annotated[UnicodeForm | None, _setting("tokenizer.unicode")] = _DEFAULT.unicode,
    mark_numbers: Annotated[bool, _setting("tokenizer.mark_numbers", "--mark-numbers")] = _DEFAULT.mark_numbers,
    segmenter: Annotated[Segmenter | None, _setting("tokenizer.segmenter")] = _DEFAULT.segmenter,
    stem: Annotated[StemmedLanguage | None, _setting("tokenizer.stem")] = _DEFAULT.stem,
    vocabulary_size: Annotated[int | None, _setting("tokenizer.vocabulary_size")] = _DEFAULT.vocabulary_size,
    min_count: Annotated[int, _setting("tokenizer.min_count")] = _DEFAULT.min_count,
    split_sentences: Annotated[bool, _setting("split_sentences", "--split-sentences")] = _DEFAULT.split_sentences,
    language: Annotated[SentenceLanguage | None, _setting("language")] = _DEFAULT.language,
    max_length: Annotated[int, _setting("max_length")] = _DEFAULT.max_length,
    column: Annotated[str | None, _setting("column", "--column", "--target-column")] = _DEFAULT.column,
    source_column: Annotated[str | None, _setting("source_column")] = _DEFAULT.source_column,
    max_source_length: Annotated[int, _setting("max_source_length")] = _DEFAULT.max_source_length,
    label_column: Annotated[str | None, _setting("label_column")] = _DEFAULT.label_column,
    label_by: Annotated[LabelBy | None, _setting("label_by")] = _DEFAULT.label_by,
    encoding: Annotated[str, _setting("encoding")] = _DEFAULT.encoding,
    on_bad_text: Annotated[OnBadText, _setting("on_bad_text")] = _DEFAULT.on_bad_text,
    on_long_text: Annotated[OnLongText, _setting("on_long_text")] = _DEFAULT.on_long_text,
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
    from lstmgan_dist.runs.inspection import describe_corpus

    with preparation_bar() as report:
        corpus = preparation.prepare(
            sources,
            out,
            heldout=heldout or (),
            heldout_fraction=heldout_fraction,
            layout=layout,
            tokenizer=tokenizer,
            lower=lower,
            fold_width=fold_width,
            unicode=unicode,
            mark_numbers=mark_numbers,
            segmenter=segmenter,
            stem=stem,
            vocabulary_size=vocabulary_size,
            min_count=min_count,
            split_sentences=split_sentences,
            language=language,
            max_length=max_length,
            column=column,
            source_column=source_column,
            max_source_length=max_source_length,
            label_column=label_column,
            label_by=label_by,
            encoding=encoding,
            on_bad_text=on_bad_text,
            on_long_text=on_long_text,
            address=address,
            report=report,
            say=warn,
        )
    print_rows(describe_corpus(corpus))
