"""Word vectors that others trained, in the text formats of word2vec and GloVe.

Shapes: V vocabulary, E dimensions.
"""

from __future__ import annotations

import gzip
import math
import posixpath
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lstmgan_dist.errors import UserError
from lstmgan_dist.storage import BY_ENVIRONMENT, Folder
from lstmgan_dist.storage_settings import Storage


class Vectors(NamedTuple):
    """Vectors for some tokens of a vocabulary.

    matrix_VE: float32, zero where the file has no vector.
    found_V: which tokens it has.
    """

    matrix_VE: Tensor
    found_V: Tensor

    @property
    def coverage(self) -> float:
        """Share of the vocabulary that has a vector, 0 to 1."""
        return self.found_V.float().mean().item()

    @torch.no_grad()
    def copy_to(self, weight_VE: Tensor) -> None:
        """Replace what an embedding has of every token found, scaled so that the mean square stays what it was."""
        found = self.matrix_VE[self.found_V]
        scale = weight_VE.square().mean().sqrt() / found.square().mean().sqrt().to(weight_VE)
        of_words_VE = weight_VE[: len(self.found_V)]  # labels may stand behind them
        of_words_VE[self.found_V.to(of_words_VE.device)] = found.to(of_words_VE) * scale


def read_vectors(path: str, vocabulary: Sequence[str], dimensions: int, storage: Storage = BY_ENVIRONMENT) -> Vectors:
    """Read the vectors of a vocabulary's tokens from a text file, `.gz` or not, local or behind a URL.

    A line is a word and its numbers, separated by spaces; the words of some files hold spaces themselves. word2vec's
    files start with a line of two numbers, how many words and how many dimensions. Of a word that occurs twice the
    first vector counts.

    Raises:
        UserError: if the file cannot be read, has other dimensions, or a line that is not a word with its numbers.
    """
    token_of = {token.encode(): index for index, token in enumerate(vocabulary)}
    matrix_VE = np.zeros((len(vocabulary), dimensions), dtype=np.float32)
    found_V = np.zeros(len(vocabulary), dtype=bool)
    folder, name = posixpath.split(path)
    try:
        with Folder(folder or ".", storage).open(name) as raw, gzip.open(raw) if name.endswith(".gz") else raw as lines:
            for number, line in enumerate(lines, start=1):
                if number == 1 and _is_header(line):
                    continue
                word, *numbers = line.rstrip().rsplit(b" ", dimensions)
                if len(numbers) < dimensions or (b" " in word and _is_number(word.rpartition(b" ")[2])):
                    raise _malformed(path, number, line, dimensions)
                index = token_of.get(word)
                if index is not None and not found_V[index]:
                    if not all(_is_number(part) for part in numbers):
                        raise _malformed(path, number, line, dimensions)
                    matrix_VE[index], found_V[index] = [float(part) for part in numbers], True
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{path}: the word vectors cannot be read: {reason}.") from error
    return Vectors(torch.from_numpy(matrix_VE), torch.from_numpy(found_V))


def _is_header(line: bytes) -> bool:
    parts = line.split()
    return len(parts) == 2 and all(part.isdigit() for part in parts)


def _malformed(path: str, number: int, line: bytes, dimensions: int) -> UserError:
    found = sum(_is_number(part) for part in line.split()[1:])
    return UserError(
        f"{path}, line {number}: expected a word and, as generator.embedding (less trainable_dimensions) says, "
        f"{dimensions} numbers, but found {found} behind {line[:40].decode(errors='replace').split(' ')[0]!r}: "
        "set generator.embedding to the vectors' size (and trainable_dimensions more), or mend the line."
    )


def _is_number(text: bytes) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
