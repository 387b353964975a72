"""What was wrong with texts of a corpus and what was done about it: an error, or counted and the first cases kept."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from lstmgan_dist.corpus.settings import Corpus
from lstmgan_dist.errors import UserError

_CASES_SHOWN = 10


@dataclass(frozen=True)
class Case:
    """One text that something was wrong with."""

    file: str
    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}, {self.place}: {self.reason}"


@dataclass
class Findings:
    """What was wrong with texts and what was done about it: counts, and the first cases.

    encodings: of the files that are not in UTF-8, by their addresses.
    """

    empty: int = 0
    bad_skipped: int = 0
    bad_replaced: int = 0
    bad_cases: list[Case] = field(default_factory=list)
    long_skipped: int = 0
    long_truncated: int = 0
    long_cases: list[Case] = field(default_factory=list)
    encodings: dict[str, str] = field(default_factory=dict)

    def add(self, other: Findings) -> None:
        """Take in the findings of a later chunk."""
        self.empty += other.empty
        self.bad_skipped += other.bad_skipped
        self.bad_replaced += other.bad_replaced
        self.long_skipped += other.long_skipped
        self.long_truncated += other.long_truncated
        self.encodings |= other.encodings
        self.bad_cases = (self.bad_cases + other.bad_cases)[:_CASES_SHOWN]
        self.long_cases = (self.long_cases + other.long_cases)[:_CASES_SHOWN]

    def bad(
        self, case: Case, policy: Literal["error", "skip", "replace"], remedy: str = "", *, is_of_all: bool = False
    ) -> None:
        """Note one bad text.

        remedy: what mends this kind of it, beside what the policies do. is_of_all: no policy helps, for all texts of
        the file are as this one.

        Raises:
            UserError: naming it, if the policy is error.
        """
        if policy == "error":
            if is_of_all:
                raise UserError(f"{case}: {remedy}.")
            remedy = remedy or "mend it"
            raise UserError(
                f"{case}: {remedy}, or set corpus.on_bad_text (--on-bad-text): skip leaves such text out, replace puts "
                "\ufffd where it is not valid."
            )
        if policy == "skip":
            self.bad_skipped += 1
        else:
            self.bad_replaced += 1
        if len(self.bad_cases) < _CASES_SHOWN:
            self.bad_cases.append(case)

    def long(self, cases: Iterator[Case], count: int, settings: Corpus, setting: str = "max_length") -> None:
        """Note `count` texts that are too long for a setting; only as many of the cases are looked at as are shown.

        Raises:
            UserError: naming the first one, if the settings call them an error.
        """
        if settings.on_long_text == "error":
            option = setting.replace("_", "-")
            if settings.columns.keys() - {"text"}:
                raise UserError(
                    f"{next(cases)}: set corpus.on_long_text (--on-long-text) to skip or truncate, or corpus.{setting} "
                    f"(--{option}) higher."
                )
            split = (
                "" if settings.split_sentences else "or corpus.split_sentences (--split-sentences) for running text, "
            )
            raise UserError(
                f"{next(cases)}: set corpus.on_long_text (--on-long-text) to skip or truncate, or corpus.max_length "
                f"(--max-length) higher, {split}or, without a game, corpus.layout (--layout) to continuous, which "
                "reads text of any length."
            )
        if settings.on_long_text == "skip":
            self.long_skipped += count
        else:
            self.long_truncated += count
        self.long_cases += itertools.islice(cases, _CASES_SHOWN - len(self.long_cases))
