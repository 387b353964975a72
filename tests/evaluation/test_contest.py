"""Samplers of which it is known who is better, judged from beginning to end by models that learn in a second."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from lstmgan_dist.errors import UserError
from lstmgan_dist.evaluation.contest import REAL_TEXT
from lstmgan_dist.evaluation.findings import UNDECIDED
from lstmgan_dist.evaluation.heldout import fingerprints, training_texts
from lstmgan_dist.evaluation.language_model import fit
from lstmgan_dist.evaluation.sample_sources import GeneratorSource
from lstmgan_dist.evaluation.sampling import Sampling
from lstmgan_dist.evaluation.synthetic import prepare_synthetic
from lstmgan_dist.evaluation.texts import Texts
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.storage import Folder
from tests.evaluation.contests import GRAMMAR, SMALL, Anew, hold

pytestmark = pytest.mark.slow

TEMPERATURES = (0.6, 1.0, 1.2)
SAMPLES = 2400
CPU = torch.device("cpu")


class Few:
    """A few real sentences again and again."""

    def __init__(self, texts):
        self.texts = texts

    def draw(self, temperature, *, count, seed, device):
        return self.texts.take(np.random.default_rng(abs(seed)).integers(len(self.texts), size=count))

    def nll(self, texts, temperature, device):
        return None


class Salad:
    """Words by their frequency, sharpened by the temperature, in any order."""

    def __init__(self, texts, vocabulary_size):
        self.counts = np.bincount(texts.tokens_T, minlength=vocabulary_size)
        self.lengths_N = texts.lengths_N

    def draw(self, temperature, *, count, seed, device):
        draw = np.random.default_rng(abs(seed))
        weights = self.counts ** (1 / temperature)
        lengths_N = draw.choice(self.lengths_N, count)
        return Texts(draw.choice(len(weights), lengths_N.sum(), p=weights / weights.sum()), lengths_N)

    def nll(self, texts, temperature, device):
        return None


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = Folder(tmp_path_factory.mktemp("grammar"))
    return prepare_synthetic(GRAMMAR, folder, report=lambda progress: None)


@pytest.fixture(scope="module")
def generator(corpus):
    """A generator that has learnt something of the grammar, and not all."""
    texts, vocabulary_size = training_texts(corpus, 10**6), corpus.tokenizer.vocabulary_size
    return fit(texts, vocabulary_size=vocabulary_size, recipe=replace(SMALL, epochs=2), seed=7, device=CPU).network


def found(corpus, sources, pairs=(), **settings):
    return hold(corpus, sources, pairs, **{"samples": SAMPLES, "temperatures": TEMPERATURES} | settings)


@pytest.fixture(scope="module")
def judged(corpus, generator):
    """Everybody at once."""
    source, texts = GeneratorSource(generator, Sampling(40)), training_texts(corpus, 10**6)
    sources = {
        "model": source,
        "hotter": Anew(source, heat=1.2),
        "collapsed": Few(texts.take(slice(0, 10))),
        "salad": Salad(texts, corpus.tokenizer.vocabulary_size),
    }
    return found(corpus, sources, [("hotter", "model"), ("collapsed", "model"), ("salad", "model")])


def test_temperature_alone_is_not_distinguishable(judged):
    verdict = judged.verdict("hotter", "model")
    assert verdict.word in UNDECIDED, verdict.sentence
    assert verdict.margin.low < 0 < verdict.margin.high


@pytest.mark.parametrize("name", ["collapsed", "salad"])
def test_collapse_and_word_salad_are_worse_than_the_model_and_than_real_text(judged, name):
    for reference in ("model", REAL_TEXT):
        verdict = judged.verdict(name, reference)
        assert verdict.word == "worse", verdict.sentence
        assert verdict.sentence.endswith("This holds for these training seeds.")
        assert verdict.margin.high < 0


def test_real_text_comes_out_as_the_best(judged):
    for name in ("model", "hotter", "collapsed", "salad"):
        assert judged.verdict(name, REAL_TEXT).word == "worse", judged.verdict(name, REAL_TEXT).sentence


def test_the_grammar_tells_them_apart_exactly(judged):
    def figure(name, sampler, temperature):
        return judged.place(sampler, temperature).figures[name].value

    assert figure("grammatical", REAL_TEXT, None) == 1
    assert figure("grammatical", "collapsed", 1.0) == 1
    assert figure("grammatical", "salad", 1.0) < 0.1
    assert figure("grammatical", "model", 0.6) > figure("grammatical", "model", 1.2)
    assert figure("covered", REAL_TEXT, None) > figure("covered", "model", 1.0) > figure("covered", "collapsed", 1.0)
    assert figure("distinct_2", "collapsed", 1.0) < 0.1
    assert figure("copied", "collapsed", 1.0) == 1
    assert figure("self_bleu_4", "collapsed", 1.0) > 0.99
    assert figure("bleu_4", "salad", 1.0) < figure("bleu_4", "model", 1.0)
    assert figure("frechet", REAL_TEXT, None) < figure("frechet", "model", 1.0) < figure("frechet", "salad", 1.0)
    assert figure("mauve", REAL_TEXT, None) > figure("mauve", "salad", 1.0)


def test_protocol_says_what_the_judges_have_seen(judged):
    assert "300 held-out sentences" in judged.protocol["Who has seen what"]
    assert "perplexity is" in judged.protocol["LM score"]
    assert "6 shares" in judged.protocol["Intervals and verdicts"]
    assert "hold for these training seeds" in judged.protocol["Intervals and verdicts"]
    assert any("Each judge has learnt only" in warning for warning in judged.warnings)


def test_ten_seeds_of_one_model_have_intervals_that_hold_the_truth(corpus, generator):
    """Nine differences of neighbours, of which 95 % should hold 0, and ten scores, of which 95 % hold the true one."""
    source = GeneratorSource(generator, Sampling(40))
    names = [f"seed {key}" for key in range(10)]
    result = found(
        corpus,
        {name: Anew(source, key=key) for key, name in enumerate(names)},
        list(zip(names[1:], names, strict=False)),
        samples=600,
        temperatures=(0.7, 1.0, 1.3),
        folder="ten seeds",
    )
    words = [verdict.word for verdict in result.verdicts if verdict.reference != REAL_TEXT]
    assert sum(word in UNDECIDED for word in words) >= 7, words
    estimates = [result.place(name, 1.0).figures["lm"] for name in names]
    others = [np.mean([other.value for other in estimates if other is not one]) for one in estimates]
    assert sum(one.low <= truth <= one.high for one, truth in zip(estimates, others, strict=True)) >= 8


def test_too_few_samples_are_refused_with_the_number_needed(corpus, generator):
    with pytest.raises(UserError, match=r"250 samples are too few.*--samples must be 300 or more"):
        found(corpus, {"model": GeneratorSource(generator, Sampling(40))}, samples=250)


class NotYet:
    """Nobody should have to wait for it."""

    def draw(self, temperature, *, count, seed, device):
        raise KeyboardInterrupt

    def nll(self, texts, temperature, device):
        return None


def test_samples_that_teach_too_little_are_told_before_the_wait_with_how_many_would_do(corpus):
    said = []
    with pytest.raises(KeyboardInterrupt):
        found(corpus, {"model": NotYet()}, samples=300, temperatures=(1.0,), folder="few", say=said.append)
    told = re.search(r"300 samples are few: .* know only (0\.\d\d) nats .*: about ([\d,]+) would do", said[0])
    assert told, said
    assert float(told[1]) < 0.5
    enough = int(told[2].replace(",", ""))
    assert 300 < enough <= len(training_texts(corpus, 10**6))


def test_a_judge_that_learns_nothing_is_refused_with_its_perplexity(corpus, generator):
    untaught = replace(SMALL, learning_rate=1e-9)
    with pytest.raises(UserError, match=r"has not learnt this text: its perplexity on the other half is \d"):
        found(corpus, {"model": GeneratorSource(generator, Sampling(40))}, recipe=untaught, folder="untaught")


def test_samples_are_drawn_by_the_seed_alone(generator):
    source = GeneratorSource(generator, Sampling(40))
    first, again, other = (source.draw(1.0, count=50, seed=seed, device=CPU) for seed in (1, 1, 2))
    assert fingerprints(first).tolist() == fingerprints(again).tolist() != fingerprints(other).tolist()
    assert isinstance(generator, Generator)
