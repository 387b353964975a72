"""Several drafts of a row, each compared with the others."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lstmgan_dist.adversarial import texts as drawing_of_objectives
from lstmgan_dist.adversarial.baselines import NoBaseline, OtherDrafts
from lstmgan_dist.adversarial.credits import CREDITS
from lstmgan_dist.adversarial.estimators.score_function_objective import ScoreFunctionObjective
from lstmgan_dist.adversarial.losses import LOSSES
from lstmgan_dist.corpus.stream import Batch
from lstmgan_dist.errors import UserError
from lstmgan_dist.models.drawing import Drawn
from lstmgan_dist.models.generator import Generator
from tests.networks import lstm_generator
from tests.training.comparison import final_state
from tests.training.tiny_jobs import SENTENCES, job_of, run_in_pieces, run_job

from .game import MAX_LENGTH, B, make_discriminator, make_generator, noise_of, prepare, sentences, update
from .test_contexts import answers
from .test_estimators import TINY_V, all_texts, log_probabilities

GROUP = "phases.2.estimator={kind: score_function, credit: discounted, baseline: {kind: group, drafts: 3}}"


def grouped(generator, loss: str, credit: str, drafts: int, *, compared: bool = True) -> ScoreFunctionObjective:
    of_tokens = CREDITS[credit].of_tokens
    return ScoreFunctionObjective(
        generator,
        LOSSES[loss],
        max_length=MAX_LENGTH,
        credit=CREDITS[credit],
        discount=0.6,
        baseline=OtherDrafts(drafts=drafts, of_tokens=of_tokens) if compared else NoBaseline(),
        drafts=drafts,
        likelihood_weight=0.3,
    )


def test_the_baseline_is_the_mean_of_the_other_drafts() -> None:
    returns_BT = torch.tensor([[1.0, 1], [4, 0], [7, 7], [0, 0], [2, 2], [5, 0]])
    valid_BT = torch.tensor([[1, 1], [1, 0], [1, 1], [1, 1], [1, 1], [1, 0]]).bool()
    of_sentences = OtherDrafts(drafts=3, of_tokens=False).advantages(returns_BT, valid_BT)
    first, second = ([1, 4, 7], [0, 2, 5])
    expected = [value - (sum(row) - value) / 2 for row in (first, second) for value in row]
    assert of_sentences[:, 0].tolist() == pytest.approx(expected)
    assert torch.equal(of_sentences[:, 1], of_sentences[:, 0] * valid_BT[:, 1])
    of_tokens = OtherDrafts(drafts=3, of_tokens=True).advantages(returns_BT, valid_BT)
    assert of_tokens[:, 1].tolist() == [1 - 7, 0, 7 - 1, 0 - 2, 2 - 0, 0]


@pytest.mark.parametrize("drafts", [2, 3])
@pytest.mark.parametrize("credit", CREDITS)
def test_a_group_is_unbiased_and_varies_less(credit: str, drafts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over all groups of all texts, each as often as it is probable, against rewards that are compared with nothing."""
    generator, texts = lstm_generator(TINY_V, embedding=3, hidden=2, seed=4), all_texts()
    probability_B = log_probabilities(generator, texts).sum(1).exp().detach()
    discriminator = make_discriminator("per_token" if CREDITS[credit].of_tokens else "per_sentence")
    with torch.no_grad():
        discriminator.get_parameter("output.bias").add_(1)  # rewards far from 0, where a baseline matters
    index_GD = torch.tensor(list(itertools.product(range(len(probability_B)), repeat=drafts)))
    drawn = Drawn(texts.tokens_BT[index_GD.flatten()], texts.lengths_B[index_GD.flatten()])
    monkeypatch.setattr(drawing_of_objectives, "draw", lambda *args, **settings: drawn)
    weight_G = probability_B[index_GD].prod(dim=1)
    scores_BTP = scores_of_tokens(generator, texts)
    mean, variance = {}, {}
    for compared in (True, False):
        objective = grouped(generator, "probability", credit, drafts, compared=compared)
        noise = noise_of(torch.arange(len(index_GD)))
        ((part, _),) = prepare(objective, sentences(rows=len(index_GD)), opponent=discriminator, noise=noise)
        advantages_GDT = part["advantages_BT"].unflatten(0, (-1, drafts))
        estimate_GP = sum(
            torch.einsum("gt,gtp->gp", advantages_GDT[:, draft], scores_BTP[index_GD[:, draft]]) / drafts
            for draft in range(drafts)
        )
        assert isinstance(estimate_GP, Tensor)
        mean[compared] = weight_G @ estimate_GP
        variance[compared] = weight_G @ (estimate_GP - mean[compared]).square().sum(dim=1)
    assert mean[False].norm() > 0.005
    torch.testing.assert_close(mean[True], mean[False], atol=1e-5, rtol=1e-3)
    print(f"{credit}, {drafts} drafts: variance {variance[True] / variance[False]:.3f} of that without a baseline")
    assert variance[True] < 0.9 * variance[False]


def scores_of_tokens(generator: Generator, texts: Drawn) -> Tensor:
    """The gradient of every token's log-probability by all parameters, (B, T, P)."""
    logs_BT = log_probabilities(generator, texts)
    parameters = list(generator.parameters())
    rows = []
    for log in logs_BT.flatten():
        gradients = torch.autograd.grad(log, parameters, retain_graph=True)
        rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
    return torch.stack(rows).unflatten(0, logs_BT.shape)


@pytest.mark.parametrize("texts", [sentences, answers])
def test_drafts_of_a_row_share_its_latent_vector_and_context_and_nothing_else(texts: Callable[[], Batch]) -> None:
    generator, discriminator = make_generator(latent={"size": 3}), make_discriminator("per_token")
    objective, real = grouped(generator, "probability", "discounted", 3), texts()
    ((part, _),) = prepare(objective, real, opponent=discriminator, noise=noise_of())
    assert part["sentence_count"] == 3 * B
    assert len(part["real_targets_BT"]) == B, "the likelihood reads each real text once"
    latent_RDZ = part["latent_BZ"].unflatten(0, (B, 3))
    assert torch.equal(latent_RDZ, latent_RDZ[:, :1].expand_as(latent_RDZ))
    assert len(latent_RDZ[:, 0].unique(dim=0)) == B
    assert len(part["tokens_BT"].unique(dim=0)) > 2 * B
    if real.starts_B is not None and real.contexts_BP is not None:
        for row in range(3 * B):
            start = int(real.starts_B[row // 3])
            assert part["starts_B"][row] == start
            assert torch.equal(part["tokens_BT"][row, :start], real.contexts_BP[row // 3, :start])


def test_a_compared_draft_is_rewarded_beside_the_real_text_of_its_row() -> None:
    generator, discriminator, real = make_generator(), make_discriminator("per_sentence", dropout=0.0), sentences()
    objective = grouped(generator, "relativistic", "sentence", 2)
    ((part, _),) = prepare(objective, real, opponent=discriminator, noise=noise_of())
    real_B = discriminator(discriminator.embed(real.targets_BT), real.lengths_B)
    fake_B = discriminator(discriminator.embed(part["tokens_BT"]), part["lengths_B"])
    expected = LOSSES["relativistic"].generator(fake_B, real_B[torch.arange(2 * B) // 2])
    torch.testing.assert_close(part["costs"], expected)


@pytest.mark.parametrize("credit", CREDITS)
@pytest.mark.parametrize("texts", [sentences, answers])
def test_the_number_of_units_changes_nothing(credit: str, texts: Callable[[], Batch]) -> None:
    generator = make_generator(latent={"size": 3})
    discriminator = make_discriminator("per_token" if credit == "discounted" else "per_sentence")
    found = [
        update(grouped(generator, "probability", credit, 3), generator, discriminator, texts(), noise_of(), units)
        for units in (1, 2, 4)
    ]
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("baseline", "words"),
    [
        ("{kind: group, decay: 0.5}", "kind group has no use for it"),
        (
            "{kind: moving_average, drafts: 3}",
            "kind moving_average has no use for it.* set kind: group",
        ),
        ("{kind: group, drafts: 1}", "2 or more"),
    ],
)
def test_what_has_no_use_is_refused(baseline: str, words: str, text: Path) -> None:
    with pytest.raises(UserError, match=words):
        job_of(SENTENCES, text, f"phases.2.estimator={{kind: score_function, baseline: {baseline}}}")


def test_a_run_stopped_every_few_steps_equals_an_uninterrupted_one(text: Path, tmp_path: Path) -> None:
    job = job_of(SENTENCES, text, GROUP)
    run_job(job, tmp_path / "whole")
    run_in_pieces(job, tmp_path / "run", steps=5)
    assert final_state(tmp_path / "run") == final_state(tmp_path / "whole")
