"""What a drill found, as a page: whether the runs came out equal, a picture of each, and what faults cost."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lstmgan_dist.evaluation.report.look import HUES, INK, MARKERS, STYLE, to_svg
from lstmgan_dist.evaluation.report.markup import Html, document, scrolling_table, tag
from lstmgan_dist.runs.drill import FAULTS, DrillFindings, Fault

_INCHES = (11.0, 2.6)  # wide, and high for each run
_READING = (
    "Each line is a run: its steps over the seconds of the drill. Where it falls, it went back to a checkpoint. The "
    "marks stand where the faults came, at the height that the run had reached."
)


def verdict(found: DrillFindings) -> str:
    """What the drill shows, in a sentence."""
    done = f"{len(found.faults)} faults in {len(found.runs)} run{'s' * (len(found.runs) > 1)}"
    wrong = [run.name for run in found.runs if run.differing]
    if wrong:
        return f"{done}, and {' and '.join(wrong)} did not come out as the undisturbed run."
    return f"{done}, and every file came out as that of the undisturbed run."


def costs(found: DrillFindings) -> Iterator[tuple[str, int, float | None, float | None]]:
    """Of each kind of fault: how often it came, and the median and most seconds until it was made up for."""
    for kind in FAULTS:
        faults = [fault for fault in found.faults if fault.kind == kind]
        seconds = [fault.made_up_after for fault in faults if fault.made_up_after is not None]
        yield kind, len(faults), statistics.median(seconds) if seconds else None, max(seconds, default=None)


def report_html(found: DrillFindings) -> str:
    """The page."""
    about = (
        f"{found.job}, {found.workers} workers on a cluster of {found.nodes} nodes of one machine; undisturbed it took "
        f"{found.undisturbed_seconds:.0f} s. Seed {found.seed}."
    )
    wrong = [
        tag("li", f"{run.name}: {len(run.differing)} of {run.files} files, such as {run.differing[0]}")
        for run in found.runs
        if run.differing
    ]
    return document(
        f"Drill of {found.job}",
        tag(
            "header",
            tag("p", "Preemption drill", class_="kicker"),
            tag("h1", verdict(found)),
            tag("p", about, class_="faint"),
        ),
        tag(
            "main",
            *([tag("section", tag("strong", "What differs"), tag("ul", *wrong), class_="warnings")] if wrong else []),
            tag("figure", Html(to_svg(draw(found), "drill")), tag("figcaption", _READING)),
            tag("section", tag("h2", "What each kind of fault cost"), _costs_table(found)),
            tag("section", tag("h2", "All faults"), _faults_table(found)),
        ),
    )


def draw(found: DrillFindings) -> Figure:
    """The steps of each run over time, with its faults."""
    width, height = _INCHES
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, 0.8 + height * len(found.runs)), layout="constrained")
        rows = figure.subplots(len(found.runs), sharex=True, squeeze=False)[:, 0]
        rows[-1].set_xlabel("seconds of the drill")
        for axes, run in zip(rows, found.runs, strict=True):
            axes.set_title(run.name)
            axes.set_ylabel("step")
            axes.plot(*zip(*found.curves[run.name], strict=True), color=INK, linewidth=1)
            for kind, (colour, marker) in _looks().items():
                faults = [fault for fault in found.faults if (fault.run, fault.kind) == (run.name, kind)]
                places = ([fault.second for fault in faults], [fault.step for fault in faults])
                axes.plot(*places, linestyle="none", color=colour, marker=marker)
        keys = [
            Line2D([], [], linestyle="none", color=colour, marker=marker, label=kind)
            for kind, (colour, marker) in _looks().items()
        ]
        figure.legend(handles=keys, loc="outside upper left", ncols=3)
    return figure


def _looks() -> dict[str, tuple[str, str]]:
    return dict(zip(FAULTS, zip(HUES, MARKERS, strict=False), strict=True))


def _costs_table(found: DrillFindings) -> Html:
    rows = [
        tag(
            "tr",
            tag("th", kind, scope="row"),
            tag("td", str(count)),
            tag("td", _seconds(half)),
            tag("td", _seconds(most)),
        )
        for kind, count, half, most in costs(found)
    ]
    heads = ("", "how often", "seconds until the run was further than before, median", "the most")
    head = tag("thead", tag("tr", *(tag("th", text, scope="col") for text in heads)))
    return scrolling_table(head, tag("tbody", *rows), name="What each kind of fault cost")


def _faults_table(found: DrillFindings) -> Html:
    heads = ("second", "run", "step", "what happened", "made up for after")
    head = tag("thead", tag("tr", *(tag("th", text, scope="col") for text in heads)))
    return scrolling_table(head, tag("tbody", *map(_fault_row, found.faults)), name="All faults")


def _fault_row(fault: Fault) -> Html:
    cells = (fault.run, f"{fault.step:,}", fault.kind, f"{_seconds(fault.made_up_after)} s")
    return tag("tr", tag("th", f"{fault.second:.0f}", scope="row"), *(tag("td", cell) for cell in cells))


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
