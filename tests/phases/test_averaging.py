"""Averaged weights: the formula, what has them and what does not, and that stops change nothing."""

import pytest
import torch

from lstmgan_dist.errors import UserError
from lstmgan_dist.phases.averaging import AveragedWeights
from lstmgan_dist.phases.player import Player
from lstmgan_dist.training import trainer
from lstmgan_dist.training.progress import Progress
from lstmgan_dist.training.run_log import read_metrics
from tests.training.comparison import final_state
from tests.training.tiny_jobs import CONTINUOUS, SENTENCES, job_of, run_in_pieces, run_job

DECAY, STEPS = 0.6, 7
PLAIN = f"phases=[{{kind: likelihood, steps: {STEPS}, optimizer: {{learning_rate: 1e-2}}}}]"
AVERAGED = PLAIN.replace("1e-2", f"1e-2, average_decay: {DECAY}")
# The second phase begins with the averages, and so does what follows it.
GAME = (
    "phases=[{kind: likelihood, steps: 5, finish_with: best, optimizer: {average_decay: 0.5}}, "
    "{kind: adversarial, steps: 4, loss: probability, generator_optimizer: {average_decay: 0.7}, "
    "discriminator_optimizer: {average_decay: 0.6}, estimator: {kind: score_function}}, {kind: likelihood, steps: 2}]"
)


def formula(weights, decay):
    """The average of the weights after each update, in double precision."""
    shares = [decay ** (len(weights) - 1 - number) for number in range(len(weights))]
    return {
        name: sum(share * one[name].double() for share, one in zip(shares, weights, strict=True)) / sum(shares)
        for name in weights[0]
    }


def weights_of(network):
    return {name: parameter.detach().clone() for name, parameter in network.named_parameters()}


@pytest.fixture(scope="module")
def runs(text, tmp_path_factory):
    """A plain run with the weights after each of its updates, and the same job with averages."""
    moved, learn = [], Player.learn

    def watched(self, *arguments, **keywords):
        report = learn(self, *arguments, **keywords)
        moved.append(weights_of(self.network))
        return report

    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Player, "learn", watched)
        plain, _ = run_job(job_of(SENTENCES, text, PLAIN), folder / "plain")
        averaged, _ = run_job(job_of(SENTENCES, text, AVERAGED), folder / "averaged")
    return plain, averaged, moved


def test_a_phase_ends_with_the_averages_of_the_formula_and_updates_are_those_without(runs):
    _, averaged, moved = runs
    for one, other in zip(moved[:STEPS], moved[STEPS:], strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
    found = averaged.checkpoints.open(STEPS).load("generator")
    for name, expected in formula(moved[:STEPS], DECAY).items():
        torch.testing.assert_close(found[name].double(), expected, atol=1e-6, rtol=1e-5)


def test_a_checkpoint_on_the_way_has_the_averages_and_in_its_memory_the_weights_that_move(runs):
    _, averaged, moved = runs
    checkpoint = averaged.checkpoints.open(6)
    assert Progress.of(checkpoint).phase_step == 6
    found, memory = checkpoint.load("generator"), checkpoint.load("generator-memory")
    for name, expected in formula(moved[:6], DECAY).items():
        torch.testing.assert_close(found[name].double(), expected, atol=1e-6, rtol=1e-5)
        assert torch.equal(memory[f"average/moving/{name}"], moved[5][name])


def test_the_averages_are_what_is_evaluated(runs, text, tmp_path, monkeypatch):
    seen, evaluate = [], trainer.evaluate_players

    def watched(game, *others):
        seen.append(weights_of(game.generator))
        return evaluate(game, *others)

    monkeypatch.setattr(trainer, "evaluate_players", watched)
    run_job(job_of(SENTENCES, text, AVERAGED), tmp_path / "run")
    plain, averaged, moved = runs
    for evaluated, updates in zip(seen, (4, STEPS), strict=True):
        for name, expected in formula(moved[:updates], DECAY).items():
            torch.testing.assert_close(evaluated[name].double(), expected, atol=1e-6, rtol=1e-5)
    losses = [
        [row["heldout/nll"] for row in read_metrics(run.folder) if "heldout/nll" in row] for run in (plain, averaged)
    ]
    assert losses[0] != losses[1]


@pytest.mark.parametrize(("template", "phases"), [(SENTENCES, GAME), (CONTINUOUS, AVERAGED)], ids=["game", "long text"])
@pytest.mark.parametrize("stride", [1, 3])
def test_a_run_stopped_every_few_steps_equals_an_uninterrupted_one(template, phases, stride, text, tmp_path):
    job = job_of(template, text, phases)
    run_job(job, tmp_path / "whole")
    run_in_pieces(job, tmp_path / "run", steps=stride)
    assert final_state(tmp_path / "run") == final_state(tmp_path / "whole")


def test_a_phase_that_ends_with_its_best_weights_ends_with_the_averages_that_were_best(text, tmp_path, monkeypatch):
    """Of a phase that gets worse: its learning rate explodes after the first evaluation."""
    schedule = "{start: 1e-3, end: 3.0, shape: exponential}"
    optimizer = f"{{learning_rate: {schedule}, average_decay: 0.6}}"
    phase = f"{{kind: likelihood, steps: 8, finish_with: best, optimizer: {optimizer}}}"
    run, _ = run_job(job_of(SENTENCES, text, f"phases=[{phase}]", "checkpoint.keep=4"), tmp_path / "run")
    best = Progress.of(run.checkpoints.open(8)).ended[0].best
    assert best is not None
    assert best.step == 4
    ended, kept = (run.checkpoints.open(step).load("generator") for step in (8, 4))
    assert all(torch.equal(ended[name], kept[name]) for name in kept)


def test_the_bits_of_an_average_are_the_same_in_any_number_of_threads():
    network = torch.nn.Linear(1013, 1019)
    found, threads = [], torch.get_num_threads()
    for number in (1, 2):
        torch.set_num_threads(number)
        torch.nn.init.constant_(network.weight, 0.1)
        average = AveragedWeights(network, 0.9)
        for update in range(3):
            with torch.no_grad():
                network.weight.add_(torch.linspace(-0.1, 0.3, network.weight.numel()).view_as(network.weight) * update)
            average.follow()
        found.append(average.averages[0].clone())
    torch.set_num_threads(threads)
    assert torch.equal(*found)


@pytest.mark.parametrize("decay", [0, 1, -0.5])
def test_a_decay_outside_of_its_range_is_refused(decay, text):
    with pytest.raises(UserError, match=r"average_decay: \S+ will not do"):
        job_of(SENTENCES, text, f"phases.0.optimizer.average_decay={decay}")
