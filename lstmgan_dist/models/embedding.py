"""What tokens are to a network: vectors that are learnt, all of them or only in some of their dimensions.

Shapes: V tokens, E dimensions, P of them pretrained, L learnt.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lstmgan_dist.models.initialise import normal_


class Embedding(nn.Embedding):
    """Vectors of tokens, all of which is learnt."""

    def initialise(self, deviation: float, seed: int) -> None:
        """Fill with N(0, deviation²)."""
        normal_(self.weight, deviation, seed, "embedding")

    def copy_(self, weight_VE: Tensor) -> None:
        """Take over the vectors of another embedding."""
        self.weight.copy_(weight_VE)

    @property
    def pretrained(self) -> Tensor:
        """What word vectors that others trained replace; a view, (V, P)."""
        return self.weight


class PartlyFixedEmbedding(nn.Module):
    """Vectors of tokens whose first dimensions never move, beside others that are learnt.

    ScratchGAN's (de Masson d'Autume et al. 2019): GloVe's vectors, and 64 dimensions of its own beside them.
    """

    vectors: Tensor

    def __init__(self, tokens: int, size: int, trainable: int) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim = tokens, size
        # No parameter: no optimiser, and no gradient between workers, ever sees it.
        self.register_buffer("vectors", torch.empty(tokens, size - trainable))
        self.learnt = nn.Parameter(torch.empty(tokens, trainable))

    def initialise(self, deviation: float, seed: int) -> None:
        """Fill with N(0, deviation²), also what stays where no vector of others replaces it."""
        normal_(self.vectors, deviation, seed, "embedding")
        normal_(self.learnt, deviation, seed, "learnt embedding")

    def forward(self, tokens: Tensor) -> Tensor:
        return torch.cat([F.embedding(tokens, self.vectors), F.embedding(tokens, self.learnt)], dim=-1)

    def copy_(self, weight_VE: Tensor) -> None:
        """Take over the vectors of another embedding."""
        fixed_VP, learnt_VL = weight_VE.split([self.vectors.shape[1], self.learnt.shape[1]], dim=1)
        self.vectors.copy_(fixed_VP)
        self.learnt.copy_(learnt_VL)

    @property
    def pretrained(self) -> Tensor:
        """What word vectors that others trained replace, (V, P)."""
        return self.vectors

    @property
    def weight(self) -> Tensor:
        """All of it, put together anew, (V, E)."""
        return torch.cat([self.vectors, self.learnt], dim=1)


def embedding_layer(tokens: int, size: int, trainable: int | None = None) -> Embedding | PartlyFixedEmbedding:
    """An embedding whose weights are still to be filled. trainable: dimensions that are learnt; None: all.

    nn.Embedding would fill them, which on the meta device imports all of PyTorch's compiler: two seconds and 150 MiB.
    """
    if trainable is None:
        return Embedding.from_pretrained(torch.empty(tokens, size), freeze=False)
    return PartlyFixedEmbedding(tokens, size, trainable)
