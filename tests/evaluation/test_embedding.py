"""Distances between clouds against closed forms, and the divergence frontier against its definition."""

import sys
from itertools import pairwise
from types import ModuleType

import numpy as np
import pytest

from lstmgan_dist.errors import UserError
from lstmgan_dist.evaluation import embedding
from lstmgan_dist.evaluation.embedding import _kmeans, divergence_frontier, encoder_called, frechet, quantize


def cloud(draw, mean_F, covariance_FF, size=60):
    """Points that have exactly this mean and this covariance."""
    points = draw.normal(size=(size, len(mean_F)))
    points -= points.mean(0)
    points = points @ np.linalg.inv(np.linalg.cholesky(np.cov(points, rowvar=False))).T
    return points @ np.linalg.cholesky(covariance_FF).T + mean_F


def rotation(draw, size):
    return np.linalg.qr(draw.normal(size=(size, size)))[0]


@pytest.fixture
def draw():
    return np.random.default_rng(1)


def test_equal_clouds_have_no_frechet_distance(draw):
    points = draw.normal(size=(50, 8)).astype(np.float32)
    assert frechet(points, points) == pytest.approx(0, abs=1e-9)
    assert frechet(points, points[::-1]) == pytest.approx(0, abs=1e-9)
    # Fewer points than dimensions: the covariance has no inverse.
    assert frechet(points[:5], points[:5]) == pytest.approx(0, abs=1e-6)


def test_frechet_distance_along_common_axes_is_that_of_means_and_deviations(draw):
    mean_1, mean_2 = np.array([1.0, 2.0, 0.0]), np.array([1.0, -1.0, 4.0])
    deviations_1, deviations_2 = np.array([1.0, 2.0, 0.5]), np.array([3.0, 2.0, 0.1])
    expected = 9 + 16 + ((deviations_1 - deviations_2) ** 2).sum()
    turn = rotation(draw, 3)
    for axes in (np.eye(3), turn):
        found = frechet(
            cloud(draw, mean_1, np.diag(deviations_1**2)) @ axes, cloud(draw, mean_2, np.diag(deviations_2**2)) @ axes
        )
        assert found == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_across_axes_is_the_closed_form(draw):
    """In two dimensions tr((C1 C2)^½) = (tr(C1 C2) + 2 (det C1 det C2)^½)^½, by Cayley and Hamilton."""
    tilt = 0.7
    axes = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
    first, second = np.diag([4.0, 0.25]), axes @ np.diag([9.0, 1.0]) @ axes.T
    cross = np.sqrt(np.trace(first @ second) + 2 * np.sqrt(np.linalg.det(first) * np.linalg.det(second)))
    expected = 25 + np.trace(first) + np.trace(second) - 2 * cross
    one, two = cloud(draw, np.zeros(2), first), cloud(draw, np.array([3.0, 4.0]), second, size=90)
    assert frechet(one, two) == pytest.approx(expected, rel=1e-9)
    assert frechet(two, one) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_does_not_depend_on_where_the_clouds_lie(draw):
    one, two = draw.normal(size=(70, 6)) @ draw.normal(size=(6, 6)), draw.normal(size=(50, 6)) + 1
    turn, shift = rotation(draw, 6), draw.normal(size=6)
    assert frechet(one @ turn + shift, two @ turn + shift) == pytest.approx(frechet(one, two), rel=1e-9)
    assert frechet(3 * one, 3 * two) == pytest.approx(9 * frechet(one, two), rel=1e-9)


def frontier_by_definition(p_K, q_K, scale=5.0, mixtures=20_001):
    """The area under (exp(-c KL(q|r)), exp(-c KL(p|r))) for mixtures r between q and p, ends included."""
    weights_L = np.linspace(0, 1, mixtures)[1:-1, None]
    mixed_LK = weights_L * p_K + (1 - weights_L) * q_K

    def similarity(cloud_K):
        held = cloud_K > 0
        return np.prod((mixed_LK[:, held] / cloud_K[held]) ** (scale * cloud_K[held]), axis=1)

    # With the share of p, the similarity to q falls and the one to p grows.
    x_L = np.concatenate([[1.0], similarity(q_K), [0.0]])
    y_L = np.concatenate([[0.0], similarity(p_K), [1.0]])
    return float(((y_L[1:] + y_L[:-1]) / 2 * (x_L[:-1] - x_L[1:])).sum())


def labels_of(counts_K):
    return np.repeat(np.arange(len(counts_K)), counts_K)


@pytest.mark.parametrize("drift", [0.02, 0.1, 0.3, 0.6, 1.0])
def test_divergence_frontier_is_the_area_of_its_definition(drift, draw):
    p_K, other_K = draw.dirichlet(np.full(15, 0.5), 2)
    counts = [draw.multinomial(4000, mixed_K) for mixed_K in (p_K, (1 - drift) * p_K + drift * other_K)]
    # A cluster that neither has, and one that only the first has.
    real_K, generated_K = (np.append(count_K, [0, extra]) for count_K, extra in zip(counts, (7, 0), strict=True))
    expected = frontier_by_definition(real_K / real_K.sum(), generated_K / generated_K.sum())
    assert 0.2 < expected < 0.9999
    found = divergence_frontier(draw.permutation(labels_of(real_K)), labels_of(generated_K))
    assert found == pytest.approx(expected, abs=1e-2)
    assert divergence_frontier(labels_of(generated_K), labels_of(real_K)) == pytest.approx(found, abs=1e-9)


def test_divergence_frontier_ranges_from_disjoint_to_equal():
    real_N = labels_of([50, 20, 30])
    assert divergence_frontier(real_N, np.tile(real_N[::-1], 3)) == pytest.approx(1)
    # The integral of w^5 d(1 - w)^5 = 5 B(6, 5) = 1/252, for the scale 5.
    assert divergence_frontier(real_N, 3 + real_N) == pytest.approx(1 / 252, abs=5e-4)


def test_divergence_frontier_falls_while_clouds_drift_apart(draw):
    real_NF, noise_NF = draw.normal(size=(2, 600, 4))
    direction = np.array([1.0, -1.0, 0.5, 0.0])
    areas = [divergence_frontier(*quantize(real_NF, noise_NF + drift * direction)) for drift in (0, 0.5, 1, 2)]
    assert all(before > after + 0.03 for before, after in pairwise(areas))
    assert areas[0] > 0.8
    assert areas[-1] < 0.05


def test_clusters_are_those_that_are_well_apart(draw):
    # The corners of a tetrahedron, in a plane of many dimensions.
    corners = (
        np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) @ np.linalg.qr(draw.normal(size=(20, 3)))[0].T
    )
    truth = [draw.permutation(np.arange(48) % 4) for _ in range(2)]
    clouds = [(corners[kind] + draw.normal(0, 0.02, (48, 20))).astype(np.float32) for kind in truth]
    real_N, generated_N = quantize(*clouds)
    assert (len(real_N), len(generated_N)) == (48, 48)
    pairs = set(zip(np.concatenate(truth).tolist(), np.concatenate([real_N, generated_N]).tolist(), strict=True))
    assert len(pairs) == 4
    assert len({label for _, label in pairs}) == 4
    assert all(
        np.array_equal(first, again) for first, again in zip((real_N, generated_N), quantize(*clouds), strict=True)
    )


def test_clusters_are_of_directions_and_not_of_lengths(draw):
    """Three directions, in each of which some points are a hundred times as far away, and would be by themselves."""
    truth_N = np.arange(60) % 3
    lengths_N1 = np.where(np.arange(60) % 2, 100.0, 1.0)[:, None]
    points = lengths_N1 * (np.eye(3)[truth_N] + draw.normal(0, 0.01, (60, 3)))
    # 30 texts of a kind are worth three clusters, as many as there are directions.
    labels_N = np.concatenate(quantize(points[:30], points[30:]))
    assert len(set(zip(truth_N.tolist(), labels_N.tolist(), strict=True))) == len(set(labels_N)) == 3


def test_embeddings_are_scaled_to_unit_length_before_the_projection_and_not_after(draw):
    """As compute_mauve.py of MAUVE's authors: scikit-learn's `normalize`, then `PCA` for 90 % of the variance."""
    cloud = (draw.normal(size=(200, 12)) + 2) * np.linspace(0.2, 3, 12)
    unit = cloud / np.linalg.norm(cloud, axis=1, keepdims=True)
    left, values_K, _ = np.linalg.svd(unit - unit.mean(0), full_matrices=False)
    kept = np.argmax(np.cumsum(values_K**2) / (values_K**2).sum() >= 0.9) + 1
    expected = (left * values_K)[:, :kept]
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedding, "_kmeans", lambda points, clusters: found.append(points) or np.zeros(200, int))
        quantize(cloud[:120], cloud[120:])
    # Components may point either way.
    assert np.abs(found[0]) == pytest.approx(np.abs(expected), abs=1e-5)


def test_k_means_finds_each_of_many_heaps(draw):
    heaps = np.stack(np.meshgrid(range(5), range(6)), axis=-1).reshape(30, 2) ** 2
    truth_N = draw.permutation(np.arange(300) % 30)
    labels_N = _kmeans((heaps[truth_N] + draw.normal(0, 0.002, (300, 2))).astype(np.float32), 30)
    assert len(set(zip(truth_N.tolist(), labels_N.tolist(), strict=True))) == len(set(labels_N)) == 30


def test_k_means_goes_on_until_every_point_is_with_the_nearest_mean(draw):
    points = draw.normal(size=(300, 3)).astype(np.float32)
    labels_N = _kmeans(points, 6)
    means = np.stack([points[labels_N == label].mean(0) for label in range(6)])
    assert np.array_equal(((points[:, None] - means) ** 2).sum(2).argmin(1), labels_N)


def test_there_are_a_tenth_as_many_clusters_as_texts_of_the_fewer(draw):
    real_N, generated_N = quantize(draw.normal(size=(400, 6)), draw.normal(size=(70, 6)))
    assert set(real_N) | set(generated_N) == set(range(7))


class Library(ModuleType):
    """A sentence-transformers that knows one model."""

    def __init__(self):
        super().__init__("sentence_transformers")

    class SentenceTransformer:
        def __init__(self, model):
            if model != "known":
                raise OSError(f"{model} is not a local folder and is not a valid model identifier")

        def encode(self, texts, show_progress_bar):
            assert type(texts) is list
            assert show_progress_bar is False
            return np.array([[len(text), text.count(" ")] for text in texts], np.float64)


def test_encoder_embeds_with_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", Library())
    encoder = encoder_called("sentence-transformers:known")
    assert encoder.name == "sentence-transformers:known"
    vectors_NF = encoder.encode(("a b c", "dd"))
    assert vectors_NF.dtype == np.float32
    assert vectors_NF.tolist() == [[5, 2], [2, 0]]


def test_encoder_without_the_library_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(UserError, match=r"pip install 'lstmgan-dist\[embeddings\]'"):
        encoder_called("sentence-transformers:known")


def test_encoder_with_an_unknown_model_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", Library())
    with pytest.raises(UserError, match="sentence-transformers:unheard-of: there is no such model"):
        encoder_called("sentence-transformers:unheard-of")


@pytest.mark.parametrize("name", ["known", "sentence-transformers", "sentence-transformers:", "word2vec:known"])
def test_a_name_that_is_no_encoders_is_an_error_that_says_how_to_write_it(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", Library())
    with pytest.raises(UserError, match=f"^--encoder {name}: write sentence-transformers: and"):
        encoder_called(name)
