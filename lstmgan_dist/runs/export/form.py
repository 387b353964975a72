"""What every form of an exported generator is.

Shapes: B rows, T positions, V vocabulary, Z latent dimensions.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from lstmgan_dist.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from lstmgan_dist.runs.export.model import Network, State

Quantisation = Literal["int8", "half"]


class Opened(NamedTuple):
    """A generator as other programs read it: see `model.Network` for what its functions do.

    score: log-probabilities of every token but the first, (B, T - 1). Without a state, from the start of a text.
    """

    start: Callable[..., State]
    step: Callable[..., tuple[Tensor, State]]
    score: Callable[..., tuple[Tensor, State]]


@dataclass(frozen=True)
class Form:
    """One way to write a generator so that other programs read it.

    files: their names. write: puts them into a folder of this machine. read: reads them, as another program would.
    refused: the quantisations that it does not have, with the reason. modules: what it needs beside what every
    installation has, from the extra `export`. used: the packages that the usage imports. reads_with: what the other
    program needs, in words. functions: what it finds. usage: Python that draws texts from the folder that it is started
    in, by what config.json says.
    """

    files: tuple[str, ...]
    write: Callable[[Network, Quantisation | None, Path], None]
    read: Callable[[Path], Opened]
    refused: Mapping[Quantisation, str]
    modules: tuple[str, ...]
    used: tuple[str, ...]
    reads_with: str
    functions: str
    usage: Callable[[Mapping[str, Any]], str]

    def check(self, name: str, quantisation: Quantisation | None) -> None:
        """See that it can be written here.

        Raises:
            UserError: if it has no such quantisation, or something is not installed.
        """
        if quantisation is not None and quantisation in self.refused:
            raise UserError(f"--to {name} --quantise {quantisation} is refused: {self.refused[quantisation]}.")
        missing = [module for module in self.modules if importlib.util.find_spec(module) is None]
        if missing:
            raise UserError(f"--to {name} needs {' and '.join(missing)}: pip install 'lstmgan-dist[export]'.")
