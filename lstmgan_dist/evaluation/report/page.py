"""The report of findings: one HTML file that needs nothing beside it."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import replace

from lstmgan_dist.evaluation.findings import (
    ContestFindings,
    Coverage,
    Estimate,
    Example,
    Examples,
    Place,
    Sampler,
    Verdict,
)
from lstmgan_dist.evaluation.metrics import METRICS
from lstmgan_dist.evaluation.report.drawings import draw_figures, nearest_to_one
from lstmgan_dist.evaluation.report.look import Look, looks, to_svg
from lstmgan_dist.evaluation.report.markup import Html, document, scrolling_table, tag

_SUMMARY_SAMPLES = 3
# Nearest training sentences are shown for so many texts of a sampler, those with most copied first.
_NEAREST_SHOWN = 8

_READING = (
    "Each curve is one sampler; the numbers along it are temperatures, the thin bars 95\u00a0% intervals. Cooler "
    "sampling goes to the left, where single sentences are more likely, and up, where fewer kinds of sentences are "
    "left; so any one point can be beaten by turning the temperature, and only a curve that lies below and to the left "
    "of another is better. The star is real text: no sampler should be expected beyond it on both axes."
)
_CAPTIONS = {
    "bleu": "The same trade-off counted in n-grams; of BLEU more is better, so better is to the lower right here. BLEU "
    "sees local order alone: trust the figure above where the two disagree.",
    "oracle": "Likelihood of the samples under the oracle that wrote the corpus, against likelihood of the oracle's "
    "text under the generator.",
    "grammar": "Share of samples that the grammar accepts, against the probability mass of the grammar that the "
    "samples reach.",
    "frechet": "Distance between the embeddings of samples and of real text; bands are 95\u00a0% intervals. The level "
    "line is real text against other real text: what a perfect sampler would show.",
    "mauve": "Area under the divergence frontier of samples and real text: 1 is indistinguishable. Bands are 95\u00a0% "
    "intervals.",
    "learning": "Held-out loss of each run. An adversarial phase is free to leave the likelihood optimum, so a rise "
    "there is no fault by itself.",
    "learning_bleu": "Quality (BLEU-4, higher is better) and sameness (self-BLEU-4, lower is better) of samples at "
    "temperature 1 while training.",
    "coverage_found": "How much of the real text's variety the samples reach.",
    "coverage_real": "How much of what the samples say is found in real text.",
}
_BASES = {"diversity": "at equal diversity", "quality": "of diversity, at equal quality", "neither": "at least"}
_LEARNING = ("learning", "learning_bleu")
_COVERAGE = ("coverage_found", "coverage_real")


def report_html(findings: ContestFindings) -> str:
    """The whole report, the same for the same findings; light or dark as the reader's system is."""
    seen = looks(findings.samplers)
    figures = {name: _drawing(name, to_svg(figure, name)) for name, figure in draw_figures(findings).items()}
    others = [name for name in figures if name not in ("frontier", *_LEARNING, *_COVERAGE)]
    sections = [
        ("frontier", "The frontier", [figures.get("frontier", Html()), _figures_of(figures, others)]),
        ("figures", "All figures", _table(findings, seen)),
        ("learning", "Learning curves", [_figures_of(figures, _LEARNING)]),
        ("samples", "Samples", _samples(findings, seen)),
        ("nearest", "Nearest training sentences", _nearest(findings, seen)),
        ("coverage", "Coverage of n-grams", [_figures_of(figures, _COVERAGE), *_coverage(findings, seen)]),
        ("protocol", "Protocol", [_definitions(findings.protocol.items())] if findings.protocol else []),
        ("samplers", "What was compared", [_definitions(_addresses(findings.samplers, seen))]),
    ]
    sections = [(name, title, content) for name, title, content in sections if any(content)]
    title = f"{' and '.join(_subjects(findings))}: quality and diversity"
    return document(
        title,
        tag(
            "header",
            tag("p", "Quality and diversity of generated text", class_="kicker"),
            tag("h1", _and(_subjects(findings))),
            tag("p", _compared(findings), class_="faint"),
            tag("nav", *(tag("a", title, href=f"#{name}") for name, title, _ in sections)),
        ),
        tag(
            "main",
            tag("section", *_summary(findings, seen), class_="summary", aria_label="In short"),
            _warnings(findings.warnings),
            tag("section", *_verdicts(findings, seen), class_="cards", aria_label="Verdicts"),
            *(tag("section", tag("h2", title), *content, id=name) for name, title, content in sections),
        ),
    )


def _and(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _subjects(findings: ContestFindings) -> list[str]:
    runs = [sampler.name for sampler in findings.samplers if sampler.kind == "run"]
    return runs or [sampler.name for sampler in findings.samplers]


def _compared(findings: ContestFindings) -> str:
    kinds = [sampler.kind for sampler in findings.samplers]
    counts = [(kinds.count("run"), "run"), (kinds.count("likelihood start"), "likelihood start")]
    things = [f"{count} {kind}{'s' * (count > 1)}" for count, kind in counts if count]
    things += ["real text"] * ("real text" in kinds)
    heats = [f"{heat:g}" for heat in _heats(findings.places)]
    at = f", at temperature{'s' * (len(heats) > 1)} {_and(heats)}" if heats else ""
    return f"{_and(things)}{at}; intervals hold with 95\u00a0%."


def _heats(found: Iterable[Place | Examples]) -> list[float]:
    return sorted({one.temperature for one in found if one.temperature is not None})


def _number(value: float, decimals: int = 3) -> str:
    return f"{value:.{decimals}f}".replace("-", "−")


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _named(sampler: str, seen: dict[str, Look]) -> Html:
    """The name after a swatch that looks as in the figures."""
    look = seen[sampler]
    corners = " ".join(f"{x * 0.42:.2f},{-y * 0.42:.2f}" for x, y in look.outline())
    colour = "var(--ink)" if look.marker == "*" else look.colour
    line = tag("path", d="M-1,0H1", stroke=colour, stroke_width=0.14, stroke_dasharray="0.5 0.25" if look.hollow else 0)
    fill = "var(--paper)" if look.hollow else colour
    marker = tag("polygon", points=corners, fill=fill, stroke=colour, stroke_width=0.13)
    parts = [marker] if look.marker == "*" else [line, marker]
    return Html(tag("svg", *parts, class_="swatch", viewBox="-1 -0.5 2 1", aria_hidden="true") + html.escape(sampler))


def _drawing(name: str, svg: str) -> Html:
    caption = _READING if name == "frontier" else _CAPTIONS[name]
    return tag("figure", Html(svg), tag("figcaption", caption), class_="wide" if name == "frontier" else "small")


def _figures_of(figures: dict[str, Html], names: Sequence[str]) -> Html:
    shown = [figures[name] for name in names if name in figures]
    return tag("div", *shown, class_="figures") if shown else Html()


def _definitions(pairs: Iterable[tuple[str, str]]) -> Html:
    return tag("dl", *(part for term, meaning in pairs for part in (tag("dt", term), tag("dd", meaning))))


def _warnings(warnings: Sequence[str]) -> Html:
    if not warnings:
        return Html()
    items = tag("ul", *(tag("li", warning) for warning in warnings))
    return tag("section", tag("strong", "To bear in mind"), items, class_="warnings")


def _summary(findings: ContestFindings, seen: dict[str, Look]) -> list[Html]:
    """What there is to know in sentences, and a few texts to hear for oneself."""
    sentences = [*(verdict.sentence for verdict in findings.verdicts), *findings.chosen.values()]
    shown = [
        replace(examples, examples=examples.examples[:_SUMMARY_SAMPLES])
        for examples in nearest_to_one(findings.examples).values()
    ]
    columns = tag("div", *(_column(examples, seen, heat=True) for examples in shown), class_="columns")
    return [tag("ul", *(tag("li", sentence) for sentence in sentences))] * bool(sentences) + [columns] * bool(shown)


def _verdicts(findings: ContestFindings, seen: dict[str, Look]) -> list[Html]:
    reach = max((abs(end) for v in findings.verdicts if v.margin for end in (v.margin.low, v.margin.high)), default=0)
    return [_verdict(verdict, seen, reach or 1) for verdict in findings.verdicts]


def _verdict(verdict: Verdict, seen: dict[str, Look], reach: float) -> Html:
    """A card. reach: nats at the ends of the scale that all cards have."""
    # The sentence stands in the summary.
    parts = [
        tag(
            "p",
            tag("span", _named(verdict.sampler, seen)),
            tag("span", "beside ", _named(verdict.reference, seen)),
            class_="who",
        ),
        tag("p", verdict.word, class_="word"),
    ]
    if margin := verdict.margin:
        said = f"{_signed(margin.value)} nats/token"
        interval = f" [{_signed(margin.low)}, {_signed(margin.high)}] {_BASES[verdict.basis]}"
        parts.append(tag("div", tag("strong", said), tag("small", interval), class_="margin"))
        parts.append(_scale(margin, reach))
    tone = verdict.word if verdict.word in ("better", "worse") else "undecided"
    return tag("article", *parts, class_=f"card {tone}")


def _scale(margin: Estimate, reach: float) -> Html:
    """The margin and its interval about zero."""
    low, value, high = (f"{150 + 140 * nats / reach:.1f}" for nats in (margin.low, margin.value, margin.high))
    return tag(
        "svg",
        tag("path", d="M2,12H298M150,4V20", stroke="var(--faint)", stroke_width=1),
        tag("path", d=f"M{low},12H{high}", stroke="var(--tone)", stroke_width=6, stroke_opacity=0.45),
        tag("circle", cx=value, cy=12, r=5, fill="var(--tone)"),
        *(
            tag("text", word, x=x, y=32, fill="var(--faint)", font_size=11, text_anchor=anchor)
            for word, x, anchor in (
                (f"worse, {_signed(-reach)}", 2, "start"),
                ("0 nats/token", 150, "middle"),
                (f"better, {_signed(reach)}", 298, "end"),
            )
        ),
        viewBox="0 0 300 34",
        role="img",
        aria_label="The margin and its 95 % interval about zero",
    )


def _table(findings: ContestFindings, seen: dict[str, Look]) -> list[Html]:
    """Every figure of every place; the best of a column is marked, real text aside."""
    names = [name for name in METRICS if any(name in place.figures for place in findings.places)]
    if not names:
        return []
    best = {name: _best(name, findings.places) for name in names}
    groups = []
    for sampler in findings.samplers:
        places = [place for place in findings.places if place.sampler == sampler.name]
        title = tag("th", tag("span", _named(sampler.name, seen)), colspan=len(names) + 1, scope="rowgroup")
        rows = [_row(place, names, best) for place in sorted(places, key=lambda place: place.temperature or 0)]
        groups += [tag("tbody", tag("tr", title, class_="sampler"), *rows)] if rows else []
    header = [tag("th", "temperature", scope="col"), *(_heading(name) for name in names)]
    explained = tag(
        "p",
        "An arrow says which way is better. The best figure of a column, real text aside, is ",
        tag("span", "marked", class_="key"),
        "; a best is no verdict, for intervals overlap and each temperature buys one figure with another.",
    )
    return [explained, scrolling_table(tag("thead", tag("tr", *header)), *groups, name="All figures")]


def _heading(name: str) -> Html:
    metric = METRICS[name]
    arrow = {"low": "↓", "high": "↑", None: ""}[metric.better]
    below = " ".join(filter(None, (metric.unit, arrow)))
    return tag("th", metric.label, *([tag("small", below)] if below else []), scope="col")


def _best(name: str, places: Sequence[Place]) -> float | None:
    values = [place.figures[name].value for place in places if place.temperature is not None and name in place.figures]
    better = {"low": min, "high": max, None: None}[METRICS[name].better]
    return better(values) if better and values else None


def _row(place: Place, names: Sequence[str], best: dict[str, float | None]) -> Html:
    cells = []
    for name in names:
        if estimate := place.figures.get(name):
            is_best = place.temperature is not None and estimate.value == best[name]
            cells.append(tag("td", *_cell(name, estimate), **({"class_": "best"} if is_best else {})))
        else:
            cells.append(tag("td", "–"))
    heat = "–" if place.temperature is None else f"{place.temperature:g}"
    return tag("tr", tag("th", heat, scope="row"), *cells)


def _cell(name: str, estimate: Estimate) -> list[str]:
    decimals = METRICS[name].decimals
    value, low, high = (_number(number, decimals) for number in (estimate.value, estimate.low, estimate.high))
    if low == high:
        return [value]
    above, below = estimate.high - estimate.value, estimate.value - estimate.low
    even = abs(above - below) <= 0.1 * (above + below)
    return [value, tag("small", f"± {_number((above + below) / 2, decimals)}" if even else f"{low}–{high}")]


def _samples(findings: ContestFindings, seen: dict[str, Look]) -> list[Html]:
    """A section a temperature, samplers side by side and real text last; the one nearest 1 is open."""
    heats = _heats(findings.examples)
    real = [examples for examples in findings.examples if examples.temperature is None]
    opened = min(heats, key=lambda heat: abs(heat - 1), default=None)
    sections = []
    for heat in heats:
        shown = [examples for examples in findings.examples if examples.temperature == heat] + real
        columns = tag("div", *(_column(examples, seen) for examples in shown), class_="columns")
        attributes = {"open": ""} if heat == opened else {}
        sections.append(tag("details", tag("summary", f"Temperature {heat:g}"), columns, **attributes))
    return sections


def _column(examples: Examples, seen: dict[str, Look], *, heat: bool = False) -> Html:
    """Texts of one sampler. heat: its name is followed by the temperature."""
    items = [tag("li", tag("p", example.text or "(an empty text)"), *_origin(example)) for example in examples.examples]
    at = f", temperature {examples.temperature:g}" if heat and examples.temperature is not None else ""
    return tag("section", tag("h3", _named(examples.sampler, seen), at), tag("ul", *items))


def _origin(example: Example) -> list[Html]:
    """What is to be said of how much of a text is copied; nothing of real text."""
    if not example.nearest:
        return []
    if example.is_copy:
        return [tag("small", tag("span", "A copy", class_="copy"), " of a training sentence")]
    return [tag("small", f"{example.longest_copied} of {example.tokens} tokens copied in a row")]


def _nearest(findings: ContestFindings, seen: dict[str, Look]) -> list[Html]:
    header = tag(
        "tr", *(tag("th", title, class_="text", scope="col") for title in ("sample", "nearest training sentence")),
        tag("th", "longest stretch copied", tag("small", "tokens of the sample"), scope="col"),
    )  # fmt: skip
    sections = []
    generated = [examples for examples in findings.examples if examples.temperature is not None]
    for examples in nearest_to_one(generated).values():
        known = [example for example in examples.examples if example.nearest]
        known.sort(key=lambda example: example.longest_copied / max(example.tokens, 1), reverse=True)
        rows = [
            tag(
                "tr",
                tag("td", example.text or "(an empty text)", class_="text"),
                tag("td", *(_origin(example) if example.is_copy else [example.nearest]), class_="text"),
                tag("td", f"{example.longest_copied} of {example.tokens}"),
            )
            for example in known[:_NEAREST_SHOWN]
        ]
        if rows:
            summary = tag("summary", _named(examples.sampler, seen), f", temperature {examples.temperature:g}")
            table = scrolling_table(tag("thead", header), tag("tbody", *rows), name=f"Nearest to {examples.sampler}")
            sections.append(tag("details", summary, table))
    explained = "The samples with the longest literal stretches of training text, beside the sentence most like each."
    return [tag("p", explained), *sections] if sections else []


def _coverage(findings: ContestFindings, seen: dict[str, Look]) -> list[Html]:
    if not findings.coverage:
        return []
    longest = max(len(coverage.real_found) for coverage in findings.coverage)
    titles = ("real n-grams found", "generated n-grams that are real")
    header = tag("tr", tag("th", "temperature", scope="col"), *(
        tag("th", f"n = {n}", tag("small", title), scope="col") for title in titles for n in range(1, longest + 1)
    ))  # fmt: skip
    groups = []
    for sampler in dict.fromkeys(coverage.sampler for coverage in findings.coverage):
        found = [coverage for coverage in findings.coverage if coverage.sampler == sampler]
        title = tag("th", tag("span", _named(sampler, seen)), colspan=2 * longest + 1, scope="rowgroup")
        rows = [_coverage_row(coverage) for coverage in sorted(found, key=lambda one: one.temperature or 0)]
        groups.append(tag("tbody", tag("tr", title, class_="sampler"), *rows))
    table = scrolling_table(tag("thead", header), *groups, name="Coverage of n-grams")
    return [tag("details", tag("summary", "At every temperature"), table)]


def _coverage_row(coverage: Coverage) -> Html:
    heat = "–" if coverage.temperature is None else f"{coverage.temperature:g}"
    shares = (*coverage.real_found, *coverage.generated_real)
    return tag("tr", tag("th", heat, scope="row"), *(tag("td", _number(share)) for share in shares))


def _addresses(samplers: Iterable[Sampler], seen: dict[str, Look]) -> Iterable[tuple[Html, str]]:
    for sampler in samplers:
        where = f", step {sampler.step:,} of {sampler.run}" if sampler.run else ""
        yield _named(sampler.name, seen), f"{sampler.kind}{where}"
