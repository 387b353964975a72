"""The settings of a corpus, in a job file and on the command line of `prepare`."""

from __future__ import annotations

import codecs
import operator
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from lstmgan_dist.corpus.tokenizers import TOKENIZERS
from lstmgan_dist.settings import KeyOf, Name, Probability, Settings, WithoutUse

Layout = Literal["sentences", "continuous"]
OnLongText = Literal["error", "skip", "truncate"]
OnBadText = Literal["error", "skip", "replace"]
LabelBy = Literal["file", "folder"]
# What a column is for: the text itself, what it answers, and its class.
Role = Literal["text", "source", "label"]


UTF_8, AUTO = "utf-8", "auto"


def _is_encoding(name: str) -> bool:
    """Whether text can be in an encoding of this name."""
    try:
        return codecs.lookup(name)._is_text_encoding  # type: ignore[attr-defined]
    except LookupError:
        return False


# Those of the Snowball project.
StemmedLanguage = Literal[
    "arabic",
    "armenian",
    "basque",
    "catalan",
    "czech",
    "danish",
    "dutch",
    "english",
    "esperanto",
    "estonian",
    "finnish",
    "french",
    "german",
    "greek",
    "hindi",
    "hungarian",
    "indonesian",
    "irish",
    "italian",
    "lithuanian",
    "nepali",
    "norwegian",
    "persian",
    "polish",
    "portuguese",
    "romanian",
    "russian",
    "serbian",
    "sesotho",
    "spanish",
    "swedish",
    "tamil",
    "turkish",
    "yiddish",
]
# Those whose abbreviations and marks sentencex knows.
SentenceLanguage = Literal[
    "amharic",
    "arabic",
    "armenian",
    "bengali",
    "bulgarian",
    "burmese",
    "catalan",
    "chinese",
    "danish",
    "dutch",
    "english",
    "finnish",
    "french",
    "german",
    "greek",
    "gujarati",
    "hindi",
    "italian",
    "japanese",
    "kannada",
    "kazakh",
    "malayalam",
    "marathi",
    "polish",
    "portuguese",
    "punjabi",
    "russian",
    "slovak",
    "spanish",
    "tamil",
    "telugu",
    "ukrainian",
]
UnicodeForm = Literal["nfc", "nfd", "nfkc", "nfkd"]
Segmenter = Literal["chinese"]


def _without_use(kind: str) -> tuple[str, ...]:
    """What a kind of tokenizer has no use for."""
    of_counts = () if TOKENIZERS[kind].is_counted else ("vocabulary_size", "min_count")
    return of_counts if kind == "word" else (*of_counts, "mark_numbers", "segmenter", "stem")


class TokenizerSettings(Settings):
    """How text becomes token ids: what is done to it first, in the order of the keys, and what is a token then."""

    without_use: ClassVar[WithoutUse] = {
        **{("kind", kind): _without_use(kind) for kind in TOKENIZERS},
        ("unicode", "nfkc"): ("fold_width",),
        ("unicode", "nfkd"): ("fold_width",),
        ("segmenter", "chinese"): ("stem",),
    }

    kind: Annotated[str, KeyOf(TOKENIZERS)] = Field(default="word", description="The unit of text that is one token.")
    fold_width: bool = Field(
        default=False,
        exclude_if=operator.not_,
        description="Write full-width letters, digits and signs in half width, １Ａ！ as 1A!, for good.",
    )
    unicode: UnicodeForm | None = Field(
        default=None,
        exclude_if=operator.not_,
        description="Unicode normalisation form. nfc and nfd lose nothing that is seen; nfkc and nfkd also turn "
        "variants such as ﬁ, ² and ① into plain characters, for good.",
    )
    lower: bool = Field(default=False, description="Lower-case the text first.")
    mark_numbers: bool = Field(
        default=False,
        exclude_if=operator.not_,
        description="Put the word <number> for every number, such as 7, 1,000.5 or the 19 of COVID-19, but not within "
        "mp3; generated text keeps the mark.",
    )
    segmenter: Segmenter | None = Field(
        default=None,
        exclude_if=operator.not_,
        description="Cut a script that has no spaces into words. chinese: jieba's, whatever spaces are between the "
        "characters; text comes out without spaces beside Chinese. Needs pip install 'lstmgan-dist[chinese]'.",
    )
    stem: StemmedLanguage | None = Field(
        default=None,
        exclude_if=operator.not_,
        description="Put stems in the place of words, by the Snowball algorithm for a language; generated text is of "
        "stems then. Needs pip install 'lstmgan-dist[stemming]'.",
    )
    vocabulary_size: int | None = Field(
        default=None,
        ge=3,
        le=2**31 - 1,
        description="Most tokens kept, special ones included; none keeps all (bpe: 8192).",
    )
    min_count: int = Field(default=1, ge=1, description="Words or characters seen fewer times become <unk>.")


class Corpus(Settings):
    """Which text, and how it is cut into sequences."""

    without_use: ClassVar[WithoutUse] = {
        ("layout", "continuous"): (
            "split_sentences",
            "language",
            "label_column",
            "label_by",
            "source_column",
            "max_source_length",
        )
    }

    source: Name | Annotated[tuple[Name, ...], Field(min_length=1)] = Field(
        description="File, folder, glob or URL (several allowed); builtin:python-docs, builtin:news or "
        "builtin:timetable, which have columns; oracle:length=20,seed=1 or "
        "grammar:seed=1, synthetic text; or a corpus that prepare made."
    )
    heldout_source: Name | Annotated[tuple[Name, ...], Field(min_length=1)] | None = Field(
        default=None, description="Separate held-out text; without it, heldout_fraction of the source is held out."
    )
    heldout_fraction: Probability | None = Field(
        default=None,
        description="Share held out, 0 to 1: of sentences by a hash of their text; of a continuous text its end. None: "
        "0.05, and of sentences up to 0.2 of a small text, so that judges have enough to learn from. A text that "
        "answers another is hashed with it.",
    )
    column: Name | None = Field(
        default=None, description="Column that holds the text in CSV, TSV, JSON lines, Parquet and Arrow sources: text."
    )
    source_column: Name | None = Field(
        default=None,
        description="Column of what each text answers: it is read before the text, and not learnt. The pairs are then "
        "this column and that of the text: a turn and its answer, a document and its summary.",
    )
    max_source_length: int = Field(
        default=64, ge=2, le=65536, description="Tokens of what a text answers at most, end mark included."
    )
    label_column: Name | None = Field(default=None, description="Column that holds a label of each text, its class.")
    label_by: LabelBy | None = Field(
        default=None,
        description="Label each text by the name of its file, without what follows a full stop, or of its folder.",
    )
    encoding: Name = Field(
        default=UTF_8,
        description="What text files are in: utf-8, or another, such as gbk or latin-1; auto: a guess for each file, "
        "which is told. A byte order mark of UTF-16 counts more than utf-8 and auto.",
    )
    layout: Layout = Field(
        default="sentences",
        description="sentences: one sequence a line or row; continuous: one long text, state carried over.",
    )
    split_sentences: bool = Field(
        default=False,
        description="Cut each line or row into its sentences, at full stops, question and exclamation marks and empty "
        "lines: for articles and other running text.",
    )
    language: SentenceLanguage | None = Field(
        default=None,
        exclude_if=operator.not_,
        description="Of the text: sentences are split by its abbreviations and marks then, by a library; without, by "
        "rules for most languages. Needs pip install 'lstmgan-dist[sentences]'.",
    )
    max_length: int = Field(
        default=64,
        ge=2,
        le=65536,
        description="Tokens. sentences: longest sequence, end mark included; continuous: most tokens per "
        "backpropagation.",
    )
    on_long_text: OnLongText = Field(
        default="error", description="What to do with a sentence of more than max_length tokens."
    )
    on_bad_text: OnBadText = Field(
        default="error",
        description="What to do with text that is not valid in its encoding or holds NUL characters (skip: also with "
        "binary files, and with rows and JSON lines without text).",
    )
    tokenizer: TokenizerSettings = Field(default_factory=TokenizerSettings, description="How text becomes token ids.")
    shuffle_window: int = Field(
        default=65536,
        ge=1,
        description="Rows that each lane shuffles at a time (sentences); bounds the memory of the order.",
    )

    @model_validator(mode="after")
    def _has_one_kind_of_context(self) -> Self:
        if self.label_column and self.label_by:
            raise ValueError("label_column and label_by both say how texts are labelled: leave out one of them")
        if self.source_column and self.split_sentences:
            raise ValueError("split_sentences would tear texts from their source_column: leave out one of them")
        names = [name for name in (self.column_name, self.source_column, self.label_column) if name]
        if len(set(names)) < len(names):
            raise ValueError(f"{', '.join(names)} cannot be one column for two purposes: name different ones")
        return self

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, encoding: str) -> str:
        if encoding != AUTO and not _is_encoding(encoding):
            raise ValueError(f"there is no encoding {encoding}: write utf-8, utf-16, gbk, latin-1 or auto, for example")
        return encoding

    @model_validator(mode="after")
    def _splits_by_language(self) -> Self:
        if self.language and not self.split_sentences:
            raise ValueError(
                f"language {self.language} says how sentences are split: set split_sentences (--split-sentences), or "
                "leave it out"
            )
        return self

    @property
    def column_name(self) -> str:
        """The column that holds the text where a source has columns."""
        return self.column or "text"

    @property
    def columns(self) -> dict[Role, str]:
        """The columns that are read where a source has some, by what they are for."""
        named: dict[Role, str | None] = {
            "text": self.column_name,
            "source": self.source_column,
            "label": self.label_column,
        }
        return {role: name for role, name in named.items() if name is not None}

    @property
    def has_labels(self) -> bool:
        """Whether every text has a label."""
        return self.label_column is not None or self.label_by is not None

    @property
    def sources(self) -> tuple[str, ...]:
        """The source as a tuple."""
        return (self.source,) if isinstance(self.source, str) else self.source

    @property
    def heldout_sources(self) -> tuple[str, ...]:
        """The held-out source as a tuple; empty when a share of the source is held out instead."""
        if self.heldout_source is None:
            return ()
        return (self.heldout_source,) if isinstance(self.heldout_source, str) else self.heldout_source
