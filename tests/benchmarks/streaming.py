"""How fast shuffled, padded batches come from disk, beside `mosaicml-streaming` and `datasets` on the same rows.

Everybody delivers the same thing: int64 tensors of 64 sentences padded with zeros, in an order that the seed decides.
Of the others the fastest way is taken: with and without worker processes, map style and iterable.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

from lstmgan_dist.corpus.manifest import TOKENIZER, PreparedCorpus, fingerprint_of, open_corpus, write_manifest
from lstmgan_dist.corpus.shards import SplitWriter
from lstmgan_dist.corpus.stream import Stream
from lstmgan_dist.corpus.tokenizer import Encoded
from lstmgan_dist.corpus.tokenizers.byte import byte_tokenizer
from lstmgan_dist.corpus.views import Views
from lstmgan_dist.storage import Folder
from tests.benchmarks.memory import peak_resident_bytes
from tests.benchmarks.table import Row

_ROWS = 200_000
_SMALL_ROWS, _LARGE_ROWS = 1_000_000, 16_000_000
_BATCH = 64
_SECONDS = 4.0


def rows() -> Iterator[Row]:
    """Rates in rows/s, then the peak of memory while streaming a small and a large corpus."""
    with tempfile.TemporaryDirectory() as folder:
        write_corpus(Folder(f"{folder}/ours"), _ROWS)
        ours = _rate(_our_batches(Folder(f"{folder}/ours")))
        for name, ways in (("mosaicml-streaming", _mosaic(folder)), ("datasets", _datasets(folder))):
            best, how = max((_rate(batches()), how) for how, batches in ways)
            yield Row("streaming", ours, "rows/s", best, name, ours / best, 3.0, how)
        peaks = []
        for count in (_SMALL_ROWS, _LARGE_ROWS):
            write_corpus(Folder(f"{folder}/{count}"), count)
            peaks.append(peak_memory(f"{folder}/{count}"))
        small, large = peaks
        note = f"a corpus {_LARGE_ROWS // _SMALL_ROWS} times as large, read through"
        yield Row("memory streaming", large / 1e6, "MB", small / 1e6, "the small corpus", small / large, 0.9, note)


def sentences(count: int, seed: int) -> Encoded:
    """Random sentences of 8 to 24 tokens."""
    chooser = np.random.default_rng(seed)
    lengths_N = chooser.integers(8, 25, count)
    tokens_T = chooser.integers(1, 5000, lengths_N.sum(), dtype=np.uint16)
    tokens_T[np.cumsum(lengths_N) - 1] = 0
    return Encoded(tokens_T, lengths_N)


def write_corpus(folder: Folder, count: int) -> None:
    """A prepared corpus of random sentences."""
    train = SplitWriter(folder, "train", "sentences", np.uint16)
    part = 100_000
    for number in range(count // part):
        train.add(sentences(part, number), 0)
    heldout = SplitWriter(folder, "heldout", "sentences", np.uint16)
    splits = {"train": train.close(), "heldout": heldout.close()}
    tokenizer = byte_tokenizer(Views())
    folder.write(TOKENIZER, tokenizer.to_json())
    corpus = PreparedCorpus(folder, "sentences", 64, "uint16", tokenizer, splits, "", {})
    write_manifest(replace(corpus, fingerprint=fingerprint_of(corpus)))


def peak_memory(folder: str) -> int:
    """Most resident bytes of a process that streams one epoch of a corpus."""
    command = [sys.executable, "-m", __name__, folder]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _our_stream(folder: Folder) -> Stream:
    corpus = open_corpus(folder)
    return Stream(corpus, "train", batch_size=_BATCH, lanes=[range(8)], total_lanes=8, seed=1, shuffle_window=65536)


def _our_batches(folder: Folder) -> Iterator[Any]:
    with _our_stream(folder) as stream:
        yield from stream


def _rate(batches: Iterable[Any]) -> float:
    """Rows a second after the first batch; whoever reaches the end starts again."""
    source = iter(batches)
    next(source)
    start = time.perf_counter()
    read = 0
    while time.perf_counter() - start < _SECONDS:
        next(source)
        read += _BATCH
    return read / (time.perf_counter() - start)


Ways = list[tuple[str, Callable[[], Iterator[Any]]]]


def _mosaic(folder: str) -> Ways:
    from streaming import MDSWriter, StreamingDataset  # type: ignore[import-not-found]

    out = f"{folder}/mosaic"
    with MDSWriter(out=out, columns={"tokens": "ndarray:uint16"}) as writer:
        for row in _lists(sentences(_ROWS, 0)):
            writer.write({"tokens": row})

    def batches(workers: int) -> Iterator[Any]:
        dataset = StreamingDataset(local=out, shuffle=True, shuffle_seed=1, batch_size=_BATCH)
        return _endless(DataLoader(dataset, batch_size=_BATCH, collate_fn=_padded, num_workers=workers))

    return [(f"{workers} worker processes", lambda workers=workers: batches(workers)) for workers in (0, 2)]


def _datasets(folder: str) -> Ways:
    import datasets  # type: ignore[import-not-found]

    schema = datasets.Features({"tokens": datasets.Sequence(datasets.Value("uint16"))})
    made = datasets.Dataset.from_dict({"tokens": _lists(sentences(_ROWS, 0))}, features=schema)
    made.save_to_disk(f"{folder}/datasets")
    table = datasets.load_from_disk(f"{folder}/datasets").with_format("numpy")

    def mapped(workers: int) -> Iterator[Any]:
        order = torch.Generator().manual_seed(1)
        return _endless(
            DataLoader(table, batch_size=_BATCH, shuffle=True, generator=order, collate_fn=_padded, num_workers=workers)
        )

    def iterable(workers: int) -> Iterator[Any]:
        shuffled = table.to_iterable_dataset(num_shards=8).shuffle(seed=1, buffer_size=10_000)
        return _endless(DataLoader(shuffled, batch_size=_BATCH, collate_fn=_padded, num_workers=workers))

    return [
        (f"{kind}, {workers} worker processes", lambda make=make, workers=workers: make(workers))
        for kind, make in (("map style", mapped), ("iterable", iterable))
        for workers in (0, 2)
    ]


def _lists(encoded: Encoded) -> list[np.ndarray]:
    return np.split(encoded.tokens_T, np.cumsum(encoded.lengths_N)[:-1])


def _padded(examples: list[dict[str, Any]]) -> torch.Tensor:
    return pad_sequence([torch.from_numpy(row["tokens"].astype(np.int64)) for row in examples], batch_first=True)


def _endless(batches: Iterable[Any]) -> Iterator[Any]:
    while True:
        yield from batches


if __name__ == "__main__":
    with _our_stream(Folder(Path(sys.argv[1]))) as epoch:
        for _ in range(epoch.steps_per_epoch):
            next(epoch)
    print(peak_resident_bytes())
