"""The divergence from where a game began: its formula, and that a run which stops never forgets the start."""

import pytest
import torch
import torch.nn.functional as F

from lstmgan_dist.adversarial.divergence import divergence
from lstmgan_dist.adversarial.start_penalty import StartPenalty
from lstmgan_dist.phases.adversarial import AdversarialPhase
from lstmgan_dist.training.run import Run
from tests.training.comparison import final_state
from tests.training.tiny_jobs import SENTENCES, job_of, run_in_pieces, run_job

from .game import make_discriminator, make_generator, make_objective, noise_of, prepare, sentences, update
from .test_contexts import answers

GAMES = [("score_function", "probability", "per_token"), ("relaxed", "relativistic", "convolutional")]
SCHEDULES = {"inverse_temperature": 1.7}


def make_game(name="score_function", loss="probability", kind="per_token", *, moved=True, weight=0.7):
    """A game and its penalty, between a generator and a start that it has left."""
    generator, discriminator = make_generator(), make_discriminator(kind)
    game = make_objective(name, loss, kind, generator, discriminator)
    penalty = StartPenalty(game, weight=weight)
    if moved:
        with torch.no_grad():
            for number, parameter in enumerate(generator.parameters()):
                parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
    return generator, discriminator, penalty


@pytest.mark.parametrize("texts", [sentences, answers])
def test_the_penalty_is_the_mean_divergence_behind_every_prefix(texts):
    """Token by token, for every word of the vocabulary, with both generators reading each prefix anew."""
    generator, discriminator, objective = make_game()
    ((part, noise),) = prepare(objective, texts(), opponent=discriminator, noise=noise_of())
    report = objective(part, opponent=discriminator, noise=noise).report
    total, tokens = 0.0, 0
    for row, length in enumerate(part["lengths_B"].tolist()):
        for position in range(int(part["starts_B"][row]) if "starts_B" in part else 0, length):
            prefix_1T = part["inputs_BT"][row : row + 1, : position + 1]
            now, start = (
                F.softmax(network.logits(network(prefix_1T)[0][0, -1]), -1) for network in (generator, objective.start)
            )
            total += sum((p * (p / q).log()).item() for p, q in zip(now, start, strict=True))
            tokens += 1
    assert report["generator/start_divergence"].item() == pytest.approx(total / tokens, rel=1e-4)
    assert total / tokens > 0.005


@pytest.mark.parametrize("game", GAMES, ids=" ".join)
def test_it_is_added_to_the_loss_of_any_estimator_and_costs_nothing_at_the_start(game: tuple[str, str, str]) -> None:
    for moved in (False, True):
        generator, discriminator, objective = make_game(*game, moved=moved)
        plain, _, plain_gradients = update(
            make_objective(*game, generator, discriminator),
            generator,
            discriminator,
            sentences(),
            noise_of(),
            schedules=SCHEDULES,
        )
        with_it, report, gradients = update(
            objective, generator, discriminator, sentences(), noise_of(), schedules=SCHEDULES
        )
        assert with_it == pytest.approx(plain + 0.7 * report["generator/start_divergence"], abs=1e-6)
        same = all(torch.allclose(gradients[name], plain_gradients[name], atol=1e-6) for name in plain_gradients)
        assert same is not moved, "at its own start the divergence has its minimum"


def test_the_divergence_pulls_back_to_the_start():
    logits = torch.tensor([[1.0, -0.5, 0.3]], requires_grad=True)
    start = torch.tensor([[0.0, 0.5, -1.0]])
    p, q = logits.softmax(-1), start.softmax(-1)
    divergence(logits, start).sum().backward()
    # d KL / d logits = p (log(p / q) - KL).
    expected = p * ((p / q).log() - (p * (p / q).log()).sum())
    torch.testing.assert_close(logits.grad, expected.detach())


@pytest.mark.parametrize("game", GAMES, ids=" ".join)
def test_the_number_of_units_changes_nothing(game: tuple[str, str, str]) -> None:
    found = []
    for units in (1, 2, 4):
        generator, discriminator, objective = make_game(*game)
        found.append(update(objective, generator, discriminator, sentences(), noise_of(), units, schedules=SCHEDULES))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], atol=1e-6, rtol=1e-5)


def test_a_run_stopped_every_few_steps_keeps_the_start_of_its_phase(text, tmp_path):
    job = job_of(SENTENCES, text, "phases.2.start_penalty=0.5", "phases.2.generator_optimizer={learning_rate: 0.01}")
    run_job(job, tmp_path / "whole")
    run_in_pieces(job, tmp_path / "run", steps=4)
    assert final_state(tmp_path / "run") == final_state(tmp_path / "whole")
    run = Run.open(str(tmp_path / "whole"))
    memory, moved = (run.checkpoints.open(15).load(name) for name in ("generator-memory", "generator"))
    begun = run.checkpoints.open(11).load("generator")  # the phase of the discriminator has left it alone
    for name, tensor in begun.items():
        assert torch.equal(memory[f"start/{name}"], tensor)
    assert any(not torch.equal(moved[name], begun[name]) for name in begun)


def test_two_more_passes_are_counted_in_what_an_update_takes(text):
    phases = [job_of(SENTENCES, text, f"phases.2.start_penalty={weight}").phases[2] for weight in (0, 0.5)]
    assert all(isinstance(phase, AdversarialPhase) for phase in phases)
    without, with_it = (phase.activations(100, 1000) for phase in phases)
    assert with_it - without == 3 * 100 * 1000
