"""A job as somebody would need it who starts from the text: also where its corpus had been prepared before."""

from __future__ import annotations

from collections.abc import Iterator

import yaml
from pydantic import ValidationError

from lstmgan_dist.config import Job, chosen, dump_job
from lstmgan_dist.corpus.manifest import PreparedCorpus
from lstmgan_dist.corpus.settings import Corpus
from lstmgan_dist.evaluation.synthetic import is_synthetic


def prepared_from(job: Job, corpus: PreparedCorpus) -> Corpus | None:
    """What the corpus was prepared with, if that was before the job, which only names its folder then."""
    made = corpus.made.get("settings")
    if made is None:  # synthetic text
        is_named = len(job.corpus.sources) == 1 and is_synthetic(job.corpus.sources[0])
        return None if is_named else job.corpus.model_copy(update={"source": corpus.made["source"]})
    try:
        settings = Corpus.model_validate(made)
    except ValidationError:  # of another version
        return None
    return None if settings.sources == job.corpus.sources else settings


def recipe_of(job: Job, corpus: PreparedCorpus) -> Job:
    """The job that prepares such a corpus by itself."""
    settings = prepared_from(job, corpus)
    if settings is None:
        return job
    # The order of the text is the job's own.
    named: dict[str, object] = {"shuffle_window": job.corpus.shuffle_window}
    if len(settings.sources) == 1:
        named["source"] = settings.sources[0]
    return job.model_copy(update={"corpus": settings.model_copy(update=named)})


def job_file(job: Job, corpus: PreparedCorpus) -> str:
    """What job.yaml of a run holds: the job, below what the corpus was prepared with where it does not tell."""
    return "".join(f"# {line}\n" for line in _told_of_corpus(job, corpus)) + dump_job(job)


def _told_of_corpus(job: Job, corpus: PreparedCorpus) -> Iterator[str]:
    settings = prepared_from(job, corpus)
    if settings:
        yield "corpus.source had been prepared before, with these settings and not with those of corpus below:"
        yield from yaml.safe_dump(chosen(settings), sort_keys=False, allow_unicode=True, width=116).splitlines()
