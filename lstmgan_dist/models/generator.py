"""What every generator is: a language model that reads whole sequences, or goes on step by step from a state.

Shapes: B rows, T positions, N valid positions, V vocabulary, E embedding, F features that the output layer multiplies
(E where tied, else H; of a mixture see there), H hidden units, Z latent dimensions, I inputs of what recurs.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lstmgan_dist.models import fused
from lstmgan_dist.models.embedding import embedding_layer
from lstmgan_dist.models.generators.kind import GeneratorKind
from lstmgan_dist.models.initialise import uniform_
from lstmgan_dist.models.mixture import MixtureOfSoftmaxes
from lstmgan_dist.runtime.randomness import Noise

if TYPE_CHECKING:
    from lstmgan_dist.models.discriminator import Discriminator

State = tuple[Tensor, ...]  # rows first, so that batches are cut by rows
# (token_B, state) -> features_BF of the next token, and the state behind the token.
Step = Callable[[Tensor, State], tuple[Tensor, State]]


class Generator(nn.Module, ABC):
    """Both ends of a generator, the embedding and the output layer; a kind adds what recurs between them.

    A kind's constructor calls this one, makes what recurs, and calls `add_output`, in this order, for the order of
    parameters is that in which they are added up.

    labels: tokens behind the vocabulary that are read and never written. latent_size: dimensions of a noise vector of
    each row; 0: none. feeds_every_step: whether what recurs sees it at every position. hidden_size: H.
    """

    hidden_size: int

    def __init__(
        self, kind: GeneratorKind, vocabulary_size: int, labels: int, *, embedding_dropout: float, output_dropout: float
    ) -> None:
        super().__init__()
        self.embedding_dropout = embedding_dropout
        self.output_dropout = output_dropout
        self.latent_size = kind.latent.size if kind.latent else 0
        self.feeds_every_step = kind.latent is not None and kind.latent.feed == "every_step"
        self.labels = labels
        self.embedding = embedding_layer(vocabulary_size + labels, kind.embedding, kind.trainable_dimensions)

    def add_output(self, hidden: int, *, tied: bool, softmaxes: int = 1) -> None:
        """Make the output layer behind so many hidden units.

        tied: it multiplies by the embedding (Press and Wolf 2017), after a projection where the sizes differ.
        softmaxes: of which it gives the weighted mean.
        """
        vocabulary_size, embedding = self.vocabulary_size, self.embedding.embedding_dim
        self.hidden_size = hidden
        is_projected = tied and embedding != hidden and softmaxes == 1
        self.projection = nn.Linear(hidden, embedding, bias=False) if is_projected else None
        dimensions = embedding if tied else hidden
        self.mixture = MixtureOfSoftmaxes(hidden, dimensions, softmaxes) if softmaxes > 1 else None
        self.output_weight = None if tied else nn.Parameter(torch.empty(vocabulary_size, hidden))
        self.output_bias = nn.Parameter(torch.empty(vocabulary_size))

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Weights that follow from the seed, the same on every worker and device."""
        self.embedding.initialise(self.embedding.embedding_dim**-0.5, seed)
        if self.projection is not None:
            uniform_(self.projection.weight, math.sqrt(3 / self.hidden_size), seed, "projection")
        if self.mixture is not None:
            self.mixture.initialise(seed)
        if self.output_weight is not None:
            uniform_(self.output_weight, self.hidden_size**-0.5, seed, "output")
        self.output_bias.zero_()

    @property
    def vocabulary_size(self) -> int:
        """V: tokens it can read and write."""
        return self.embedding.num_embeddings - self.labels

    @abstractmethod
    def initial_state(self, rows: int, latent_BZ: Tensor | None = None) -> State:
        """The state before the first token."""

    @abstractmethod
    def read(
        self, inputs_BT: Tensor, state: State | None, *, latent_BZ: Tensor | None, noise: Noise | None
    ) -> tuple[Tensor, State]:
        """The hidden states of whole sequences, (B, T, H), and the state after the last position: see `forward`."""

    def step(self, latent_BZ: Tensor | None, dtype: torch.dtype) -> Step:
        """How to go on token by token, without dropout, in a type of number. A kind may read its weights once, here."""
        # Weights that autocast keeps would belong to a captured graph's memory, so it keeps none.
        computing = (
            nullcontext()
            if dtype == torch.float32
            else torch.autocast(self.output_bias.device.type, dtype, cache_enabled=False)
        )

        def read_one(token_B: Tensor, state: State) -> tuple[Tensor, State]:
            with computing:
                features_B1F, state = self(token_B[:, None], state, latent_BZ=latent_BZ)
            return features_B1F[:, 0].to(dtype), state

        return read_one

    def look_at(self, opponent: Discriminator | None) -> None:
        """Take over what it may know of its opponent, as that is now; it is asked to before each of its updates.

        What it takes is part of its state: it does not change until it is asked again.
        """

    def own_loss(self, tokens_BT: Tensor, lengths_B: Tensor, starts_B: Tensor | None) -> Tensor | None:
        """What real texts cost beside their likelihood, the sum over their tokens, 0-dim; None: nothing.

        starts_B: where each text begins behind its context; None: at once.
        """
        return None

    def forward(
        self,
        inputs_BT: Tensor,
        state: State | None = None,
        *,
        latent_BZ: Tensor | None = None,
        noise: Noise | None = None,
    ) -> tuple[Tensor, State]:
        """Read whole sequences.

        Args:
            inputs_BT: token ids.
            state: from where the rows go on; without it, the initial one.
            noise: gives the dropout masks; none without.

        Returns:
            features_BTF, from which `logits` tells the next token of every position, and the state after the last one.
        """
        hidden_BTH, end = self.read(inputs_BT, state, latent_BZ=latent_BZ, noise=noise)
        return self.features(hidden_BTH, noise), end

    def inputs(self, inputs_BT: Tensor, latent_BZ: Tensor | None, noise: Noise | None) -> Tensor:
        """What recurs sees of the tokens: their embedding with its dropout, and the latent vector, (B, T, I)."""
        x_BTI = self.embedding(inputs_BT)
        if noise is not None and self.embedding_dropout:
            x_BTI = x_BTI * noise.keep("embedding", x_BTI.shape[-1], dropout=self.embedding_dropout)[:, None]
        if self.feeds_every_step:
            assert latent_BZ is not None
            x_BTI = torch.cat([x_BTI, latent_BZ[:, None].expand(-1, x_BTI.shape[1], -1)], dim=-1)
        return x_BTI

    def features(self, hidden_BTH: Tensor, noise: Noise | None = None) -> Tensor:
        """What the output layer multiplies, after dropout, (B, T, F)."""
        if noise is not None and self.output_dropout:
            hidden_BTH = hidden_BTH * noise.keep("output", self.hidden_size, dropout=self.output_dropout)[:, None]
        if self.mixture is not None:
            return self.mixture.reader(hidden_BTH.dtype)(hidden_BTH)
        return hidden_BTH if self.projection is None else fused.linear(hidden_BTH, self.projection.weight)

    def feature_reader(self, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """How hidden states become features without dropout, (..., H) -> (..., F), of weights that are read once."""
        if self.mixture is not None:
            return self.mixture.reader(dtype)
        if self.projection is None:
            return lambda hidden_H: hidden_H
        weight = self.projection.weight.to(dtype)
        return lambda hidden_H: F.linear(hidden_H, weight)

    def logits_reader(
        self, dtype: torch.dtype, *, scale: float = 1.0, allowed_V: Tensor | None = None
    ) -> Callable[[Tensor], Tensor]:
        """How features become `logits` in a type of number, (..., F) -> (..., V), of weights that are read once.

        scale: multiplies the logits: the inverse of a temperature. allowed_V: is added before: -inf for tokens that
        must not be.
        """
        output_VD, bias_V = self.output_matrix.to(dtype), self.output_bias.to(dtype)
        mixture, of_allowed_V = self.mixture, bias_V if allowed_V is None else bias_V + allowed_V
        if mixture is None:
            scaled_V = of_allowed_V * scale
            return lambda features_F: fused.linear(features_F * scale, output_VD, scaled_V).float()

        def read(features_F: Tensor) -> Tensor:
            logs_V = mixture.log_probabilities(features_F, output_VD, bias_V)
            return (logs_V if allowed_V is None else logs_V + allowed_V) * scale

        return read

    def logits(self, features_F: Tensor) -> Tensor:
        """Unnormalised float32 log-probabilities of the next token, (..., F) -> (..., V)."""
        if self.mixture is not None:
            return self.mixture.log_probabilities(features_F, self.output_matrix, self.output_bias)
        return fused.linear(features_F, self.output_matrix, self.output_bias).float()

    @property
    def output_matrix(self) -> Tensor:
        """What the features are multiplied by, (V, F)."""
        if self.output_weight is not None:
            return self.output_weight
        weight_VE = self.embedding.weight
        return weight_VE[: self.vocabulary_size] if self.labels else weight_VE

    def log_likelihoods(self, features_NF: Tensor, tokens_N: Tensor, temperature: float = 1.0) -> Tensor:
        """Log-probability in nats of each position's token, with logits divided by the temperature."""
        return -F.cross_entropy(self.logits(features_NF) / temperature, tokens_N, reduction="none")
