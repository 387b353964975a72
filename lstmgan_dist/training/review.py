"""What is measured while training: a cheap look at both players, the same on any number of workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lstmgan_dist.config import Job
from lstmgan_dist.corpus.manifest import PreparedCorpus
from lstmgan_dist.corpus.stream import heldout_batches, read_sentences
from lstmgan_dist.evaluation.heldout import validation_rows
from lstmgan_dist.evaluation.likelihood import heldout_likelihood
from lstmgan_dist.evaluation.ngrams import NgramIndex, distinct, repetition, self_bleu
from lstmgan_dist.evaluation.sampling import Sampling, rows, sample_shared
from lstmgan_dist.evaluation.texts import Texts
from lstmgan_dist.models.discriminators import Discriminator
from lstmgan_dist.models.drawing import END, Drawn
from lstmgan_dist.runtime.base import Runtime
from lstmgan_dist.training.game import Game

CONTINUOUS_SAMPLE_LENGTH = 500


@dataclass(frozen=True)
class Review:
    """Figures by name, distributions by name, and generated texts."""

    scalars: dict[str, float]
    histograms: dict[str, Tensor] = field(default_factory=dict)
    texts: tuple[str, ...] = ()


def review(game: Game, corpus: PreparedCorpus, job: Job, runtime: Runtime) -> Review:
    """Held-out likelihood, diversity of samples, scores of both kinds of text, and samples to read."""
    settings = job.evaluate
    most_sequences = settings.heldout_sequences
    if job.corpus.layout == "sentences":
        most_sequences = validation_rows(corpus.splits["heldout"], most_sequences)
    batches = list(
        heldout_batches(
            corpus,
            batch_size=job.batch.size,
            most_sequences=most_sequences,
            rank=runtime.rank,
            world_size=runtime.world_size,
        )
    )
    likelihood = heldout_likelihood(game.generator, batches, runtime)
    scalars = {"heldout/nll": likelihood.nll}
    prompt = corpus.tokenizer.encode(settings.prompt, on_unknown="error")
    # The same noise every time: what changes between two evaluations is the generator alone.
    shown = sample_shared(
        game.generator,
        to_read(job, prompt),
        count=settings.show,
        seed=job.seed,
        runtime=runtime,
    )
    texts = tuple(corpus.tokenizer.decode([*prompt, *tokens]) for tokens in rows(shown))
    if job.corpus.layout == "continuous":
        return Review(scalars, {}, texts)
    drawn = sample_shared(
        game.generator, Sampling(job.corpus.max_length), count=settings.samples, seed=job.seed, runtime=runtime
    )
    real_texts = Texts.encoded(read_sentences(corpus, "heldout", range(most_sequences)))
    scalars |= {f"samples/{name}": value for name, value in ngram_figures(Texts.drawn(drawn), real_texts).items()}
    histograms = {}
    if game.discriminator:
        real = batches[0].to(runtime.device)
        histograms["scores/real"] = _scores(game.discriminator, Drawn(real.targets_BT, real.lengths_B))
        count = len(real.lengths_B)
        histograms["scores/generated"] = _scores(
            game.discriminator, Drawn(drawn.tokens_BT[:count], drawn.lengths_B[:count])
        )
    return Review(scalars, histograms, texts)


def ngram_figures(texts: Texts, real: Texts) -> dict[str, float]:
    """Quality and diversity by n-grams, cheaply: distinct-n, and BLEU against all of the real texts and of itself."""
    bleu_K, self_bleu_K = NgramIndex(real).sentence_bleu(texts).mean(0), self_bleu(texts).mean(0)
    return {
        **{f"distinct_{n}": distinct(texts, n) for n in (1, 2, 3, 4)},
        **{f"bleu_{n}": float(bleu_K[n - 1]) for n in (2, 3, 4, 5)},
        **{f"self_bleu_{n}": float(self_bleu_K[n - 1]) for n in (2, 3, 4, 5)},
        "repetition": repetition(texts),
        "mean_length": float(texts.lengths_N.mean()),
    }


def to_read(job: Job, prompt: Sequence[int], *, length: int | None = None) -> Sampling:
    """How texts that continue a prompt are drawn: as those that are judged, `<unk>` like any other token.

    length: most tokens of each, the prompt not counted; None: as the job says.
    """
    if job.corpus.layout == "sentences":
        # A sentence starts after END.
        return Sampling(length or job.evaluate.sample_length or job.corpus.max_length, (END, *prompt))
    # One long text starts anywhere and does not end.
    length = length or job.evaluate.sample_length or CONTINUOUS_SAMPLE_LENGTH
    return Sampling(length, tuple(prompt) or (END,), suppress=(END,))


@torch.no_grad()
def _scores(discriminator: Discriminator, text: Drawn) -> Tensor:
    scores = discriminator(discriminator.embed(text.tokens_BT), text.lengths_B)
    if scores.dim() == 1:
        return scores
    return scores[torch.arange(scores.shape[1], device=scores.device) < text.lengths_B[:, None]]
