"""A smaller generator that has learnt from a run's: for an export, and deterministic by its seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from lstmgan_dist.adversarial.distillation import DistillationObjective
from lstmgan_dist.corpus.manifest import PreparedCorpus
from lstmgan_dist.corpus.stream import Stream, batches_per_epoch, heldout_batches
from lstmgan_dist.errors import UserError
from lstmgan_dist.evaluation.heldout import validation_rows
from lstmgan_dist.evaluation.likelihood import heldout_likelihood
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.models.generators.kind import GeneratorKind
from lstmgan_dist.models.generators.lstm import LSTMGeneratorKind
from lstmgan_dist.phases.likelihood import LikelihoodPhase
from lstmgan_dist.phases.player import Moment, Sides
from lstmgan_dist.runs.result import Result
from lstmgan_dist.runtime.local import LocalRuntime
from lstmgan_dist.runtime.randomness import Noise, derive
from lstmgan_dist.runtime.tasks import Watch
from lstmgan_dist.runtime.tree import part_of
from lstmgan_dist.runtime.units import Units
from lstmgan_dist.training.clock import steps_of
from lstmgan_dist.training.game import choose_precision

# Of the teacher's distribution, against the token that the text has.
_SOFT_WEIGHT = 0.5


@dataclass(frozen=True)
class Smaller:
    """What is wanted: units of the student, its seed, and updates; None: as many as the run's likelihood phases had."""

    hidden: int
    seed: int
    steps: int | None


@dataclass(frozen=True)
class Student:
    """What has come of it. teacher_nll, student_nll: nats per token of the held-out text that training looks at."""

    generator: Generator
    kind: GeneratorKind
    hidden: int
    teacher_hidden: int
    weights: int
    teacher_weights: int
    seed: int
    steps: int
    teacher_nll: float
    student_nll: float

    def sentence(self) -> str:
        """What it costs."""
        share = self.weights / self.teacher_weights
        return (
            f"Held-out text has {self.student_nll:.4f} nats per token by the distilled generator of {self.hidden} "
            f"units, and {self.teacher_nll:.4f} by its teacher of {self.teacher_hidden}: "
            f"{self.student_nll - self.teacher_nll:+.4f}, with {share:.0%} of the weights."
        )

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        names = (
            "hidden",
            "teacher_hidden",
            "weights",
            "teacher_weights",
            "seed",
            "steps",
            "teacher_nll",
            "student_nll",
        )
        return {name: getattr(self, name) for name in names}


def check_smaller(result: Result, wanted: Smaller) -> None:
    """See that a student can be made.

    Raises:
        UserError: if it would not be smaller, or there is nothing to teach it with.
    """
    teacher = result.generator.hidden_size
    if wanted.hidden >= teacher:
        raise UserError(
            f"--hidden {wanted.hidden} is not smaller than the run's generator, which has {teacher} units: "
            f"choose fewer, such as {max(1, teacher // 2)}."
        )
    try:
        corpus = result.corpus
    except (UserError, OSError) as error:
        raise UserError(f"--distil learns from the run's corpus, which cannot be read: {error}") from error
    if not corpus.splits["heldout"].tokens:
        raise UserError(f"{corpus.folder} holds no held-out text to say what --distil costs: prepare one that does.")
    if wanted.steps is None and not _likelihood_phases(result):
        raise UserError(f"{result.run.folder} has no likelihood phase to take the length from: say --steps.")


def distil(result: Result, wanted: Smaller, *, watch: Watch) -> Student:
    """Train a smaller generator on the run's corpus, towards what the run's own expects of it.

    It learns as the run's last likelihood phase did: the same optimiser, and as many steps unless `wanted` says.
    Without dropout, for a small network has nothing to spare, and the teacher's expectations keep it from learning by
    heart.
    """
    job, device, corpus, teacher = result.run.job, result.device, result.corpus, result.generator
    kind = _student_kind(job.generator, wanted.hidden)
    phases, batches = _likelihood_phases(result), batches_per_epoch(corpus, job.batch.size)
    steps = wanted.steps or sum(steps_of(phase, batches) for phase in phases)
    optimizer = (phases[-1] if phases else LikelihoodPhase(kind="likelihood", steps=steps)).optimizer
    student = kind.build(
        vocabulary_size=teacher.vocabulary_size, labels=teacher.labels, seed=derive(wanted.seed, "student")
    ).to(device)
    with Units(LocalRuntime(device), job.batch.units) as units:
        carries_state = job.corpus.layout == "continuous"
        sides = Sides(
            generator=student,
            discriminator=None,
            max_length=job.corpus.max_length,
            carries_state=carries_state,
            precision=choose_precision(job.precision, device),
            synchronisation=job.synchronisation,
            repeat_every=None,
            units=units,
        )
        objective = DistillationObjective(student, soft_weight=_SOFT_WEIGHT, carries_state=carries_state)
        player = sides.player("generator", student, objective, optimizer, steps)
        noise = Noise(derive(wanted.seed, "distillation"), torch.arange(job.batch.size, device=device))
        stream = Stream(
            corpus,
            "train",
            batch_size=job.batch.size,
            lanes=[part_of(job.batch.lanes, unit, units.count) for unit in units.own],
            total_lanes=job.batch.lanes,
            seed=wanted.seed,
            shuffle_window=job.corpus.shuffle_window,
        )
        with stream:
            for step in watch(range(steps), steps, "distilling"):
                player.learn(next(stream), opponent=teacher, moment=Moment(step, 1.0, noise.at("step", step)))
        player.settle()
    return Student(
        student,
        kind,
        hidden=wanted.hidden,
        teacher_hidden=teacher.hidden_size,
        weights=sum(weight.numel() for weight in student.parameters()),
        teacher_weights=sum(weight.numel() for weight in teacher.parameters()),
        seed=wanted.seed,
        steps=steps,
        teacher_nll=_heldout_nll(result, corpus, teacher),
        student_nll=_heldout_nll(result, corpus, student),
    )


def _student_kind(teacher: GeneratorKind, hidden: int) -> LSTMGeneratorKind:
    """An LSTM of so many units, with all that it may have in common with the teacher: both ends, and layers."""
    own = {"kind", "hidden", "dropout", "pretrained_vectors", "trainable_dimensions", "softmaxes"}
    shared = type(teacher).model_fields.keys() & LSTMGeneratorKind.model_fields.keys() - own
    return LSTMGeneratorKind(hidden=hidden, **{name: getattr(teacher, name) for name in shared})


def _likelihood_phases(result: Result) -> list[LikelihoodPhase]:
    return [phase for phase in result.run.job.phases if isinstance(phase, LikelihoodPhase)]


def _heldout_nll(result: Result, corpus: PreparedCorpus, generator: Generator) -> float:
    """On the text by which training measures `heldout/nll`."""
    job = result.run.job
    most = job.evaluate.heldout_sequences
    if job.corpus.layout == "sentences":
        most = validation_rows(corpus.splits["heldout"], most)
    batches = heldout_batches(corpus, batch_size=job.batch.size, most_sequences=most, share=0, shares=1)
    return heldout_likelihood(generator, batches, result.device).nll
