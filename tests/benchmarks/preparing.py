"""How fast text becomes token shards, beside the `tokenizers` library's own `encode_batch` on the same text.

For Chinese, how fast it is cut into words by all cores, beside the segmenter itself on one, times the cores.

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
import pyarrow as pa
import rjieba
import tokenizers

from lstmgan_dist.corpus.prepare import prepare
from lstmgan_dist.corpus.settings import Corpus
from lstmgan_dist.corpus.views import Views
from lstmgan_dist.runtime.tasks import LOCAL_THREADS
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
    yield from _segmenting()
    for kind in ("word", "bpe"):
        peak, seconds = peak_memory(MEMORY_BYTES, kind)
        note = f"{MEMORY_BYTES / 1e9:.1f} GB of text, {MEMORY_BYTES / 1e6 / seconds:.0f} MB/s"
        yield Row(f"peak memory preparing {kind}", peak / 1e6, "MB", 1000.0, "promise", 1e9 / peak, 1.0, note)


# Words of newspapers, by hand, and what stands between them.
_CHINESE = """
    我们 他们 中国 北京 上海 经济 发展 社会 政府 公司 市场 技术 研究 教育 学生 大学 老师 问题
    情况 工作 生活 文化 历史 世界 国家 人民 城市 农村 环境 保护 能源 汽车 火车站 飞机 天气 今天
    明天 昨天 已经 正在 开始 认为 表示 指出 进行 提高 增加 减少 重要 主要 新的 很多 一些 可以
    需要 应该 因为 所以 但是 如果 虽然 的 的 的 的 了 了 在 在 是 是 和
    和 不 有 这 那 就 也 都 说 到 要 去 你 会 着 没有 看 好
    自己 2023年 人工智能 互联网
"""
_SIGNS = ("", "", "", "", "", "", "", "，", "，", "。\n")


def write_chinese(path: Path, size: int, *, seed: int = 1) -> None:
    """Sentences of Chinese words in any order."""
    chooser, known = np.random.default_rng(seed), _CHINESE.split()
    with path.open("w") as file:
        written = 0
        while written < size:
            words, signs = chooser.integers(0, len(known), 100_000), chooser.integers(0, len(_SIGNS), 100_000)
            text = "".join(known[word] + _SIGNS[sign] for word, sign in zip(words, signs, strict=True))
            written += len(text.encode())
            file.write(text)


def _segmenting() -> Iterator[Row]:
    """The view by itself, and a whole preparation, which segments twice: to count words, and to encode them."""
    size, cores = SPEED_BYTES // 2, os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text.txt"
        write_chinese(path, size)
        lines = path.read_text().splitlines()
        size = path.stat().st_size
        some = lines[: len(lines) // 8]
        start = time.perf_counter()
        for line in some:
            rjieba.cut(line)
        theirs = cores * sum(len(line.encode()) for line in some) / 1e6 / (time.perf_counter() - start)
        views = Views(segmenter="chinese")
        chunks = [pa.array(lines[first : first + 20_000], pa.string()) for first in range(0, len(lines), 20_000)]
        start = time.perf_counter()
        for _ in LOCAL_THREADS.map_in_order(views.seen, chunks):
            pass
        ours = size / 1e6 / (time.perf_counter() - start)
        name, note = "rjieba by the line, times the cores", f"{cores} cores"
        yield Row("segmenting Chinese", ours, "MB/s", theirs, name, ours / theirs, 0.5, note)
        whole = size / 1e6 / _prepare_seconds(path, "word", Folder(f"{folder}/corpus"), segmenter="chinese")
        yield Row("preparing Chinese by words", whole, "MB/s", theirs, name, whole / theirs, 0.25, note)


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


def _prepare_seconds(path: Path, kind: str, out: Folder, **views: str) -> float:
    vocabulary = {"vocabulary_size": 20_000} if kind == "word" else {}
    settings = Corpus.model_validate(
        {"source": str(path), "on_long_text": "truncate", "tokenizer": {"kind": kind, **vocabulary, **views}}
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
