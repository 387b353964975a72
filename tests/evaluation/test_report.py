"""The report of made-up findings: whole, self-contained, escaped, and right in a browser.

Also for evaluation/report/markup.py, and evaluation/report/point_labels.py: labels stay in their figure, and apart.
"""

import json
import math
import re
import shutil
import struct
import subprocess
from dataclasses import replace
from html import escape, unescape
from html.parser import HTMLParser

import pytest

from lstmgan_dist.evaluation.findings import (
    ContestFindings,
    Coverage,
    Estimate,
    Example,
    Examples,
    LearningCurves,
    PhaseSteps,
    Place,
    Sampler,
    Verdict,
)
from lstmgan_dist.evaluation.report.drawings import draw_figures
from lstmgan_dist.evaluation.report.look import INK, looks, to_png, to_svg
from lstmgan_dist.evaluation.report.page import report_html

REAL = Sampler("real text", "real text")
SAMPLERS = (
    Sampler("coco-relgan", "run", "s3://bucket/runs/coco-relgan?x=1&y=2", 12_500),
    Sampler("coco-relgan, likelihood start", "likelihood start", "s3://bucket/runs/coco-relgan?x=1&y=2", 8_000),
    Sampler("coco-$cratchgan-with-a-long-name-$eed-3", "run", "runs/coco-$cratchgan-with-a-long-name-$eed-3", 9_000),
    Sampler(
        "coco-$cratchgan-with-a-long-name-$eed-3, likelihood start",
        "likelihood start",
        "runs/coco-$cratchgan-with-a-long-name-$eed-3",
        6_000,
    ),
    REAL,
)
TEMPERATURES = (0.5, 0.7, 0.85, 1.0, 1.25)
TEXTS = (
    "a <unk> is sitting on a bench & looking at the camera .",
    "<script>alert('not escaped')</script> a man \"rides\" a horse",
    "",
    "a group of people standing around a kitchen with a very large number of different pots and pans on the wall .",
)


def figures_at(number, temperature):
    """Something like what a sampler has at a temperature: cooler is better and less diverse."""
    cool = -math.log(temperature)
    ahead = (0, 0.16, 0.75, 0.6)[number]
    return {
        name: Estimate(value, value - 0.8 * wide, value + wide)
        for name, value, wide in (
            ("lm", 3.4 - 1.1 * cool + ahead, 0.02 + 0.02 * abs(cool)),
            ("reverse_lm", 4.3 + 1.8 * cool**2 + 0.35 * cool + ahead, 0.03),
            *((f"bleu_{n}", 0.95 - 0.16 * n + 0.2 * cool - ahead / 9, 0.012) for n in (2, 3, 4, 5)),
            *((f"self_bleu_{n}", 0.97 - 0.13 * n + 0.3 * cool - ahead / 12, 0.01) for n in (2, 3, 4, 5)),
            ("frechet", 0.05 + 0.4 * cool**2 + ahead / 9, 0.02),
            ("mauve", 0.93 - 0.7 * cool**2 - ahead / 5, 0.03),
            ("repetition", 0.02 + 0.1 * abs(cool), 0.004),
            ("copied", 0.01 + 0.05 * max(cool, 0), 0.003),
            ("mean_length", 10.4 + cool, 0.2),
        )
    }


def examples_of(sampler, temperature):
    """Texts with everything that could break a page, one of them a copy."""
    if temperature is None:
        return Examples(sampler, None, tuple(Example(text, "", 0, len(text.split())) for text in TEXTS))
    nearest = ("a <unk> is sitting on a bench .", "a man & his 'horse' .", "a cat .", TEXTS[3])
    examples = (
        Example(text, near, min(4, len(text.split())), len(text.split()))
        for text, near in zip(TEXTS, nearest, strict=True)
    )
    return Examples(sampler, temperature, tuple(examples))


def curves_of(run, worst):
    steps = range(100, 12_001, 100)
    nll = tuple((step, 3.9 + 3 * math.exp(-step / 900) + worst * max(step - 8_100, 0) / 4_000) for step in steps)
    bleu = tuple((step, 0.45 - 0.3 * math.exp(-step / 1_500)) for step in steps)
    phases = (
        PhaseSteps("likelihood", 1, 8_000),
        PhaseSteps("discriminator", 8_001, 8_200),
        PhaseSteps("adversarial", 8_201, 12_000),
    )
    named = {"heldout/nll": nll, "samples/bleu_4": bleu, "samples/self_bleu_4": tuple((s, b + 0.1) for s, b in bleu)}
    return LearningCurves(run, phases, named)


@pytest.fixture(scope="module")
def findings():
    generated = [sampler.name for sampler in SAMPLERS if sampler is not REAL]
    real = {
        name: Estimate(value, value - 0.01, value + 0.01)
        for name, value in (
            *(("lm", 3.35), ("reverse_lm", 3.9), ("bleu_4", 0.41), ("self_bleu_4", 0.4), ("frechet", 0.02)),
            *(("mauve", 0.97), ("mean_length", 10.6)),
        )
    }
    verdicts = (
        Verdict(
            *(generated[0], generated[1], "better", Estimate(0.163, 0.121, 0.2)),
            f"{generated[0]} is better than its likelihood start by 0.163 nats/token at equal diversity.",
        ),
        Verdict(
            *(generated[2], generated[3], "not distinguishable", Estimate(-0.03, -0.11, 0.05)),
            f"{generated[2]} cannot be told from its likelihood start: the interval holds 0 & <nothing> else.",
        ),
        Verdict(
            *(generated[2], generated[0], "worse", Estimate(-0.65, -0.72, -0.6)),
            f"{generated[2]} is worse than {generated[0]} by 0.650 nats/token at equal diversity.",
        ),
        Verdict(
            *(generated[3], generated[0], "not comparable", None),
            "The two share no diversity at any temperature that was drawn.",
        ),
    )
    return ContestFindings(
        samplers=SAMPLERS,
        places=(
            *(Place(name, t, figures_at(n, t)) for n, name in enumerate(generated) for t in TEMPERATURES),
            Place(REAL.name, None, real),
        ),
        verdicts=verdicts,
        examples=(*(examples_of(name, t) for name in generated for t in TEMPERATURES), examples_of(REAL.name, None)),
        coverage=tuple(
            Coverage(
                name,
                t,
                tuple(0.9 * math.exp(-0.4 * n - 0.1 * number) for n in range(5)),
                tuple(0.97 * math.exp(-0.33 * n + 0.05 * number - 0.3) for n in range(5)),
            )
            for number, name in enumerate(generated)
            for t in TEMPERATURES
        ),
        curves=(curves_of(generated[0], 0.1), curves_of(generated[2], 0.6)),
        protocol={
            "Judge": "An LSTM trained on the first half of the held-out text; <unk> & rare words are its own.",
            "Intervals": "95 %, by 400 draws of the test sentences.",
        },
        warnings=("The judge learned for one epoch alone: its scores are <rough>.",),
        chosen={generated[0]: "Of coco-relgan, step 12,500 was taken: it has the lowest held-out NLL, 3.951."},
    )


@pytest.fixture(scope="module")
def page(findings):
    return report_html(findings)


class Page(HTMLParser):
    """Checks that elements close as they opened; collects text, ids and what is referred to."""

    VOID = frozenset({"meta", "link", "img", "br", "hr", "input"})

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.ids, self.references, self.text = [], set(), [], [], ""
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)
        for name, value in attrs:
            self.ids += [value] if name == "id" else []
            self.references += [value] if name in ("src", "href", "xlink:href", "srcset", "data", "action") else []
            self.references += re.findall(r"url\(([^)]*)\)", value or "")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            self.references += re.findall(r"url\(([^)]*)\)|@import", data)
        else:
            self.text += data


def test_elements_close_as_they_opened_and_no_id_comes_twice(page):
    parsed = Page(page)
    assert len(parsed.ids) == len(set(parsed.ids))


def test_page_refers_to_nothing_outside_itself(page):
    parsed = Page(page)
    assert parsed.references
    assert {reference[1:] for reference in parsed.references} <= set(parsed.ids)
    assert parsed.tags.isdisjoint({"script", "link", "iframe", "img", "object"})


def test_page_holds_all_that_is_said_whatever_characters_it_has(findings, page):
    text = Page(page).text
    sentences = [verdict.sentence for verdict in findings.verdicts]
    for said in (*sentences, *findings.protocol, *findings.protocol.values(), *findings.warnings, *TEXTS):
        assert said in text
    assert findings.chosen["coco-relgan"] in text
    assert escape(TEXTS[1]) in page


def test_sentences_and_a_few_texts_come_before_everything_else(findings, page):
    summary, _, rest = page.partition('</section><section class="warnings">')
    for said in (*(verdict.sentence for verdict in findings.verdicts), *findings.chosen.values()):
        assert escape(said) in summary
        assert escape(said) not in rest  # cards repeat nothing
    listed = summary[summary.index('<section class="summary"') :]
    assert listed.count("<h3>") == len(SAMPLERS)
    assert listed.count("<li><p>") == 3 * len(SAMPLERS)
    assert "temperature 1<" in listed


def test_cards_have_a_scale_with_units(page):
    assert page.count(">0 nats/token<") == 3  # what is not comparable has no margin
    assert "worse, −0.720" in page
    assert "better, +0.720" in page


def test_axes_go_forwards_and_say_which_way_is_better(findings):
    axes = {name: figure.axes[0] for name, figure in draw_figures(findings).items()}
    for one in axes.values():
        assert not one.xaxis.get_inverted()
        assert not one.yaxis.get_inverted()
    assert axes["bleu"].get_xlabel().endswith("better →")
    assert axes["frontier"].get_xlabel().startswith("← better")


def test_copies_are_marked(page):
    assert page.count('class="copy"') >= len(TEMPERATURES) * 4


def test_the_best_generated_figure_of_a_column_is_marked_and_real_text_never(page):
    # Real text has the least reverse LM score of all.
    marked = re.findall(r'<td class="best">([^<]*)', page)
    assert "3.900" not in marked
    assert "2.638" in marked  # 3.4 - 1.1 ln 2, the coolest of the first sampler
    columns = 13  # that have a better way, of which repetition is least at temperature 1 for all four samplers
    assert len(marked) == columns + 3


def test_intervals_read_as_half_widths_only_where_they_are_even(page):
    assert "<td>3.350<small>± 0.010</small></td>" in page
    assert '<td class="best">2.638<small>2.610–2.671</small></td>' in page
    assert "<td>10.4<small>10.2–10.6</small></td>" in page


@pytest.mark.slow
def test_the_same_findings_give_the_same_bytes(findings, page):
    assert report_html(findings) == page
    assert to_png(draw_figures(findings)["bleu"]) == to_png(draw_figures(findings)["bleu"])


def test_figures_are_those_that_there_is_data_for(findings):
    names = ["frontier", "bleu", "frechet", "mauve", "learning", "learning_bleu", "coverage_found", "coverage_real"]
    assert list(draw_figures(findings)) == names


@pytest.mark.slow
def test_png_is_a_picture_of_legible_size(findings):
    png = to_png(draw_figures(findings)["frontier"])
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", png[16:24])
    assert 800 <= width <= 1600
    assert 600 <= height <= 1600


@pytest.mark.slow
def test_svg_has_no_colour_of_paper_or_ink_of_its_own(findings):
    hues = {look.colour for look in looks(SAMPLERS[:-1]).values()}
    for name, figure in draw_figures(findings).items():
        svg = to_svg(figure, name)
        assert set(re.findall(r"#[0-9a-f]{6}\b", svg)) <= hues
        assert "var(--ink)" in svg
        assert "DejaVu" not in svg


def test_dollar_signs_in_a_name_are_no_mathematics(findings):
    assert f">{SAMPLERS[2].name}<" in to_svg(draw_figures(findings)["bleu"], "bleu")


def test_a_run_and_its_start_share_a_hue_and_no_two_samplers_look_alike():
    seen = looks(SAMPLERS)
    run, start, other, *_ = seen.values()
    assert run.colour == start.colour != other.colour
    assert len(set(seen.values())) == len(SAMPLERS)


def test_frontier_writes_every_temperature_and_real_text_none(findings):
    axes, *_ = draw_figures(replace(findings, samplers=(SAMPLERS[0], REAL), coverage=()))["frontier"].axes
    assert sorted(text.get_text() for text in axes.texts) == sorted(f"{t:g}" for t in TEMPERATURES)


def test_points_that_coincide_share_one_label_in_ink(findings):
    twins = tuple(replace(findings.place(SAMPLERS[0].name, t), sampler=SAMPLERS[2].name) for t in TEMPERATURES)
    firsts = tuple(findings.place(SAMPLERS[0].name, t) for t in TEMPERATURES)
    axes, *_ = draw_figures(replace(findings, places=(*firsts, *twins)))["frontier"].axes
    assert len(axes.texts) == len(TEMPERATURES)
    assert {text.get_color() for text in axes.texts} == {INK}


def test_labels_of_a_frontier_stay_in_it_and_cover_no_other(findings):
    figure = draw_figures(findings)["frontier"]
    figure.draw_without_rendering()
    axes, *_ = figure.axes
    assert {text.get_text() for text in axes.texts} == {f"{t:g}" for t in TEMPERATURES}
    boxes = [text.get_window_extent() for text in axes.texts]
    frame = axes.get_window_extent()
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)
    assert sum(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i]) == 0


def test_one_sampler_at_one_temperature_is_enough(findings):
    alone = ContestFindings(SAMPLERS[:1], findings.places[3:4], (), (), (), (), {})
    page = report_html(alone)
    Page(page)
    assert "coco-relgan" in page
    assert "Learning curves" not in page
    assert "Samples</h2>" not in page


PROBE = """<!DOCTYPE html><meta charset="utf-8">
<style>iframe {border: 0; height: 900px; display: block}</style><body><script>
const page = PAGE;
for (const width of [400, 800, 1500]) for (const scheme of ["light", "dark"]) {
  const frame = document.createElement("iframe");
  frame.style.width = width + "px";
  frame.style.colorScheme = scheme;
  frame.srcdoc = page;
  frame.onload = () => {
    const report = frame.contentDocument, root = report.documentElement;
    const boxes = select => [...report.querySelectorAll(select)].map(element => element.getBoundingClientRect());
    report.querySelectorAll("details").forEach(element => element.open = true);
    const beyond = [...report.querySelectorAll("body *")].filter(element => !element.closest(".scroll *, svg *")
      && element.getBoundingClientRect().right > root.clientWidth + 1);
    const style = element => frame.contentWindow.getComputedStyle(element);
    const found = document.createElement("pre");
    found.textContent = JSON.stringify({
      width, scheme, scroll: root.scrollWidth, client: root.clientWidth,
      beyond: beyond.map(element => element.outerHTML.slice(0, 80)),
      figures: boxes("figure > svg").map(box => [box.width, box.height]),
      letters: Math.min(...boxes("figure > svg text").map(box => Math.min(box.width, box.height))),
      paper: style(root).backgroundColor, drawn: style(report.querySelector("figure > svg path")).fill});
    document.body.append(found);
  };
  document.body.append(frame);
}
</script>"""


@pytest.mark.slow
def test_page_fits_its_window_in_light_and_in_dark(page, tmp_path):
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("there is no Chromium on this machine")
    # Headless Chromium has no window below 500 pixels, but frames of any width.
    (tmp_path / "probe.html").write_text(PROBE.replace("PAGE", json.dumps(page).replace("</", "<\\/")), "utf-8")
    offline = ("quic", "background-networking", "component-update", "sync")
    command = [
        *(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--virtual-time-budget=2000"),
        *(f"--disable-{service}" for service in offline),
        *(f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", (tmp_path / "probe.html").as_uri()),
    ]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = [json.loads(unescape(measured)) for measured in re.findall(r"<pre>(.*?)</pre>", dom)]
    assert len(found) == 6, dom[:2000]
    for frame in found:
        assert frame["scroll"] == frame["client"] <= frame["width"]
        assert frame["beyond"] == []
        assert len(frame["figures"]) == 8
        assert all(width > 330 and height > 200 for width, height in frame["figures"])
        assert frame["letters"] > 4
        paper = {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 23, 26)"}[frame["scheme"]]
        assert frame["paper"] == frame["drawn"] == paper
