"""What a student learns from a teacher, against its formula."""

from typing import Any

import pytest
import torch
from torch import Tensor

from lstmgan_dist.adversarial.distillation import DistillationObjective

from .game import continuous, make_generator, noise_of, sentences, update

TAUGHT: dict[str, Any] = {"hidden": 14, "seed": 9}


@pytest.mark.parametrize("soft_weight", [0.0, 0.3, 1.0])
def test_the_loss_is_the_cross_entropy_with_what_the_teacher_expects_and_with_the_text(soft_weight: float) -> None:
    student, teacher, real = make_generator(), make_generator(**TAUGHT), sentences()
    objective = DistillationObjective(student, soft_weight=soft_weight, carries_state=False)
    loss, report, gradients = update(objective, student, teacher.requires_grad_(False), real, noise_of())
    soft, hard, tokens = 0.0, 0.0, int(real.lengths_B.sum())
    for row, length in enumerate(real.lengths_B.tolist()):
        expected, learnt = (
            network.logits(network(real.inputs_BT[row : row + 1, :length])[0][0]).double().softmax(-1).tolist()
            for network in (teacher, student)
        )
        for position, target in enumerate(real.targets_BT[row, :length].tolist()):
            logs = torch.tensor(learnt[position]).log()
            soft -= sum(p * log for p, log in zip(expected[position], logs.tolist(), strict=True))
            hard -= logs[target].item()
    assert report["distillation/soft"] == pytest.approx(soft / tokens, abs=1e-5)
    assert report["likelihood/nll"] == pytest.approx(hard / tokens, abs=1e-5)
    assert loss == pytest.approx((soft_weight * soft + (1 - soft_weight) * hard) / tokens, abs=1e-5)
    assert gradients.keys() == dict(student.named_parameters()).keys()


def test_a_student_that_expects_what_its_teacher_does_has_nothing_to_learn() -> None:
    student, teacher = make_generator(), make_generator()
    objective = DistillationObjective(student, soft_weight=1.0, carries_state=False)
    _, _, gradients = update(objective, student, teacher.requires_grad_(False), sentences(), noise_of())
    assert max(gradient.abs().max().item() for gradient in gradients.values()) < 1e-7


@pytest.mark.parametrize("units", [1, 2, 4])
def test_units_change_nothing_and_both_networks_carry_the_state_of_every_row(units: int) -> None:
    def run(units: int) -> list[Any]:
        student, teacher = make_generator(layers=2), make_generator(**TAUGHT).requires_grad_(False)
        objective = DistillationObjective(student, soft_weight=0.5, carries_state=True)
        carried: list[dict[str, Tensor]] = [{} for _ in range(units)]
        results = []
        for number in (0, 1, 2):
            update_ = update(objective, student, teacher, continuous(number), noise_of(), units, carried=carried)
            results.append((*update_, [torch.cat(of) for of in zip(*(unit.values() for unit in carried), strict=True)]))
        _, state = teacher(torch.cat([continuous(number).inputs_BT for number in range(3)], dim=1))
        torch.testing.assert_close(tuple(results[-1][3][-2:]), state, atol=1e-6, rtol=1e-5)
        return results

    torch.testing.assert_close(run(units), run(1), atol=1e-6, rtol=1e-5)


def test_a_latent_vector_is_the_same_for_both() -> None:
    """A teacher that is the student expects the same only if it has seen the same z."""
    student, teacher = (make_generator(latent={"size": 3}) for _ in range(2))
    objective = DistillationObjective(student, soft_weight=1.0, carries_state=False)
    _, _, gradients = update(objective, student, teacher.requires_grad_(False), sentences(), noise_of())
    assert max(gradient.abs().max().item() for gradient in gradients.values()) < 1e-7
