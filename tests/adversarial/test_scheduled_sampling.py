"""Own samples in the place of real tokens: which ones, where, and that nothing else changes."""

import pytest
import torch

from lstmgan_dist.adversarial.criteria import Unlikelihood
from lstmgan_dist.adversarial.likelihood import OWN_PROBABILITY, LikelihoodObjective
from lstmgan_dist.corpus.stream import Batch
from lstmgan_dist.errors import UserError
from lstmgan_dist.models.drawing import inverse_cdf
from lstmgan_dist.models.generator import Generator
from tests.training.comparison import final_state
from tests.training.tiny_jobs import CONTINUOUS, SENTENCES, job_of, run_in_pieces, run_job

from .game import B, continuous, make_generator, noise_of, prepare, sentences, update
from .test_contexts import answers

SAMPLED = "phases=[{kind: likelihood, steps: 7, scheduled_sampling: {probability: {start: 0.2, end: 1}, passes: 2}}]"


def objective_of(generator: Generator, passes: int = 1, *, carries_state: bool = False) -> LikelihoodObjective:
    return LikelihoodObjective(generator, carries_state=carries_state, sampling_passes=passes)


def what_is_read(objective: LikelihoodObjective, real: Batch, probability: float) -> torch.Tensor:
    schedules = {OWN_PROBABILITY: probability}
    ((part, _),) = prepare(objective, real, opponent=None, noise=noise_of(), schedules=schedules)
    assert (part["real_targets_BT"] == real.targets_BT).all()
    return part["real_inputs_BT"]


def own_positions(real: Batch) -> torch.Tensor:
    """Those that read a token of the text itself, in which a sample may stand."""
    starts_B = torch.zeros(B, dtype=torch.int64) if real.starts_B is None else real.starts_B
    position_T = torch.arange(real.inputs_BT.shape[1])
    return (position_T > starts_B[:, None]) & (position_T < real.lengths_B[:, None])


@pytest.mark.parametrize("has_criterion", [False, True])
def test_without_probability_it_is_plain_likelihood_to_the_bit(has_criterion):
    generator = make_generator(dropout={"output": 0.3})
    criterion = Unlikelihood(kind="unlikelihood") if has_criterion else None
    plain = LikelihoodObjective(generator, carries_state=False, criterion=criterion)
    sampling = LikelihoodObjective(generator, carries_state=False, criterion=criterion, sampling_passes=1)
    expected = update(plain, generator, None, sentences(), noise_of())
    found = update(sampling, generator, None, sentences(), noise_of(), schedules={OWN_PROBABILITY: 0.0})
    assert found[:2] == expected[:2]
    assert all(torch.equal(found[2][name], gradient) for name, gradient in expected[2].items())


@pytest.mark.parametrize("has_contexts", [False, True])
@pytest.mark.parametrize("probability", [0.5, 1.0])
def test_after_a_pass_a_position_samples_what_follows_the_mixture_before_it(probability, has_contexts):
    """By hand, token by token: with as many passes as positions it is drawing one by one, as the paper has it."""
    generator, real = make_generator(), answers() if has_contexts else sentences()
    positions = real.inputs_BT.shape[1]
    noise = noise_of().at("scheduled sampling")
    is_own_BT = noise.uniform("positions", positions) < probability
    uniforms_BT = noise.uniform("tokens", positions)
    expected_BT = real.inputs_BT.clone()
    for position in range(1, positions):
        features_BTF, _ = generator(expected_BT[:, :position])
        probabilities_BV = generator.logits(features_BTF[:, -1]).softmax(-1)
        probabilities_BV[:, 0] = 0
        drawn_B = inverse_cdf(probabilities_BV, uniforms_BT[:, position - 1])
        here_B = is_own_BT[:, position - 1] & own_positions(real)[:, position]
        expected_BT[:, position] = drawn_B.where(here_B, expected_BT[:, position])
    found_BT = what_is_read(objective_of(generator, passes=positions), real, probability)
    torch.testing.assert_close(found_BT, expected_BT)
    assert (found_BT != real.inputs_BT).any()


def test_a_single_pass_samples_what_follows_the_real_text():
    generator, real = make_generator(), sentences()
    positions = real.inputs_BT.shape[1]
    probabilities_BTV = generator.logits(generator(real.inputs_BT)[0]).softmax(-1)
    probabilities_BTV[..., 0] = 0
    uniforms_BT = noise_of().at("scheduled sampling").uniform("tokens", positions)
    drawn_BT = inverse_cdf(probabilities_BTV.flatten(0, 1), uniforms_BT.flatten()).view(B, positions)
    expected_BT = torch.where(own_positions(real), drawn_BT.roll(1, 1), real.inputs_BT)
    torch.testing.assert_close(what_is_read(objective_of(generator), real, 1.0), expected_BT)


@pytest.mark.parametrize("has_contexts", [False, True])
def test_own_samples_stand_in_the_text_alone_and_end_nothing(has_contexts):
    generator, real = make_generator(), answers() if has_contexts else sentences()
    with torch.no_grad():
        generator.output_bias[0] = 50.0  # it would end every text at once
    found_BT = what_is_read(objective_of(generator), real, 1.0)
    inside_BT = own_positions(real)
    assert torch.equal(found_BT[~inside_BT], real.inputs_BT[~inside_BT])
    assert (found_BT[inside_BT] != 0).all()


def test_as_many_positions_read_own_samples_as_the_probability_says():
    generator, rows = make_generator(), 4000
    real = sentences(rows)
    with torch.no_grad():
        generator.output_bias[:] = -50.0
        generator.output_bias[3] = 50.0
    objective, noise = objective_of(generator), noise_of(torch.arange(rows))
    ((part, _),) = prepare(objective, real, opponent=None, noise=noise, schedules={OWN_PROBABILITY: 0.3})
    position_T = torch.arange(real.inputs_BT.shape[1])
    others_BT = (position_T > 0) & (position_T < real.lengths_B[:, None]) & (real.inputs_BT != 3)
    assert (part["real_inputs_BT"][others_BT] == 3).float().mean().item() == pytest.approx(0.3, abs=0.02)


def test_one_long_text_is_sampled_behind_the_state_that_its_rows_carry():
    generator = make_generator()
    objective = objective_of(generator, carries_state=True)
    _, state = generator(continuous(0).inputs_BT)
    carried = {f"state_{number}": tensor.detach() for number, tensor in enumerate(state)}
    real, schedules = continuous(1), {OWN_PROBABILITY: 1.0}
    ((part, _),) = prepare(objective, real, opponent=None, noise=noise_of(), schedules=schedules, carried=[carried])
    probabilities_BTV = generator.logits(generator(real.inputs_BT, state)[0]).softmax(-1)
    probabilities_BTV[..., 0] = 0
    uniforms_BT = noise_of().at("scheduled sampling").uniform("tokens", 6)
    drawn_BT = inverse_cdf(probabilities_BTV.flatten(0, 1), uniforms_BT.flatten()).view(B, 6)
    torch.testing.assert_close(part["real_inputs_BT"][:, 1:], drawn_BT[:, :-1])
    assert torch.equal(part["real_inputs_BT"][:, 0], real.inputs_BT[:, 0])


@pytest.mark.parametrize("units", [2, 4])
def test_the_number_of_units_changes_nothing(units):
    generator, schedules = make_generator(dropout={"output": 0.3}), {OWN_PROBABILITY: 0.6}
    objective = objective_of(generator, passes=2)
    whole = update(objective, generator, None, sentences(), noise_of(), schedules=schedules)
    found = update(objective, generator, None, sentences(), noise_of(), units, schedules=schedules)
    torch.testing.assert_close(found, whole, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("template", [SENTENCES, CONTINUOUS], ids=["sentences", "continuous"])
def test_a_run_stopped_every_few_steps_equals_an_uninterrupted_one(template, text, tmp_path):
    job = job_of(template, text, SAMPLED)
    run_job(job, tmp_path / "whole")
    run_in_pieces(job, tmp_path / "run", steps=3)
    assert final_state(tmp_path / "run") == final_state(tmp_path / "whole")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("{probability: 1.5}", "1.5 will not do"),
        ("{probability: {start: 0, end: 2}}", "a probability must stay within 0 and 1: try start: 0 and end: 0.25"),
        ("{passes: 0}", "passes: 0 will not do"),
        ("{rate: 1}", "rate"),
    ],
)
def test_what_cannot_work_is_refused(setting, words, text):
    with pytest.raises(UserError, match=words):
        job_of(SENTENCES, text, f"phases.0.scheduled_sampling={setting}")
