"""Networks that tell real text from generated text.

Both embed tokens or distributions over tokens with one matrix and score what was embedded; a score is a logit, above 0
for real. Padded positions never influence a score.

Shapes: B rows, T positions, N positions of any rows, V vocabulary, E embedding, H hidden units, R representations,
C channels of one representation, W positions that a filter spans, K filters of all widths.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lstmgan_dist.models import fused, representations
from lstmgan_dist.models.initialise import normal_, uniform_
from lstmgan_dist.runtime.randomness import Noise

Scores = Literal["per_token", "per_sentence", "per_representation"]


class Discriminator(nn.Module):
    """What every discriminator has: an embedding that reads tokens and distributions alike.

    scores: whether `forward` gives a score for every token, (B, T), for every sentence, (B,), or for every
        representation of a sentence, (B, R). Values beside the scores, such as their losses, have the same shape.
    representations: R, 1 where there is no more than one.
    """

    scores: Scores
    representations: int = 1

    def __init__(self, vocabulary_size: int, embedding: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, embedding)

    def embed(self, tokens: Tensor) -> Tensor:
        """Embed token ids, (...) -> (..., E)."""
        return self.embedding(tokens)

    def embed_distribution(self, probabilities_NV: Tensor) -> Tensor:
        """The expected embedding under distributions over the vocabulary, (N, V) -> (N, E)."""
        return fused.linear(probabilities_NV, self.embedding.weight.T)

    def forward(self, embedded_BTE: Tensor, lengths_B: Tensor, *, noise: Noise | None = None) -> Tensor:
        """Score embedded text of the given lengths (at least 1); `noise` gives the dropout masks, none without.

        Returns:
            float32 scores; those of tokens are zero at padded positions.
        """
        raise NotImplementedError

    def total(self, values: Tensor, lengths_B: Tensor) -> Tensor:
        """The sum of values beside the scores of texts of these lengths, 0-dim; padded positions do not count."""
        if self.scores != "per_token":
            return values.sum()
        return (values * (torch.arange(values.shape[1], device=values.device) < lengths_B[:, None])).sum()

    def count(self, lengths_B: Tensor) -> Tensor:
        """How many scores texts of these lengths have, float32 0-dim."""
        if self.scores == "per_token":
            return lengths_B.sum().float()
        return lengths_B.new_tensor(len(lengths_B) * self.representations).float()

    def of_sentences(self, scores: Tensor, lengths_B: Tensor) -> Tensor:
        """One score a sentence, (B,): the mean of those of its tokens, or of its representations."""
        if self.scores == "per_sentence":
            return scores
        return scores.sum(dim=1) / (lengths_B if self.scores == "per_token" else self.representations)


class LSTMDiscriminator(Discriminator):
    """An LSTM that scores every token from what it read so far, or the sentence from where it ended.

    Args:
        position_features: sinusoidal channels (Vaswani et al. 2017) joined to the embedding (de Masson d'Autume et al.
            2019); even.
        dropout: variational, on the embedding and on the output.
        seed: the weights follow from it.
    """

    def __init__(
        self,
        *,
        vocabulary_size: int,
        scores: Literal["per_token", "per_sentence"],
        embedding: int,
        hidden: int,
        layers: int = 1,
        bidirectional: bool = False,
        layer_norm: bool = False,
        position_features: int = 0,
        dropout: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(vocabulary_size, embedding)
        self.scores = scores
        self.hidden_size = hidden
        self.position_features = position_features
        self.dropout = dropout
        width = hidden * (2 if bidirectional else 1)
        inputs = [embedding + position_features] + [width] * (layers - 1)
        self.layers = nn.ModuleList(
            nn.ModuleList(fused.LSTMLayer(size, hidden) for _ in range(2 if bidirectional else 1)) for size in inputs
        )
        self.norm = nn.LayerNorm(width) if layer_norm else None
        self.output = nn.Linear(width, 1)
        self._initialise(seed)

    @torch.no_grad()
    def _initialise(self, seed: int) -> None:
        normal_(self.embedding.weight, 1.0, seed, "embedding")
        for number, directions in enumerate(self.directions()):
            for name, layer in zip(("forwards", "backwards"), directions, strict=False):
                layer.initialise(seed, f"{name} {number}")
        uniform_(self.output.weight, self.output.in_features**-0.5, seed, "output")
        self.output.bias.zero_()

    def directions(self) -> Iterator[list[fused.LSTMLayer]]:
        """The layers, from the input upwards: each forwards and, where bidirectional, backwards."""
        for layer in self.layers:
            assert isinstance(layer, nn.ModuleList)
            yield [direction for direction in layer if isinstance(direction, fused.LSTMLayer)]

    def forward(self, embedded_BTE: Tensor, lengths_B: Tensor, *, noise: Noise | None = None) -> Tensor:
        rows, positions, size = embedded_BTE.shape
        position_T = torch.arange(positions, device=embedded_BTE.device)
        x_BTI = embedded_BTE
        if noise is not None and self.dropout:
            x_BTI = x_BTI * noise.keep("embedding", size, dropout=self.dropout)[:, None]
        if self.position_features:
            features_TP = _sinusoids(position_T, self.position_features)
            x_BTI = torch.cat([x_BTI, features_TP.expand(rows, -1, -1).to(x_BTI.dtype)], dim=-1)
        # Where position t of a row is in the row read backwards; its own inverse, and padding stays in place.
        mirror_BT = lengths_B[:, None] - 1 - position_T
        mirror_BT = torch.where(mirror_BT >= 0, mirror_BT, position_T)
        for forwards, *backwards in self.directions():
            outputs_BTH, _ = forwards.read(x_BTI)
            for layer in backwards:
                mirrored_BTH, _ = layer.read(_at(x_BTI, mirror_BT))
                outputs_BTH = torch.cat([outputs_BTH, _at(mirrored_BTH, mirror_BT)], dim=-1)
            x_BTI = outputs_BTH
        if self.scores == "per_sentence":
            x_BTI = self._ends(x_BTI, lengths_B)[:, None]
        if self.norm is not None:
            x_BTI = self.norm(x_BTI)
        if noise is not None and self.dropout:
            x_BTI = x_BTI * noise.keep("output", x_BTI.shape[-1], dropout=self.dropout)[:, None]
        scores_BT = self.output(x_BTI).squeeze(-1).float()
        if self.scores == "per_sentence":
            return scores_BT.squeeze(1)
        return scores_BT.masked_fill(position_T >= lengths_B[:, None], 0.0)

    def _ends(self, outputs_BTH: Tensor, lengths_B: Tensor) -> Tensor:
        """Where each direction ended: forwards at the last token, backwards at the first."""
        last_BH = _at(outputs_BTH, lengths_B[:, None] - 1)[:, 0]
        hidden = self.hidden_size
        return torch.cat([last_BH[:, :hidden], outputs_BTH[:, 0, hidden:]], dim=-1)


class ConvolutionalDiscriminator(Discriminator):
    """Convolutions over the text, their maximum over time, a highway layer, a dense layer and a score (Kim 2014).

    The embedding is cut into `representations`, which the same filters read and the same layers score, each with its
    own score (RelGAN, Nie et al. 2019, section 3.3). The highway layer has one matrix, as in TextGAN-PyTorch:
    sigmoid(h) relu(h) + (1 - sigmoid(h)) x with h = W x + b; RelGAN's own code has another one for the gate.

    Args:
        filters: number of filters for each width in tokens.
        dense: units of the (linear) dense layer before the score; 0 leaves it out.
        dropout: on the features after the highway layer, of each representation by itself.
        seed: the weights follow from it.
    """

    def __init__(
        self,
        *,
        vocabulary_size: int,
        embedding: int,
        filters: dict[int, int],
        representations: int = 1,
        highway: bool = True,
        dense: int = 100,
        dropout: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(vocabulary_size, embedding)
        assert embedding % representations == 0
        self.representations = representations
        self.scores = "per_representation" if representations > 1 else "per_sentence"
        self.dropout = dropout
        channels = embedding // representations
        by_width = sorted(filters.items())
        self.widths = [width for width, _ in by_width]
        self.filters = nn.ParameterList(torch.empty(count, channels, width) for width, count in by_width)
        self.biases = nn.ParameterList(torch.empty(count) for _, count in by_width)
        features = sum(filters.values())
        self.highway = nn.Linear(features, features) if highway else None
        self.dense = nn.Linear(features, dense) if dense else None
        self.output = nn.Linear(dense or features, 1)
        self._initialise(seed)

    @torch.no_grad()
    def _initialise(self, seed: int) -> None:
        normal_(self.embedding.weight, 1.0, seed, "embedding")
        for width, weight, bias in zip(self.widths, self.filters, self.biases, strict=True):
            uniform_(weight, weight[0].numel() ** -0.5, seed, f"filters of width {width}")
            bias.zero_()
        for name, layer in (("highway", self.highway), ("dense", self.dense), ("output", self.output)):
            if layer is not None:
                uniform_(layer.weight, layer.in_features**-0.5, seed, name)
                layer.bias.zero_()

    def forward(self, embedded_BTE: Tensor, lengths_B: Tensor, *, noise: Noise | None = None) -> Tensor:
        rows, positions, size = embedded_BTE.shape
        channels = size // self.representations
        valid_BT = torch.arange(positions, device=embedded_BTE.device) < lengths_B[:, None]
        x_BRCT = (embedded_BTE * valid_BT[..., None]).view(rows, positions, -1, channels).permute(0, 2, 3, 1)
        if channels == 1 and not x_BRCT.is_cuda:
            weights = [weight.squeeze(1) for weight in self.filters]
            features_BRK = representations.max_over_time(x_BRCT.squeeze(2), lengths_B, weights, list(self.biases))
        else:
            features_BRK = self._max_over_time(x_BRCT, lengths_B)
        keep_BRK = None
        if noise is not None and self.dropout:
            keep_BRK = noise.keep("features", *features_BRK.shape[1:], dropout=self.dropout)
        # Both layers behind the dropout are linear: one product gives the score.
        head_1K, bias_1 = self.output.weight, self.output.bias
        if self.dense is not None:
            head_1K, bias_1 = head_1K @ self.dense.weight, head_1K @ self.dense.bias + bias_1
        if self.highway is not None and not x_BRCT.is_cuda:
            weight_KK, bias_K = self.highway.weight, self.highway.bias
            scores_BR = representations.highway_scores(features_BRK, weight_KK, bias_K, head_1K[0], keep_BRK)
        else:
            if self.highway is not None:
                h_BRK = self.highway(features_BRK)
                features_BRK = torch.lerp(features_BRK, h_BRK.relu(), h_BRK.sigmoid())
            scores_BR = (features_BRK if keep_BRK is None else features_BRK * keep_BRK) @ head_1K[0]
        scores_BR = (scores_BR + bias_1).float()
        return scores_BR if self.representations > 1 else scores_BR.squeeze(1)

    def _max_over_time(self, x_BRCT: Tensor, lengths_B: Tensor) -> Tensor:
        """Each filter's largest response in the text, (B, R, K); a text shorter than a filter counts as filled up."""
        x_MCT = F.pad(x_BRCT.flatten(0, 1), (0, max(0, self.widths[-1] - x_BRCT.shape[-1])))
        lengths_M1 = lengths_B.repeat_interleave(self.representations)[:, None]
        pooled = []
        for width, weight, bias in zip(self.widths, self.filters, self.biases, strict=True):
            responses_MKP = F.conv1d(x_MCT, weight, bias)
            position_P = torch.arange(responses_MKP.shape[-1], device=x_MCT.device)
            outside_MP = position_P > (lengths_M1 - width).clamp(min=0)
            pooled.append(responses_MKP.masked_fill(outside_MP[:, None], -torch.inf).amax(dim=-1).relu())
        return torch.cat(pooled, dim=-1).unflatten(0, (-1, self.representations))


def _at(x_BTI: Tensor, position_BT: Tensor) -> Tensor:
    """Each row's vectors at the given positions."""
    return x_BTI.gather(1, position_BT[..., None].expand(-1, -1, x_BTI.shape[-1]))


def _sinusoids(position_T: Tensor, channels: int) -> Tensor:
    """Sines and cosines of wavelengths from 2π to 20000π positions, (T, channels)."""
    rates = torch.exp(torch.arange(0, channels, 2, device=position_T.device) * (-math.log(10000) / channels))
    angles = position_T[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
