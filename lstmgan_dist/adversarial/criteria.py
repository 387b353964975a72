"""What a token of real text costs in a likelihood phase, where it is not its negative log-likelihood alone.

To add one: a class like those here, and a line in `CRITERIA`.
Shapes: B rows, T positions, N positions of them that count, V vocabulary.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from lstmgan_dist.settings import Probability, Settings

if TYPE_CHECKING:
    from torch import Tensor


class Criterion(Settings):
    """One way to learn the next token from real text."""

    kind: Any  # each kind narrows it to its own word

    @abstractmethod
    def costs(self, logits_NV: Tensor, targets_BT: Tensor, index_N: Tensor) -> Tensor:
        """What each position costs, (N,). index_N: which of all rows' positions, one row after the other, they are."""


class LabelSmoothing(Criterion):
    """Part of each target's probability is spread evenly over the vocabulary (Szegedy et al. 2016, section 7).

    The cross-entropy against (1 - ε) δ + ε / V, so a model that is sure of itself pays for it.
    """

    kind: Literal["label_smoothing"]
    smoothing: Probability = Field(
        default=0.1, description="ε, 0 to 1: how much of the probability is spread; the token itself has the rest."
    )

    def costs(self, logits_NV: Tensor, targets_BT: Tensor, index_N: Tensor) -> Tensor:
        import torch.nn.functional as F

        targets_N = targets_BT.flatten()[index_N]
        return F.cross_entropy(logits_NV, targets_N, reduction="none", label_smoothing=self.smoothing)


class MixCE(Criterion):
    """Forward cross-entropy mixed with an approximate reverse one (Zhang et al. 2023).

    CE(Q, P) is taken as minus the expectation of Q(x) over real x, token by token, so the gradient is that of the
    log-likelihood times η + (1 - η) Q(x_t): what is probable already is reinforced (equations 8 to 10).
    """

    kind: Literal["mixce"]
    forward_weight: float = Field(
        default=0.5, ge=0, le=1, description="η, 0 to 1: of the negative log-likelihood; the reverse has the rest."
    )

    def costs(self, logits_NV: Tensor, targets_BT: Tensor, index_N: Tensor) -> Tensor:
        import torch.nn.functional as F

        nll_N = F.cross_entropy(logits_NV, targets_BT.flatten()[index_N], reduction="none")
        return self.forward_weight * nll_N - (1 - self.forward_weight) * (-nll_N).exp()


class Unlikelihood(Criterion):
    """What the text has said already becomes less likely, token by token (Welleck et al. 2020, equations 4 and 5).

    The negatives of a position are the different tokens before it in its row, as far as they count, but for its own.
    """

    kind: Literal["unlikelihood"]
    weight: float = Field(default=1.0, gt=0, description="α, above 0: of the unlikelihood beside the likelihood.")

    def costs(self, logits_NV: Tensor, targets_BT: Tensor, index_N: Tensor) -> Tensor:
        import torch.nn.functional as F

        targets_N = targets_BT.flatten()[index_N]
        row_N, said_NT = index_N // targets_BT.shape[1], negatives(targets_BT, index_N)
        # Of what does not count, such as a label of a context, any token will do.
        tokens_NT = targets_BT[row_N].clamp(max=logits_NV.shape[1] - 1)
        log_probabilities_NV = logits_NV.log_softmax(-1)
        nll_N = F.nll_loss(log_probabilities_NV, targets_N, reduction="none")
        others_NT = (1 - log_probabilities_NV.gather(1, tokens_NT).exp()).clamp(min=_LEAST)
        return nll_N - self.weight * (others_NT.log() * said_NT).sum(1)


CRITERIA = {"label_smoothing": LabelSmoothing, "mixce": MixCE, "unlikelihood": Unlikelihood}

_LEAST = 1e-5  # of 1 - p, as in the authors' code: its logarithm has no end


def negatives(targets_BT: Tensor, index_N: Tensor) -> Tensor:
    """Which positions of a position's row hold a token for the first time, before it, and another one than its own.

    Boolean, (N, T).
    """
    import torch

    positions = targets_BT.shape[1]
    counts_BT = torch.zeros_like(targets_BT, dtype=torch.bool)
    counts_BT.view(-1)[index_N] = True
    is_same_BTT = (targets_BT[:, :, None] == targets_BT[:, None]) & counts_BT[:, None]
    is_first_BT = counts_BT & ~is_same_BTT.tril(-1).any(2)
    position_T = torch.arange(positions, device=targets_BT.device)
    row_N, position_N = index_N // positions, index_N % positions
    is_other_NT = targets_BT[row_N] != targets_BT.flatten()[index_N][:, None]
    return is_first_BT[row_N] & is_other_NT & (position_T < position_N[:, None])
