"""The table of metrics: nothing that shows, keeps or explains figures knows another list of them."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from lstmgan_dist.evaluation import sweep
from lstmgan_dist.evaluation.bench import Bench
from lstmgan_dist.evaluation.findings import ContestFindings, Estimate, Place, Sampler
from lstmgan_dist.evaluation.language_model import Recipe
from lstmgan_dist.evaluation.metrics import METRICS, Metric, brief_figures, figures_of
from lstmgan_dist.evaluation.ngrams import NgramIndex
from lstmgan_dist.evaluation.protocol import LENGTH
from lstmgan_dist.evaluation.report.page import report_html
from lstmgan_dist.evaluation.sample_sources import RealSource
from lstmgan_dist.evaluation.samples import ContestSamples, Samples, mean_of, of_numbers
from lstmgan_dist.evaluation.texts import Texts


def some_texts(count, seed):
    draw = np.random.default_rng(seed)
    return Texts.of(draw.integers(3, 20, length).tolist() for length in draw.integers(4, 9, count))


@pytest.fixture
def bench():
    real = some_texts(60, seed=1)
    return Bench(
        samples=40,
        vocabulary_size=20,
        tokenizer=None,  # pyright: ignore[reportArgumentType]
        recipe=Recipe(),
        device="cpu",
        judges=(),  # pyright: ignore[reportArgumentType]
        test=(real, real),
        real_features=np.random.default_rng(2).normal(size=(60, 4)).astype(np.float32),
        references=NgramIndex(real),
        reference_count=len(real),
        training=real,
        validation=real,
        encoder=None,
        oracle=None,
    )


@pytest.fixture
def samples(bench):
    texts = some_texts(40, seed=3)
    found = ContestSamples(texts, bench, RealSource(texts), None)
    # Judges have a test of their own.
    found.readings = [SimpleNamespace(features_NF=np.random.default_rng(4).normal(size=(40, 4)))]  # pyright: ignore
    return found


@pytest.fixture
def syllables(monkeypatch):
    """A metric that nobody has heard of."""
    metric = Metric(
        "syllables <per> word", "syllables", None, LENGTH, lambda samples: mean_of(np.arange(4)), decimals=2
    )
    monkeypatch.setitem(METRICS, "syllables", metric)
    return metric


def test_all_that_applies_is_measured_with_its_standard_error(samples):
    figures = figures_of(samples)
    # The frontier's scores need reverse models; no oracle has made these texts, and real text is no model.
    assert METRICS.keys() - figures.keys() == {
        *("lm", "reverse_lm", "oracle_nll", "test_nll", "grammatical", "covered"),
    }
    assert all(np.isfinite(pair).all() for pair in figures.values())
    assert figures["mean_length"][1] > 0 < figures["distinct_2"][1]


def test_brief_figures_are_those_of_a_contest(samples):
    figures = figures_of(samples)
    brief = brief_figures(samples.texts, samples.bench.test[0])
    assert brief == {name: figures[name][0] for name, metric in METRICS.items() if metric.brief}
    assert {"bleu_4", "self_bleu_4", "distinct_2", "repetition", "mean_length"} <= brief.keys()


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values_N = np.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0])
    found = of_numbers(8, lambda which: float(values_N[which].mean()))
    assert found.value == mean_of(values_N).value == 3.875
    assert found.error() == pytest.approx(mean_of(values_N).error())


def test_errors_are_computed_only_when_asked_for(bench):
    samples = Samples(some_texts(40, seed=3), bench.references)
    brief = METRICS["distinct_2"].brief
    assert brief is not None
    assert 0 < brief(samples).value < 1
    assert "without_groups" not in vars(samples)


def test_a_new_metric_is_measured_and_in_the_report_with_its_unit_and_decimals(samples, syllables):
    value, error = figures_of(samples)["syllables"]
    place = Place("real text", None, {"syllables": Estimate(value, value - error, value + error)})
    page = report_html(ContestFindings((Sampler("real text", "real text"),), (place,), (), (), (), (), {}))
    assert "syllables &lt;per&gt; word<small>syllables</small>" in page
    assert f"1.50<small>± {error:.2f}</small>" in page


def test_what_was_kept_is_not_taken_for_a_metric_that_is_new_or_computed_otherwise(bench, monkeypatch):
    before = sweep.bench_key(bench)
    monkeypatch.setitem(METRICS, "mauve", replace(METRICS["mauve"], version=2))
    other_version = sweep.bench_key(bench)
    monkeypatch.setitem(METRICS, "another", METRICS["mauve"])
    assert len({before, other_version, sweep.bench_key(bench)}) == 3


def test_each_metric_is_explained_and_has_a_label_of_its_own(bench):
    assert len({metric.label for metric in METRICS.values()}) == len(METRICS)
    of_judges = ("lm", "reverse_lm")
    assert all(metric.explained.of(bench) for name, metric in METRICS.items() if name not in of_judges)
