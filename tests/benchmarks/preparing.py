"""How fast text becomes token shards, beside the `tokenizers` library's own `encode_batch` on the same text.

Ours is the whole preparation: reading, checking, counting the vocabulary, splitting, encoding, writing. The library's
is `encode_batch` alone, on lines that are in memory already, with the vocabulary that ours has made.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tokenizers

from lstmgan_dist.corpus.prepare import prepare
from lstmgan_dist.corpus.settings import Corpus
from lstmgan_dist.storage import Folder
from tests.benchmarks.memory import peak_resident_bytes
from tests.benchmarks.table import Row

SPEED_BYTES = int(os.environ.get("BENCH_PREPARE_BYTES", 64 * 2**20))
MEMORY_BYTES = int(os.environ.get("BENCH_MEMORY_BYTES", 2 * 2**30))
_LINES_COMPARED = 100_000
_TARGETS = {"word": 0.8, "bpe": 0.8, "character": 10.0, "byte": 10.0}


def rows() -> Iterator[Row]:
    """Rates in MB/s for each tokenizer, then the peak of memory for a large input."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text.txt"
        write_text(path, SPEED_BYTES)
        with path.open() as file:
            lines = [line.rstrip("\n") for line, _ in zip(file, range(_LINES_COMPARED), strict=False)]
        for kind, target in _TARGETS.items():
            corpus = Folder(f"{folder}/{kind}")
            ours = SPEED_BYTES / 1e6 / _prepare_seconds(path, kind, corpus)
            library = tokenizers.Tokenizer.from_file(str(Path(folder) / kind / "tokenizer.json"))
            theirs = _encode_batch_rate(library, lines)
            yield Row(f"preparing {kind}", ours, "MB/s", theirs, "tokenizers encode_batch", ours / theirs, target)
    for kind in ("word", "bpe"):
        peak, seconds = peak_memory(MEMORY_BYTES, kind)
        note = f"{MEMORY_BYTES / 1e9:.1f} GB of text, {MEMORY_BYTES / 1e6 / seconds:.0f} MB/s"
        yield Row(f"peak memory preparing {kind}", peak / 1e6, "MB", 1000.0, "promise", 1e9 / peak, 1.0, note)


def write_text(path: Path, size: int, *, words: int = 1_000_000, seed: int = 1) -> None:
    """Sentences of words drawn by Zipf's law, with punctuation.

    Calibrated on English: 200,000 words separated by spaces are about 25,000 different ones, as in Shakespeare's plays.
    """
    chooser = np.random.default_rng(seed)
    syllables = ["".join(parts) for parts in itertools.product("bcdfghklmnprstvwyz", "aeiou", ("", "n", "r", "s"))]
    # Frequent words are short.
    lengths = np.minimum(1 + np.log10(np.arange(1, words + 1)) / 2 + chooser.random(words), 5).astype(int)
    parts = chooser.integers(0, len(syllables), (words, 5)).tolist()
    spelled = [
        "".join([syllables[part] for part in row[:length]]) for row, length in zip(parts, lengths.tolist(), strict=True)
    ]
    chances = np.cumsum((np.arange(1, words + 1) + 2.7) ** -1.25)
    chances /= chances[-1]
    signs = [" "] * 9 + [", ", ".\n"]
    with path.open("w") as file:
        written = 0
        while written < size:
            drawn = np.searchsorted(chances, chooser.random(500_000)).clip(max=words - 1).tolist()
            ends = chooser.integers(0, len(signs), 500_000).tolist()
            text = "".join([spelled[word] + signs[end] for word, end in zip(drawn, ends, strict=True)])
            written += file.write(text[: size - written])


def peak_memory(size: int, kind: str) -> tuple[int, float]:
    """Most resident bytes of a process that prepares a text of `size` bytes, and its seconds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text.txt"
        write_text(path, size)
        command = [sys.executable, "-m", __name__, str(path), kind, f"{folder}/corpus"]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        peak, seconds = printed.split()
        return int(peak), float(seconds)


def _prepare_seconds(path: Path, kind: str, out: Folder) -> float:
    vocabulary = {"vocabulary_size": 20_000} if kind == "word" else {}
    settings = Corpus.model_validate(
        {"source": str(path), "on_long_text": "truncate", "tokenizer": {"kind": kind, **vocabulary}}
    )
    start = time.perf_counter()
    prepare(settings, out, report=lambda progress: None)
    return time.perf_counter() - start


def _encode_batch_rate(library: tokenizers.Tokenizer, lines: list[str]) -> float:
    start = time.perf_counter()
    for first in range(0, len(lines), 1000):
        library.encode_batch(lines[first : first + 1000], add_special_tokens=False)
    return sum(map(len, lines)) / 1e6 / (time.perf_counter() - start)


if __name__ == "__main__":
    elapsed = _prepare_seconds(Path(sys.argv[1]), sys.argv[2], Folder(sys.argv[3]))
    print(peak_resident_bytes(), elapsed)
