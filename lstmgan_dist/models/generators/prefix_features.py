"""What a convolutional discriminator would make of every prefix of a text, without reading any prefix twice.

Its features are maxima over the windows of a text, so those of a prefix are a running maximum over the windows that
have ended. Only a prefix shorter than a filter has a window of its own, which zeros fill up.

Shapes: B rows, T positions, E embedding, R representations, C channels of one, M = B·R, W positions of the widest
filter, K features of all widths and representations.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lstmgan_dist.models import fused
from lstmgan_dist.models.generators.leak import Leaked
from lstmgan_dist.models.initialise import normal_, uniform_

# (tail_BWE: the last W - 1 embedded tokens; maximum_BK: of the windows that have ended; count_B: tokens read, W or more
# being W, and -1 before the start mark, which is part of no prefix). Numbers of any type hold it.
PrefixState = tuple[Tensor, Tensor, Tensor]


class PrefixFeatures(nn.Module):
    """The embedding and the filters of a discriminator, as buffers: nothing is learnt here.

    Until `copy_` is called first, they are what the seed says.
    """

    def __init__(self, settings: Leaked, tokens: int, seed: int) -> None:
        super().__init__()
        self.representations = settings.representations
        self.widths = sorted(settings.filters)
        self.size = settings.features
        channels = settings.embedding // settings.representations
        self.register_buffer("embedding", torch.empty(tokens, settings.embedding))
        for width in self.widths:
            self.register_buffer(f"filters_{width}", torch.empty(settings.filters[width], channels, width))
            self.register_buffer(f"biases_{width}", torch.zeros(settings.filters[width]))
        embedding, *layers = self.extractor()
        normal_(embedding, 1.0, seed, "leaked embedding")
        for width, weight in zip(self.widths, layers[::2], strict=True):
            uniform_(weight, weight[0].numel() ** -0.5, seed, f"leaked filters of width {width}")

    def extractor(self) -> list[Tensor]:
        """The embedding, and of each width in ascending order its filters and their biases."""
        return list(self.buffers())

    @torch.no_grad()
    def copy_(self, extractor: list[Tensor]) -> None:
        """Become what a discriminator's `feature_extractor` is now."""
        for mine, theirs in zip(self.extractor(), extractor, strict=True):
            mine.copy_(theirs)

    def initial_state(self, rows: int) -> PrefixState:
        """Before the start mark."""
        embedding = self.extractor()[0]
        tail_BWE = embedding.new_zeros(rows, self.widths[-1] - 1, embedding.shape[1])
        maximum_BK = embedding.new_full((rows, self.size), -torch.inf)
        return tail_BWE, maximum_BK, embedding.new_full((rows,), -1.0)

    def forward(self, tokens_BT: Tensor, state: PrefixState) -> tuple[Tensor, PrefixState]:
        """The features of the prefix that ends with each token, (B, T, K), and the state behind the last."""
        tail_BWE, maximum_BK, count_B = state
        embedding, *layers = self.extractor()
        rows, positions = tokens_BT.shape
        most = self.widths[-1]
        count_BT = count_B[:, None] + torch.arange(1, positions + 1, device=tokens_BT.device)
        x_BTE = F.embedding(tokens_BT, embedding) * (count_BT > 0)[..., None]  # the start mark is no text
        x_BTE = torch.cat([tail_BWE.to(x_BTE.dtype), x_BTE], dim=1)
        channels = x_BTE.shape[-1] // self.representations
        x_MCT = x_BTE.unflatten(-1, (-1, channels)).permute(0, 2, 3, 1).flatten(0, 1)
        responses, ended = [], []
        for width, weight, bias in zip(self.widths, layers[::2], layers[1::2], strict=True):
            responses_MTK = self._ending_here(x_MCT[..., most - width :], count_BT, weight, bias)
            responses.append(responses_MTK.unflatten(0, (rows, -1)))
            ended.append((count_BT >= width)[..., None].expand(-1, -1, len(weight)))
        responses_BTK = torch.cat(responses, dim=-1).transpose(1, 2).flatten(2)
        ended_BTK = torch.cat(ended, dim=-1).repeat(1, 1, self.representations)
        running_BTK = responses_BTK.masked_fill(~ended_BTK, -torch.inf).cummax(dim=1).values
        running_BTK = running_BTK.maximum(maximum_BK[:, None].to(running_BTK.dtype))
        end = x_BTE[:, positions:], running_BTK[:, -1], count_BT[:, -1].clamp(max=most)
        return running_BTK.where(ended_BTK, responses_BTK).relu(), end

    def _ending_here(self, x_MCT: Tensor, count_BT: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The responses of one width to the windows that end at each token, (M, T, filters).

        x_MCT: begins one position less than a window before the first token.
        """
        width, positions = weight.shape[-1], count_BT.shape[1]
        early = min(width, positions)  # behind the start mark and so many tokens no text is shorter than the window
        parts = []
        if early:
            # What there is of the text moves to the front of the window, and the zeros before it to its end.
            lacking_BT = (width - count_BT[:, :early]).clamp(0, width).long()
            place_BTW = (torch.arange(width, device=x_MCT.device) + lacking_BT[..., None]) % width
            place_MTW = place_BTW.repeat_interleave(self.representations, dim=0)
            place_MCTW = place_MTW[:, None].expand(-1, x_MCT.shape[1], -1, -1)
            windows_MCTW = x_MCT.unfold(2, width, 1)[:, :, :early].gather(3, place_MCTW)
            parts.append(fused.linear(windows_MCTW.transpose(1, 2).flatten(2), weight.flatten(1), bias))
        if early < positions:
            parts.append(F.conv1d(x_MCT[..., early:], weight, bias).transpose(1, 2))
        return torch.cat(parts, dim=1)
