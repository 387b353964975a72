"""Updates that are computed twice: they change nothing, and a machine that is not to be trusted stops the run."""

import pytest
import torch

from lstmgan_dist.adversarial.likelihood import LikelihoodObjective
from lstmgan_dist.errors import UserError
from lstmgan_dist.models.drawing import Drawn
from lstmgan_dist.phases.player import have_same_bits
from tests.training.comparison import everything_in
from tests.training.tiny_jobs import CONTINUOUS, GAMES, job_of, run_job

OFTEN = "guard.repeat_every=2"


@pytest.mark.parametrize("template", [GAMES, CONTINUOUS], ids=["games", "text"])
def test_what_is_computed_twice_changes_nothing_and_a_run_may_begin_or_end_to(template, text, tmp_path):
    plain, repeated = job_of(template, text), job_of(template, text, OFTEN)
    run_job(plain, tmp_path / "plain")
    run_job(repeated, tmp_path / "repeated")
    files = [everything_in(tmp_path / name) for name in ("plain", "repeated")]
    assert {name for name in files[0] if files[0][name] != files[1][name]} == {"job.yaml"}
    _, outcome = run_job(plain, tmp_path / "repeated")
    assert outcome.finished


def test_a_bit_that_flips_in_a_gradient_stops_the_run_before_it_learns(text, tmp_path, monkeypatch):
    forward, calls = LikelihoodObjective.forward, []

    def flipping(self, part, **others):
        outcome = forward(self, part, **others)
        calls.append(outcome.loss)
        # The fourth update is the second one that is repeated; each has four units, and each unit is computed thrice.
        return outcome._replace(loss=outcome.loss * 1.0000002) if len(calls) == 22 else outcome

    monkeypatch.setattr(LikelihoodObjective, "forward", flipping)
    with pytest.raises(UserError, match="An update of the generator, computed twice, came out with other bits"):
        run_job(job_of(CONTINUOUS, text, OFTEN), tmp_path / "run")


def test_a_text_that_is_drawn_otherwise_stops_it_too(text, tmp_path, monkeypatch):
    from lstmgan_dist.adversarial import texts

    draw, calls = texts.draw, []

    def unsteady(*arguments, **settings):
        calls.append(1)
        drawn = draw(*arguments, **settings)
        return Drawn(1 - drawn.tokens_BT, drawn.lengths_B) if len(calls) == 21 else drawn

    monkeypatch.setattr(texts, "draw", unsteady)
    with pytest.raises(UserError, match="An update of the discriminator, computed twice"):
        run_job(job_of(GAMES, text, OFTEN), tmp_path / "run")


def test_bits_are_compared_and_not_values():
    nan = torch.tensor([float("nan")])
    assert have_same_bits({"a": [nan, None]}, {"a": [nan.clone(), None]})
    assert not have_same_bits((torch.tensor(0.0),), (torch.tensor(-0.0),))
