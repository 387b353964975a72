"""Professor Forcing: what the discriminator sees, the generator's two costs, and whole runs.

Also for adversarial/estimators/professor_forcing.py and adversarial/estimators/professor_forcing_objective.py, and for
models/discriminators/hidden_states.py and models/discriminators/hidden_states_network.py.
"""

import pytest
import torch
import torch.nn.functional as F

from lstmgan_dist.adversarial.discrimination import DiscriminatorObjective
from lstmgan_dist.adversarial.estimators.professor_forcing_objective import ProfessorForcingObjective
from lstmgan_dist.adversarial.losses import LOSSES
from lstmgan_dist.errors import UserError
from lstmgan_dist.models.discriminators.hidden_states import HiddenStatesKind
from tests.training.comparison import final_state
from tests.training.tiny_jobs import SENTENCES, job_of, run_in_pieces, run_job

from .game import MAX_LENGTH, B, V, make_generator, noise_of, prepare, sentences, update

KIND = HiddenStatesKind(hidden=5, dense=4)
GAME = (
    "discriminator={kind: hidden_states, hidden: 6, dense: 5, dropout: 0.1}",
    "phases.1.loss=non_saturating",
    "phases.2.loss=non_saturating",
    "phases.2.estimator={kind: professor_forcing}",
)


def make_game(dropout: float = 0.0):
    generator = make_generator()
    kind = KIND.model_copy(update={"dropout": dropout})
    return generator, kind.build(vocabulary_size=V, generator_hidden=generator.hidden_size, seed=3)


def test_the_states_over_drawn_text_are_those_of_free_running():
    """Step by step, each token behind the state that drew it."""
    generator, discriminator = make_game()
    objective = ProfessorForcingObjective(
        generator, LOSSES["non_saturating"], max_length=MAX_LENGTH, both_directions=False
    )
    ((prepared, _),) = prepare(objective, sentences(), opponent=discriminator, noise=noise_of())
    tokens_BT = prepared["tokens_BT"]
    state, token_B, walked = generator.initial_state(B), torch.zeros(B, dtype=torch.int64), []
    for position in range(tokens_BT.shape[1]):
        _, state = generator(token_B[:, None], state)
        walked.append(state[0][:, -1])
        token_B = tokens_BT[:, position]
    seen_BTH = discriminator.see(tokens_BT, generator)
    torch.testing.assert_close(seen_BTH, torch.stack(walked, dim=1), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("both_directions", [False, True])
def test_the_cost_is_that_of_the_paper(both_directions):
    generator, discriminator = make_game()
    objective = ProfessorForcingObjective(
        generator, LOSSES["non_saturating"], max_length=MAX_LENGTH, both_directions=both_directions
    )
    real = sentences()
    ((prepared, noise),) = prepare(objective, real, opponent=discriminator, noise=noise_of())
    found = objective(prepared, opponent=discriminator, noise=noise).loss
    free = discriminator(discriminator.see(prepared["tokens_BT"], generator), prepared["lengths_B"])
    taught = discriminator(discriminator.see(real.targets_BT, generator), real.lengths_B)
    expected = -free.sigmoid().log().mean()
    if both_directions:
        expected = expected - (1 - taught.sigmoid()).log().mean()
    assert found.item() == pytest.approx(expected.item(), abs=1e-6)


def test_each_direction_moves_what_recurs_and_no_output_layer():
    gradients = {}
    for both_directions in (False, True):
        generator, discriminator = make_game()
        objective = ProfessorForcingObjective(
            generator, LOSSES["non_saturating"], max_length=MAX_LENGTH, both_directions=both_directions
        )
        gradients[both_directions] = update(objective, generator, discriminator, sentences(), noise_of())[2]
        assert "output_bias" not in gradients[both_directions]
    recurrent = "layers.0.weight_hh_l0"
    assert gradients[False][recurrent].abs().sum() > 0
    assert not torch.equal(gradients[False][recurrent], gradients[True][recurrent])


@pytest.mark.parametrize("units", [2, 4])
def test_the_number_of_units_changes_nothing(units):
    generator, discriminator = make_game(dropout=0.3)
    objective = ProfessorForcingObjective(
        generator, LOSSES["least_squares"], max_length=MAX_LENGTH, both_directions=True, likelihood_weight=0.5
    )
    whole = update(objective, generator, discriminator, sentences(), noise_of())
    found = update(objective, generator, discriminator, sentences(), noise_of(), units)
    torch.testing.assert_close(found, whole, atol=1e-6, rtol=1e-5)


def test_the_discriminator_learns_from_states_and_leaves_the_generator_alone():
    generator, discriminator = make_game()
    generator.requires_grad_(False)
    objective = DiscriminatorObjective(discriminator, LOSSES["non_saturating"], max_length=MAX_LENGTH)
    ((prepared, noise),) = prepare(objective, sentences(), opponent=generator, noise=noise_of())
    loss = objective(prepared, opponent=generator, noise=noise).loss
    loss.backward()
    real = discriminator(discriminator.see(prepared["real_BT"], generator), prepared["real_lengths_B"])
    fake = discriminator(discriminator.see(prepared["fake_BT"], generator), prepared["fake_lengths_B"])
    assert loss.item() == pytest.approx((F.softplus(-real).mean() + F.softplus(fake).mean()).item(), abs=1e-6)
    assert all(parameter.grad is not None for parameter in discriminator.parameters())


def test_padding_changes_no_score():
    generator, discriminator = make_game()
    real = sentences()
    longer_BT = F.pad(real.targets_BT, (0, 3), value=5)
    scores, padded = (
        discriminator(discriminator.see(tokens_BT, generator), real.lengths_B)
        for tokens_BT in (real.targets_BT, longer_BT)
    )
    torch.testing.assert_close(padded, scores, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("phases.2.estimator={kind: professor_forcing}",), "needs a discriminator that sees hidden states"),
        ((*GAME, "phases.2.loss=relativistic"), "this loss compares the sides"),
        ((*GAME, "phases.2.estimator={kind: gumbel_softmax}"), "needs a discriminator that reads tokens"),
        ((*GAME, "generator.latent={size: 3}"), "leave generator.latent out"),
    ],
)
def test_what_cannot_work_is_refused(overrides, words, text):
    with pytest.raises(UserError, match=words):
        job_of(SENTENCES, text, *overrides)


def test_a_run_stopped_every_few_steps_equals_an_uninterrupted_one(text, tmp_path):
    job = job_of(SENTENCES, text, *GAME)
    run_job(job, tmp_path / "whole")
    run_in_pieces(job, tmp_path / "run", steps=5)
    assert final_state(tmp_path / "run") == final_state(tmp_path / "whole")
