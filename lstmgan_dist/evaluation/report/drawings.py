"""The figures of a report, drawn from findings alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lstmgan_dist.evaluation.findings import (
    ContestFindings,
    Coverage,
    Estimate,
    Examples,
    LearningCurves,
)
from lstmgan_dist.evaluation.metrics import METRICS
from lstmgan_dist.evaluation.report.look import FAINT, GRID, INK, PAPER, SHADE, STYLE, looks
from lstmgan_dist.evaluation.report.point_labels import write_at_points

_WIDTH = 6.0  # inches
_SHADES = {"likelihood": PAPER, "discriminator": GRID, "adversarial": SHADE}
_SAMPLE_CURVES = {f"samples/{name}": f"{METRICS[name].label} of samples" for name in ("bleu_4", "self_bleu_4")}

# Pairs of figures that pull in opposite directions.
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


def draw_figures(findings: ContestFindings) -> dict[str, Figure]:
    """Every figure that there is data for, by name, in the order of a report.

    frontier, bleu, oracle, grammar: quality against diversity. frechet, mauve: by temperature. learning: held-out loss
    by step. learning_bleu: BLEU-4 and self-BLEU-4 of samples by step. coverage_found, coverage_real: by n.
    """
    with mpl.rc_context(STYLE):
        figures = {
            name: _frontier(findings, *about)
            for name, about in _FRONTIERS.items()
            if any({*about[1:]} <= place.figures.keys() for place in findings.places)
        }
        for name in _BY_TEMPERATURE:
            if any(name in place.figures for place in findings.places if place.temperature is not None):
                figures[name] = _by_temperature(findings, name)
        if runs := [run for run in findings.curves if run.curves.get("heldout/nll")]:
            figures["learning"] = _learning(findings, runs, "held-out NLL, nats/token", ("heldout/nll",))
        if runs := [run for run in findings.curves if any(map(run.curves.get, _SAMPLE_CURVES))]:
            figures["learning_bleu"] = _learning(
                findings, runs, f"{METRICS['bleu_4'].label}, 0 to 1", tuple(_SAMPLE_CURVES)
            )
        if findings.coverage:
            for name, (title, share) in _COVERAGES.items():
                figures[name] = _coverage(findings, title, share)
    return figures


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


def _curves(findings: ContestFindings, *names: str) -> Iterator[tuple[str, list[float | None], list[list[Estimate]]]]:
    """Of each sampler that has all these figures: its name, its temperatures, and the figures at each."""
    for sampler in findings.samplers:
        places = [
            place for place in findings.places if place.sampler == sampler.name and place.figures.keys() >= {*names}
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
    metric = METRICS[name]
    return f"{metric.label}, {metric.unit}" if metric.unit else metric.label


def _with_way(name: str, label: str) -> str:
    """The label of an axis, with an arrow to where a figure is better."""
    return {"low": f"← better\u2003{label}", "high": f"{label}\u2003better →", None: label}[METRICS[name].better]


def _frontier(findings: ContestFindings, title: str, across: str, up: str) -> Figure:
    """One curve a sampler through its temperatures."""
    figure, (axes, *_) = _figure(height=5.2)
    axes.set_title(title)
    axes.set_xlabel(_with_way(across, _label(across)), loc="right" if METRICS[across].better == "high" else "left")
    axes.set_ylabel(_with_way(up, _label(up)), loc="top" if METRICS[up].better == "high" else "bottom")
    axes.margins(0.09)
    seen, handles, curves = looks(findings.samplers), [], []
    for sampler, temperatures, (quality, diversity) in _curves(findings, across, up):
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
    write_at_points(axes, curves)
    return figure


def _by_temperature(findings: ContestFindings, name: str) -> Figure:
    """One curve a sampler with a band of 95 %; real text is level."""
    figure, (axes, *_) = _figure()
    label = METRICS[name].label
    axes.set_title(f"{label[0].upper()}{label[1:]} by temperature")
    axes.set_xlabel("temperature")
    axes.set_ylabel(_with_way(name, METRICS[name].unit or "share"))
    seen, handles = looks(findings.samplers), []
    for sampler, temperatures, (estimates,) in _curves(findings, name):
        look = seen[sampler]
        low, high = [e.low for e in estimates], [e.high for e in estimates]
        heats = [temperature for temperature in temperatures if temperature is not None]
        if not heats:
            axes.axhspan(low[0], high[0], color=look.colour, alpha=0.12, linewidth=0)
            handles.append(axes.axhline(estimates[0].value, color=look.colour, linewidth=1.2, label=sampler))
        else:
            axes.fill_between(heats, low, high, color=look.colour, alpha=0.18, linewidth=0)
            handles += axes.plot(heats, _values(estimates), label=sampler, **look.line())
    axes.set_xticks(sorted({place.temperature for place in findings.places if place.temperature is not None}))
    axes.xaxis.set_major_formatter("{x:g}")
    _legend(figure, handles)
    return figure


def _learning(findings: ContestFindings, runs: Sequence[LearningCurves], label: str, names: Sequence[str]) -> Figure:
    """One row a run, on the same scales; its phases are shaded and named."""
    figure, rows = _figure(height=0.9 + 2.4 * len(runs), rows=len(runs))
    figure.supylabel(label, fontsize=10)
    rows[-1].set_xlabel("step")
    rows[-1].xaxis.set_major_formatter("{x:,.0f}")
    seen = looks(findings.samplers)
    names_of = {sampler.run: sampler.name for sampler in findings.samplers if sampler.kind == "run"}
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
        _legend(figure, [Line2D([], [], color=INK, linestyle=s, label=_SAMPLE_CURVES[name]) for name, s in styles])
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


def _coverage(findings: ContestFindings, title: str, share: str) -> Figure:
    figure, (axes, *_) = _figure()
    axes.set_title(title)
    axes.set_xlabel("n")
    axes.set_ylabel("share of different n-grams\u2003better →")
    seen, handles = looks(findings.samplers), []
    for sampler, coverage in nearest_to_one(findings.coverage).items():
        shares: Sequence[float] = getattr(coverage, share)
        at = "" if coverage.temperature is None else f", temperature {coverage.temperature:g}"
        lengths = range(1, len(shares) + 1)
        handles += axes.plot(lengths, shares, label=f"{sampler}{at}", **seen[sampler].line())
        axes.set_xticks(lengths)
    axes.set_ylim(0, 1.03)
    _legend(figure, handles)
    return figure
