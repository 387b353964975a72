"""What a person should know before a job is trained: what is doubtful about its text, and what it will allow."""

from __future__ import annotations

from collections.abc import Iterator

from lstmgan_dist.config import Job
from lstmgan_dist.corpus.doubts import doubts
from lstmgan_dist.corpus.manifest import PreparedCorpus
from lstmgan_dist.evaluation.heldout import doubt_about_judging


def doubts_about(job: Job, corpus: PreparedCorpus) -> Iterator[str]:
    """Sentences, for a job that fits its text."""
    yield from doubts(corpus)
    if any(phase.plays for phase in job.phases):
        doubt = doubt_about_judging(corpus, job.evaluate.heldout_sequences)
        if doubt:
            yield doubt
