"""The network of a convolutional discriminator.

Shapes: B rows, T positions, E embedding, R representations, C channels of one representation, W positions that a filter
spans, K filters of all widths, M texts of all representations, P windows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lstmgan_dist.models import fused
from lstmgan_dist.models.discriminator import TokenReader
from lstmgan_dist.models.discriminators import convolution_on_cpu
from lstmgan_dist.models.discriminators.convolutional import ConvolutionalKind
from lstmgan_dist.models.initialise import uniform_
from lstmgan_dist.models.padding import valid
from lstmgan_dist.models.spectral import of_norm_1
from lstmgan_dist.runtime.randomness import Noise


class ConvolutionalDiscriminator(TokenReader):
    """Convolutions over the text, their maximum over time, a highway layer, a dense layer and a score (Kim 2014).

    The embedding is cut into `representations`, which the same filters read and the same layers score, each with its
    own score (RelGAN, Nie et al. 2019, section 3.3). The highway layer has one matrix, as in TextGAN-PyTorch:
    sigmoid(h) relu(h) + (1 - sigmoid(h)) x with h = W x + b; RelGAN's own code has another one for the gate.

    Dropout is on the features after the highway layer, of each representation by itself.

    Args:
        seed: the weights follow from it.
    """

    def __init__(self, kind: ConvolutionalKind, *, vocabulary_size: int, seed: int) -> None:
        super().__init__(vocabulary_size, kind.embedding, kind.trainable_dimensions)
        self.representations = kind.representations
        self.scores = "per_representation" if kind.representations > 1 else "per_sentence"
        self.dropout = kind.dropout
        self.spectral_norm = kind.spectral_norm
        channels = kind.embedding // kind.representations
        by_width = sorted(kind.filters.items())
        self.widths = [width for width, _ in by_width]
        self.filters = nn.ParameterList(torch.empty(count, channels, width) for width, count in by_width)
        self.biases = nn.ParameterList(torch.empty(count) for _, count in by_width)
        features = sum(kind.filters.values())
        self.highway = nn.Linear(features, features) if kind.highway else None
        self.dense = nn.Linear(features, kind.dense) if kind.dense else None
        self.output = nn.Linear(kind.dense or features, 1)
        self._initialise(seed)

    @torch.no_grad()
    def _initialise(self, seed: int) -> None:
        self.embedding.initialise(1.0, seed)
        for width, weight, bias in zip(self.widths, self.filters, self.biases, strict=True):
            uniform_(weight, weight[0].numel() ** -0.5, seed, f"filters of width {width}")
            bias.zero_()
        for name, layer in (("highway", self.highway), ("dense", self.dense), ("output", self.output)):
            if layer is not None:
                uniform_(layer.weight, layer.in_features**-0.5, seed, name)
                layer.bias.zero_()

    def feature_extractor(self) -> list[Tensor]:
        pairs = zip(self.filters, self.biases, strict=True)
        return [self.embedding.weight, *(tensor for pair in pairs for tensor in pair)]

    def forward(self, seen_BTD: Tensor, lengths_B: Tensor, *, noise: Noise | None = None) -> Tensor:
        rows, positions, size = seen_BTD.shape
        channels = size // self.representations
        x_BRCT = (
            (seen_BTD * valid(lengths_B, positions)[..., None]).view(rows, positions, -1, channels).permute(0, 2, 3, 1)
        )
        fuses = not x_BRCT.is_cuda and not fused.is_twice_differentiable()
        filters = [self._weight(weight) for weight in self.filters]
        if channels == 1 and fuses:
            weights = [weight.squeeze(1) for weight in filters]
            features_BRK = convolution_on_cpu.max_over_time(x_BRCT.squeeze(2), lengths_B, weights, list(self.biases))
        else:
            features_BRK = self._max_over_time(x_BRCT, lengths_B, filters)
        keep_BRK = None
        if noise is not None and self.dropout:
            keep_BRK = noise.keep("features", *features_BRK.shape[1:], dropout=self.dropout)
        # Both layers behind the dropout are linear: one product gives the score.
        head_1K, bias_1 = self._weight(self.output.weight), self.output.bias
        if self.dense is not None:
            head_1K, bias_1 = head_1K @ self._weight(self.dense.weight), head_1K @ self.dense.bias + bias_1
        if self.highway is not None and fuses:
            weight_KK, bias_K = self._weight(self.highway.weight), self.highway.bias
            scores_BR = convolution_on_cpu.highway_scores(features_BRK, weight_KK, bias_K, head_1K[0], keep_BRK)
        else:
            if self.highway is not None:
                h_BRK = F.linear(features_BRK, self._weight(self.highway.weight), self.highway.bias)
                features_BRK = torch.lerp(features_BRK, h_BRK.relu(), h_BRK.sigmoid())
            scores_BR = (features_BRK if keep_BRK is None else features_BRK * keep_BRK) @ head_1K[0]
        scores_BR = (scores_BR + bias_1).float()
        return scores_BR if self.representations > 1 else scores_BR.squeeze(1)

    def _weight(self, weight: Tensor) -> Tensor:
        """What a layer multiplies by."""
        return of_norm_1(weight) if self.spectral_norm else weight

    def _max_over_time(self, x_BRCT: Tensor, lengths_B: Tensor, filters: Sequence[Tensor]) -> Tensor:
        """Each filter's largest response in the text, (B, R, K); a text shorter than a filter counts as filled up."""
        x_MCT = F.pad(x_BRCT.flatten(0, 1), (0, max(0, self.widths[-1] - x_BRCT.shape[-1])))
        x_MC1T = x_MCT[:, :, None]
        if not x_MCT.is_cuda:  # without this layout oneDNN takes twice as long; a single representation has it
            x_MC1T = x_MC1T.contiguous(memory_format=torch.channels_last)
        lengths_M1 = lengths_B.repeat_interleave(self.representations)[:, None]
        pooled = []
        for width, weight, bias in zip(self.widths, filters, self.biases, strict=True):
            responses_MKP = F.conv2d(x_MC1T, weight[:, :, None], bias).squeeze(2)
            position_P = torch.arange(responses_MKP.shape[-1], device=x_MCT.device)
            outside_MP = position_P > (lengths_M1 - width).clamp(min=0)
            pooled.append(responses_MKP.masked_fill_(outside_MP[:, None], -torch.inf).amax(dim=-1).relu())
        return torch.cat(pooled, dim=-1).unflatten(0, (-1, self.representations))
