"""An older generator that writes: who writes when, the clipped ratio, and that a run which stops forgets neither.

For adversarial/estimators/proximal.py and adversarial/estimators/proximal_policy.py.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lstmgan_dist.adversarial.baselines import NoBaseline
from lstmgan_dist.adversarial.credits import CREDITS
from lstmgan_dist.adversarial.estimators.proximal_policy import OldPolicy, clipped
from lstmgan_dist.adversarial.estimators.score_function_objective import ScoreFunctionObjective
from lstmgan_dist.adversarial.losses import LOSSES
from lstmgan_dist.corpus.stream import Batch
from lstmgan_dist.errors import UserError
from lstmgan_dist.models.generator import Generator
from tests.training.comparison import final_state
from tests.training.tiny_jobs import SENTENCES, job_of, run_in_pieces, run_job

from .game import MAX_LENGTH, make_discriminator, make_generator, noise_of, prepare, sentences, update
from .test_contexts import answers


def make_game(*, proximal: bool = True, **settings: Any) -> tuple[Generator, ScoreFunctionObjective]:
    generator = make_generator(**settings)
    objective = ScoreFunctionObjective(
        generator,
        LOSSES["probability"],
        max_length=MAX_LENGTH,
        credit=CREDITS["discounted"],
        discount=0.6,
        baseline=NoBaseline(),
        old=OldPolicy(generator, clip=0.2, every=3) if proximal else None,
    )
    return generator, objective


def move(generator: Generator, number: int) -> None:
    random = torch.Generator().manual_seed(number)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=random)


def log_likelihoods(generator: Generator, part: dict[str, Tensor]) -> Tensor:
    """Of every token, (B, T)."""
    logits_BTV = generator.logits(generator(part["inputs_BT"])[0])
    return logits_BTV.log_softmax(-1).gather(2, part["tokens_BT"][..., None]).squeeze(2)


def test_where_the_generator_has_not_moved_the_gradient_is_that_of_the_score_function() -> None:
    discriminator = make_discriminator("per_token")
    found = []
    for proximal in (True, False):
        generator, objective = make_game(proximal=proximal)
        found.append(update(objective, generator, discriminator, sentences(), noise_of())[2])
    torch.testing.assert_close(found[0], found[1], atol=1e-7, rtol=1e-5)


def test_an_old_generator_writes_until_its_time_is_over_and_ratios_to_it_are_clipped() -> None:
    """Over seven updates, each loss and gradient against the formula with the weights that wrote."""
    generator, objective = make_game()
    discriminator, wrote, clipped_at_all = make_discriminator("per_token"), None, False
    for number in range(7):
        if number % 3 == 0:
            wrote = make_generator()
            wrote.load_state_dict(generator.state_dict())
        assert wrote is not None
        noise, real = noise_of().at(number), sentences(seed=number)
        _, own = make_game(proximal=False)
        own.generator.load_state_dict(wrote.state_dict())
        ((of_writer, _),) = prepare(own, real, opponent=discriminator, noise=noise)
        ((part, _),) = prepare(objective, real, opponent=discriminator, noise=noise)
        assert torch.equal(part["tokens_BT"], of_writer["tokens_BT"])
        outcome = objective(part, opponent=discriminator, noise=noise)
        valid_BT = torch.arange(part["tokens_BT"].shape[1]) < part["lengths_B"][:, None]
        ratios_BT = (log_likelihoods(generator, part) - log_likelihoods(wrote, part).detach()).exp()
        expected = torch.zeros(())
        for ratio, advantage in zip(ratios_BT[valid_BT], part["advantages_BT"][valid_BT], strict=True):
            expected = expected - torch.min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage) / len(valid_BT)
        assert outcome.loss.item() == pytest.approx(expected.item(), abs=1e-5)
        parameters = list(generator.parameters())
        torch.testing.assert_close(
            torch.autograd.grad(outcome.loss, parameters),
            torch.autograd.grad(expected, parameters),
            atol=1e-5,
            rtol=1e-3,
        )
        share = ((ratios_BT - 1).abs() > 0.2)[valid_BT].float().mean().item()
        assert outcome.report["generator/clipped"].item() == pytest.approx(share)
        assert (share > 0) is (number % 3 > 0), "the generator moves after every update"
        clipped_at_all |= share > 0
        move(generator, number)
    assert clipped_at_all


def test_a_token_that_has_gone_far_enough_its_own_way_teaches_no_more() -> None:
    logs_N = torch.tensor([1.5, 0.5, 1.5, 0.5]).log().requires_grad_()
    advantages_N = torch.tensor([1.0, 1.0, -1.0, -1.0])
    losses_N, ratios_N = clipped(logs_N, torch.zeros(4), advantages_N, 0.2)
    assert losses_N.tolist() == pytest.approx([-1.2, -0.5, 1.5, 0.8])
    assert ratios_N.tolist() == pytest.approx([1.5, 0.5, 1.5, 0.5])
    losses_N.sum().backward()
    assert logs_N.grad is not None
    assert logs_N.grad.tolist() == pytest.approx([0.0, -0.5, 1.5, 0.0])


@pytest.mark.parametrize("texts", [sentences, answers])
def test_the_number_of_units_changes_nothing(texts: Callable[[], Batch]) -> None:
    discriminator, found = make_discriminator("per_token"), []
    for units in (1, 2, 4):
        generator, objective = make_game(latent={"size": 3})
        updates = []
        for number in range(3):
            updates.append(update(objective, generator, discriminator, texts(), noise_of().at(number), units))
            move(generator, number)
        found.append(updates)
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], atol=1e-6, rtol=1e-4)


def test_two_who_say_who_writes_are_refused(text: Path) -> None:
    estimator = "{kind: score_function, proximal: {clip: 0.2}, exploration: {temperature: 0.8}}"
    with pytest.raises(UserError, match="exploration and proximal both say who writes"):
        job_of(SENTENCES, text, f"phases.2.estimator={estimator}")


def test_a_run_stopped_every_few_steps_equals_an_uninterrupted_one(text: Path, tmp_path: Path) -> None:
    estimator = "{kind: score_function, baseline: {kind: per_position}, proximal: {every: 3}}"
    job = job_of(
        SENTENCES,
        text,
        f"phases.2.estimator={estimator}",
        "phases.2.generator_optimizer={learning_rate: 0.01}",
        "phases.2.start_penalty=0.1",
    )
    run_job(job, tmp_path / "whole")
    run_in_pieces(job, tmp_path / "run", steps=4)
    assert final_state(tmp_path / "run") == final_state(tmp_path / "whole")
