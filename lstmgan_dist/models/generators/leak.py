"""LeakGAN's generator (Guo et al. 2018): what the discriminator makes of every prefix leaks to the one that writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from lstmgan_dist.models.generators.kind import GeneratorKind, places_of_dropout
from lstmgan_dist.settings import Probability, Settings

if TYPE_CHECKING:
    from lstmgan_dist.models.discriminators.kind import DiscriminatorKind
    from lstmgan_dist.models.generators.leak_network import LeakGenerator


class Leaked(Settings):
    """The discriminator's feature extractor, of which the generator has a copy: the same settings as over there."""

    embedding: int = Field(default=64, ge=1, description="That of the discriminator.")
    representations: int = Field(default=1, ge=1, description="That of the discriminator.")
    filters: dict[int, int] = Field(
        default_factory=lambda: {2: 100, 3: 100, 4: 100, 5: 100}, description="Those of the discriminator."
    )

    @property
    def features(self) -> int:
        """K: features of a prefix, over all representations."""
        return self.representations * sum(self.filters.values())


class LeakDropout(Settings):
    """Variational dropout: one mask per sequence, the same at every position (Gal and Ghahramani 2016)."""

    embedding: Probability = Field(default=0.0, description="On the embedded input of the worker, 0 to 1.")
    output: Probability = Field(default=0.0, description="On the worker's hidden state, 0 to 1.")


class LeakKind(GeneratorKind):
    """A manager that sees the discriminator's features and sets goals, and a worker that writes towards them."""

    learns_by = "feudal"

    kind: Literal["leak"]
    hidden: int = Field(default=128, ge=1, description="LSTM units of the worker.")
    manager_hidden: int = Field(default=128, ge=1, description="LSTM units of the manager.")
    goal_size: int = Field(default=16, ge=1, description="Dimensions of the goal that the worker sees (the paper's k).")
    horizon: int = Field(
        default=4, ge=1, le=64, description="Tokens within which a goal is to be reached (the paper's c)."
    )
    leaked: Leaked = Field(
        default_factory=Leaked, description="The discriminator's feature extractor: the same settings as over there."
    )
    dropout: Annotated[LeakDropout, places_of_dropout(LeakDropout, "embedding", "output")] = Field(
        default_factory=LeakDropout, description="Variational dropout; one number sets embedding and output."
    )

    @model_validator(mode="after")
    def _has_no_latent(self) -> Self:
        if self.latent is not None:
            raise ValueError("kind leak has no latent vector, for what it writes has goals instead: leave latent out")
        return self

    @model_validator(mode="after")
    def _has_one_softmax(self) -> Self:
        if self.softmaxes > 1:
            raise ValueError("kind leak has one softmax, over its worker's actions: leave softmaxes out")
        return self

    @property
    def hidden_size(self) -> int:
        """The worker's actions O_t · w_t before the output layer: its state and a bias, times the goal."""
        return self.goal_size * (self.hidden + 1)

    def objection(self, discriminator: DiscriminatorKind | None, layout: str) -> str | None:
        if layout != "sentences":
            return "kind leak needs corpus.layout: sentences, for its features are those of a text's prefixes"
        theirs = discriminator.leaked if discriminator else None
        if theirs is None:
            return "kind leak needs a discriminator whose features can leak: set discriminator.kind: convolutional"
        for name, value in theirs.items():
            if getattr(self.leaked, name) != value:
                return (
                    f"leaked.{name} {getattr(self.leaked, name)} must be what discriminator.{name} is, {value}: set "
                    "both to one of them"
                )
        return None

    def build(self, *, vocabulary_size: int, labels: int = 0, seed: int) -> LeakGenerator:
        from lstmgan_dist.models.generators.leak_network import LeakGenerator

        return LeakGenerator(self, vocabulary_size=vocabulary_size, labels=labels, seed=seed)

    @property
    def depth(self) -> int:
        """The worker waits for the manager."""
        return 2

    def multiplications(self) -> int:
        leaked = self.leaked
        windows = leaked.embedding * sum(width * count for width, count in leaked.filters.items())
        manager = self.manager_hidden * (4 * (leaked.features + self.manager_hidden) + leaked.features)
        worker = 4 * self.hidden * (self.embedding + self.hidden)
        return windows + manager + leaked.features * self.goal_size + worker

    def activations(self) -> int:
        """Gates and states of both LSTMs, the goal with its length, and the actions."""
        return self.embedding + 7 * (self.hidden + self.manager_hidden) + 4 * self.leaked.features + self.hidden_size
