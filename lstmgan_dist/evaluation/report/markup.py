"""HTML written by hand, safely: whatever is not markup yet is escaped."""

from __future__ import annotations

import html
from importlib.resources import files


class Html(str):
    """Text that is markup already."""


def tag(name: str, *content: str, **attributes: object) -> Html:
    """An element; whatever is not markup yet is escaped. class_ is written class, aria_label aria-label."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"' for key, value in attributes.items()
    )
    inside = "".join(part if isinstance(part, Html) else html.escape(part) for part in content)
    return Html(f"<{name}{written}>{inside}</{name}>")


def scrolling_table(*content: str, name: str) -> Html:
    """A table that scrolls by itself where it is wider than its place."""
    # A region that scrolls must be reachable by keyboard.
    return tag("div", tag("table", *content), class_="scroll", tabindex=0, role="region", aria_label=name)


def document(title: str, *content: str) -> str:
    """A whole page that needs nothing beside it, light or dark as the reader's system is."""
    head = tag(
        "head",
        Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html('<meta name="color-scheme" content="light dark">'),
        tag("title", title),
        tag("style", Html(files("lstmgan_dist.evaluation.report").joinpath("page.css").read_text("utf-8"))),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, tag('body', *content), lang='en')}\n"
