"""The mediator of Cooperative Training (Lu et al. 2019): a language model of real and drawn text alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from lstmgan_dist.models.discriminators.kind import DiscriminatorKind
from lstmgan_dist.models.generators import GENERATORS
from lstmgan_dist.models.generators.kind import GeneratorKind
from lstmgan_dist.settings import OneOf

if TYPE_CHECKING:
    from lstmgan_dist.models.discriminators.mediator_network import Mediator


class MediatorKind(DiscriminatorKind):
    """A language model of as much real as drawn text, in a cooperative phase: what it says beside the generator."""

    reads = "likelihoods"

    kind: Literal["mediator"] = "mediator"
    scores: Literal["per_token"] = Field(
        default="per_token", description="Of each token, always: how much more probable it is in real text, in nats."
    )
    language_model: Annotated[GeneratorKind, OneOf(GENERATORS, default="lstm")] = Field(
        default_factory=GENERATORS["lstm"],
        description="Any kind of generator, without latent noise; papers have one twice as wide as the generator.",
    )

    def objection(self, generator: GeneratorKind, max_length: int) -> str | None:
        if self.language_model.latent is not None:
            return "language_model.latent has no use, for it models all text at once: leave it out"
        if self.language_model.pretrained_vectors is not None:
            return "language_model.pretrained_vectors has no use, for they are the generator's: leave it out"
        if generator.latent is not None:
            return (
                "kind mediator is compared with the generator's next token, which no latent vector may decide: "
                "leave generator.latent out"
            )
        return None

    def build(self, *, vocabulary_size: int, labels: int = 0, generator_hidden: int, seed: int) -> Mediator:
        from lstmgan_dist.models.discriminators.mediator_network import Mediator

        return Mediator(self.language_model.build(vocabulary_size=vocabulary_size, seed=seed))

    @property
    def depth(self) -> int:
        return self.language_model.depth

    def operations(self, length: float) -> float:
        """Those of what recurs; the output layer depends on the vocabulary."""
        return length * self.language_model.operations(0)

    def activations(self, positions: int) -> int:
        return positions * self.language_model.activations()
