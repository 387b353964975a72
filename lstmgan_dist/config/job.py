"""A whole job, and the combinations of settings that cannot work."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, model_validator

from lstmgan_dist.config.training import (
    BatchSettings,
    CheckpointSettings,
    EvaluationSettings,
    Guard,
    Logging,
)
from lstmgan_dist.corpus.settings import Corpus
from lstmgan_dist.models.discriminators import DISCRIMINATORS
from lstmgan_dist.models.discriminators.kind import DiscriminatorKind
from lstmgan_dist.models.generators import GENERATORS
from lstmgan_dist.models.generators.kind import GeneratorKind
from lstmgan_dist.phases import PHASES
from lstmgan_dist.phases.kind import Phase
from lstmgan_dist.phases.optimizer import Synchronisation
from lstmgan_dist.settings import RESOLVED, Name, OneOf, Settings
from lstmgan_dist.storage_settings import Storage


class Job(Settings):
    """A whole run: which text, which networks, which phases."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Names the run's folder, runs/<name>.")
    seed: int = Field(default=1, ge=0, lt=2**63, description="Everything random follows from it.")
    corpus: Corpus = Field(description="Which text, and how it is cut into sequences.")
    batch: BatchSettings = Field(default_factory=BatchSettings, description="How many sequences one update sees.")
    synchronisation: Synchronisation = Field(
        default_factory=Synchronisation, description="How workers keep together over a slow network."
    )
    generator: Annotated[GeneratorKind, OneOf(GENERATORS, default="lstm")] = Field(
        default_factory=GENERATORS["lstm"], description="The language model that writes."
    )
    discriminator: Annotated[DiscriminatorKind, OneOf(DISCRIMINATORS)] | None = Field(
        default=None, description="The network that judges; none for likelihood only."
    )
    phases: tuple[Annotated[Phase, OneOf(PHASES)], ...] = Field(min_length=1, description="What happens, in order.")
    evaluate: EvaluationSettings = Field(
        default_factory=EvaluationSettings, description="What is measured while training."
    )
    guard: Guard = Field(default_factory=Guard, description="What counts as a failed run.")
    checkpoint: CheckpointSettings = Field(default_factory=CheckpointSettings, description="When the run is saved.")
    log: Logging = Field(default_factory=Logging, description="How often the losses are written.")
    storage: Storage = Field(default_factory=Storage, description="How s3:// and gs:// URLs are reached.")
    start_from: Name | None = Field(
        default=None,
        description="Another run, RUN or RUN@STEP, whose vocabulary and weights this one starts with; without a step "
        "those of its best checkpoint.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="auto: CUDA where there is a GPU, else the CPU."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="auto: bf16 on GPUs that have it, fp32 on CPUs, where bf16 LSTMs are slower."
    )

    @model_validator(mode="after")
    def _combinations(self, info: ValidationInfo) -> Self:
        objections = list(self._objections(is_resolved=info.context == RESOLVED))
        if objections:
            raise ValueError("\n".join(objections))
        return self

    def _objections(self, *, is_resolved: bool) -> Iterator[str]:
        """What does not go together, a sentence each."""
        if self.corpus.layout == "continuous":
            if self.guard.distinct_2_floor and not is_resolved:
                yield (
                    "guard.distinct_2_floor needs corpus.layout: sentences, for no samples are counted of one long "
                    "text: leave it out."
                )
            if self.evaluate.frontier or self.checkpoint.best_by == "frontier":
                yield (
                    "evaluate.frontier and checkpoint.best_by: frontier need corpus.layout: sentences, for judges read "
                    "whole texts: leave them out."
                )
            if self.generator.latent:
                yield "generator.latent needs corpus.layout: sentences, for z belongs to one sentence."
        if self.start_from and self.generator.pretrained_vectors:
            yield "start_from brings an embedding, so generator.pretrained_vectors has no use: leave one of them out."
        if self.generator.trainable_dimensions and not (self.generator.pretrained_vectors or self.start_from):
            yield (
                "generator.trainable_dimensions keeps the other dimensions as word vectors have them: set "
                "generator.pretrained_vectors, or leave it out."
            )
        objection = self.generator.objection(self.discriminator, self.corpus.layout)
        if objection:
            yield f"generator.{objection}."
        for number, phase in enumerate(self.phases):
            if phase.plays:
                yield from self._objections_to_game(f"phases.{number}", phase)
        if self.discriminator is not None:
            objection = self.discriminator.objection(self.generator, self.corpus.max_length)
            if objection:
                yield f"discriminator.{objection}."

    def _objections_to_game(self, where: str, phase: Phase) -> Iterator[str]:
        if self.corpus.layout != "sentences":
            yield f"{where} is {phase.kind}, which needs corpus.layout: sentences, for it scores whole texts."
        if self.discriminator is None:
            yield f"{where} is {phase.kind}, which needs a discriminator: add a discriminator block."
            return
        if phase.keeps_weights and self.synchronisation.every > 1:
            yield (
                f"{where} keeps weights that the generator had (history or estimator.proximal), and with "
                "synchronisation.every above 1 each worker has its own: set synchronisation.every: 1."
            )
        objection = phase.objection(self.discriminator) or phase.objection_to_generator(self.generator)
        if objection:
            yield f"{where}.{objection}."
