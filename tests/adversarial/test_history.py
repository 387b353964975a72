"""Past generators: who wrote which text, what is kept, and that a run which stops forgets none of them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lstmgan_dist.adversarial.discrimination import DiscriminatorObjective
from lstmgan_dist.adversarial.history import PastGenerators
from lstmgan_dist.adversarial.losses import LOSSES
from lstmgan_dist.adversarial.texts import draw_text
from lstmgan_dist.corpus.stream import Batch
from lstmgan_dist.errors import UserError
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.training.run import Run
from tests.training.comparison import final_state
from tests.training.tiny_jobs import SENTENCES, job_of, run_in_pieces, run_job

from .game import MAX_LENGTH, B, make_discriminator, make_generator, noise_of, prepare, sentences, update
from .test_contexts import answers

HISTORY = "phases.2.history={share: 0.5, every: 2, keep: 3}"


def writes(generator: Generator, token: int) -> None:
    """Let a generator write nothing but one token."""
    with torch.no_grad():
        generator.output_bias.fill_(-30.0)
        generator.output_bias[token] = 30.0


def make_game(**settings: object) -> tuple[Generator, DiscriminatorObjective]:
    generator, discriminator = make_generator(), make_discriminator("per_token")
    past = PastGenerators(generator, **{"every": 2, "keep": 3, "share": 0.4, **settings})  # type: ignore[arg-type]
    return generator, DiscriminatorObjective(discriminator, LOSSES["hinge"], max_length=MAX_LENGTH, past=past)


def test_a_share_of_the_rows_is_written_by_each_of_the_kept_generators_in_turn() -> None:
    """The generator writes another token after every two updates; the text tells who wrote it."""
    rows = 200
    generator, discriminator = make_generator(), make_discriminator("per_token")
    writes(generator, 1)
    past = PastGenerators(generator, every=2, keep=3, share=0.4)
    objective = DiscriminatorObjective(discriminator, LOSSES["hinge"], max_length=MAX_LENGTH, past=past)
    written: list[int] = []
    for number in range(10):
        writes(generator, number // 2 + 2)
        ((part, _),) = prepare(
            objective,
            sentences(rows),
            opponent=generator,
            noise=noise_of(torch.arange(rows)).at(number),
        )
        first_B = part["fake_BT"][:, 0]
        old_B = first_B != number // 2 + 2
        assert old_B.float().mean().item() == pytest.approx(0.4, abs=0.11)
        assert len(first_B[old_B].unique()) == 1, "one of them in each update"
        written.append(int(first_B[old_B][0]))
        assert (part["fake_lengths_B"] == MAX_LENGTH).all()
    # Kept are the start (1), then 2 after the second update, 3 after the fourth, and 4 instead of the start.
    assert written == [1, 1, 1, 2, 2, 3, 2, 3, 5, 3]


@pytest.mark.parametrize("texts", [sentences, answers])
def test_the_number_of_units_changes_nothing(texts: Callable[[], Batch]) -> None:
    found = []
    for units in (1, 2, 4):
        generator, objective = make_game(every=1)
        updates = []
        for number in range(3):
            with torch.no_grad():
                generator.output_bias[3] += 1
            updates.append(update(objective, objective.discriminator, generator, texts(), noise_of().at(number), units))
        found.append(updates)
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], atol=1e-6, rtol=1e-5)


def test_texts_of_past_generators_stand_behind_the_same_contexts() -> None:
    generator, objective = make_game(share=0.5)
    writes(generator, 5)
    real = answers()
    ((part, _),) = prepare(objective, real, opponent=generator, noise=noise_of())
    assert real.starts_B is not None
    own, _ = draw_text(generator, noise_of(), MAX_LENGTH, real)
    for row in range(B):
        start = int(real.starts_B[row])
        assert torch.equal(part["fake_BT"][row, :start], own.tokens_BT[row, :start])
    assert not torch.equal(part["fake_lengths_B"], own.lengths_B)


def test_memory_holds_all_that_is_kept() -> None:
    generator, objective = make_game(every=1)
    other_generator, other = make_game(every=1)

    def fakes(generator: Generator, objective: DiscriminatorObjective, number: int) -> Tensor:
        writes(generator, number + 1)
        ((part, _),) = prepare(objective, sentences(), opponent=generator, noise=noise_of().at(number))
        return part["fake_BT"]

    for number in range(4):
        fakes(generator, objective, number)
    memory = {name: tensor.clone() for name, tensor in objective.memory().items()}
    other.load_memory(memory)
    for number in range(4, 9):
        assert torch.equal(fakes(generator, objective, number), fakes(other_generator, other, number))


def test_what_cannot_work_is_refused(text: Path) -> None:
    states = ("discriminator={kind: hidden_states, hidden: 6, dense: 5}", "phases.1.loss=non_saturating")
    estimator = ("phases.2.loss=non_saturating", "phases.2.estimator={kind: professor_forcing}")
    with pytest.raises(UserError, match="history has text that the generator would no longer write"):
        job_of(SENTENCES, text, *states, *estimator, HISTORY)
    for keeping in (HISTORY, "phases.2.estimator={kind: score_function, proximal: {every: 2}}"):
        with pytest.raises(UserError, match=r"each worker has its own: set synchronisation\.every: 1"):
            job_of(SENTENCES, text, keeping, "synchronisation={every: 4}")


def test_a_run_stopped_every_few_steps_equals_an_uninterrupted_one(text: Path, tmp_path: Path) -> None:
    job = job_of(SENTENCES, text, HISTORY, "phases.2.generator_optimizer={learning_rate: 0.01}")
    run_job(job, tmp_path / "whole")
    run_in_pieces(job, tmp_path / "run", steps=4)
    assert final_state(tmp_path / "run") == final_state(tmp_path / "whole")
    memory = Run.open(str(tmp_path / "whole")).checkpoints.open(15).load("discriminator-memory")
    assert {int(name.split("/")[0]) for name in memory if name != "updates"} == {0, 1, 2}
    assert int(memory["updates"]) == 8  # two in each of four steps
