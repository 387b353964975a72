"""A whole job, and the combinations of settings that cannot work."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, ValidationInfo, model_validator

from lstmgan_dist.config.networks import ConvolutionalDiscriminator, Discriminator, Generator, LSTMDiscriminator
from lstmgan_dist.config.phases import AdversarialPhase, AnyPhase, DiscriminatorPhase, ScoreFunction
from lstmgan_dist.config.training import (
    BatchSettings,
    CheckpointSettings,
    EvaluationSettings,
    Guard,
    Logging,
    Synchronisation,
)
from lstmgan_dist.corpus.settings import Corpus
from lstmgan_dist.settings import RESOLVED, Settings
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
    generator: Generator = Field(default_factory=Generator, description="The LSTM language model that writes.")
    discriminator: Discriminator | None = Field(
        default=None, description="The network that judges; none for likelihood only."
    )
    phases: tuple[AnyPhase, ...] = Field(min_length=1, description="What happens, in order.")
    evaluate: EvaluationSettings = Field(
        default_factory=EvaluationSettings, description="What is measured while training."
    )
    guard: Guard = Field(default_factory=Guard, description="What counts as a failed run.")
    checkpoint: CheckpointSettings = Field(default_factory=CheckpointSettings, description="When the run is saved.")
    log: Logging = Field(default_factory=Logging, description="How often the losses are written.")
    storage: Storage = Field(default_factory=Storage, description="How s3:// and gs:// URLs are reached.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="auto: CUDA where there is a GPU, else the CPU."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="auto: bf16 on GPUs that have it, fp32 on CPUs, where bf16 LSTMs are slower."
    )

    @model_validator(mode="after")
    def _combinations(self, info: ValidationInfo) -> Self:
        if self.corpus.layout == "continuous" and self.guard.distinct_2_floor and info.context != RESOLVED:
            raise ValueError(
                "guard.distinct_2_floor needs corpus.layout: sentences, for no samples are counted of one long text: "
                "leave it out"
            )
        if self.corpus.layout == "continuous" and (self.evaluate.frontier or self.checkpoint.best_by == "frontier"):
            raise ValueError(
                "evaluate.frontier and checkpoint.best_by: frontier need corpus.layout: sentences, for judges read "
                "whole texts: leave them out"
            )
        if self.corpus.layout == "continuous" and self.generator.latent:
            raise ValueError("generator.latent needs corpus.layout: sentences, for z belongs to one sentence")
        for number, phase in enumerate(self.phases):
            if isinstance(phase, DiscriminatorPhase | AdversarialPhase):
                self._check_game(f"phases.{number}", phase)
        discriminator = self.discriminator
        if discriminator is not None:
            if discriminator.embedding_from_generator and discriminator.embedding != self.generator.embedding:
                raise ValueError(
                    f"discriminator.embedding {discriminator.embedding} must equal generator.embedding "
                    f"{self.generator.embedding} when it is taken from the generator"
                )
            if isinstance(discriminator, ConvolutionalDiscriminator):
                widest = max(discriminator.filters)
                if widest > self.corpus.max_length:
                    raise ValueError(
                        f"discriminator.filters has width {widest}, more than corpus.max_length "
                        f"{self.corpus.max_length}: drop that width"
                    )
        return self

    def _check_game(self, where: str, phase: DiscriminatorPhase | AdversarialPhase) -> None:
        discriminator = self.discriminator
        if discriminator is None:
            raise ValueError(f"{where} is {phase.kind}, which needs a discriminator: add a discriminator block")
        if self.corpus.layout != "sentences":
            raise ValueError(
                f"{where} is {phase.kind}, which needs corpus.layout: sentences, for it scores whole texts"
            )
        if phase.loss == "relativistic" and discriminator.scores == "per_token":
            raise ValueError(
                f"{where}.loss relativistic pairs whole texts, but the discriminator scores tokens: "
                "set discriminator.scores: per_sentence"
            )
        if not isinstance(phase, AdversarialPhase) or not isinstance(phase.estimator, ScoreFunction):
            return
        if phase.estimator.credit == "discounted" and discriminator.scores == "per_sentence":
            raise ValueError(
                f"{where}.estimator.credit discounted needs a reward for every token: "
                "set discriminator.scores: per_token or credit: sentence"
            )
        if (
            phase.estimator.credit == "discounted"
            and isinstance(discriminator, LSTMDiscriminator)
            and discriminator.bidirectional
        ):
            raise ValueError(
                f"{where}.estimator.credit discounted is biased when a bidirectional discriminator's score of a token "
                "depends on later ones: set discriminator.bidirectional: false or credit: sentence"
            )
