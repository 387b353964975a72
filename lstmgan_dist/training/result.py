"""What a finished or running run gives: text, and figures of its generator."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, TypeVar

import torch

from lstmgan_dist.corpus.stream import heldout_batches
from lstmgan_dist.corpus.tokenizer import Tokenizer
from lstmgan_dist.errors import UserError
from lstmgan_dist.evaluation.likelihood import heldout_likelihood
from lstmgan_dist.evaluation.ngrams import distinct
from lstmgan_dist.evaluation.sampling import Sampling, blocks_of, join, rows, sample
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.runtime.local import LocalRuntime, choose_device
from lstmgan_dist.training.game import build_generator
from lstmgan_dist.training.review import beginning, never_drawn, sample_length
from lstmgan_dist.training.run import Run

# Parallel rows in which a continuous held-out text is read: few, for each starts without knowing what came before.
_CONTINUOUS_ROWS = 8
_SENTENCE_ROWS = 128

Item = TypeVar("Item")


@dataclass(frozen=True)
class Result:
    """A run's generator at one checkpoint, ready to use on a device."""

    run: Run
    step: int
    generator: Generator
    tokenizer: Tokenizer
    device: torch.device


def load_result(
    url: str, checkpoint: str, *, device: Literal["auto", "cpu", "cuda"], warn: Callable[[str], None]
) -> Result:
    """The generator of the run at `url`, at the checkpoint `best`, `latest` or a step's number.

    Raises:
        UserError: if there is no such run or checkpoint.
    """
    run = Run.open(url)
    chosen = run.checkpoint(checkpoint, warn=warn)
    tokenizer = run.tokenizer()
    generator = build_generator(run.job, tokenizer.vocabulary_size)
    generator.load_state_dict(chosen.load("generator"))
    on = choose_device(device)
    return Result(run, chosen.step, generator.to(on), tokenizer, on)


def generate(
    result: Result,
    *,
    count: int,
    prompt: str,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    seed: int,
    max_length: int | None,
    on_unknown: Literal["error", "skip", "replace"],
) -> Iterator[str]:
    """`count` texts; text number n depends on the seed and n alone. `<unk>` is never drawn.

    Raises:
        UserError: if the prompt holds what the vocabulary lacks, or fills the sentence already.
    """
    job, tokenizer = result.run.job, result.tokenizer
    tokens = tokenizer.encode(prompt, on_unknown=on_unknown)
    length = max_length or sample_length(job)
    if job.corpus.layout == "sentences":
        length -= len(tokens)
        if length < 1:
            raise UserError(
                f"The prompt has {len(tokens)} tokens, which leaves no room within {length + len(tokens)}: "
                "shorten it, or raise --max-length."
            )
    unknown = () if tokenizer.unknown_id is None else (tokenizer.unknown_id,)
    sampling = Sampling(
        length=length,
        prompt=beginning(job, tokens),
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        suppress=(*never_drawn(job), *unknown),
    )
    for block in sample(result.generator, sampling, count=count, seed=seed, device=result.device):
        for drawn in rows(block):
            yield tokenizer.decode([*tokens, *drawn])


@dataclass(frozen=True)
class Evaluation:
    """Held-out likelihood and diversity of one checkpoint."""

    run: str
    checkpoint: int
    heldout_tokens: int
    nll_per_token: float
    perplexity: float
    bits_per_character: float
    samples: int
    distinct_1: float | None = None
    distinct_2: float | None = None
    distinct_3: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


class Watch(Protocol):
    """Passes items on, and shows how many of `total` have gone by."""

    def __call__(self, items: Iterable[Item], total: int, description: str) -> Iterator[Item]:
        """The items."""
        ...


def evaluate(result: Result, *, samples: int, seed: int, watch: Watch) -> Evaluation:
    """Score all held-out text of the run's corpus, unpadded, and count n-grams of `samples` texts."""
    job, corpus = result.run.job, result.run.corpus()
    continuous = job.corpus.layout == "continuous"
    split = corpus.splits["heldout"]
    batches = heldout_batches(
        corpus,
        batch_size=_CONTINUOUS_ROWS if continuous else _SENTENCE_ROWS,
        most_sequences=sys.maxsize,
        rank=0,
        world_size=1,
    )
    per_batch = _CONTINUOUS_ROWS * corpus.max_length if continuous else split.tokens / split.rows * _SENTENCE_ROWS
    batches = watch(batches, math.ceil(split.tokens / per_batch), "held-out text")
    likelihood = heldout_likelihood(result.generator, batches, LocalRuntime(result.device))
    diversity = {}
    if not continuous:
        sampling = Sampling(job.corpus.max_length)
        blocks = sample(result.generator, sampling, count=samples, seed=seed, device=result.device)
        drawn = join(list(watch(blocks, blocks_of(samples), "samples")))
        diversity = {f"distinct_{n}": distinct(drawn.tokens_BT, drawn.lengths_B, n) for n in (1, 2, 3)}
    return Evaluation(
        run=result.run.folder.url,
        checkpoint=result.step,
        heldout_tokens=likelihood.tokens,
        nll_per_token=likelihood.nll,
        perplexity=likelihood.perplexity,
        bits_per_character=likelihood.bits_per_character(split.characters / split.tokens),
        samples=0 if continuous else samples,
        **diversity,
    )
