"""The figures of a report, drawn from an assessment alone.

A sampler has one look in all of them: a hue and a marker for each run, filled for its end, hollow and dashed for the
likelihood start of its game, a star for real text.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import MarkerStyle

from lstmgan_dist.evaluation.assessment import (
    FIGURES,
    Assessment,
    Coverage,
    Estimate,
    Examples,
    LearningCurves,
    Sampler,
)

# Colours of light paper, which stand for nothing else: in an SVG each becomes a CSS variable that dark paper redefines.
PAPER, SHADE, GRID, FAINT, INK = "#fffffe", "#f1f2f4", "#dcdee2", "#63676f", "#1b1d21"
PAPERS = {PAPER: "paper", SHADE: "shade", GRID: "grid", FAINT: "faint", INK: "ink"}

# The first four are those of Okabe & Ito (2008) but for a lighter blue; each has a contrast of 3 with white and black.
_HUES = ("#1f7fc4", "#d55e00", "#009e73", "#cc6fa3", "#7b61d1", "#a07a00")
_MARKERS = ("o", "s", "D", "^", "v", "P", "X")
_STAR = "*"

_STYLE: dict[Any, Any] = {
    "font.size": 10,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.labelsize": 10,
    "axes.titlecolor": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.unicode_minus": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "text.parse_math": False,  # the name of a run may hold two dollar signs
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "lines.linewidth": 1.6,
    "lines.markersize": 6.5,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "legend.handlelength": 2.6,
    "svg.fonttype": "none",
    "svg.hashsalt": "lstmgan",
}
_WIDTH = 6.0  # inches
_SHADES = {"likelihood": PAPER, "discriminator": GRID, "adversarial": SHADE}
_CURVE_NAMES = {"samples/bleu_4": "BLEU-4 of samples", "samples/self_bleu_4": "self-BLEU-4 of samples"}

# Pairs of figures that pull in opposite directions, drawn so that better is to the lower left.
_FRONTIERS = {
    "frontier": ("Quality against diversity, as language models see it", "lm", "reverse_lm"),
    "bleu": ("Quality against diversity, as n-grams see it", "bleu_4", "self_bleu_4"),
    "oracle": ("Quality against diversity, as the oracle sees it", "oracle_nll", "test_nll"),
    "grammar": ("Quality against diversity, as the grammar sees it", "grammatical", "covered"),
}
_BY_TEMPERATURE = ("frechet", "mauve")
_COVERAGES = {
    "coverage_found": ("Share of the real n-grams that the samples hold", "real_found"),
    "coverage_real": ("Share of the generated n-grams that are real", "generated_real"),
}

Found = TypeVar("Found", Coverage, Examples)


@dataclass(frozen=True)
class Look:
    """How a sampler is drawn. hollow: with a dashed line, and paper inside its markers."""

    colour: str
    marker: str
    hollow: bool = False

    def line(self) -> dict[str, Any]:
        """As matplotlib's `plot` takes it."""
        return {
            "color": self.colour,
            "marker": self.marker,
            "linestyle": "none" if self.marker == _STAR else "--" if self.hollow else "-",
            "markerfacecolor": PAPER if self.hollow else self.colour,
            "markeredgecolor": self.colour,
            "markeredgewidth": 1.4,
        }

    def outline(self) -> np.ndarray:
        """The marker as a polygon around (0, 0) within -1 to 1: (corners, 2), y upwards."""
        style = MarkerStyle(self.marker)
        corners = style.get_path().transformed(style.get_transform()).to_polygons()[0]
        return corners / np.abs(corners).max()


def looks(samplers: Iterable[Sampler]) -> dict[str, Look]:
    """The look of each sampler by name."""
    runs: dict[str, int] = {}
    found = {}
    for sampler in samplers:
        if sampler.kind == "real text":
            found[sampler.name] = Look(INK, _STAR)
        else:
            number = runs.setdefault(sampler.run, len(runs))
            hue, marker = _HUES[number % len(_HUES)], _MARKERS[number % len(_MARKERS)]
            found[sampler.name] = Look(hue, marker, hollow=sampler.kind == "likelihood start")
    return found


def draw_figures(assessment: Assessment) -> dict[str, Figure]:
    """Every figure that there is data for, by name, in the order of a report.

    frontier, bleu, oracle, grammar: quality against diversity. frechet, mauve: by temperature. learning: held-out loss
    by step. learning_bleu: BLEU-4 and self-BLEU-4 of samples by step. coverage_found, coverage_real: by n.
    """
    with mpl.rc_context(_STYLE):
        figures = {
            name: _frontier(assessment, *about)
            for name, about in _FRONTIERS.items()
            if any({*about[1:]} <= place.figures.keys() for place in assessment.places)
        }
        for name in _BY_TEMPERATURE:
            if any(name in place.figures for place in assessment.places if place.temperature is not None):
                figures[name] = _by_temperature(assessment, name)
        if runs := [run for run in assessment.curves if run.curves.get("heldout/nll")]:
            figures["learning"] = _learning(assessment, runs, "held-out NLL, nats/token", ("heldout/nll",))
        if runs := [run for run in assessment.curves if any(map(run.curves.get, _CURVE_NAMES))]:
            figures["learning_bleu"] = _learning(assessment, runs, "BLEU-4, 0 to 1", tuple(_CURVE_NAMES))
        if assessment.coverage:
            for name, (title, share) in _COVERAGES.items():
                figures[name] = _coverage(assessment, title, share)
    return figures


def to_png(figure: Figure) -> bytes:
    """On light paper; the same bytes for the same figure."""
    with mpl.rc_context(_STYLE):
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=160, metadata={"Software": None})
    return file.getvalue()


def to_svg(figure: Figure, name: str) -> str:
    """For the inside of a page that defines the variables of `PAPERS` and the font; the same for the same figure.

    name: stands before every id, so that figures can share a page.
    """
    with mpl.rc_context(_STYLE):
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    # Styles of an inline SVG hold for the whole page; of the ids, only those of shapes that are used again matter.
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", "var(--sans)", svg)
    for colour, variable in PAPERS.items():
        svg = svg.replace(colour, f"var(--{variable})")
    return svg


def nearest_to_one(found: Sequence[Found]) -> dict[str, Found]:
    """Of each sampler, what was found at the temperature nearest 1."""
    by_distance = sorted(
        found, key=lambda one: 0 if one.temperature is None else abs(one.temperature - 1), reverse=True
    )
    nearest = {one.sampler: one for one in by_distance}
    return {one.sampler: nearest[one.sampler] for one in found}


def _figure(*, height: float = 4.6, rows: int = 1) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, 1, sharex=True, sharey=True, squeeze=False)
    return figure, list(grid[:, 0])


def _legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    # Two columns if they fit: the names of runs may be long.
    columns = 2 if max(len(str(handle.get_label())) for handle in handles) < 34 else 1
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.2 * -(-len(handles) // columns))
    figure.legend(handles=handles, loc="outside lower left", ncols=columns)


def _curves(assessment: Assessment, *names: str) -> Iterator[tuple[str, list[float | None], list[list[Estimate]]]]:
    """Of each sampler that has all these figures: its name, its temperatures, and the figures at each."""
    for sampler in assessment.samplers:
        places = [
            place for place in assessment.places if place.sampler == sampler.name and place.figures.keys() >= {*names}
        ]
        places.sort(key=lambda place: place.temperature or 0)
        if places:
            figures = [[place.figures[name] for place in places] for name in names]
            yield sampler.name, [place.temperature for place in places], figures


def _values(estimates: Sequence[Estimate]) -> list[float]:
    return [estimate.value for estimate in estimates]


def _bars(estimates: Sequence[Estimate]) -> list[list[float]]:
    # A percentile interval need not hold the value itself.
    return [[max(e.value - e.low, 0) for e in estimates], [max(e.high - e.value, 0) for e in estimates]]


def _label(name: str) -> str:
    figure = FIGURES[name]
    return f"{figure.title}, {figure.unit}" if figure.unit else figure.title


def _frontier(assessment: Assessment, title: str, across: str, up: str) -> Figure:
    """One curve a sampler through its temperatures."""
    figure, (axes, *_) = _figure(height=5.2)
    axes.set_title(title)
    # A figure whose better way is up is drawn upside down, so that all frontiers are read alike.
    axes.set_xlabel(f"← better\u2003{_label(across)}", loc="left")
    axes.set_ylabel(f"← better\u2003{_label(up)}", loc="bottom")
    axes.xaxis.set_inverted(FIGURES[across].better == "high")
    axes.yaxis.set_inverted(FIGURES[up].better == "high")
    axes.margins(0.09)
    seen, handles, curves = looks(assessment.samplers), [], []
    for sampler, temperatures, (quality, diversity) in _curves(assessment, across, up):
        look = seen[sampler]
        x, y = _values(quality), _values(diversity)
        axes.errorbar(
            x, y, yerr=_bars(diversity), xerr=_bars(quality), fmt="none", ecolor=look.colour, alpha=0.45, elinewidth=1
        )
        real = temperatures == [None]
        (line,) = axes.plot(x, y, label=sampler, **look.line(), zorder=4 if real else 3)
        if real:
            line.set_markersize(15)
        handles.append(line)
        curves.append((look.colour, ["" if t is None else f"{t:g}" for t in temperatures], np.column_stack([x, y])))
    _legend(figure, handles)
    _write_at_points(axes, curves)
    return figure


def _write_at_points(axes: Axes, curves: Sequence[tuple[str, Sequence[str], np.ndarray]]) -> None:
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


def _by_temperature(assessment: Assessment, name: str) -> Figure:
    """One curve a sampler with a band of 95 %; real text is level."""
    figure, (axes, *_) = _figure()
    title = FIGURES[name].title
    axes.set_title(f"{title[0].upper()}{title[1:]} by temperature")
    axes.set_xlabel("temperature")
    way = {"low": "← better\u2003", "high": "better →\u2003", None: ""}[FIGURES[name].better]
    axes.set_ylabel(f"{way}{FIGURES[name].unit or 'share'}")
    seen, handles = looks(assessment.samplers), []
    for sampler, temperatures, (estimates,) in _curves(assessment, name):
        look = seen[sampler]
        low, high = [e.low for e in estimates], [e.high for e in estimates]
        heats = [temperature for temperature in temperatures if temperature is not None]
        if not heats:
            axes.axhspan(low[0], high[0], color=look.colour, alpha=0.12, linewidth=0)
            handles.append(axes.axhline(estimates[0].value, color=look.colour, linewidth=1.2, label=sampler))
        else:
            axes.fill_between(heats, low, high, color=look.colour, alpha=0.18, linewidth=0)
            handles += axes.plot(heats, _values(estimates), label=sampler, **look.line())
    axes.set_xticks(sorted({place.temperature for place in assessment.places if place.temperature is not None}))
    axes.xaxis.set_major_formatter("{x:g}")
    _legend(figure, handles)
    return figure


def _learning(assessment: Assessment, runs: Sequence[LearningCurves], label: str, names: Sequence[str]) -> Figure:
    """One row a run, on the same scales; its phases are shaded and named."""
    figure, rows = _figure(height=0.9 + 2.4 * len(runs), rows=len(runs))
    figure.supylabel(label, fontsize=10)
    rows[-1].set_xlabel("step")
    rows[-1].xaxis.set_major_formatter("{x:,.0f}")
    seen = looks(assessment.samplers)
    names_of = {sampler.run: sampler.name for sampler in assessment.samplers if sampler.kind == "run"}
    steps_shown = 1
    for axes, run in zip(rows, runs, strict=True):
        sampler = names_of.get(run.run, run.run)
        axes.set_title(sampler, pad=20)
        axes.grid(visible=False, axis="x")
        for name, style in zip(names, ("-", "--"), strict=False):
            if curve := run.curves.get(name):
                steps, values = zip(*curve, strict=True)
                axes.plot(steps, values, color=seen[sampler].colour if sampler in seen else INK, linestyle=style)
                steps_shown = max(steps_shown, *steps)
        steps_shown = max([steps_shown, *(phase.last_step for phase in run.phases)])
    if len(names) > 1:
        styles = zip(names, ("-", "--"), strict=True)
        _legend(figure, [Line2D([], [], color=INK, linestyle=s, label=_CURVE_NAMES[name]) for name, s in styles])
    rows[0].set_xlim(0, steps_shown)
    rows[0].margins(y=0.12)
    for axes, run in zip(rows, runs, strict=True):
        _shade_phases(axes, run, steps_shown)
    return figure


def _shade_phases(axes: Axes, run: LearningCurves, steps_shown: int) -> None:
    """Shade each phase by its kind, and name each kind once, over the longest phase of it."""
    for phase in run.phases:
        axes.axvspan(phase.first_step - 1, phase.last_step, color=_SHADES.get(phase.kind, SHADE), linewidth=0, zorder=0)
    longest = {phase.kind: phase for phase in sorted(run.phases, key=lambda phase: phase.last_step - phase.first_step)}
    named = sorted(longest.values(), key=lambda phase: phase.first_step)
    letter = 5.3 / (_WIDTH * 72 * 0.87) * steps_shown  # steps as wide as one
    widths = [letter * (len(phase.kind) + 2) for phase in named]
    middles = [(phase.first_step + phase.last_step) / 2 for phase in named]
    # Names of short phases make way: first to the right, then, from the end of the axes, to the left.
    for i in range(1, len(named)):
        middles[i] = max(middles[i], middles[i - 1] + (widths[i - 1] + widths[i]) / 2)
    end = steps_shown + letter
    for i in reversed(range(len(named))):
        middles[i] = min(middles[i], end - widths[i] / 2)
        end = middles[i] - widths[i] / 2
    for phase, middle in zip(named, middles, strict=True):
        axes.text(
            middle,
            1.02,
            phase.kind,
            transform=axes.get_xaxis_transform(),
            ha="center",
            va="bottom",
            fontsize=8.5,
            color=FAINT,
        )


def _coverage(assessment: Assessment, title: str, share: str) -> Figure:
    figure, (axes, *_) = _figure()
    axes.set_title(title)
    axes.set_xlabel("n")
    axes.set_ylabel("better →\u2003share of different n-grams")
    seen, handles = looks(assessment.samplers), []
    for sampler, coverage in nearest_to_one(assessment.coverage).items():
        shares: Sequence[float] = getattr(coverage, share)
        at = "" if coverage.temperature is None else f", temperature {coverage.temperature:g}"
        lengths = range(1, len(shares) + 1)
        handles += axes.plot(lengths, shares, label=f"{sampler}{at}", **seen[sampler].line())
        axes.set_xticks(lengths)
    axes.set_ylim(0, 1.03)
    _legend(figure, handles)
    return figure
