"""Text that is learnt while it is measured: by the paper's formula, in its order, and reported apart."""

import json

import pytest
import torch
import torch.nn.functional as F

from lstmgan_dist.evaluation.dynamic import DynamicSettings, dynamic_likelihood, gradient_sizes
from lstmgan_dist.evaluation.likelihood import heldout_likelihood
from tests.adversarial.game import continuous, make_generator
from tests.command_line import lstmgan
from tests.training.tiny_jobs import CONTINUOUS, SENTENCES, job_of, run_job

WINDOWS = [continuous(number) for number in range(4)]  # of 6 tokens, in which segments of 4 leave one of 2
SETTINGS = DynamicSettings(segment=4, rate=0.02, decay=0.3, epsilon=1e-3)


def segments():
    for window in WINDOWS:
        for part in (slice(0, 4), slice(4, 6)):
            yield window.inputs_BT[:, part], window.targets_BT[:, part]


def test_weights_follow_the_formula_of_the_paper_behind_each_segment():
    generator = make_generator()
    names = [name for name, _ in generator.named_parameters()]
    weights = {name: weight.detach().clone() for name, weight in generator.named_parameters()}
    trained = dict(weights)

    def nll_of(weights, inputs_BT, targets_BT, state):
        features, end = torch.func.functional_call(generator, weights, (inputs_BT, state))
        logits = features @ weights["embedding.weight"].T + weights["output_bias"]  # a tied output layer
        return F.cross_entropy(logits.flatten(0, 1), targets_BT.flatten()), [part.detach() for part in end]

    def gradients(weights, *text):
        asking = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
        nll, end = nll_of(asking, *text)
        return nll.item(), dict(zip(names, torch.autograd.grad(nll, list(asking.values())), strict=True)), end

    squares, state = {name: torch.zeros_like(weight) for name, weight in weights.items()}, None
    for inputs_BT, targets_BT in segments():
        _, found, state = gradients(trained, inputs_BT, targets_BT, state)
        squares = {name: square + found[name] ** 2 for name, square in squares.items()}
    sizes = {name: (square / 8).sqrt() for name, square in squares.items()}
    torch.testing.assert_close(dict(zip(names, gradient_sizes(generator, WINDOWS, SETTINGS), strict=True)), sizes)

    mean = torch.cat([size.flatten() for size in sizes.values()]).mean()
    nats, tokens, state = 0.0, 0, None
    for inputs_BT, targets_BT in segments():
        nll, found, state = gradients(weights, inputs_BT, targets_BT, state)
        nats, tokens = nats + nll * targets_BT.numel(), tokens + targets_BT.numel()
        for name, weight in weights.items():
            norm = (sizes[name] / mean).clamp(max=1 / 0.3)
            step = -0.02 * found[name] / (sizes[name] + 1e-3)
            weights[name] = weight + step + 0.3 * (trained[name] - weight) * norm
    found = dynamic_likelihood(generator, WINDOWS, list(sizes.values()), SETTINGS)
    assert found.tokens == tokens
    assert found.nats == pytest.approx(nats, rel=1e-5)
    assert all(torch.equal(weight, trained[name]) for name, weight in generator.named_parameters())


def test_without_a_rate_it_is_the_likelihood_of_the_trained_generator():
    generator = make_generator()
    sizes = gradient_sizes(generator, WINDOWS, SETTINGS)
    still = dynamic_likelihood(generator, WINDOWS, sizes, DynamicSettings(segment=4, rate=0.0))
    assert still.nats == pytest.approx(heldout_likelihood(generator, WINDOWS, torch.device("cpu")).nats, rel=1e-6)


def test_text_that_repeats_itself_becomes_likelier():
    generator = make_generator()
    again = [WINDOWS[0]] * 30
    sizes = gradient_sizes(generator, again, SETTINGS)
    static = heldout_likelihood(generator, again, torch.device("cpu")).nll
    settings = DynamicSettings(segment=6, rate=0.01, decay=0.0)
    assert dynamic_likelihood(generator, again, sizes, settings).nll < static - 0.5


@pytest.mark.slow
def test_it_is_reported_apart_the_same_at_every_call_and_refused_where_text_has_no_order(text, tmp_path):
    run_job(job_of(CONTINUOUS, text), tmp_path / "run")
    plain = json.loads(lstmgan("evaluate", tmp_path / "run", "--brief", "--json"))
    dynamic = json.loads(lstmgan("evaluate", tmp_path / "run", "--brief", "--dynamic", "--json"))
    assert plain["dynamic_nll_per_token"] is None
    figures = ("dynamic_nll_per_token", "dynamic_bits_per_character")
    assert all(dynamic[name] > 0 for name in figures)
    assert {name: value for name, value in dynamic.items() if name not in figures} == {
        name: value for name, value in plain.items() if name not in figures
    }
    assert json.loads(lstmgan("evaluate", tmp_path / "run", "--brief", "--dynamic", "--json")) == dynamic
    assert "add --brief" in lstmgan("evaluate", tmp_path / "run", "--dynamic", code=2)
    run_job(job_of(SENTENCES, text, "phases=[{kind: likelihood, steps: 2}]"), tmp_path / "other")
    assert "--dynamic learns one long text" in lstmgan("evaluate", tmp_path / "other", "--brief", "--dynamic", code=2)
