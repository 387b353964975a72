"""What is measured while training: a cheap look at both players, the same on any number of workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lstmgan_dist.adversarial.discrimination import DiscriminatorObjective
from lstmgan_dist.config import Job
from lstmgan_dist.corpus.manifest import PreparedCorpus
from lstmgan_dist.corpus.stream import Batch, heldout_batches, read_sentences
from lstmgan_dist.evaluation.heldout import validation_rows
from lstmgan_dist.evaluation.likelihood import Likelihood, heldout_likelihood
from lstmgan_dist.evaluation.metrics import brief_figures
from lstmgan_dist.evaluation.sampling import Sampling, given_to, rows, sample_shared
from lstmgan_dist.evaluation.texts import Texts, decoded
from lstmgan_dist.models.drawing import END, Drawn
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.phases.kind import DISCRIMINATOR_ACCURACY, HELDOUT_NLL
from lstmgan_dist.runtime.tree import part_of
from lstmgan_dist.runtime.units import Units
from lstmgan_dist.training.game import Game

CONTINUOUS_SAMPLE_LENGTH = 500
_MOST_LABELS = 20


@dataclass(frozen=True)
class BriefEvaluation:
    """Figures by name, distributions by name, generated texts, and real ones to lay beside them."""

    scalars: dict[str, float]
    histograms: dict[str, Tensor] = field(default_factory=dict)
    texts: tuple[str, ...] = ()
    real_texts: tuple[str, ...] = ()


def evaluate_players(game: Game, corpus: PreparedCorpus, job: Job, units: Units) -> BriefEvaluation:
    """Held-out likelihood, diversity of samples, scores of both kinds of text, and samples to read."""
    settings = job.evaluate
    most_sequences = settings.heldout_sequences
    if job.corpus.layout == "sentences":
        most_sequences = validation_rows(corpus.splits["heldout"], most_sequences)
    shares = [_heldout_share(corpus, job, most_sequences, unit, units.count) for unit in units.own]
    likelihood = _likelihood(game.generator, shares, units)
    scalars = {HELDOUT_NLL: likelihood.nll} | _of_labels(likelihood, corpus.tokenizer.labels)
    prompt = corpus.tokenizer.encode_prompt(settings.prompt, on_unknown="error")
    # The same noise every time: what changes between two evaluations is the generator alone.
    shown = sample_shared(
        game.generator,
        to_read(job, prompt),
        count=settings.show,
        seed=job.seed,
        units=units,
        given=given_to(corpus, range(settings.show)),
    )
    texts = tuple(corpus.tokenizer.decode([*prompt, *tokens]) for tokens in rows(shown))
    if shown.starts_B is not None:
        texts = tuple(_behind_contexts(corpus, shown, texts))
    if job.corpus.layout == "continuous":
        return BriefEvaluation(scalars, {}, texts)
    drawn = sample_shared(
        game.generator,
        Sampling(job.corpus.max_length),
        count=settings.samples,
        seed=job.seed,
        units=units,
        given=given_to(corpus, range(settings.samples)),
    )
    real_texts = Texts.encoded(read_sentences(corpus, "heldout", range(most_sequences)))
    scalars |= {f"samples/{name}": value for name, value in brief_figures(Texts.drawn(drawn), real_texts).items()}
    histograms = {}
    if "discriminator" in game.players:
        objective = game.players["discriminator"].objective
        assert isinstance(objective, DiscriminatorObjective)
        figures, histograms = _discriminator_figures(objective, game.generator, shares, drawn, most_sequences, units)
        scalars |= figures
    shown_real = tuple(decoded(real_texts.take(slice(0, settings.show)), corpus.tokenizer))
    if shown.starts_B is not None:
        shown_real = tuple(_behind_contexts(corpus, shown, shown_real))
    return BriefEvaluation(scalars, histograms, texts, shown_real)


def _behind_contexts(corpus: PreparedCorpus, shown: Drawn, texts: Sequence[str]) -> Iterator[str]:
    """Texts as people read them, each behind its label and what it answers."""
    assert shown.starts_B is not None
    contexts = zip(shown.tokens_BT.tolist(), shown.starts_B.tolist(), texts, strict=False)
    for tokens, start, text in contexts:
        yield corpus.tokenizer.in_context(tokens[:start], text)


def _heldout_share(corpus: PreparedCorpus, job: Job, most_sequences: int, unit: int, units: int) -> list[Batch]:
    """What a unit reads of the held-out text, in batches of the rows that it trains on."""
    rows = job.batch.size if job.corpus.layout == "continuous" else job.batch.size // units
    return list(heldout_batches(corpus, batch_size=rows, most_sequences=most_sequences, share=unit, shares=units))


def _likelihood(generator: Generator, shares: Sequence[Sequence[Batch]], units: Units) -> Likelihood:
    """That of the shares of all units."""
    parts = units.map(lambda share: heldout_likelihood(generator, share, units.runtime.device), shares)
    numbers = [torch.tensor(part.to_numbers(), dtype=torch.float64, device=units.runtime.device) for part in parts]
    return Likelihood.of_numbers(units.total(numbers).tolist())


def _of_labels(likelihood: Likelihood, labels: Sequence[str]) -> dict[str, float]:
    """Figures of the texts of each label, unless these are too many to look at."""
    found = zip(labels, likelihood.of_labels, strict=True)
    return {f"labels/{label}": own.nll for label, own in found if own.tokens and len(labels) <= _MOST_LABELS}


def _discriminator_figures(
    objective: DiscriminatorObjective,
    generator: Generator,
    real: Sequence[Sequence[Batch]],
    drawn: Drawn,
    most_sequences: int,
    units: Units,
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """How well the discriminator tells held-out text from as much drawn text, and its scores of both, one a sentence.

    The area under the ROC curve is the share of all pairs in which the real sentence has the higher score (Hanley and
    McNeil 1982). The accuracy is at the loss's middle, or that share where only pairs mean anything.

    real: the batches of each of this worker's units. drawn: everybody's texts, of which the first ones are used.
    """
    count = min(most_sequences, len(drawn.lengths_B))
    scored = units.map(lambda batches: _scores(objective, generator, batches, drawn, count), real)
    # A unit's rows are part of the held-out ones, of which the first so many have a drawn one beside them.
    shares = (part_of(most_sequences, unit, units.count) for unit in range(units.count))
    rows = [len(range(share.start, min(share.stop, count))) for share in shares]
    real_N, fake_N = (units.join([scores[kind] for scores, _ in scored], rows) for kind in (0, 1))
    loss, *counts = units.total([totals for _, totals in scored])
    if objective.loss.compares == "batch":  # of sentences then, whatever their representations
        counts = [torch.tensor(float(real_N.numel()))] * 2
        loss = sum((losses.sum() for losses in objective.loss.discriminator(real_N, fake_N)), torch.zeros(()))
        if objective.loss.standing:
            real_N, fake_N = objective.loss.standing(real_N, fake_N)
        if objective.loss.of_vectors:
            real_N, fake_N = (scores.flatten(1).mean(1) for scores in (real_N, fake_N))
    ordered_N, middle = fake_N.sort().values, objective.loss.middle
    below_N, not_above_N = (torch.searchsorted(ordered_N, real_N, right=right) for right in (False, True))
    auc = (below_N + not_above_N).double().mean() / (2 * len(fake_N))
    accuracy = auc
    if middle is not None:
        accuracy = ((real_N > middle).double().mean() + (fake_N < middle).double().mean()) / 2
    figures = {
        "heldout/discriminator_loss": (loss / objective.denominator(*counts)).item(),
        "heldout/discriminator_auc": auc.item(),
        DISCRIMINATOR_ACCURACY: accuracy.item(),
    }
    return figures, {"scores/real": real_N, "scores/generated": fake_N}


@torch.no_grad()  # threads do not inherit it
def _scores(
    objective: DiscriminatorObjective, generator: Generator, batches: Sequence[Batch], drawn: Drawn, count: int
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Of the first `count` held-out texts those of these batches, and as many drawn ones beside them.

    Returns:
        The scores of both, one a sentence, or of its representations where the loss compares these; the loss and the
        numbers of scores, added up.
    """
    discriminator = objective.discriminator
    totals = torch.zeros(3, device=drawn.lengths_B.device)  # loss, real scores, fake scores
    shape = (0, discriminator.representations) if objective.loss.of_vectors else (0,)
    none = totals.new_empty(shape)  # what a unit has whose rows are all beyond the first ones
    scores: tuple[list[Tensor], list[Tensor]] = ([none], [none])
    for batch in (batch.to(totals.device) for batch in batches):
        here = slice(batch.first_row, min(batch.first_row + len(batch.lengths_B), count))
        rows = max(0, here.stop - here.start)
        if not rows:
            continue
        real_lengths_B, fake_lengths_B = batch.lengths_B[:rows], drawn.lengths_B[here]
        starts_B = None if batch.starts_B is None else batch.starts_B[:rows]  # those of both, see `given_to`
        real_scores = discriminator(discriminator.see(batch.targets_BT[:rows], generator), real_lengths_B)
        fake_scores = discriminator(discriminator.see(drawn.tokens_BT[here], generator), fake_lengths_B)
        if objective.loss.compares != "batch":
            totals[0] += objective.total_loss(real_scores, fake_scores, real_lengths_B, fake_lengths_B, starts_B)
        totals[1] += discriminator.count(real_lengths_B, starts_B)
        totals[2] += discriminator.count(fake_lengths_B, starts_B)
        if not objective.loss.of_vectors:
            real_scores = discriminator.of_sentences(real_scores, real_lengths_B, starts_B)
            fake_scores = discriminator.of_sentences(fake_scores, fake_lengths_B, starts_B)
        scores[0].append(real_scores)
        scores[1].append(fake_scores)
    return (torch.cat(scores[0]), torch.cat(scores[1])), totals


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
