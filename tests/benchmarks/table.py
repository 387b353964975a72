"""The table that the benchmarks print."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """Something measured, beside what it is compared with in the same run.

    ratio: measured over reference, or the other way round where less is better: 1 is as good as the reference.
    target: the ratio that is promised.
    """

    name: str
    measured: float
    unit: str
    reference: float
    reference_name: str
    ratio: float
    target: float
    note: str = ""


def markdown(rows: Iterable[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| what | measured | compared with | ratio | target | note |", "|---|---:|---:|---:|---:|---|"]
    lines += [
        f"| {row.name} | {row.measured:,.4g} {row.unit} | {row.reference:,.4g} {row.unit} ({row.reference_name}) "
        f"| {row.ratio:.2f} | {row.target:g} | {row.note} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"
