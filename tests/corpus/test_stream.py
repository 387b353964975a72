import hashlib
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import fsspec
import numpy as np
import pytest
import torch

from lstmgan_dist.corpus import shards, stream
from lstmgan_dist.corpus.prepare import PreparedCorpus, open_corpus
from lstmgan_dist.corpus.stream import Batch, Stream, batches_per_epoch, heldout_batches
from lstmgan_dist.errors import UserError
from lstmgan_dist.runtime.tree import part_of
from tests.cases import cases
from tests.corpus.numbered import numbered_sentences

Write = Callable[..., str]
Prepare = Callable[..., PreparedCorpus]

LANES = 8
SENTENCES = 1003


@pytest.fixture
def sentences(text_file: Write, prepared: Prepare, monkeypatch: pytest.MonkeyPatch) -> PreparedCorpus:
    monkeypatch.setattr(shards, "FIRST_BLOCK_ROWS", 16)
    settings: dict[str, Any] = {"max_length": 100, "tokenizer": {"kind": "byte"}}
    return prepared(source=text_file(numbered_sentences(SENTENCES)), heldout_fraction=0.2, **settings)


@pytest.fixture
def text(text_file: Write, prepared: Prepare, monkeypatch: pytest.MonkeyPatch) -> PreparedCorpus:
    monkeypatch.setattr(shards, "CONTINUOUS_BLOCK_TOKENS", 1000)
    settings: dict[str, Any] = {"layout": "continuous", "max_length": 11, "tokenizer": {"kind": "byte"}}
    return prepared(source=text_file(numbered_sentences(SENTENCES)), heldout_fraction=0.2, **settings)


def open_stream(
    corpus: PreparedCorpus, *, rank: int = 0, world_size: int = 1, units: int = 1, batches_read: int = 0
) -> Stream:
    """The stream of a worker that has so many units of the batch."""
    return Stream(
        corpus,
        "train",
        batch_size=16,
        lanes=[part_of(LANES, rank * units + unit, world_size * units) for unit in range(units)],
        total_lanes=LANES,
        seed=7,
        shuffle_window=20,
        sequences_read=batches_read * 16,
    )


def first_batches(count: int, *args: Any, **kwargs: Any) -> list[Batch]:
    """Of a worker with one unit."""
    with open_stream(*args, **kwargs) as batches:
        return [unit for (unit,) in islice(batches, count)]


def rows(batch: Batch) -> list[tuple[list[int], list[int]]]:
    """Inputs and targets of every row, without padding."""
    return [
        (inputs[:length], targets[:length])
        for inputs, targets, length in zip(
            batch.inputs_BT.tolist(), batch.targets_BT.tolist(), batch.lengths_B.tolist(), strict=True
        )
    ]


def equal(one: Batch, other: Batch) -> bool:
    tensors = ("inputs_BT", "targets_BT", "lengths_B")
    return one.fresh == other.fresh and all(torch.equal(getattr(one, t), getattr(other, t)) for t in tensors)


def train_sentences(corpus: PreparedCorpus) -> list[list[int]]:
    blocks = corpus.read_blocks("train", range(len(corpus.splits["train"].blocks)))
    return [row.tolist() for block in blocks for row in np.split(block.tokens_T, block.stops_N[:-1])]


def text_tokens(corpus: PreparedCorpus, split: str) -> list[int]:
    blocks = corpus.read_blocks(split, range(len(corpus.splits[split].blocks)))
    return [token for block in blocks for token in block.tokens_T.tolist()]


# --- both layouts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["sentences", "text"])
@pytest.mark.parametrize("world_size", [2, 4, 8])
def test_the_global_batches_are_the_same_for_any_number_of_workers(
    request: pytest.FixtureRequest, layout: str, world_size: int
):
    corpus = request.getfixturevalue(layout)
    whole = first_batches(130, corpus)
    parts = [first_batches(130, corpus, rank=rank, world_size=world_size) for rank in range(world_size)]
    for number, batch in enumerate(whole):
        gathered = [row for rank in range(world_size) for row in rows(parts[rank][number])]
        assert all(parts[rank][number].fresh == batch.fresh for rank in range(world_size))
        assert gathered == rows(batch)


@pytest.mark.parametrize("layout", ["sentences", "text"])
def test_a_worker_has_the_very_batches_of_workers_with_one_unit_each(request: pytest.FixtureRequest, layout: str):
    corpus = request.getfixturevalue(layout)
    with open_stream(corpus, rank=1, world_size=2, units=4) as batches:
        together = list(islice(batches, 130))
    for unit in range(4):
        alone = first_batches(130, corpus, rank=4 + unit, world_size=8)
        assert all(equal(batch[unit], one) for batch, one in zip(together, alone, strict=True))


@pytest.mark.parametrize("layout", ["sentences", "text"])
def test_a_stream_resumed_anywhere_equals_the_uninterrupted_one(request: pytest.FixtureRequest, layout: str):
    corpus = request.getfixturevalue(layout)
    whole = first_batches(140, corpus)
    for start in (0, 1, 2, 17, 49, 50, 51, 99, 100, 101, 130):
        resumed = first_batches(5, corpus, batches_read=start)
        assert all(equal(one, other) for one, other in zip(resumed, whole[start:], strict=False)), start


@pytest.mark.parametrize("layout", ["sentences", "text"])
def test_the_position_counts_what_was_consumed_over_all_workers(request: pytest.FixtureRequest, layout: str):
    with open_stream(request.getfixturevalue(layout), rank=1, world_size=4, batches_read=3) as batches:
        assert batches.sequences_read == 48
        next(batches)
        assert batches.sequences_read == 64


@pytest.mark.parametrize("layout", ["sentences", "text"])
def test_a_remote_corpus_reads_like_a_local_one(request: pytest.FixtureRequest, layout: str):
    corpus = request.getfixturevalue(layout)
    memory = fsspec.filesystem("memory")
    memory.put(f"{corpus.folder}/", "/remote/corpus/", recursive=True)
    try:
        remote = open_corpus(type(corpus.folder)("memory://remote/corpus"))
        for one, other in zip(first_batches(60, corpus), first_batches(60, remote), strict=True):
            assert equal(one, other)
    finally:
        memory.rm("/remote", recursive=True)


@pytest.mark.parametrize("layout", ["sentences", "text"])
def test_the_batches_never_change(request: pytest.FixtureRequest, layout: str):
    digest = hashlib.sha256()
    for batch in first_batches(120, request.getfixturevalue(layout)):
        digest.update(repr(rows(batch)).encode())
    assert digest.hexdigest()[:16] == GOLDEN[layout]


# --- sentences -------------------------------------------------------------------------------------------------------


def test_every_sentence_comes_once_in_every_epoch(sentences: PreparedCorpus):
    everything = Counter(map(tuple, train_sentences(sentences)))
    lanes: list[list[tuple[int, ...]]] = [[] for _ in range(LANES)]
    for batch in first_batches(200, sentences):
        for row, (_, targets) in enumerate(rows(batch)):
            lanes[row // (16 // LANES)].append(tuple(targets))
    total = sentences.splits["train"].rows
    per_lane = [(lane + 1) * total // LANES - lane * total // LANES for lane in range(LANES)]
    for epoch in range(3):
        found = Counter(
            row
            for lane, count in zip(lanes, per_lane, strict=True)
            for row in lane[epoch * count : (epoch + 1) * count]
        )
        assert found == everything


def test_inputs_are_the_targets_one_step_later_after_an_end_mark(sentences: PreparedCorpus):
    batch = first_batches(1, sentences)[0]
    assert batch.fresh
    assert batch.inputs_BT.dtype == batch.targets_BT.dtype == batch.lengths_B.dtype == torch.int64
    assert batch.targets_BT.shape == batch.inputs_BT.shape == (16, int(batch.lengths_B.max()))
    for inputs, targets in rows(batch):
        assert inputs == [0, *targets[:-1]]
        assert targets[-1] == 0
        assert 0 not in targets[:-1]
    padding = torch.arange(batch.inputs_BT.shape[1]) >= batch.lengths_B[:, None]
    assert not batch.inputs_BT[padding].any()
    assert not batch.targets_BT[padding].any()


def test_a_worker_reads_the_blocks_of_its_own_lanes_only(sentences: PreparedCorpus, monkeypatch: pytest.MonkeyPatch):
    read_blocks, read = PreparedCorpus.read_blocks, Counter[int]()

    def noted(corpus: PreparedCorpus, split: str, numbers: Any) -> Any:
        read.update(int(number) for number in numbers)
        return read_blocks(corpus, split, numbers)

    monkeypatch.setattr(PreparedCorpus, "read_blocks", noted)
    monkeypatch.setattr(stream, "_BATCHES_AHEAD", 1)
    bytes_of = [block.stop - block.start for _, block in sentences.splits["train"].blocks]
    epoch = sentences.splits["train"].rows // 16 - 3  # reading ahead must not reach into the next one
    everyone, amounts = Counter[int](), []
    for rank in range(4):
        read.clear()
        first_batches(epoch, sentences, rank=rank, world_size=4)
        everyone.update(read.keys())
        amounts.append(sum(bytes_of[number] for number in read))
    assert set(everyone) == set(range(len(bytes_of)))
    # A block on the border of two lanes is read by both.
    assert sum(times - 1 for times in everyone.values()) <= LANES - 1
    border = 2 * LANES // 4 * max(bytes_of)
    assert max(amounts) <= sum(bytes_of) / 4 + border


def test_an_epoch_is_as_many_steps_as_show_every_sentence(sentences: PreparedCorpus):
    with open_stream(sentences) as batches:
        assert batches_per_epoch(sentences, 16) == sentences.splits["train"].rows / 16
        assert batches.steps_per_epoch == -(-sentences.splits["train"].rows // 16)


def test_too_few_sentences_are_an_error(text_file: Write, prepared: Prepare):
    corpus = prepared(source=text_file("a\nb\nc\n"))
    with pytest.raises(UserError, match=r"fewer than batch.lanes 8"):
        open_stream(corpus)


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_heldout_sentences_come_once_and_are_the_same_for_any_number_of_workers(
    sentences: PreparedCorpus, batch_size: int, world_size: int
):
    def heldout(most: int, size: int, workers: int) -> list[tuple[int, ...]]:
        return [
            tuple(targets)
            for share in range(workers)
            for batch in heldout_batches(sentences, batch_size=size, most_sequences=most, share=share, shares=workers)
            for _, targets in rows(batch)
        ]

    total = sentences.splits["heldout"].rows
    assert heldout(10**6, batch_size, world_size) == heldout(10**6, 64, 1)
    assert len(set(heldout(10**6, 64, 1))) == total
    assert not set(heldout(10**6, 64, 1)) & set(map(tuple, train_sentences(sentences)))
    assert heldout(33, batch_size, world_size) == heldout(10**6, 64, 1)[:33]


# --- continuous text -------------------------------------------------------------------------------------------------


def test_continuous_rows_read_the_text_on_and_on(text: PreparedCorpus):
    tokens = text_tokens(text, "train")
    steps = math.ceil((len(tokens) - 1) / 16 / 11)
    with open_stream(text) as batches:
        assert (batches.steps_per_epoch, batches_per_epoch(text, 16)) == (steps, steps)
        for _ in range(2):
            targets_read: list[list[int]] = [[] for _ in range(16)]
            for step in range(steps):
                (batch,) = next(batches)
                assert batch.fresh == (step == 0)
                assert set(batch.lengths_B.tolist()) <= ({10, 11} if step < steps - 1 else {9, 10, 11})
                for row, (inputs, targets) in enumerate(rows(batch)):
                    assert inputs[1:] == targets[:-1]
                    assert inputs[0] == (targets_read[row][-1] if step else tokens[row * (len(tokens) - 1) // 16])
                    targets_read[row] += targets
            # Every token but the very first, which follows none, is read once as a target.
            assert [token for read in targets_read for token in read] == tokens[1:]


def test_text_fetched_in_short_spans_is_the_same(text: PreparedCorpus, monkeypatch: pytest.MonkeyPatch):
    whole = first_batches(60, text)
    monkeypatch.setattr(stream, "_SPAN_TOKENS", 25)
    assert all(equal(one, other) for one, other in zip(first_batches(60, text), whole, strict=True))


@pytest.mark.parametrize("world_size", [1, 2, 4])
@pytest.mark.parametrize("batch_size", cases([1, 4, 10**6], quick=[1, 4]))
def test_heldout_text_is_read_once(text: PreparedCorpus, batch_size: int, world_size: int):
    tokens = text_tokens(text, "heldout")
    parts: dict[int, list[int]] = {}
    for rank in range(world_size):
        fresh = []
        for batch in heldout_batches(text, batch_size=batch_size, most_sequences=10**6, share=rank, shares=world_size):
            fresh.append(batch.fresh)
            for row, (inputs, targets) in enumerate(rows(batch)):
                read = parts.setdefault(rank * 10**6 + row, [])
                assert inputs == [*(read[-1:] or inputs[:1]), *targets[:-1]]
                read.extend(targets)
        assert fresh[:1] in ([True], [])
        assert not any(fresh[1:])
    assert [token for key in sorted(parts) for token in parts[key]] == tokens[1:]


def test_heldout_text_is_bounded(text: PreparedCorpus):
    found = list(heldout_batches(text, batch_size=4, most_sequences=13, share=0, shares=1))
    assert len(found) == 3


def test_too_little_text_is_an_error(text_file: Write, prepared: Prepare):
    corpus = prepared(source=text_file("a b c"), layout="continuous", tokenizer={"kind": "word"})
    with pytest.raises(UserError, match=r"too few for batch.size 16"):
        open_stream(corpus)


# --- the thread ------------------------------------------------------------------------------------------------------


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "corpus-read-ahead"]


def test_closing_ends_the_thread_at_once(sentences: PreparedCorpus):
    for taken in (0, 1, 30):
        with open_stream(sentences) as batches:
            list(islice(batches, taken))
            assert len(readers()) == 1
        assert readers() == []


def test_what_goes_wrong_while_reading_ahead_is_raised_to_the_reader(sentences: PreparedCorpus):
    content = bytearray(sentences.folder.read("train-00000.arrow"))
    content[sentences.splits["train"].blocks[20][1].stop - 9] ^= 1
    sentences.folder.write("train-00000.arrow", bytes(content))
    with (
        pytest.raises(UserError, match=r"train-00000\.arrow is damaged"),
        open_stream(open_corpus(sentences.folder)) as batches,
    ):
        list(islice(batches, 100))
    assert readers() == []


def test_a_defect_while_reading_ahead_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, sentences: PreparedCorpus):
    def broken(*args: object, **kwargs: object) -> Iterator[Batch]:
        raise ZeroDivisionError
        yield

    monkeypatch.setattr(stream, "_sentence_batches", broken)
    with open_stream(sentences) as batches, pytest.raises(ZeroDivisionError) as raised:
        next(batches)
    assert any(entry.name == "broken" for entry in raised.traceback)


GOLDEN = {"sentences": "64bd7b7fe22c0300", "text": "92db9b6719b9905c"}
