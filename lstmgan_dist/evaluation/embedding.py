"""Distances between clouds of embedded texts: what of the real texts' variety the samples have.

Shapes: N real and M generated texts, F dimensions of an embedding, K clusters, L points of a curve.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from lstmgan_dist.errors import UserError
from lstmgan_dist.runtime.randomness import derive

# MAUVE's constants (Pillutla et al. 2021): the scaling of divergences, texts a cluster, the dimensions kept.
_SCALE, _TEXTS_PER_CLUSTER, _MOST_CLUSTERS, _VARIANCE_KEPT, _CURVE_POINTS = 5.0, 10, 500, 0.9, 25
_LLOYD_STEPS = 50


class Encoder(Protocol):
    """Turns texts into vectors. name: for the protocol of the figures."""

    name: str

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """One vector a text: float32 (N, F)."""
        ...


class SentenceTransformerEncoder:
    """Embeddings of a model of the sentence-transformers library (Reimers and Gurevych 2019), from the optional extra.

    Raises:
        UserError: if the library is not installed, or does not find the model.
    """

    def __init__(self, model: str) -> None:
        self.name = f"sentence-transformers:{model}"
        try:
            from sentence_transformers import SentenceTransformer  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise UserError(
                f"--encoder {self.name} needs an optional library: pip install 'lstmgan-dist[embeddings]'."
            ) from error
        try:
            self._model = SentenceTransformer(model)
        except (OSError, ValueError) as error:
            raise UserError(
                f"--encoder {self.name}: there is no such model here, and it could not be fetched: give the folder of "
                "one, or leave --encoder out to embed with the judge."
            ) from error

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """One vector a text."""
        return np.asarray(self._model.encode(list(texts), show_progress_bar=False), np.float32)


def encoder_called(name: str) -> Encoder:
    """The encoder that a person names, such as sentence-transformers:all-MiniLM-L6-v2.

    Raises:
        UserError: if there is none of this name, or it cannot be loaded.
    """
    kind, _, model = name.partition(":")
    if kind != "sentence-transformers" or not model:
        raise UserError(f"--encoder {name}: write sentence-transformers: and the name or folder of a model.")
    return SentenceTransformerEncoder(model)


def frechet(real_NF: np.ndarray, generated_MF: np.ndarray) -> float:
    """Fréchet distance of two clouds, each taken for normal (Dowson and Landau 1982; Heusel et al. 2017).

    |m1 - m2|² + tr(C1 + C2 - 2 (C1^½ C2 C1^½)^½), in squared units of the embedding; 0 for equal clouds.
    """
    mean_1F, mean_2F = (cloud.astype(np.float64).mean(0) for cloud in (real_NF, generated_MF))
    covariance_1FF, covariance_2FF = (
        np.cov(cloud.astype(np.float64), rowvar=False) for cloud in (real_NF, generated_MF)
    )
    root_FF = _root(covariance_1FF)
    cross = np.linalg.eigvalsh(root_FF @ covariance_2FF @ root_FF)
    # Rounding makes some of the smallest eigenvalues negative.
    traces = np.trace(covariance_1FF) + np.trace(covariance_2FF) - 2 * np.sqrt(cross.clip(0)).sum()
    return float(((mean_1F - mean_2F) ** 2).sum() + traces)


def _root(matrix_FF: np.ndarray) -> np.ndarray:
    """The symmetric square root of a covariance."""
    values_F, vectors_FF = np.linalg.eigh(matrix_FF)
    return (vectors_FF * np.sqrt(values_F.clip(0))) @ vectors_FF.T


def quantize(real_NF: np.ndarray, generated_MF: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cluster of each real and each generated text, found for both together by k-means on their main components.

    As MAUVE's authors do it (compute_mauve.py of github.com/krishnap25/mauve): embeddings scaled to unit length, of
    these the components that hold 90 % of the variance, and a tenth as many clusters as texts; here at most 500.
    """
    cloud = np.concatenate([real_NF, generated_MF]).astype(np.float64)
    cloud /= np.maximum(np.linalg.norm(cloud, axis=1, keepdims=True), 1e-9)
    cloud -= cloud.mean(0)
    values_F, vectors_FF = np.linalg.eigh(cloud.T @ cloud)
    kept = int(np.searchsorted(np.cumsum(values_F[::-1]) / values_F.sum(), _VARIANCE_KEPT)) + 1
    points = (cloud @ vectors_FF[:, ::-1][:, :kept]).astype(np.float32)
    clusters = max(2, min(_MOST_CLUSTERS, min(len(real_NF), len(generated_MF)) // _TEXTS_PER_CLUSTER))
    labels = _kmeans(points, clusters)
    return labels[: len(real_NF)], labels[len(real_NF) :]


def divergence_frontier(real_N: np.ndarray, generated_M: np.ndarray) -> float:
    """Area under the divergence curve of two sets of clusters, 0 to 1, and 1 for equal ones (Pillutla et al. 2021).

    The curve is (exp(-c KL(q|r)), exp(-c KL(p|r))) for the mixtures r of both, p of real and q of generated text.
    """
    clusters = int(max(real_N.max(), generated_M.max())) + 1
    p_K = np.bincount(real_N, minlength=clusters) / len(real_N)
    q_K = np.bincount(generated_M, minlength=clusters) / len(generated_M)
    weights_L = np.linspace(1e-6, 1 - 1e-6, _CURVE_POINTS)[:, None]
    mixtures_LK = weights_L * p_K + (1 - weights_L) * q_K
    x_L, y_L = (np.exp(-_SCALE * _divergences(cloud_K, mixtures_LK)) for cloud_K in (q_K, p_K))
    # From q to p, and so from right to left.
    x_L, y_L = np.concatenate([[1.0], x_L, [0.0]]), np.concatenate([[0.0], y_L, [1.0]])
    return -float(np.trapezoid(y_L, x_L))


def _divergences(cloud_K: np.ndarray, mixtures_LK: np.ndarray) -> np.ndarray:
    """KL(cloud | mixture) in nats for each mixture."""
    held = cloud_K > 0
    return (cloud_K[held] * np.log(cloud_K[held] / mixtures_LK[:, held])).sum(1)


def _kmeans(points: np.ndarray, clusters: int) -> np.ndarray:
    """Lloyd's algorithm from points that are far apart (k-means++, Arthur and Vassilvitskii 2007): a label a point."""
    draw = np.random.default_rng(derive("k-means") % 2**63)
    centres = np.empty((clusters, points.shape[1]), np.float32)
    centres[0] = points[draw.integers(len(points))]
    distances = ((points - centres[0]) ** 2).sum(1)
    for number in range(1, clusters):
        cumulated = np.cumsum(distances, dtype=np.float64)
        chosen = int(np.searchsorted(cumulated, draw.random() * cumulated[-1], side="right"))
        centres[number] = points[min(chosen, len(points) - 1)]
        np.minimum(distances, ((points - centres[number]) ** 2).sum(1), out=distances)
    labels = np.full(len(points), -1)
    for _ in range(_LLOYD_STEPS):
        # |x - c|² without |x|², which is the same for every centre.
        nearest = ((centres**2).sum(1) - 2 * points @ centres.T).argmin(1)
        if np.array_equal(nearest, labels):
            break
        labels = nearest
        counts = np.bincount(labels, minlength=clusters)
        sums = np.stack([np.bincount(labels, column, minlength=clusters) for column in points.T], axis=1)
        centres[counts > 0] = (sums[counts > 0] / counts[counts > 0, None]).astype(np.float32)
    return labels
