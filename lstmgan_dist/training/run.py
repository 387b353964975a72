"""A run is a folder or a URL prefix; everything that acts on a result takes its address and nothing else.

job.yaml        the job as resolved        checkpoints/    see checkpoint.py
corpus.json     where its corpus is        tensorboard/    event files
tokenizer.json  text <-> ids               samples/        texts shown at evaluations
metrics.jsonl   one line a measurement     evaluation/     reports
                                           lease/          who trains it: see lease.py
environment.json   what it was trained with: see environment.py
times.jsonl     when a line was written, and how fast training was
start/          the weights of another run, if the job starts from it: see start.py; or word vectors: see vectors.py
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

from lstmgan_dist.addresses import WITHOUT_FILE, is_remote, path_of, scheme_of
from lstmgan_dist.config import Changes, Job, changes, parse_job
from lstmgan_dist.corpus.manifest import PreparedCorpus, is_prepared, open_corpus
from lstmgan_dist.corpus.order import SentenceOrder, TextOrder
from lstmgan_dist.corpus.prepare import PreparationProgress, content_key, prepare
from lstmgan_dist.corpus.settings import Corpus
from lstmgan_dist.corpus.sources import CACHE
from lstmgan_dist.corpus.stream import batches_per_epoch
from lstmgan_dist.corpus.tokenizer import Tokenizer
from lstmgan_dist.errors import UserError
from lstmgan_dist.evaluation.synthetic import is_synthetic, prepare_synthetic, synthetic_key
from lstmgan_dist.runtime.tasks import LOCAL_THREADS, ReadingWorkers, Watch
from lstmgan_dist.storage import BY_ENVIRONMENT, WRITE_PROBE, Folder, matching_files
from lstmgan_dist.storage_settings import Storage
from lstmgan_dist.training import lease
from lstmgan_dist.training.checkpoint import Checkpoint, Checkpoints
from lstmgan_dist.training.clock import steps_of
from lstmgan_dist.training.progress import Progress
from lstmgan_dist.training.recipe import job_file
from lstmgan_dist.training.vectors import write_learnt

JOB = "job.yaml"
EVALUATION, VERDICT = "evaluation", "verdict.json"
CORPUS = "corpus.json"
TOKENIZER = "tokenizer.json"
START = "start"


class Run:
    """A run that exists: its job has been written to its folder.

    lease_number: the number of the lease of the training which writes to it; None where nothing is written.
    """

    def __init__(self, folder: Folder, job: Job, *, lease_number: int | None = None) -> None:
        self.folder = folder
        self.job = job
        self._lease_number = lease_number
        self.checkpoints = Checkpoints(folder / "checkpoints", keep=job.checkpoint.keep)

    @classmethod
    def open(cls, url: str, storage: Storage = BY_ENVIRONMENT) -> Run:
        """The run at an address; once it is found, its storage is given as much time as its job says.

        Raises:
            UserError: if there is none.
        """
        folder = Folder(url, storage)
        if not folder.exists(JOB):
            raise UserError(f"{url} is not a run: it has no {JOB}. A run is the folder that lstmgan train writes.")
        job = parse_job(folder.read(JOB).decode(), name=folder.path(JOB))
        # Where it is reached is this machine's to say: a cluster may have other addresses and profiles.
        patient = storage.model_copy(update=job.storage.model_dump(include={"timeout", "patience"}))
        return cls(Folder(url, patient), job)

    @classmethod
    def create_or_resume(
        cls,
        url: str,
        job: Job,
        corpus: PreparedCorpus,
        *,
        lease_number: int | None = None,
        say: Callable[[str], None] = lambda sentence: None,
        write_start: Callable[[Folder], None] | None = None,
        watch: Watch = lambda items, total, description: iter(items),
    ) -> Run:
        """The run of a job at an address: a new one, or the one there if it is of the same text and job.

        A job that only extends that of the run takes its place, and `say` is told the differences. write_start: writes
        what a new run starts from. watch: shows how word vectors are learnt, if it starts from those of its text.

        Raises:
            UserError: if the folder holds something else, with the differences.
        """
        check_fit(job, corpus)
        check_place(url, job.storage)
        folder = Folder(url, job.storage)
        has_run = folder.exists(JOB)
        # Where no checkpoint was ever begun there is nothing to resume, and a corrected job may start over.
        if not has_run or not Checkpoints(folder / "checkpoints", keep=1).steps():
            # The job comes last: a folder with a job has a corpus and a tokenizer.
            if write_start:
                write_start(folder)
            if job.generator.learns_vectors:
                write_learnt(folder / START, job, corpus, watch)
            folder.write(TOKENIZER, corpus.tokenizer.to_json())
            record: dict[str, Any] = {
                "url": _relative(corpus.folder.url, folder.url),
                "fingerprint": corpus.fingerprint,
            }
            if corpus.max_context:
                record["max_context"] = corpus.max_context
            folder.write(CORPUS, json.dumps(record, indent=1).encode())
            folder.write(JOB, job_file(job, corpus).encode())
            return cls(folder, job, lease_number=lease_number)
        run = cls.open(url, job.storage)
        found = changes(run.job, job)
        if found.others:
            raise UserError(
                f"{url} is a run of a different job, so it cannot be resumed with this one: {'; '.join(found.others)}. "
                "Choose another folder with --run, or restore the job."
            )
        check_not_shortened(run, job, corpus)
        fingerprint = run._corpus_record()["fingerprint"]
        if fingerprint != corpus.fingerprint:
            raise UserError(
                f"{url} was trained on a corpus with fingerprint {fingerprint[:12]}, but {corpus.folder} has "
                f"{corpus.fingerprint[:12]}: the text has changed. Choose another --run, or restore the text."
            )
        if found.extending:
            folder.write(JOB, job_file(job, corpus).encode())
            folder.delete(f"{EVALUATION}/{VERDICT}")  # of weights that are no longer the last
            for sentence in what_extends(found):
                say(sentence)
        # The new job, for it may say otherwise how the storage is reached.
        return cls(folder, job, lease_number=lease_number)

    def check_lease(self) -> None:
        """See that nobody else has taken the run meanwhile.

        Raises:
            UserError: if somebody has.
        """
        if self._lease_number is not None:
            lease.check(self.folder, self._lease_number)

    @property
    def storage(self) -> Storage:
        """How its corpus is reached, and what is made of it: as its job says, or as a run behind a URL was itself."""
        return self.folder.storage if is_remote(self.folder.url) else self.job.storage

    def _corpus_record(self) -> dict[str, Any]:
        return json.loads(self.folder.read(CORPUS))

    @cached_property
    def max_context(self) -> int:
        """Tokens of the longest context of its texts, end mark included; 0 where they have none."""
        return self._corpus_record().get("max_context", 0)

    @cached_property
    def answers(self) -> bool:
        """Whether its texts answer others, which are read before them, and do not only have labels."""
        return self.max_context > (2 if self.tokenizer().labels else 0)

    @property
    def corpus_fingerprint(self) -> str:
        """That of the corpus that the run was trained on, wherever it is now."""
        return self._corpus_record()["fingerprint"]

    def corpus_url(self) -> str:
        """Where the run's corpus is."""
        url = self._corpus_record()["url"]
        if is_remote(url) or is_remote(self.folder.url):
            return url
        return posixpath.normpath(posixpath.join(path_of(self.folder.url), path_of(url)))

    def corpus(self) -> PreparedCorpus:
        """The corpus that the run was trained on.

        Raises:
            UserError: if it has been moved or changed.
        """
        corpus, trained_on = open_corpus(Folder(self.corpus_url(), self.storage)), self.corpus_fingerprint
        if corpus.fingerprint != trained_on:
            raise UserError(
                f"{corpus.folder} has fingerprint {corpus.fingerprint[:12]}, but {self.folder} was trained on "
                f"{trained_on[:12]}: prepare the original text again."
            )
        return corpus

    def tokenizer(self) -> Tokenizer:
        """The run's tokenizer."""
        return Tokenizer.from_json(self.folder.read(TOKENIZER))

    def checkpoint(self, which: str, *, say: Callable[[str], None]) -> Checkpoint:
        """The checkpoint called `best`, `latest`, `likelihood` or by its step; `say` is told which one that is.

        best: of the last phase that has begun, by what the job says is best. likelihood: what the game started from.

        Raises:
            UserError: if there is none.
        """
        if which.isdigit():
            return self._told(self.checkpoints.open(int(which)), "", say)
        if which not in ("best", "latest", "likelihood"):
            raise UserError(f"--checkpoint {which}: write best, latest, likelihood or the number of a step.")
        latest = self.checkpoints.newest(warn=say)
        if latest is None:
            damaged = len(self.checkpoints.steps())
            if damaged:
                raise UserError(
                    f"None of the {damaged} checkpoints of {self.folder} can be used: restore them, or train it anew."
                )
            raise UserError(f"{self.folder} has no checkpoint yet: let lstmgan train run until the first one.")
        progress = Progress.of(latest)
        start, best = progress.likelihood_end(self.job.phases), progress.best_of_last_phase
        if which == "likelihood":
            if start is None:
                raise UserError(f"{self.folder} has no game that has begun, so no start of one: try --checkpoint best.")
            return self._told(self.checkpoints.open(start), ", from which the game starts", say)
        if which == "latest":
            return self._told(latest, ", the latest", say)
        if self.job.checkpoint.best_by == "frontier" and start is not None:
            verdict = self._chosen_by_verdict()
            if verdict is None:
                return self._told(self.checkpoints.open(start), ", the best until a verdict says otherwise", say)
            return self._told(self.checkpoints.open(verdict), ", the best by the judges' verdict", say)
        if best is None:
            return self._told(latest, ", the latest, for this phase has not been evaluated yet", say)
        return self._told(self.checkpoints.open(best.step), f", the best of this phase: {best}", say)

    def _told(self, checkpoint: Checkpoint, what: str, say: Callable[[str], None]) -> Checkpoint:
        phase = Progress.of(checkpoint).last_phase
        which = f"phase {phase + 1} of {len(self.job.phases)} ({self.job.phases[phase].kind})"
        say(f"{self.folder.name}: step {checkpoint.step}, of {which}{what}.")
        return checkpoint

    def _chosen_by_verdict(self) -> int | None:
        evaluation = self.folder / EVALUATION
        return json.loads(evaluation.read(VERDICT))["step"] if evaluation.exists(VERDICT) else None


def check_place(url: str, storage: Storage) -> None:
    """See that a folder is a run's or can become one.

    Raises:
        UserError: if it holds something else.
    """
    folder = Folder(url, storage)
    if not folder.exists(JOB) and set(folder.list()) - {WRITE_PROBE, lease.LEASE}:
        raise UserError(f"{url} is not empty and holds no run: choose another folder with --run.")


def what_is_there(url: str, job: Job) -> str:
    """What a job would find at an address."""
    folder = Folder(url, job.storage)
    if not folder.exists(JOB):
        return f"{url} is new."
    run = Run.open(url, job.storage)
    found = changes(run.job, job)
    if found.others:
        return f"{url} is a run of a different job: {'; '.join(found.others)}."
    steps = run.checkpoints.steps()
    of_job = (
        f"{url} is a run of this job, with {f'a checkpoint of step {steps[-1]}' if steps else 'no checkpoint yet'}."
    )
    return "\n".join((of_job, *what_extends(found)))


def what_extends(found: Changes) -> Iterator[str]:
    """Sentences on how a job extends a run, and where the outcome is not that of the job in one go."""
    if found.extending:
        yield f"The run is extended: {'; '.join(found.extending)}."
    for reason in found.inexact:
        yield f"Its end will not be that of a run in one go, for {reason}."


def check_not_shortened(run: Run, job: Job, corpus: PreparedCorpus) -> None:
    """See that what the run has phases for it has as many steps for.

    Raises:
        UserError: if the last phase of the run is to be shorter than it was.
    """
    last, batches = len(run.job.phases) - 1, batches_per_epoch(corpus, job.batch.size)
    before, after = (steps_of(one.phases[last], batches) for one in (run.job, job))
    if after < before:
        raise UserError(
            f"{run.folder} has {before:,} steps in phase {last + 1}, and a run can only be extended: {after:,} are "
            "fewer. Choose another folder with --run, or restore the job."
        )


def check_fit(job: Job, corpus: PreparedCorpus) -> None:
    """See that the job can work on this text, before anything is written or started.

    Raises:
        UserError: if the corpus has another layout or longer texts, is too small, or lacks what the prompt holds.
    """
    if corpus.layout != job.corpus.layout:
        raise UserError(
            f"{corpus.folder} was prepared with layout {corpus.layout}, but corpus.layout is {job.corpus.layout}: "
            "prepare it again, or change the job."
        )
    longest = job.corpus.max_length
    if corpus.max_length > longest or (corpus.layout == "continuous" and corpus.max_length != longest):
        raise UserError(
            f"{corpus.folder} was prepared with max_length {corpus.max_length}, but corpus.max_length is {longest}: "
            f"set corpus.max_length to {corpus.max_length}, or prepare it again."
        )
    split, batch = corpus.splits["train"], job.batch
    if corpus.layout == "sentences":
        SentenceOrder(split.block_rows, lanes=batch.lanes, seed=job.seed, shuffle_window=job.corpus.shuffle_window)
    else:
        TextOrder(split.tokens, rows=batch.size, length=corpus.max_length)
    if corpus.max_context and job.evaluate.prompt:
        raise UserError(
            f"evaluate.prompt {job.evaluate.prompt!r} has no use, for every text of {corpus.folder} has a label or "
            "answers another: leave it out."
        )
    if job.discriminator and job.discriminator.tells_labels and not corpus.tokenizer.labels:
        raise UserError(
            f"discriminator.kind {job.discriminator.kind} tells labels of texts apart, and those of {corpus.folder} "
            "have none: set corpus.label_column or corpus.label_by, or choose another kind."
        )
    if job.evaluate.prompt:
        corpus.tokenizer.views.check_here()
    try:
        corpus.tokenizer.encode_prompt(job.evaluate.prompt, on_unknown="error")
    except UserError as error:
        raise UserError(
            f"evaluate.prompt {job.evaluate.prompt!r} holds what the vocabulary of this text lacks: "
            "choose another, for example with --set evaluate.prompt=''."
        ) from error
    vectors = job.generator.vectors_file
    if vectors and not matching_files(vectors, job.storage):
        raise UserError(f"generator.pretrained_vectors {vectors} matches no file: check the path.")


def prepared_corpus(
    settings: Corpus,
    run_url: str,
    report: Callable[[PreparationProgress], None],
    storage: Storage = BY_ENVIRONMENT,
    *,
    tokenizer: Tokenizer | None = None,
    readers: Callable[[], AbstractContextManager[ReadingWorkers]] = lambda: nullcontext(LOCAL_THREADS),
) -> PreparedCorpus:
    """The job's corpus: the prepared one that the source names, or one made now, in a cache beside the run.

    tokenizer: the vocabulary of a corpus that is made now; None: that of its text. readers: gives those who make it.
    """
    only = settings.sources[0] if len(settings.sources) == 1 else None
    if only and scheme_of(only) not in WITHOUT_FILE:
        folder = Folder(only, storage)
        if is_prepared(folder):
            return open_corpus(folder)
    caches = Folder(posixpath.join(posixpath.dirname(Folder(run_url, storage).url) or ".", CACHE), storage)
    if only and is_synthetic(only) and not settings.heldout_sources:
        folder = caches / synthetic_key(only)
        return open_corpus(folder) if is_prepared(folder) else prepare_synthetic(only, folder, report=report)
    folder = caches / content_key(settings, storage, tokenizer=tokenizer)
    if is_prepared(folder):
        return open_corpus(folder)
    with readers() as workers:
        return prepare(settings, folder, report=report, tokenizer=tokenizer, workers=workers)


def start_of(folder: Folder) -> dict[str, bytes]:
    """The weights that a run starts with because its job says so, by network; none of one that starts anew."""
    names = (folder / START).list()
    return {name.removesuffix(".safetensors"): (folder / START).read(name) for name in names}


def _relative(url: str, start: str) -> str:
    """A local corpus is named from its run, so that both can be moved together."""
    return url if is_remote(url) or is_remote(start) else posixpath.relpath(path_of(url), path_of(start))
