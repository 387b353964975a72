"""All text of some sources, read and cleaned."""

from lstmgan_dist.corpus.chunks import read_chunks
from lstmgan_dist.corpus.cleaning import clean
from lstmgan_dist.corpus.findings import Findings
from lstmgan_dist.corpus.settings import Corpus
from lstmgan_dist.corpus.sources import find_sources


def read(names: str | list[str], **settings: object) -> tuple[list[str], Findings]:
    """All texts of some sources, and what was wrong with others; texts that go on are joined."""
    wanted = Corpus.model_validate({"source": "unused", **settings})
    texts, findings, goes_on = [], Findings(), False
    for source in find_sources([names] if isinstance(names, str) else names).files:
        for chunk in read_chunks(source, wanted):
            rows = clean(chunk, wanted)
            findings.add(rows.findings)
            found = rows.texts.to_pylist()
            if goes_on:
                texts[-1] += found.pop(0)
            texts += found
            goes_on = not rows.ends
    return texts, findings


def lines_of(names: str | list[str], **settings: object) -> list[str]:
    """All texts of some sources."""
    return read(names, **settings)[0]
