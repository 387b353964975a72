"""MaliGAN: weights normalised over the whole batch beside their formula, their gradient by enumeration, whole runs.

Also for adversarial/estimators/normalised_weights.py and adversarial/estimators/normalised_weights_objective.py.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lstmgan_dist.adversarial import texts as drawing_of_objectives
from lstmgan_dist.adversarial.estimators.normalised_weights_objective import NormalisedWeightsObjective
from lstmgan_dist.adversarial.losses import LOSSES
from lstmgan_dist.errors import UserError
from lstmgan_dist.models.drawing import Drawn
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.runtime.randomness import Noise
from tests.networks import lstm_discriminator, lstm_generator
from tests.training.comparison import final_state
from tests.training.tiny_jobs import SENTENCES, job_of, run_in_pieces, run_job

from .game import (
    MAX_LENGTH,
    B,
    V,
    gradients_of,
    make_discriminator,
    make_generator,
    noise_of,
    prepare,
    sentences,
    update,
)
from .test_contexts import answers
from .test_equilibrium import ByToken
from .test_estimators import TINY_V, all_texts, log_probabilities

GAME = (
    "discriminator.scores=per_sentence",
    "phases.1.loss=cross_entropy",
    "phases.2.loss=cross_entropy",
    "phases.2.estimator={kind: normalised_weights, baseline: {start: 0, end: 1}}",
)


def objective_of(generator: Generator, *, max_length: int = MAX_LENGTH) -> NormalisedWeightsObjective:
    return NormalisedWeightsObjective(generator, LOSSES["cross_entropy"], max_length=max_length)


def log_likelihoods(generator: Generator, part: dict[str, Tensor]) -> Tensor:
    """Of each text, contexts not, (B,)."""
    features, _ = generator(F.pad(part["tokens_BT"], (1, -1)))
    logs_BT = F.log_softmax(generator.logits(features), dim=-1).gather(2, part["tokens_BT"][..., None]).squeeze(2)
    position_T = torch.arange(logs_BT.shape[1])
    starts_B = part.get("starts_B", torch.zeros_like(part["lengths_B"]))
    valid_BT = (position_T < part["lengths_B"][:, None]) & (position_T >= starts_B[:, None])
    return (logs_BT * valid_BT).sum(1)


@pytest.mark.parametrize("baseline", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("units", [1, 2, 4])
@pytest.mark.parametrize("real", [sentences(), answers()], ids=["sentences", "contexts"])
def test_the_gradient_is_the_papers_over_the_whole_batch(units: int, baseline: float, real: Any) -> None:
    """-sum_i (r_i / sum_j r_j - b / m) grad log p(x_i), r = D / (1 - D); with b = 1 it is TextGAN-PyTorch's."""
    generator, discriminator = make_generator(), lstm_discriminator(V, scores="per_sentence", embedding=6, hidden=8)
    with torch.no_grad():
        for parameter in discriminator.output.parameters():
            parameter.mul_(8)
    objective, schedules = objective_of(generator), {"baseline": baseline}
    loss, report, found = update(objective, generator, discriminator, real, noise_of(), units, schedules)
    ((part, _),) = prepare(objective, real, opponent=discriminator, noise=noise_of(), schedules=schedules)
    real_share_B = discriminator(discriminator.embed(part["tokens_BT"]), part["lengths_B"]).detach().sigmoid()
    ratio_B = real_share_B / (1 - real_share_B)
    weights_B = ratio_B / ratio_B.sum() - baseline / B
    assert ratio_B.max() / ratio_B.min() > 2
    expected = -(weights_B * log_likelihoods(generator, part)).sum()
    assert loss == pytest.approx(expected.item(), abs=1e-5)
    generator.zero_grad()
    expected.backward()
    for name, gradient in gradients_of(generator).items():
        torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-4)
    effective = 1 / (ratio_B / ratio_B.sum()).square().sum()
    assert report["generator/effective_rows"] == pytest.approx(effective.item(), rel=1e-4)


def test_only_the_text_that_stands_out_becomes_more_probable() -> None:
    """Every other one loses as much as each other."""
    generator, discriminator = make_generator(), make_discriminator("per_sentence")
    objective = objective_of(generator)
    ((part, noise),) = prepare(
        objective, sentences(), opponent=discriminator, noise=noise_of(), schedules={"baseline": 1.0}
    )
    part["all_log_ratios"] = torch.zeros(B)
    part["all_log_ratios"][3] = 2.0
    objective(part, opponent=discriminator, noise=noise).loss.backward()
    found = gradients_of(generator)
    generator.zero_grad()
    weights_B = torch.full((B,), 1 / (B - 1 + torch.e**2)) - 1 / B
    weights_B[3] = torch.e**2 / (B - 1 + torch.e**2) - 1 / B
    assert weights_B[3] > 0 > weights_B[0]
    (-(weights_B * log_likelihoods(generator, part)).sum()).backward()
    for name, gradient in gradients_of(generator).items():
        torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-4)


def test_equal_scores_move_nothing_whatever_the_lengths() -> None:
    generator, discriminator = make_generator(), lstm_discriminator(V, scores="per_sentence", embedding=6, hidden=8)
    with torch.no_grad():
        for parameter in discriminator.output.parameters():
            parameter.fill_(0 if parameter.dim() > 1 else 3)
    schedules = {"baseline": 1.0}
    _, report, gradients = update(
        objective_of(generator), generator, discriminator, sentences(), noise_of(), 2, schedules
    )
    assert all(gradient.abs().max() < 1e-7 for gradient in gradients.values())
    assert report["generator/effective_rows"] == pytest.approx(B)


class Tiny:
    """Every text of a tiny generator, and scores by its first token."""

    def __init__(self) -> None:
        self.generator = lstm_generator(TINY_V, embedding=5, hidden=6, seed=4)
        self.discriminator = ByToken("per_sentence", 0.0)
        with torch.no_grad():
            self.generator.output_bias.copy_(torch.tensor([0.5, -0.4, 0.1]))
            self.discriminator.embedding.weight.copy_(torch.tensor([[-1.0], [0.3], [1.2]]))
        self.texts = all_texts()
        self.ratios_B = self.discriminator.embedding.weight.detach()[self.texts.tokens_BT[:, 0], 0].exp()
        self.probability_B = log_probabilities(self.generator, self.texts).detach().sum(1).exp()

    def gradient(self, weights_B: Tensor) -> Tensor:
        """Of minus the weighted log-likelihood of all texts."""
        total = -(weights_B * log_probabilities(self.generator, self.texts).sum(1)).sum()
        return torch.cat([one.flatten() for one in torch.autograd.grad(total, list(self.generator.parameters()))])


@pytest.mark.parametrize("baseline", [0.0, 1.0])
def test_the_gradient_is_that_of_the_divergence_by_enumeration(
    baseline: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of KL(r p / Z, p_theta), for a batch in which every text is as often as it is probable."""
    tiny = Tiny()
    often_B = (tiny.probability_B * 4000).round().long()
    batch = Drawn(*(tensor.repeat_interleave(often_B, dim=0) for tensor in tiny.texts[:2]))
    rows = len(batch.lengths_B)
    monkeypatch.setattr(drawing_of_objectives, "draw", lambda *args, **settings: batch)
    objective, noise = objective_of(tiny.generator), Noise(1, torch.arange(rows))
    schedules, real = {"baseline": baseline}, sentences(rows=rows)
    _, _, found = update(objective, tiny.generator, tiny.discriminator, real, noise, 1, schedules)
    target_B = tiny.ratios_B * tiny.probability_B
    expected = tiny.gradient(target_B / target_B.sum())
    flat = torch.cat([found[name].flatten() for name, _ in tiny.generator.named_parameters()])
    assert expected.norm() > 0.1
    assert (flat - expected).norm() < 0.01 * expected.norm()  # what rounding the counts leaves


def test_its_noise_beside_that_of_reinforce() -> None:
    """Variance over the squared mean, of batches of 8: the two estimate different gradients."""
    tiny, random, rows = Tiny(), torch.Generator().manual_seed(1), 8
    scores_B = tiny.ratios_B.log()
    gradients = torch.stack([tiny.gradient(one) for one in torch.eye(len(scores_B))])  # of each text alone

    def relative_variance(of_batch: Any) -> float:
        batches = torch.multinomial(tiny.probability_B, 3000 * rows, replacement=True, generator=random).view(-1, rows)
        estimates = torch.stack([of_batch(batch) @ gradients[batch] / rows for batch in batches])
        return (estimates.var(0).sum() / estimates.mean(0).square().sum()).item()

    def maligan(batch: Tensor) -> Tensor:
        return scores_B[batch].softmax(0) * rows - 1

    found = {
        "normalised weights": relative_variance(maligan),
        "without baseline": relative_variance(lambda batch: maligan(batch) + 1),
        "REINFORCE": relative_variance(lambda batch: 2 * scores_B[batch].sigmoid() - 1),
    }
    print("variance over squared mean:", {name: round(value, 2) for name, value in found.items()})
    assert found["normalised weights"] < found["without baseline"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (GAME[1:], "weighs whole texts against each other, and this discriminator scores tokens"),
        ((*GAME, "phases.2.loss=hinge"), "takes the score for log D / \\(1 - D\\), which this loss does not make it"),
        ((*GAME, "phases.2.estimator.baseline=1.5"), "it must be 1 or less"),
        ((*GAME, "phases.2.estimator.baseline.end=2"), "baseline must stay between 0 and 1"),
    ],
)
def test_what_cannot_work_is_refused(overrides: tuple[str, ...], words: str, text: Any) -> None:
    with pytest.raises(UserError, match=words):
        job_of(SENTENCES, text, *overrides)


def test_a_run_stopped_every_few_steps_equals_an_uninterrupted_one(text: Any, tmp_path: Any) -> None:
    job = job_of(SENTENCES, text, *GAME)
    run_job(job, tmp_path / "whole")
    run_in_pieces(job, tmp_path / "run", steps=5)
    assert final_state(tmp_path / "run") == final_state(tmp_path / "whole")
