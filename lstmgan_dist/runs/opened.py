"""A run as Python programs and notebooks use it, and so do the commands that take one.

Arguments are those of the commands, under the same names, and their defaults stand here. Nothing is printed: sentences
go to `say`, and progress to `watch`. What is slow to import waits until a run is opened, so that commands can describe
their options without.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, overload

from lstmgan_dist import config
from lstmgan_dist.corpus.settings import Corpus
from lstmgan_dist.errors import UserError
from lstmgan_dist.runs.preparation import Paths, names_of
from lstmgan_dist.runs.workers import Pool, Sharing, for_the_work, quiet
from lstmgan_dist.runtime.tasks import IN_PROCESS, unwatched

if TYPE_CHECKING:
    import numpy as np
    import torch

    from lstmgan_dist.config import Job
    from lstmgan_dist.corpus.manifest import PreparedCorpus
    from lstmgan_dist.corpus.records import Table
    from lstmgan_dist.corpus.texts import Format
    from lstmgan_dist.corpus.tokenizer import OnUnknown, Tokenizer
    from lstmgan_dist.models.discriminator import Discriminator
    from lstmgan_dist.models.generator import Generator
    from lstmgan_dist.runs.brief import BriefFigures
    from lstmgan_dist.runs.generation import Request, Written
    from lstmgan_dist.runs.result import Result
    from lstmgan_dist.runs.scoring import Score, Scorer
    from lstmgan_dist.runtime.local import DeviceChoice
    from lstmgan_dist.runtime.tasks import Watch

# Texts that are drawn to be measured.
SAMPLES = 10_000
# What arguments of `generate` are at least.
_LEAST = {"count": 0, "temperature": 0, "top_k": 1, "top_p": 0, "seed": 0, "max_length": 1}


def open(
    run: str | os.PathLike[str],
    checkpoint: str | int = "best",
    device: DeviceChoice = "auto",
    *,
    say: Callable[[str], None] = quiet,
) -> OpenedRun:
    """The run in a folder or behind a URL, at one of its checkpoints.

    Args:
        run: what `lstmgan train` has written, or is writing.
        checkpoint: `best` (of the last phase, by the job's `checkpoint.best_by`), `latest`, `likelihood` (what the game
            started from), or the number of a step.
        device: `auto` takes a GPU where there is one.
        say: is told which checkpoint that is, such as `print`.

    Raises:
        UserError: if there is no such run or checkpoint.

    >>> run = lstmgan.open("runs/tiny")
    >>> lstmgan.open("runs/tiny", "likelihood", say=print).step
    tiny: step 20, of phase 1 of 3 (likelihood), from which the game starts.
    20
    """
    from lstmgan_dist.runs.result import load_result

    return OpenedRun(load_result(os.fspath(run), str(checkpoint), device=device, say=say))


class OpenedRun:
    """A run at one of its checkpoints, which `lstmgan.open` gives: it writes, scores, embeds and is measured.

    >>> run = lstmgan.open("runs/tiny", device="cpu")
    >>> run
    <run 'runs/tiny' at step 28 on cpu>
    >>> run.job.generator.hidden, run.tokenizer.kind
    (16, 'word')
    """

    def __init__(self, result: Result) -> None:
        self._result = result

    def __repr__(self) -> str:
        return f"<run {self.url!r} at step {self.step} on {self.device}>"

    # --- what it consists of ---

    @property
    def url(self) -> str:
        """Its folder or URL, as it was opened."""
        return self._result.run.folder.url

    @property
    def job(self) -> Job:
        """What was trained, as resolved: every setting."""
        return self._result.run.job

    @property
    def step(self) -> int:
        """The step of the checkpoint."""
        return self._result.step

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._result.device

    @property
    def tokenizer(self) -> Tokenizer:
        """Text to token ids and back: `encode`, `decode`, `tokens`, `vocabulary_size`; `library` is Hugging Face's."""
        return self._result.tokenizer

    @property
    def generator(self) -> Generator:
        """The language model, a `torch.nn.Module`.

        `generator(inputs_BT)` gives features and a state, and `generator.logits(features)` of which token comes next. A
        sentence starts behind `<end>`, which is token 0.

        >>> import torch
        >>> run = lstmgan.open("runs/tiny")
        >>> ids = torch.tensor([[0, *run.tokenizer.encode("the teacher")]], device=run.device)
        >>> features, state = run.generator(ids)
        >>> run.generator.logits(features).shape == (1, 3, run.tokenizer.vocabulary_size)
        True
        """
        return self._result.generator

    @property
    def discriminator(self) -> Discriminator | None:
        """The discriminator, a `torch.nn.Module`; None if none has learnt anything by this checkpoint."""
        return self._scorer.critic[0] if self._scorer.critic else None

    @property
    def corpus(self) -> PreparedCorpus:
        """The corpus that it was trained on.

        Raises:
            UserError: if it has been moved or changed.
        """
        return self._result.corpus

    @property
    def metrics(self) -> Table:
        """What was measured in training, up to now: a row for each line of metrics.jsonl, null where it has no figure.

        `.to_pandas()` makes a data frame of it, where pandas is installed.

        >>> table = lstmgan.open("runs/tiny").metrics
        >>> [row for row in table.select(["step", "heldout/nll"]).to_pylist() if row["heldout/nll"]][0]["step"]
        10
        """
        from lstmgan_dist.corpus.records import table_of
        from lstmgan_dist.training.run_log import read_metrics

        return table_of(read_metrics(self._result.run.folder), whole=("step", "phase"))

    # --- writing ---

    def generate(
        self,
        count: int = 10,
        *,
        prompt: str | Sequence[str] = "",
        label: str | Sequence[str] | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 1,
        max_length: int | None = None,
        unknown: OnUnknown = "error",
        no_unknown: bool = False,
    ) -> list[str]:
        """New texts. The same seed gives the same texts, with as many threads on a like machine, and more add to them.

        Args:
            count: how many, of each prompt.
            prompt: text that every one continues, or answers; or a list of some, which are taken in turn.
            label: of texts that have one, or several by turns; all labels by turns without.
            temperature: below 1 safer, above 1 bolder; 0: the likeliest token always.
            top_k: draw from the k likeliest tokens only.
            top_p: draw from the fewest tokens whose probabilities reach p.
            seed: what is drawn follows from it.
            max_length: most tokens of a text; as the job says without.
            unknown: what to do with unknown text in the prompt: `error`, `skip` or `replace`.
            no_unknown: never draw `<unk>`; figures of `evaluate` are of text with it.

        Raises:
            UserError: if the prompt holds what the vocabulary lacks, or fills the sentence already.

        >>> run = lstmgan.open("runs/tiny")
        >>> three = run.generate(3, temperature=0.8, seed=7)
        >>> run.generate(2, temperature=0.8, seed=7) == three[:2]
        True
        >>> all(text.startswith("the teacher") for text in run.generate(prompt="the teacher"))
        True
        """
        request = self._request(
            count=count,
            prompt=prompt,
            label=label,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            max_length=max_length,
            unknown=unknown,
            no_unknown=no_unknown,
        )
        return list(self._texts(request, None))

    def stream(self, *, workers: Sharing | None = None, **asked: Any) -> Iterator[str]:
        """The texts of `generate` one after the other as they are drawn, some thousand at a time.

        workers: who draws them: see `lstmgan.workers`; this process without. asked: arguments of `generate`.

        >>> run = lstmgan.open("runs/tiny")
        >>> list(run.stream(count=3, seed=7)) == run.generate(count=3, seed=7)
        True
        """
        return self._texts(self._request(**asked), workers)

    def write(
        self,
        out: str | os.PathLike[str],
        *,
        shards: Format = "parquet",
        workers: Sharing | None = None,
        watch: Watch = unwatched,
        **asked: Any,
    ) -> Written:
        """Write the texts of `generate` to a file or a folder.

        Args:
            out: File or URL: .txt, .jsonl, .parquet, .arrow, the first two also with .gz. Without a suffix, or with
                / at the end, a folder of shards; the same call completes one that was stopped.
            shards: Format of shards: `text`, `json`, `parquet` or `arrow`.
            workers: who draws them, and writes shards: see `lstmgan.workers`; this process without.
            watch: shows progress: passes items on.
            asked: arguments of `generate`.

        Raises:
            UserError: if the file cannot be of that name, or the folder holds something else.

        >>> run = lstmgan.open("runs/tiny")
        >>> run.write("texts.jsonl", count=1000, seed=2).count
        1000
        """
        from lstmgan_dist.runs.generation import check_out, write

        check_out(os.fspath(out))
        request = self._request(**asked)
        with self._shared(workers) as pool:
            asked_of = replace(request, result=self._result_for(pool))
            return write(asked_of, os.fspath(out), shards=shards, workers=pool.workers, watch=watch)

    def _request(self, **asked: Any) -> Request:
        from lstmgan_dist.runs.generation import request_texts

        given = inspect.signature(self.generate).bind(**asked)
        given.apply_defaults()
        for name, least in _LEAST.items():
            value = given.arguments[name]
            if value is not None and not value >= least:
                raise UserError(f"{name}: {value!r} will not do: it must be {least} or more.")
        named = {"unknown": "on_unknown", "no_unknown": "without_unknown"}
        return request_texts(self._result, **{named.get(name, name): value for name, value in given.arguments.items()})

    def _texts(self, request: Request, workers: Sharing | None) -> Iterator[str]:
        from lstmgan_dist.runs.generation import generate

        with self._shared(workers) as pool:
            for texts in generate(replace(request, result=self._result_for(pool)), pool.workers):
                yield from texts

    def _shared(self, workers: Sharing | None) -> AbstractContextManager[Pool]:
        return for_the_work(workers, self._result.device_of_others)

    def _result_for(self, pool: Pool) -> Result:
        """The result as those take it who share the work."""
        return self._result if pool.workers is IN_PROCESS else replace(self._result, device_of_others=pool.device)

    # --- reading ---

    @overload
    def log_likelihoods(
        self, texts: Iterable[str], *, prompt: str = ..., label: str | None = ..., per_token: Literal[False] = ...
    ) -> np.ndarray: ...

    @overload
    def log_likelihoods(
        self, texts: Iterable[str], *, prompt: str = ..., label: str | None = ..., per_token: Literal[True]
    ) -> list[np.ndarray]: ...

    def log_likelihoods(
        self, texts: Iterable[str], *, prompt: str = "", label: str | None = None, per_token: bool = False
    ) -> np.ndarray | list[np.ndarray]:
        """The log-probability of each text in nats, float64 (N,): of its tokens behind each other, and without dropout.

        A sentence starts anew and its end mark is one of its tokens; text of the layout `continuous` does not end. What
        the vocabulary lacks is `<unk>`, and counts as that. Of a generator with latent noise it is a lower bound, by
        one draw for each number of a text.

        Args:
            texts: at temperature 1, whatever they were drawn at.
            prompt: text that each of them continues, or answers, which is given and not scored.
            label: of the texts, of a run whose texts have labels.
            per_token: rather one float32 array for each text, of its tokens.

        Raises:
            UserError: if a text of the layout `continuous` is empty, or one is no text.

        >>> run = lstmgan.open("runs/tiny")
        >>> texts = ["the teacher sleeps .", "teacher the . sleeps"]
        >>> good, bad = run.log_likelihoods(texts)
        >>> bool(bad < good < 0)
        True
        >>> [len(nats) for nats in run.log_likelihoods(texts, per_token=True)]
        [5, 5]
        """
        given = _listed(texts)
        opening = self._scorer.opening(prompt, label)
        return self._scorer.log_likelihoods(given, opening) if per_token else self._scorer.sums(given, opening)

    def score(
        self,
        texts: Iterable[str],
        *,
        prompt: str = "",
        label: str | None = None,
        tokens: bool = False,
        watch: Watch = unwatched,
    ) -> list[Score]:
        """What the networks say of each text: its log-probability, and how real it looks to the discriminator.

        Args:
            texts, prompt, label: as of `log_likelihoods`; the discriminator sees the text, its label and what it
                answers, and no prompt that it continues.
            tokens: say it of every token, too.
            watch: shows progress: passes items on.

        >>> run = lstmgan.open("runs/tiny")
        >>> (score,) = run.score(["the teacher sleeps ."])
        >>> score.tokens, [score.log_likelihood] == run.log_likelihoods([score.text]).tolist()
        (5, True)
        >>> 0 < score.probability_real < 1
        True
        """
        opening = self._scorer.opening(prompt, label)
        return list(self._scorer.scores(_listed(texts), opening, tokens=tokens, watch=watch))

    def embed(self, texts: Iterable[str], *, prompt: str = "", label: str | None = None) -> np.ndarray:
        """A vector for each text, float32 (N, H): the mean over its tokens of the generator's hidden state behind them.

        The hidden state is what the last recurrent layer puts out when it has read the text up to there (an LSTM's h, a
        relational memory's slots), H numbers, without dropout. `<end>` is read before a text, and counts only where
        there is nothing else. A latent vector is zero. prompt, label: read before each text, as of `log_likelihoods`.

        >>> run = lstmgan.open("runs/tiny")
        >>> run.embed(["the teacher sleeps .", "a child sees the garden ."]).shape
        (2, 16)
        """
        return self._scorer.embeddings(_listed(texts), self._scorer.opening(prompt, label))

    def read_texts(
        self,
        files: Paths,
        *,
        column: str | None = None,
        encoding: str = "utf-8",
    ) -> list[str]:
        """The texts of files, each a line or a row, for `score` and the like; empty lines are left out.

        Sentences lose the white space around them. Text that is bad is an error.

        Args:
            files: of the kinds that `prepare` reads.
            column: of texts, where a file has columns; `text` without.
            encoding: of files of text, or `auto`.

        Raises:
            UserError: if a file cannot be read, or holds none.

        >>> run = lstmgan.open("runs/tiny")
        >>> run.write("drawn.parquet", count=5).count, len(run.read_texts("drawn.parquet"))
        (5, 5)
        """
        from lstmgan_dist.corpus.given import read_texts

        names = names_of(files)
        options = {"source": "FILE", "column": "--column", "encoding": "--encoding"}
        given = {"source": names, "layout": self.job.corpus.layout, "column": column, "encoding": encoding}
        settings = config.from_options(Corpus, given, options)
        return read_texts(names, settings, self._result.run.storage)

    @cached_property
    def _scorer(self) -> Scorer:
        from lstmgan_dist.runs.scoring import Scorer

        return Scorer(self._result)

    # --- measuring ---

    def evaluate(
        self,
        samples: int = SAMPLES,
        *,
        workers: Sharing | None = None,
        watch: Watch = unwatched,
        dynamic: bool = False,
    ) -> BriefFigures:
        """The figures of `lstmgan evaluate --brief`: held-out likelihood, and n-grams of samples.

        Args:
            samples: texts to draw.
            workers: who shares the work: see `lstmgan.workers`; this process without.
            watch: shows progress: passes items on.
            dynamic: also say how likely held-out text is while it is learnt (Krause et al. 2018): of one long text.

        Raises:
            UserError: if the corpus has been moved, holds no held-out text, or has no order to learn it in.

        >>> figures = lstmgan.open("runs/tiny").evaluate(samples=100)
        >>> figures.samples, 0 < figures.ngrams["distinct_2"] <= 1
        (100, True)
        """
        from lstmgan_dist.runs.brief import evaluate_briefly

        with self._shared(workers) as pool:
            result = self._result_for(pool)
            return evaluate_briefly(result, samples=samples, seed=1, watch=watch, workers=pool.workers, dynamic=dynamic)


def _listed(texts: Iterable[str]) -> Sequence[str]:
    """Texts in a list; a single one would be taken for its characters."""
    if isinstance(texts, str):
        raise UserError("Texts are given as a list: write [text] for one of them.")
    return list(texts)
