"""Figures of a run's generator that take seconds: held-out likelihood, and n-grams of samples."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from typing import Any

from torch import Tensor

from lstmgan_dist.corpus.stream import Batch, Stream, heldout_batches, read_batches, read_sentences
from lstmgan_dist.errors import UserError
from lstmgan_dist.evaluation.dynamic import DynamicSettings, dynamic_likelihood, gradient_sizes
from lstmgan_dist.evaluation.likelihood import Likelihood, heldout_likelihood
from lstmgan_dist.evaluation.metrics import brief_figures
from lstmgan_dist.evaluation.sampling import Sampling, blocks_of, given_to, join, sample
from lstmgan_dist.evaluation.texts import Texts
from lstmgan_dist.models.drawing import Drawn
from lstmgan_dist.runs.result import Result
from lstmgan_dist.runtime.local import two_threads_or_more
from lstmgan_dist.runtime.tasks import IN_PROCESS, Watch, Workers

# Held-out text is scored in shares that depend on the text alone, and the figures of these are added up in order: which
# worker scored a share does not show, if all have as many threads.
_SENTENCE_ROWS, _SHARE_SENTENCES = 128, 2048
# As many as the papers use.
_TEXYGEN_SENTENCES = _MOST_REFERENCES = 10_000
# Parallel rows in which a continuous held-out text is read: few, for each starts without knowing what came before.
_CONTINUOUS_ROWS, _SHARE_TOKENS = 8, 2**18
# Windows of training text that tell how large gradients are.
_SIZED_WINDOWS = 50


@dataclass(frozen=True)
class BriefFigures:
    """Held-out likelihood, and n-grams of samples, of one checkpoint.

    heldout_unknown_share: tokens of the held-out text that are `<unk>`, 0 to 1. nll_per_token: of held-out text,
    unpadded, end marks included. bits_per_character: None where some tokens are `<unk>`, stems or marks of numbers,
    which do not tell all characters. nll_gen_texygen: what Texygen and its heirs call NLL-gen: of *training* text (at
    most 10,000 sentences), averaged over all positions of texts padded to max_length, padding counted as free. It
    stands here for comparison with papers only. dynamic_nll_per_token, dynamic_bits_per_character: of a generator that
    learns the held-out text while it reads it, see `evaluation/dynamic.py`; None unless it was asked for. ngrams: see
    `brief_figures`. labels: nats per token of held-out text of each label.
    """

    run: str
    checkpoint: int
    heldout_tokens: int
    heldout_unknown_share: float
    nll_per_token: float
    perplexity: float
    bits_per_character: float | None
    samples: int
    nll_gen_texygen: float | None = None
    dynamic_nll_per_token: float | None = None
    dynamic_bits_per_character: float | None = None
    ngrams: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As plain values, those of n-grams among them."""
        values = asdict(self)
        of_labels = {f"nll_per_token_of_{label}": value for label, value in values.pop("labels").items()}
        ngrams = values.pop("ngrams")
        return values | of_labels | ngrams


def evaluate_briefly(
    result: Result, *, samples: int, seed: int, watch: Watch, workers: Workers = IN_PROCESS, dynamic: bool = False
) -> BriefFigures:
    """Score all held-out text of the run's corpus, unpadded, and count n-grams of `samples` texts.

    dynamic: score it once more by a generator that goes on learning from it.

    The figures are the same for any number of workers, if these have as many threads each, on like machines.

    Raises:
        UserError: if the corpus holds no held-out text, or is not one long text that could be learnt on the way.
    """
    job, corpus = result.run.job, result.corpus
    continuous = job.corpus.layout == "continuous"
    split = corpus.splits["heldout"]
    if dynamic and not continuous:
        raise UserError(
            f"--dynamic learns one long text while it reads it, and {result.run.folder} has corpus.layout: sentences, "
            "which have no order: leave it out."
        )
    if not split.tokens:
        raise UserError(f"{corpus.folder} holds no held-out text to evaluate on: prepare one that does.")
    unknown = corpus.made["unknown_tokens"]["heldout"]
    is_hidden = bool(unknown) or corpus.tokenizer.views.hide_characters
    shares = max(1, split.tokens // _SHARE_TOKENS if continuous else -(-split.rows // _SHARE_SENTENCES))
    scored = workers.map_in_order(partial(_score, result, shares), range(shares))
    likelihood, labels = Likelihood.of_nothing(result.generator.labels), corpus.tokenizer.labels
    for part in watch(scored, shares, "held-out text"):
        likelihood += part
    learnt = None
    if dynamic:
        sizes = _sizes(result)
        followed = workers.map_in_order(partial(_follow, result, shares, sizes), range(shares))
        learnt = Likelihood.of_nothing(0)
        for part in watch(followed, shares, "held-out text, learnt on the way"):
            learnt += part
    texygen, ngrams = None, {}
    if not continuous:
        rows = min(corpus.splits["train"].rows, _TEXYGEN_SENTENCES)
        trained_on = workers.map_in_order(partial(_score_training, result), blocks_of(rows, _SHARE_SENTENCES))
        texygen = sum(part.nats for part in trained_on) / (rows * corpus.max_length)
        blocks = blocks_of(samples)
        drawn = workers.map_in_order(partial(_draw, result, Sampling(job.corpus.max_length), seed), blocks)
        texts = Texts.drawn(join(list(watch(drawn, len(blocks), "samples"))))
        references = read_sentences(corpus, "heldout", range(min(split.rows, _MOST_REFERENCES)))
        ngrams = brief_figures(texts, Texts.encoded(references))
    return BriefFigures(
        run=result.run.folder.url,
        checkpoint=result.step,
        heldout_tokens=likelihood.tokens,
        heldout_unknown_share=unknown / split.tokens,
        nll_per_token=likelihood.nll,
        perplexity=likelihood.perplexity,
        bits_per_character=None if is_hidden else likelihood.bits_per_character(split.characters / split.tokens),
        dynamic_nll_per_token=learnt and learnt.nll,
        dynamic_bits_per_character=(
            learnt.bits_per_character(split.characters / split.tokens) if learnt and not is_hidden else None
        ),
        samples=0 if continuous else samples,
        nll_gen_texygen=texygen,
        ngrams=ngrams,
        labels={label: own.nll for label, own in zip(labels, likelihood.of_labels, strict=True) if own.tokens},
    )


def _heldout_share(result: Result, shares: int, share: int) -> Iterator[Batch]:
    continuous = result.corpus.layout == "continuous"
    return heldout_batches(
        result.corpus,
        batch_size=_CONTINUOUS_ROWS * shares if continuous else _SENTENCE_ROWS,
        most_sequences=sys.maxsize,
        share=share,
        shares=shares,
    )


def _score(result: Result, shares: int, share: int) -> Likelihood:
    """The likelihood of one share of the held-out text."""
    with two_threads_or_more():
        return heldout_likelihood(result.generator, _heldout_share(result, shares, share), result.device)


def _sizes(result: Result) -> list[Tensor]:
    """How large the gradients of each weight are on training text, on the CPU."""
    job, corpus = result.run.job, result.corpus
    lanes = job.batch.lanes
    stream = Stream(
        corpus,
        "train",
        batch_size=job.batch.size,
        lanes=[range(lanes)],
        total_lanes=lanes,
        seed=job.seed,
        shuffle_window=job.corpus.shuffle_window,
    )
    with two_threads_or_more(), stream:
        batches = (batch.to(result.device) for (batch,) in islice(stream, min(_SIZED_WINDOWS, stream.steps_per_epoch)))
        return [size.cpu() for size in gradient_sizes(result.generator, batches, DynamicSettings())]


def _follow(result: Result, shares: int, sizes: list[Tensor], share: int) -> Likelihood:
    """The likelihood of one share of the held-out text by a generator that learns it."""
    batches = (batch.to(result.device) for batch in _heldout_share(result, shares, share))
    sizes = [size.to(result.device) for size in sizes]
    with two_threads_or_more():
        return dynamic_likelihood(result.generator, batches, sizes, DynamicSettings())


def _score_training(result: Result, rows: range) -> Likelihood:
    """The likelihood of these training sentences."""
    batches = read_batches(result.corpus, "train", rows, batch_size=_SENTENCE_ROWS)
    with two_threads_or_more():
        return heldout_likelihood(result.generator, batches, result.device)


def _draw(result: Result, sampling: Sampling, seed: int, numbers: range) -> Drawn:
    """The texts of these numbers, on the CPU."""
    with two_threads_or_more():
        blocks = sample(
            result.generator,
            sampling,
            count=len(numbers),
            seed=seed,
            device=result.device,
            first=numbers.start,
            given=given_to(result.corpus, numbers),
        )
        drawn = join(list(blocks))
    starts_B = None if drawn.starts_B is None else drawn.starts_B.cpu()
    return Drawn(drawn.tokens_BT.cpu(), drawn.lengths_B.cpu(), starts_B)
