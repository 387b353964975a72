"""What every discriminator is: a network that tells real text from generated text.

A score is a logit, above 0 for real. Padded positions never influence a score.

Shapes: B rows, T positions, N positions of any rows, V vocabulary, E embedding, D dimensions of what is seen of a
position, H hidden units of the generator, R representations.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from lstmgan_dist.models import fused
from lstmgan_dist.models.embedding import PartlyFixedEmbedding, embedding_layer
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.models.padding import valid
from lstmgan_dist.runtime.randomness import Noise

Scores = Literal["per_token", "per_sentence", "per_representation"]


class Discriminator(nn.Module, ABC):
    """Sees texts in some way, and scores what it saw.

    scores: whether `forward` gives a score for every token, (B, T), for every sentence, (B,), or for every
        representation of a sentence, (B, R). Values beside the scores, such as their losses, have the same shape.
    representations: R, 1 where there is no more than one.
    """

    scores: Scores
    representations: int = 1

    @abstractmethod
    def see(self, tokens_BT: Tensor, generator: Generator) -> Tensor:
        """What it scores of texts, (B, T, D); `generator` is the opponent, for what looks at its states."""

    @abstractmethod
    def forward(self, seen_BTD: Tensor, lengths_B: Tensor, *, noise: Noise | None = None) -> Tensor:
        """Score texts of the given lengths (at least 1); `noise` gives the dropout masks, none without.

        Returns:
            float32 scores; those of tokens are zero at padded positions.
        """

    def tell_apart(self, seen_BTD: Tensor, lengths_B: Tensor, *, noise: Noise | None = None) -> tuple[Tensor, Tensor]:
        """The scores that it learns by: of real texts and of drawn ones, which stand behind them, as many."""
        real, fake = self(seen_BTD, lengths_B, noise=noise).chunk(2)
        return real, fake

    def feature_extractor(self) -> list[Tensor]:
        """The weights that make features of a text, for a generator to which they leak.

        The embedding, and of each width in ascending order its filters and their biases; see the kind's `leaked`.
        """
        raise NotImplementedError("no other kind's settings say that its features can leak")

    # Below, starts_B says where each text begins behind its context, which is seen and not scored; None: at once.

    def total(self, values: Tensor, lengths_B: Tensor, starts_B: Tensor | None = None) -> Tensor:
        """The sum of values beside the scores of texts of these lengths, 0-dim; padded positions do not count."""
        if self.scores != "per_token":
            return values.sum()
        return (values * valid(lengths_B, values.shape[1], starts_B)).sum()

    def count(self, lengths_B: Tensor, starts_B: Tensor | None = None) -> Tensor:
        """How many scores texts of these lengths have, float32 0-dim."""
        if self.scores == "per_token":
            return (lengths_B if starts_B is None else lengths_B - starts_B).sum().float()
        return lengths_B.new_tensor(len(lengths_B) * self.representations).float()

    def of_sentences(self, scores: Tensor, lengths_B: Tensor, starts_B: Tensor | None = None) -> Tensor:
        """One score a sentence, (B,): the mean of those of its tokens, or of its representations."""
        if self.scores == "per_sentence":
            return scores
        if self.scores == "per_token" and starts_B is not None:
            return (scores * valid(lengths_B, scores.shape[1], starts_B)).sum(dim=1) / (lengths_B - starts_B)
        return scores.sum(dim=1) / (lengths_B if self.scores == "per_token" else self.representations)

    def squared_gradient(self, seen_BTD: Tensor, lengths_B: Tensor, starts_B: Tensor | None = None) -> Tensor:
        """The squared norm of the gradient of each text's score, without dropout, by what is seen of it, (B,).

        It has a gradient itself, by the weights; it is computed in float32, and on slower kernels than scores are.
        """
        gradient_BTD = self._gradient(seen_BTD.detach().requires_grad_(), lengths_B, starts_B)
        return gradient_BTD.square().sum(dim=(1, 2))

    def _gradient(self, seen_BTD: Tensor, lengths_B: Tensor, starts_B: Tensor | None) -> Tensor:
        with torch.autocast(seen_BTD.device.type, enabled=False), fused.twice_differentiable():
            total = self.of_sentences(self(seen_BTD, lengths_B), lengths_B, starts_B).sum()
            (gradient_BTD,) = torch.autograd.grad(total, seen_BTD, create_graph=True)
        return gradient_BTD

    def squared_gradient_by_tokens(self, seen_BTD: Tensor, lengths_B: Tensor, starts_B: Tensor | None = None) -> Tensor:
        """The same by the distributions over tokens, for a kind that reads these."""
        raise NotImplementedError

    def weight_matrices(self) -> Iterator[Tensor]:
        """What its layers multiply by, one row for each output; an embedding is none."""
        for module in self.modules():
            for parameter in module.parameters(recurse=False):
                if parameter.dim() > 1 and not isinstance(module, nn.Embedding | PartlyFixedEmbedding):
                    yield parameter.flatten(1)


class TokenReader(Discriminator):
    """Sees the tokens: one matrix embeds tokens and distributions over tokens alike.

    trainable_dimensions: of the embedding, the last ones, which alone are learnt; None: all.
    """

    def __init__(self, vocabulary_size: int, embedding: int, trainable_dimensions: int | None = None) -> None:
        super().__init__()
        self.embedding = embedding_layer(vocabulary_size, embedding, trainable_dimensions)

    def see(self, tokens_BT: Tensor, generator: Generator) -> Tensor:
        return self.embed(tokens_BT)

    def embed(self, tokens: Tensor) -> Tensor:
        """Embed token ids, (...) -> (..., E)."""
        return self.embedding(tokens)

    def embed_distribution(self, probabilities_NV: Tensor) -> Tensor:
        """The expected embedding under distributions over the vocabulary, (N, V) -> (N, E)."""
        weight_VE = self.embedding.weight
        if probabilities_NV.shape[1] < len(weight_VE):  # labels are behind the vocabulary, and never written
            weight_VE = weight_VE[: probabilities_NV.shape[1]]
        return fused.linear(probabilities_NV, weight_VE.T)

    def squared_gradient_by_tokens(self, seen_BTD: Tensor, lengths_B: Tensor, starts_B: Tensor | None = None) -> Tensor:
        """As `squared_gradient`, by the distributions over tokens of which texts are the expected embedding, (B,).

        That gradient is the one by the embedding times every token's vector, (B, T, V). Its square needs only the
        vectors' products with each other, so nothing is as wide as the vocabulary. The embedding is one of the weights,
        by which `seen_BTD` has a gradient.
        """
        if not seen_BTD.requires_grad:
            seen_BTD = seen_BTD.detach().requires_grad_()
        gradient_BTD = self._gradient(seen_BTD, lengths_B, starts_B)
        with torch.autocast(seen_BTD.device.type, enabled=False):
            products_DD = self.embedding.weight.T @ self.embedding.weight
            square_BTD = gradient_BTD @ products_DD * gradient_BTD
        return square_BTD.sum(dim=(1, 2)).clamp(min=0)  # which rounding may have it miss
