"""How the figures of a report look, and how they become PNG and SVG.

A sampler has one look in all of them: a hue and a marker for each run, filled for its end, hollow and dashed for the
likelihood start of its game, a star for real text.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.markers import MarkerStyle

from lstmgan_dist.evaluation.findings import Sampler

# Colours of light paper, which stand for nothing else: in an SVG each becomes a CSS variable that dark paper redefines.
PAPER, SHADE, GRID, FAINT, INK = "#fffffe", "#f1f2f4", "#dcdee2", "#63676f", "#1b1d21"
PAPERS = {PAPER: "paper", SHADE: "shade", GRID: "grid", FAINT: "faint", INK: "ink"}

# The first four are those of Okabe & Ito (2008) but for a lighter blue; each has a contrast of 3 with white and black.
HUES = ("#1f7fc4", "#d55e00", "#009e73", "#cc6fa3", "#7b61d1", "#a07a00")
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
_STAR = "*"

STYLE: dict[Any, Any] = {
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
            hue, marker = HUES[number % len(HUES)], MARKERS[number % len(MARKERS)]
            found[sampler.name] = Look(hue, marker, hollow=sampler.kind == "likelihood start")
    return found


def to_png(figure: Figure) -> bytes:
    """On light paper; the same bytes for the same figure."""
    with mpl.rc_context(STYLE):
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=160, metadata={"Software": None})
    return file.getvalue()


def to_svg(figure: Figure, name: str) -> str:
    """For the inside of a page that defines the variables of `PAPERS` and the font; the same for the same figure.

    name: stands before every id, so that figures can share a page.
    """
    with mpl.rc_context(STYLE):
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
