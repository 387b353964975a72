"""Libraries that some settings of a corpus take, each an extra of ours."""

from __future__ import annotations

import importlib
import importlib.util
import platform
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

from lstmgan_dist.errors import UserError


@dataclass(frozen=True)
class Library:
    """One of them. setting: that takes it. module: imported under this name. name: of its package. extra: has it."""

    setting: str
    module: str
    name: str
    extra: str

    @property
    def is_installed(self) -> bool:
        """Whether it can be loaded here."""
        return importlib.util.find_spec(self.module) is not None

    @property
    def with_version(self) -> str:
        """Its name and version.

        Raises:
            UserError: if it is not installed here.
        """
        self.load()
        return _with_version(self.name)

    def load(self) -> Any:
        """The module.

        Raises:
            UserError: if it is not installed here, with the machine and what would install it.
        """
        try:
            return importlib.import_module(self.module)
        except ImportError as error:
            raise UserError(
                f"{self.setting} needs {self.name}, which is not installed on {platform.node()}: "
                f"pip install 'lstmgan-dist[{self.extra}]'."
            ) from error


@cache
def _with_version(name: str) -> str:
    return f"{name} {version(name)}"


RJIEBA = Library("corpus.tokenizer.segmenter", "rjieba", "rjieba", "chinese")
PYSTEMMER = Library("corpus.tokenizer.stem", "Stemmer", "PyStemmer", "stemming")
SENTENCEX = Library("corpus.language", "sentencex", "sentencex", "sentences")
