"""What tokens of real text cost beside their likelihood: against the papers' formulas, in units, and in whole runs."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from lstmgan_dist.adversarial.criteria import CRITERIA, Criterion
from lstmgan_dist.adversarial.likelihood import LikelihoodObjective
from lstmgan_dist.corpus.stream import Batch
from lstmgan_dist.errors import UserError
from tests.training.comparison import final_state
from tests.training.tiny_jobs import CONTINUOUS, job_of, run_in_pieces, run_job

from .game import V, make_generator, noise_of, sentences, update
from .test_contexts import answers

KINDS = {"label_smoothing": {"smoothing": 0.3}, "mixce": {"forward_weight": 0.3}, "unlikelihood": {"weight": 0.7}}


def criterion(kind: str) -> Criterion:
    return CRITERIA[kind].model_validate({"kind": kind, **KINDS[kind]})


def repetitive(real: Batch) -> Batch:
    """The same with words of five, so that these come again; <end> stays."""
    targets_BT = torch.where(real.targets_BT > 0, real.targets_BT % 5 + 1, 0)
    return replace(real, targets_BT=targets_BT, inputs_BT=F.pad(targets_BT, (1, -1)))


def cost_of_one(kind: str, logs_V: torch.Tensor, target: int, before: list[int]) -> torch.Tensor:
    """The papers' loss of one token, written out."""
    if kind == "label_smoothing":  # the cross-entropy against 0.7 δ + 0.3 / V
        smoothed_V = torch.full((V,), 0.3 / V)
        smoothed_V[target] += 0.7
        return -(smoothed_V * logs_V).sum()
    if kind == "mixce":  # -η log Q - (1 - η) Q
        return -0.3 * logs_V[target] - 0.7 * logs_V[target].exp()
    unlikelihood = [torch.log(1 - logs_V[token].exp()) for token in {*before} - {target}]
    return -logs_V[target] - 0.7 * sum(unlikelihood, torch.zeros(()))


@pytest.mark.parametrize("has_contexts", [False, True])
@pytest.mark.parametrize("kind", CRITERIA)
def test_the_loss_is_that_of_the_paper(kind, has_contexts):
    """Value and gradients; tokens of contexts cost nothing, and are no negatives of a text's."""
    generator, real = make_generator(), repetitive(answers() if has_contexts else sentences())
    objective = LikelihoodObjective(generator, carries_state=False, criterion=criterion(kind))
    loss, report, gradients = update(objective, generator, None, real, noise_of())
    logs_BTV = generator.logits(generator(real.inputs_BT)[0]).log_softmax(-1)
    costs, nats = [], []
    for row, length in enumerate(real.lengths_B.tolist()):
        start = 0 if real.starts_B is None else int(real.starts_B[row])
        text = real.targets_BT[row, :length].tolist()
        for position in range(start, length):
            logs_V = logs_BTV[row, position]
            costs.append(cost_of_one(kind, logs_V, text[position], text[start:position]))
            nats.append(-logs_V[text[position]].item())
    expected = torch.stack(costs).mean()
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    assert report["likelihood/loss"] == pytest.approx(loss, rel=1e-6)
    assert report["likelihood/nll"] == pytest.approx(sum(nats) / len(nats), rel=1e-5)
    names, parameters = zip(*generator.named_parameters(), strict=True)
    for name, gradient in zip(names, torch.autograd.grad(expected, parameters), strict=True):
        torch.testing.assert_close(gradients[name], gradient, atol=1e-6, rtol=1e-4)


def test_the_gradient_of_mixce_reinforces_what_is_probable():
    """That of the log-likelihood times η + (1 - η) Q (equation 10)."""
    logits_NV = torch.randn(4, V, generator=torch.Generator().manual_seed(3)).requires_grad_()
    targets_BT, index_N = torch.tensor([[1, 2, 3, 4]]), torch.arange(4)
    logs_N = logits_NV.log_softmax(-1)[index_N, targets_BT[0]]
    expected = torch.autograd.grad(-((0.3 + 0.7 * logs_N.detach().exp()) * logs_N).sum(), [logits_NV])
    found = torch.autograd.grad(criterion("mixce").costs(logits_NV, targets_BT, index_N).sum(), [logits_NV])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("units", [2, 8])
@pytest.mark.parametrize("kind", CRITERIA)
def test_the_number_of_units_changes_nothing(kind, units):
    generator, real = make_generator(dropout={"output": 0.3}), repetitive(sentences())
    objective = LikelihoodObjective(generator, carries_state=False, criterion=criterion(kind))
    whole = update(objective, generator, None, real, noise_of())
    torch.testing.assert_close(update(objective, generator, None, real, noise_of(), units), whole, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", CRITERIA)
def test_a_run_of_one_long_text_stopped_every_few_steps_equals_an_uninterrupted_one(kind, text, tmp_path):
    job = job_of(CONTINUOUS, text, f"phases=[{{kind: likelihood, steps: 7, criterion: {{kind: {kind}}}}}]")
    run_job(job, tmp_path / "whole")
    run_in_pieces(job, tmp_path / "run", steps=3)
    assert final_state(tmp_path / "run") == final_state(tmp_path / "whole")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("{kind: mixce, forward_weight: 1.5}", "forward_weight: 1.5 will not do"),
        ("{kind: unlikelihood, weight: 0}", "weight: 0 will not do"),
        ("{kind: mixce, weight: 1}", "a mixce criterion has no weight .an unlikelihood one has."),
        ("{kind: label_smoothing, smoothing: 1}", "smoothing: 1 will not do"),
        ("{kind: likely}", "kind likely is not known: choose label_smoothing, mixce or unlikelihood"),
    ],
)
def test_what_cannot_work_is_refused(setting, words, text):
    with pytest.raises(UserError, match=words):
        job_of(CONTINUOUS, text, f"phases.0.criterion={setting}")
