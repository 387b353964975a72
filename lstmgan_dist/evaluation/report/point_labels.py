"""Writing at the points of curves where it covers least."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from lstmgan_dist.evaluation.report.look import INK


def write_at_points(axes: Axes, curves: Sequence[tuple[str, Sequence[str], np.ndarray]]) -> None:
    """Write a label at each point where it covers least; once for points of one label that lie side by side.

    curves: colour, labels and points (points, 2) of each.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # places the axes
    # From here on the axes stay where they are, however far the labels reach.
    figure.set_layout_engine("none")
    axes.set_autoscale_on(False)
    scale = 72 / figure.dpi  # all below is in printer's points
    frame = np.array(axes.get_window_extent().extents) * scale
    placed = [(colour, labels, axes.transData.transform(points) * scale) for colour, labels, points in curves]
    every = np.concatenate([points for _, _, points in placed])
    taken = [*np.repeat(every, 4, axis=0)]  # a hidden point is worse than a hidden line
    for _, _, points in placed:
        for start, end in pairwise(points):
            taken.extend(np.linspace(start, end, max(int(np.hypot(*(end - start)) / 3), 2)))
    for label, colours, points in _side_by_side(placed):
        half = np.array([2.8 * len(label) + 1, 5.5])
        centre = _clearest(points, half, frame, every, np.array(taken))
        axes.annotate(
            label,
            tuple(axes.transData.inverted().transform(centre / scale)),
            color=colours.pop() if len(colours) == 1 else INK,
            fontsize=9,
            ha="center",
            va="center_baseline",
            zorder=5,
        )
        across, up = np.meshgrid(np.linspace(-1, 1, 5), np.linspace(-1, 1, 3))
        taken.extend(centre + half * np.column_stack([across.ravel(), up.ravel()]))


def _side_by_side(
    curves: Iterable[tuple[str, Sequence[str], np.ndarray]],
) -> list[tuple[str, set[str], np.ndarray]]:
    """The points with one label that lie within 26 of each other: label, colours, points."""
    groups: list[tuple[str, set[str], np.ndarray]] = []
    for colour, labels, points in curves:
        for label, point in zip(labels, points, strict=True):
            near = [g for g in groups if g[0] == label and np.hypot(*(g[2] - point).T).min() < 26]
            groups = [group for group in groups if all(group is not one for one in near)]
            colours = set().union({colour}, *(group[1] for group in near))
            groups.append((label, colours, np.vstack([*(group[2] for group in near), point])))
    return [group for group in groups if group[0]]


def _clearest(points: np.ndarray, half: np.ndarray, frame: np.ndarray, every: np.ndarray, taken: np.ndarray) -> Any:
    """Where beside these points a box hides least and is not taken to belong to other points: its centre.

    half: half its width and height. frame: left, bottom, right, top. every: all points. taken: what not to hide.
    """

    def cost(way: tuple[float, np.ndarray]) -> float:
        gap, centre = way
        covered = (np.abs(taken - centre) < half).all(axis=1).sum()
        outside = (centre - half < frame[:2]).any() or (centre + half > frame[2:]).any()
        strangers = (np.hypot(*(every - centre).T) < np.hypot(*(points - centre).T).min()).sum()
        return covered + 2 * strangers + 100 * outside + 0.15 * gap

    angles = np.arange(16) * (np.pi / 8)
    around = np.column_stack([np.cos(angles), np.sin(angles)])
    ways = [(gap, point + way * (half + gap)) for gap in (4, 9, 15) for point in points for way in around]
    return min(ways, key=cost)[1]
