"""The network of a multi-class discriminator.

Shapes: B rows, T positions, N positions of any rows, V vocabulary, E embedding, D dimensions of what is seen of a
position, C classes: the labels, and drawn text.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lstmgan_dist.models.discriminators.lstm_network import LSTMDiscriminator
from lstmgan_dist.models.discriminators.multi_class import MultiClassKind
from lstmgan_dist.runtime.randomness import Noise


class MultiClassDiscriminator(LSTMDiscriminator):
    """An LSTM that says of which of k labels a text is, or that it was drawn: k + 1 classes (Wang and Wan 2018).

    A score is the log-odds of the class that stands before the text as its label, so its sigmoid is the paper's D_i.
    The network itself is not told the label, or there were nothing to find out.

    Args:
        vocabulary_size: all tokens, of which so many last ones are labels.
        seed: the weights follow from it.
    """

    def __init__(self, kind: MultiClassKind, *, vocabulary_size: int, labels: int, seed: int) -> None:
        super().__init__(kind, vocabulary_size=vocabulary_size, outputs=labels + 1, seed=seed)
        self.first_label = vocabulary_size - labels

    def embed(self, tokens: Tensor) -> Tensor:
        """Embed token ids; beside it the number of a label, from 1, which is 0 for all other tokens."""
        number = (tokens - self.first_label + 1).clamp(min=0)
        return torch.cat([super().embed(tokens), number[..., None]], dim=-1)

    def embed_distribution(self, probabilities_NV: Tensor) -> Tensor:
        """The expected embedding under distributions over the vocabulary, in which no label is."""
        return F.pad(super().embed_distribution(probabilities_NV), (0, 1))

    def forward(self, seen_BTD: Tensor, lengths_B: Tensor, *, noise: Noise | None = None) -> Tensor:
        return _log_odds(self.classes(seen_BTD, lengths_B, noise=noise), _label(seen_BTD))

    def tell_apart(self, seen_BTD: Tensor, lengths_B: Tensor, *, noise: Noise | None = None) -> tuple[Tensor, Tensor]:
        """Of real texts the log-odds of their label, and of drawn ones those of all labels together.

        Their cross-entropies are -log D_label and -log D_drawn (Wang and Wan 2018). Figures of held-out
        text are of the scores that `forward` gives: the label against all else.
        """
        real_BC, fake_BC = self.classes(seen_BTD, lengths_B, noise=noise).chunk(2)
        label_B = _label(seen_BTD[: len(real_BC)])
        drawn_B = torch.full_like(label_B, fake_BC.shape[1] - 1)
        return _log_odds(real_BC, label_B), -_log_odds(fake_BC, drawn_B)

    def classes(self, seen_BTD: Tensor, lengths_B: Tensor, *, noise: Noise | None) -> Tensor:
        """A logit for each class, (B, C); the last one is that of drawn text."""
        without_label_BTE = F.pad(seen_BTD[:, 1:, :-1], (0, 0, 1, 0))
        return self.outputs(without_label_BTE, lengths_B, noise=noise).squeeze(1)


def _label(seen_BTD: Tensor) -> Tensor:
    """The class of each row's label, (B,): a context begins with it."""
    return seen_BTD[:, 0, -1].detach().long() - 1


def _log_odds(logits_BC: Tensor, class_B: Tensor) -> Tensor:
    """Of one class each against all others, (B,)."""
    own_B1 = class_B[:, None]
    others_BC = logits_BC.scatter(1, own_B1, -torch.inf)
    return (logits_BC.gather(1, own_B1) - others_BC.logsumexp(dim=1, keepdim=True)).squeeze(1)
