"""Judges: kept with the corpus, found again, and refused where they have learnt nothing."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from lstmgan_dist.errors import UserError
from lstmgan_dist.evaluation.archive import Archive
from lstmgan_dist.evaluation.counting import nll_by_frequency
from lstmgan_dist.evaluation.heldout import digest
from lstmgan_dist.evaluation.judge import JudgeRequest, find_judge, keep_judge, train_judge
from lstmgan_dist.evaluation.language_model import fit, nll, read
from lstmgan_dist.storage import Folder
from tests.evaluation.toy import (
    RECIPE,
    VOCABULARY,
    babble,
    counting,
)

CPU = torch.device("cpu")
REQUEST = JudgeRequest(counting(400, seed=1), counting(200, seed=2), VOCABULARY, RECIPE)


def by_frequency(request):
    return nll_by_frequency(request.learn, request.test, request.vocabulary_size)


def learnt(request):
    """As `train_judge` does it, but with the threads that there are."""
    return fit(request.learn, vocabulary_size=request.vocabulary_size, recipe=request.recipe, seed=1, device=CPU)


@pytest.fixture(scope="module")
def trained():
    return learnt(REQUEST)


@pytest.fixture
def archive(tmp_path):
    return Archive(Folder(tmp_path / "judges"))


def test_a_kept_judge_is_found_again(trained, archive):
    assert find_judge(REQUEST, archive, CPU) is None
    kept = keep_judge(REQUEST, trained, archive, CPU)
    found = find_judge(REQUEST, archive, CPU)
    assert found is not None
    assert replace(found, network=kept.network) == kept
    weights, same = kept.network.state_dict(), found.network.state_dict()
    assert weights.keys() == same.keys()
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    assert (kept.sentences, kept.learnt_from) == (400, digest(REQUEST.learn))


def test_workers_find_only_a_judge_that_all_of_them_see(trained, tmp_path):
    folder = Folder(tmp_path)
    keep_judge(REQUEST, trained, Archive(folder, writes=False), CPU)
    assert folder.list() == []
    keep_judge(REQUEST, trained, Archive(folder), CPU)
    assert find_judge(REQUEST, Archive(folder, exchange=lambda own: [own, own]), CPU) is not None
    assert find_judge(REQUEST, Archive(folder, exchange=lambda own: [own, set()]), CPU) is None


def test_a_judge_knows_its_perplexity_on_the_other_half(trained, archive):
    judge = keep_judge(REQUEST, trained, archive, CPU)
    assert judge.perplexity == pytest.approx(math.exp(nll(read(trained.network, REQUEST.test, CPU), REQUEST.test)))
    assert judge.by_frequency == pytest.approx(math.exp(by_frequency(REQUEST)))
    assert judge.perplexity < 0.7 * judge.by_frequency


def test_a_judge_is_trained_by_its_recipe():
    request = replace(REQUEST, learn=counting(30, seed=1), recipe=replace(RECIPE, epochs=1))
    weights, same = (trained.network.state_dict() for trained in (train_judge(request, device="cpu"), learnt(request)))
    assert weights.keys() == same.keys()
    assert all(torch.allclose(weights[name], same[name], atol=1e-5) for name in weights)


def test_a_judge_is_known_by_what_it_learnt_and_how(trained, archive):
    others = [
        replace(REQUEST, learn=counting(400, seed=3)),
        replace(REQUEST, learn=REQUEST.learn.take(slice(0, 399))),
        replace(REQUEST, vocabulary_size=VOCABULARY + 1),
        replace(REQUEST, recipe=replace(RECIPE, hidden=13)),
        replace(REQUEST, recipe=replace(RECIPE, learning_rate=0.02)),
    ]
    keep_judge(REQUEST, trained, archive, CPU)
    assert len({request.key for request in (REQUEST, *others)}) == 6
    assert [find_judge(request, archive, CPU) for request in others] == [None] * 5
    assert replace(REQUEST, test=counting(50, seed=4)).key == REQUEST.key
    assert replace(REQUEST, learn=REQUEST.learn.take(np.arange(400)), recipe=replace(RECIPE)).key == REQUEST.key


@pytest.mark.slow
@pytest.mark.parametrize(
    "hopeless",
    [
        replace(REQUEST, recipe=replace(RECIPE, epochs=1, learning_rate=1e-9)),
        replace(REQUEST, learn=babble(400, seed=1), test=babble(200, seed=2)),
    ],
    ids=["no time to learn", "nothing to learn"],
)
def test_a_judge_that_has_not_learnt_is_refused_with_its_perplexity(hopeless, archive):
    trained = learnt(hopeless)
    perplexity = math.exp(nll(read(trained.network, hopeless.test, CPU), hopeless.test))
    alone = math.exp(by_frequency(hopeless))
    with pytest.raises(UserError, match=rf"is {perplexity:.1f}, .* have {alone:.1f}, .* 400 sentences"):
        keep_judge(hopeless, trained, archive, CPU)
    assert archive.names() == set()
    assert find_judge(hopeless, archive, CPU) is None
