"""What a person should know before a job is trained: what is doubtful about its text, and what it will allow."""

from __future__ import annotations

from collections.abc import Iterator

from lstmgan_dist.addresses import WITHOUT_FILE, scheme_of
from lstmgan_dist.config import Job
from lstmgan_dist.corpus.doubts import doubts
from lstmgan_dist.corpus.manifest import PreparedCorpus
from lstmgan_dist.corpus.settings import Corpus, TokenizerSettings
from lstmgan_dist.evaluation.doubts import doubt_about_judges
from lstmgan_dist.nested import leaves
from lstmgan_dist.storage import Folder
from lstmgan_dist.training.recipe import prepared_from


def doubts_about(job: Job, corpus: PreparedCorpus) -> Iterator[str]:
    """Sentences, for a job that fits its text."""
    yield from doubts(corpus)
    overridden = list(_overridden(job, corpus))
    if overridden:
        yield (
            f"{corpus.folder} was prepared already, so these settings of the job have no effect: "
            f"{'; '.join(overridden)}. Prepare the text anew to change them."
        )
    if any(phase.plays for phase in job.phases):
        is_prepared = prepared_from(job, corpus) is not None
        doubt = doubt_about_judges(corpus, job.evaluate.heldout_sequences, is_prepared=is_prepared)
        if doubt:
            yield doubt


def _overridden(job: Job, corpus: PreparedCorpus) -> Iterator[str]:
    """What the job says of its text and the corpus, which it names as its source, was made otherwise."""
    source, *others = job.corpus.sources
    if others or scheme_of(source) in WITHOUT_FILE or corpus.folder.url != Folder(source).url:
        return
    made = leaves(corpus.made.get("settings", {}))
    wanted = job.corpus.model_dump(mode="json", exclude_unset=True, exclude=_OF_THE_JOB)
    for key, value in leaves(wanted).items():
        if key in made and made[key] != value:
            yield f"corpus.{key}: {value} (it was {made[key]})"
        elif value and key in _WRITTEN_IF_SET and key not in made:
            yield f"corpus.{key}: {value} (it was not set)"


# A corpus that was made without them does not tell of them.
_WRITTEN_IF_SET = {
    *(f"tokenizer.{name}" for name, field in TokenizerSettings.model_fields.items() if field.exclude_if),
    *(name for name, field in Corpus.model_fields.items() if field.exclude_if),
}

# What is the job's own, or checked elsewhere.
_OF_THE_JOB = {"source", "heldout_source", "shuffle_window", "layout", "max_length"}
