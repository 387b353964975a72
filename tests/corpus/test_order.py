import numpy as np
import pytest

from lstmgan_dist.corpus.order import SentenceOrder, TextOrder
from lstmgan_dist.errors import UserError
from lstmgan_dist.runtime.randomness import derive, permutation


def order_of(block_rows: list[int], *, lanes: int = 4, seed: int = 1, shuffle_window: int = 5) -> SentenceOrder:
    return SentenceOrder(np.array(block_rows), lanes=lanes, seed=seed, shuffle_window=shuffle_window)


def lane_stream(order: SentenceOrder, lane: int, start: int, count: int) -> list[tuple[int, int]]:
    """(block, row within it) of a lane's rows, from a position on."""
    rows: list[tuple[int, int]] = []
    position = start
    while len(rows) < count:
        window = order.window_at(lane, position)
        inside = [(piece.block, row) for piece in window.pieces for row in range(piece.start, piece.stop)]
        assert sorted(window.order.tolist()) == list(range(len(inside)))
        rows += [inside[index] for index in window.order[position - window.first :]]
        position = window.first + len(inside)
    return rows[:count]


BLOCKS = [7, 3, 11, 1, 8, 2, 9]


@pytest.mark.parametrize("lanes", [1, 2, 4, 7, 41])
@pytest.mark.parametrize("shuffle_window", [1, 5, 1000])
def test_the_lanes_share_every_row_once_in_every_epoch(lanes: int, shuffle_window: int):
    order = order_of(BLOCKS, lanes=lanes, shuffle_window=shuffle_window)
    everything = sorted((block, row) for block, rows in enumerate(BLOCKS) for row in range(rows))
    assert sum(order.lane_rows(lane) for lane in range(lanes)) == order.rows == 41
    for epoch in range(3):
        found = [
            row
            for lane in range(lanes)
            for row in lane_stream(order, lane, epoch * order.lane_rows(lane), order.lane_rows(lane))
        ]
        assert sorted(found) == everything


def test_a_lane_reads_on_from_any_position():
    order = order_of(BLOCKS)
    for lane in range(4):
        whole = lane_stream(order, lane, 0, 60)
        for start in range(50):
            assert lane_stream(order, lane, start, 10) == whole[start : start + 10]


def test_the_order_is_the_virtual_rows_cut_into_lanes_and_windows():
    order = order_of(BLOCKS, lanes=3, seed=9, shuffle_window=5)
    for epoch in range(2):
        blocks = permutation(derive(9, "blocks", epoch), len(BLOCKS)).tolist()
        virtual = [(block, row) for block in blocks for row in range(BLOCKS[block])]
        for lane in range(3):
            own = virtual[lane * 41 // 3 : (lane + 1) * 41 // 3]
            windows = [own[first : first + 5] for first in range(0, len(own), 5)]
            expected = [
                window[index]
                for number, window in enumerate(windows)
                for index in permutation(derive(9, "rows", epoch, lane, number), len(window)).tolist()
            ]
            assert lane_stream(order, lane, epoch * len(own), len(own)) == expected


def test_epochs_lanes_and_seeds_are_shuffled_differently():
    def first_epochs(seed: int) -> list[list[tuple[int, int]]]:
        order = order_of([8] * 8, lanes=1, seed=seed, shuffle_window=64)
        return [lane_stream(order, 0, epoch * 64, 64) for epoch in range(3)]

    streams = first_epochs(1) + first_epochs(2)
    assert len({tuple(stream) for stream in streams}) == len(streams)
    two_lanes = order_of([64], lanes=2, shuffle_window=64)
    assert two_lanes.window_at(0, 0).order.tolist() != two_lanes.window_at(1, 0).order.tolist()


def test_the_order_never_changes():
    assert lane_stream(order_of(BLOCKS, lanes=2, seed=42), 0, 0, 8) == GOLDEN_START
    assert lane_stream(order_of(BLOCKS, lanes=2, seed=42), 1, 1000, 8) == GOLDEN_LATER


def test_a_lane_reads_only_the_blocks_of_its_own_share():
    order = order_of([16] * 64, lanes=8, shuffle_window=32)
    for lane in range(8):
        assert len({block for block, _ in lane_stream(order, lane, 0, order.lane_rows(lane))}) == 8


def test_fewer_sentences_than_lanes_are_an_error():
    with pytest.raises(
        UserError, match=r"has 3 sentences, fewer than batch.lanes 4: give more text, or set batch.lanes"
    ):
        order_of([3])


@pytest.mark.parametrize(
    ("tokens", "rows", "length"),
    [
        (1003, 10, 9),
        (1001, 10, 10),
        (1002, 10, 10),
        (25_000, 128, 100),
        (11, 10, 2),
        (12, 10, 2),
        (22, 10, 2),
        (2, 1, 9),
    ],
)
def test_an_epoch_of_continuous_text_predicts_every_token_but_the_first_once(tokens: int, rows: int, length: int):
    order = TextOrder(tokens, rows, length)
    predicted: list[int] = []
    for row in range(rows):
        read: list[int] = []
        for step in range(order.steps):
            stretch = order.stretch(row, range(step, step + 1))
            assert 1 <= len(stretch) - 1 <= length
            assert not read or stretch.start == read[-1]
            read += stretch[1:]
        assert order.stretch(row, range(order.steps))[1:] == range(read[0], read[-1] + 1)
        predicted += read
    assert predicted == list(range(1, tokens))


def test_rows_and_steps_of_continuous_text_differ_by_at_most_one_token():
    order = TextOrder(tokens=25_000, rows=128, length=100)
    assert order.steps == 2
    lengths = [[len(order.stretch(row, range(step, step + 1))) - 1 for row in range(128)] for step in range(2)]
    assert set(lengths[0]) == {98}
    assert set(lengths[1]) == {97, 98}


def test_text_without_a_token_for_every_row_is_an_error_that_says_how_much_is_needed():
    with pytest.raises(UserError, match=r"has 10 tokens, too few for batch.size 10 rows: give at least 11 tokens"):
        TextOrder(tokens=10, rows=10, length=9)
    assert TextOrder(tokens=11, rows=10, length=9).steps == 1


GOLDEN_START = [(5, 1), (1, 0), (5, 0), (3, 0), (1, 1), (1, 2), (2, 3), (2, 2)]
GOLDEN_LATER = [(6, 8), (6, 7), (1, 2), (3, 0), (1, 1), (5, 0), (1, 0), (5, 1)]
