"""Manager and worker: gradients against enumeration, losses against their formulas, units, whole runs.

For adversarial/estimators/feudal.py and adversarial/estimators/feudal_objective.py.
"""

import math
from collections import defaultdict
from typing import Any

import pytest
import torch
from torch import Tensor

from lstmgan_dist.adversarial import texts as drawing_of_objectives
from lstmgan_dist.adversarial.estimators.feudal_objective import FeudalObjective, rewards_by_rank
from lstmgan_dist.adversarial.likelihood import LikelihoodObjective
from lstmgan_dist.adversarial.losses import LOSSES
from lstmgan_dist.errors import UserError
from lstmgan_dist.models.discriminators.convolutional_network import ConvolutionalDiscriminator
from lstmgan_dist.models.generators.goals import cosines_of_aims, intrinsic_rewards
from lstmgan_dist.models.generators.leak import LeakKind
from lstmgan_dist.models.generators.leak_network import LeakGenerator
from lstmgan_dist.models.padding import valid
from lstmgan_dist.runs.export.plain import refuse_unknown
from lstmgan_dist.runs.result import load_result
from lstmgan_dist.runtime.randomness import Noise
from tests.networks import convolutional_discriminator
from tests.training.comparison import final_state
from tests.training.tiny_jobs import SENTENCES, job_of, run_in_pieces, run_job

from .game import MAX_LENGTH, V, noise_of, prepare, sentences, update
from .test_contexts import answers
from .test_equilibrium import ByToken
from .test_estimators import TINY_T, TINY_V, all_texts, log_probabilities

EXTRACTOR: dict[str, Any] = {"embedding": 4, "filters": {1: 3, 2: 4}}
GAME = (
    "generator={kind: leak, embedding: 8, hidden: 6, manager_hidden: 5, goal_size: 3, horizon: 2, dropout: 0.2, "
    "leaked: {embedding: 8, filters: {2: 3, 3: 4}}}",
    "discriminator={kind: convolutional, embedding: 8, filters: {2: 3, 3: 4}, dense: 6, dropout: 0.2}",
    "phases.2.estimator={kind: feudal}",
)


def make_game(vocabulary_size: int = V, **settings: Any) -> tuple[LeakGenerator, ConvolutionalDiscriminator]:
    sizes = {"embedding": 5, "hidden": 6, "manager_hidden": 5, "goal_size": 3, "horizon": 2}
    kind = LeakKind(kind="leak", leaked=EXTRACTOR, **sizes | settings)  # pyright: ignore[reportArgumentType]
    generator = kind.build(vocabulary_size=vocabulary_size, seed=2)
    discriminator = convolutional_discriminator(vocabulary_size, seed=3, dropout=0.2, **EXTRACTOR)
    with torch.no_grad():
        generator.output_bias[0] = 0.5
        discriminator.output.weight *= 5
    generator.look_at(discriminator)
    return generator, discriminator


def make_objective(generator: LeakGenerator, **settings: Any) -> FeudalObjective:
    usual = {"max_length": MAX_LENGTH, "intrinsic_alone": False, "steepness": None}
    return FeudalObjective(generator, LOSSES["probability"], **usual | settings)


def of_worker(generator: LeakGenerator) -> list[Tensor]:
    return [p for name, p in generator.named_parameters() if name.partition(".")[0] not in ("manager", "goal")]


def of_manager(generator: LeakGenerator) -> list[Tensor]:
    return [*generator.manager.parameters(), *generator.goal.parameters()]


def every_text(intrinsic_alone: bool, monkeypatch: pytest.MonkeyPatch):
    """What the objective makes of every text, each a batch of its own, and what it should."""
    generator, discriminator = make_game(TINY_V)
    texts = all_texts()
    objective = make_objective(generator, max_length=TINY_T, intrinsic_alone=intrinsic_alone)
    monkeypatch.setattr(drawing_of_objectives, "draw", lambda *args, **settings: texts)
    noise = Noise(1, torch.arange(len(texts.lengths_B)))
    real = sentences(rows=len(texts.lengths_B))
    ((prepared, _),) = prepare(objective, real, opponent=discriminator, noise=noise)
    losses = []
    for row in range(len(texts.lengths_B)):
        part = {name: value[row : row + 1] if value.dim() else value for name, value in prepared.items()}
        part["sentence_count"] = torch.tensor(1.0)
        part["intrinsic_sum"], part["intrinsic_count"] = part["intrinsic_BT"].sum(), texts.lengths_B[row].float()
        losses.append(objective(part, opponent=discriminator, noise=noise.part(slice(row, row + 1))).loss)
    scores = discriminator(discriminator.embed(texts.tokens_BT), texts.lengths_B).detach()
    return generator, texts, 2 * scores.sigmoid() - 1, torch.stack(losses)


@pytest.mark.parametrize("intrinsic_alone", [True, False], ids=["intrinsic", "product"])
def test_the_workers_gradient_equals_exact_enumeration(intrinsic_alone: bool, monkeypatch) -> None:
    """The mean over all texts equals the gradient of what each choice behind each prefix is expected to earn.

    That is differentiated through the probability of the choice itself; the reward of a token is held constant.
    """
    generator, texts, rewards_B, losses = every_text(intrinsic_alone, monkeypatch)
    features_BSK = generator.prefixes(texts.tokens_BT)
    earned_BT = intrinsic_rewards(features_BSK, generator.goals(features_BSK[:, :-1])[0], generator.horizon).detach()
    if not intrinsic_alone:
        earned_BT = earned_BT * rewards_B[:, None]
    logs_BT = log_probabilities(generator, texts)
    probability_B = logs_BT.sum(1).exp().detach()
    assert probability_B.sum().item() == pytest.approx(1, abs=1e-5)
    of_choice: dict[tuple[int, ...], list[tuple[int, int]]] = defaultdict(list)
    for row, length in enumerate(texts.lengths_B.tolist()):
        for t in range(length):
            of_choice[tuple(texts.tokens_BT[row, : t + 1].tolist())].append((row, t))
    expected = logs_BT.new_zeros(())
    for behind in of_choice.values():
        row, t = behind[0]
        probability_of_prefix = logs_BT[row, :t].sum().exp().detach()
        weight = sum(probability_B[row] for row, _ in behind)
        earned = sum(probability_B[row] * earned_BT[row, t] for row, t in behind) / weight
        expected = expected - probability_of_prefix * logs_BT[row, t].exp() * earned
    wanted = torch.autograd.grad(expected, of_worker(generator), retain_graph=True)
    found = torch.autograd.grad((probability_B * losses).sum(), of_worker(generator), retain_graph=True)
    torch.testing.assert_close(found, wanted, atol=2e-6, rtol=1e-4)
    # Its variance, beside that of REINFORCE with the sentence's reward for every token.
    reinforce = -(rewards_B[:, None] * logs_BT).sum(1)
    variances = [variance(one, probability_B, of_worker(generator)) for one in (losses, reinforce)]
    print(f"variance {variances[0]:.4f}, of REINFORCE {variances[1]:.4f}")
    assert all(0 < one < math.inf for one in variances)


def variance(losses: Tensor, probability_B: Tensor, parameters: list[Tensor]) -> float:
    gradients = [
        torch.cat([part.flatten() for part in torch.autograd.grad(loss, parameters, retain_graph=True)])
        for loss in losses
    ]
    gradients_BN = torch.stack(gradients)
    mean_N = probability_B @ gradients_BN
    return (probability_B @ (gradients_BN - mean_N).square().sum(1)).item()


def test_the_managers_loss_is_the_papers_formula(monkeypatch) -> None:
    """-Q Σ_t d_cos(f_(t+c) - f_t, g_t), and no other loss moves it; on real text without Q."""
    generator, texts, rewards_B, losses = every_text(False, monkeypatch)
    expected = []
    own = torch.zeros(())
    for tokens_T, length, reward in zip(texts.tokens_BT, texts.lengths_B.tolist(), rewards_B, strict=True):
        f_SK = generator.prefixes(tokens_T[None])[0]
        hidden_TH, _ = generator.manager(f_SK[:-1])
        total = torch.zeros(())
        for t in range(length):
            goal = generator.goal.weight @ hidden_TH[t] + generator.goal.bias
            change = f_SK[min(t + generator.horizon, length)] - f_SK[t]
            total = total + (goal @ change) / (goal.norm() * change.norm()).clamp(min=1e-8)
        expected.append(-reward * total)
        own = own - total
    wanted = torch.autograd.grad(torch.stack(expected).sum(), of_manager(generator), retain_graph=True)
    found = torch.autograd.grad(losses.sum(), of_manager(generator))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
    found = generator.own_loss(texts.tokens_BT, texts.lengths_B, None)
    assert found.item() == pytest.approx(own.item(), abs=1e-4)


def test_rewards_by_rank_are_the_bootstrapped_rescaled_activation_from_the_middle() -> None:
    rewards_G = torch.tensor([0.3, -2.0, 0.31, 5.0])
    found = rewards_by_rank(rewards_G, rewards_G, 16.0)
    for reward, rank in zip(found.tolist(), (3, 4, 2, 1), strict=True):
        assert reward == pytest.approx(2 / (1 + math.exp(-16 * (0.5 - (rank - 0.5) / 4))) - 1, abs=1e-6)
    assert found.sum().item() == pytest.approx(0, abs=1e-6)
    # Only the order counts, equal ones share theirs, and a unit's rows have the ranks that they have among all.
    assert torch.equal(rewards_by_rank(10 * rewards_G + 1, 10 * rewards_G + 1, 16.0), found)
    assert torch.equal(rewards_by_rank(rewards_G[2:], rewards_G, 16.0), found[2:])
    assert torch.equal(rewards_by_rank(torch.ones(3), torch.ones(3), 16.0), torch.zeros(3))


def test_one_other_text_changes_the_rewards_of_no_other_row() -> None:
    """But for the baseline, which is the mean of the others' tokens."""
    generator, discriminator = make_game()
    for intrinsic_alone in (False, True):
        objective = make_objective(generator, intrinsic_alone=intrinsic_alone)
        ((part, _),) = prepare(objective, sentences(), opponent=discriminator, noise=noise_of())
        valid_BT = valid(part["lengths_B"], part["tokens_BT"].shape[1])
        before = objective._advantages(part, part["rewards_B"], valid_BT)
        intrinsic_BT, rewards_B = part["intrinsic_BT"].clone(), part["rewards_B"].clone()
        intrinsic_BT[3] += valid_BT[3] * 2.0
        rewards_B[3] += 1
        part["intrinsic_sum"] = intrinsic_BT.sum()
        after = objective._advantages(part | {"intrinsic_BT": intrinsic_BT}, rewards_B, valid_BT)
        others = torch.arange(len(rewards_B)) != 3
        if not intrinsic_alone:
            assert torch.equal(after[others], before[others])
            continue
        lengths_B = part["lengths_B"].float()
        shift_B = 2 * lengths_B[3] / (lengths_B.sum() - lengths_B)
        torch.testing.assert_close(before[others] - after[others], shift_B[others, None].expand_as(before[others]))
        torch.testing.assert_close(after[3] - before[3], 2.0 * valid_BT[3])


@pytest.mark.parametrize("worker", ["product", "intrinsic"])
@pytest.mark.parametrize("steepness", [None, 16.0])
def test_the_number_of_units_changes_nothing(worker: str, steepness: float | None) -> None:
    results = []
    for units in (1, 2, 4):
        generator, discriminator = make_game(dropout=0.3)
        objective = make_objective(
            generator, intrinsic_alone=worker == "intrinsic", steepness=steepness, likelihood_weight=0.5
        )
        results.append(update(objective, generator, discriminator, sentences(), noise_of(), units))
    assert results[0][2].keys() == {name for name, _ in generator.named_parameters()}
    for found in results[1:]:
        torch.testing.assert_close(found, results[0], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("loss", [name for name, loss in LOSSES.items() if loss.compares != "batch"])
def test_an_undecided_discriminator_moves_neither_manager_nor_worker(loss: str) -> None:
    generator, _ = make_game(TINY_V)
    middle = LOSSES[loss].middle
    discriminator = ByToken("per_sentence", 0.3 if middle is None else middle)
    for steepness in (None, 16.0):
        objective = FeudalObjective(
            generator, LOSSES[loss], max_length=TINY_T, intrinsic_alone=False, steepness=steepness
        )
        real = sentences()
        real.targets_BT.clamp_(max=TINY_V - 1)
        _, _, gradients = update(objective, generator, discriminator.requires_grad_(False), real, noise_of())
        assert all(gradient.abs().max() < 1e-6 for gradient in gradients.values())


def test_behind_a_context_the_text_alone_is_learnt() -> None:
    generator, discriminator = make_game()
    real = answers()
    assert real.starts_B is not None
    objective = make_objective(generator, likelihood_weight=0.5)
    ((part, noise),) = prepare(objective, real, opponent=discriminator, noise=noise_of())
    tokens_BT, lengths_B, starts_B = part["tokens_BT"], part["lengths_B"], part["starts_B"]
    of_text_BT = valid(lengths_B, tokens_BT.shape[1], starts_B)
    assert not part["intrinsic_BT"][~of_text_BT].any()
    found = objective(part, opponent=discriminator, noise=noise).loss
    features_BSK = generator.prefixes(tokens_BT)
    goals_BTK, _ = generator.goals(features_BSK[:, :-1])
    aims_BT = cosines_of_aims(features_BSK, goals_BTK, lengths_B, generator.horizon)
    logits_BTV = generator.logits(generator(part["inputs_BT"])[0])
    logs_BT = logits_BTV.log_softmax(-1).gather(2, tokens_BT[..., None]).squeeze(2)
    per_token_BT = part["rewards_B"][:, None] * (aims_BT + part["intrinsic_BT"] * logs_BT)
    expected = -per_token_BT[of_text_BT].sum() / len(lengths_B)
    likelihood = LikelihoodObjective(generator, carries_state=False)
    expected = expected + 0.5 * update(likelihood, generator, None, real, noise_of())[0]
    assert found.item() == pytest.approx(expected.item(), abs=1e-5)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("phases.2.estimator={kind: feudal}",), "phases.2.estimator.kind feudal moves a manager, and a generator of"),
        ((*GAME, "phases.2.estimator={kind: gumbel_softmax}"), "gumbel_softmax does not move all of a leak generator"),
        ((*GAME, "discriminator={kind: lstm}"), "generator.kind leak needs a discriminator whose features can leak"),
        ((*GAME, "discriminator.filters={2: 3}"), r"generator.leaked.filters .* must be what discriminator.filters is"),
        ((*GAME, "discriminator.representations=2"), "leaked.representations 1 must be what"),
        ((*GAME, "generator.latent={size: 3}"), "kind leak has no latent vector"),
        ((*GAME, "phases.2.loss=relativistic_average"), "kind feudal gives every text a reward of its own"),
        ((GAME[0], "discriminator=null", "phases=[{kind: likelihood, steps: 3}]"), "whose features can leak"),
        (
            (*GAME, "phases=[{kind: likelihood, steps: 3}]", "corpus.layout=continuous"),
            "kind leak needs corpus.layout: sentences",
        ),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(overrides, words, text) -> None:
    with pytest.raises(UserError, match=words) as refusal:
        job_of(SENTENCES, text, *overrides)
    assert str(refusal.value).count("\n") <= 1


@pytest.fixture(scope="module")
def whole(text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("feudal") / "whole"
    job = job_of(SENTENCES, text, *GAME)
    run, _ = run_job(job, folder)
    return job, run, folder


def test_a_run_stopped_every_few_steps_equals_an_uninterrupted_one(whole, tmp_path) -> None:
    job, _, folder = whole
    run_in_pieces(job, tmp_path / "run", steps=5)
    assert final_state(tmp_path / "run") == final_state(folder)


def test_what_leaks_is_renewed_with_every_move_of_the_generator(whole) -> None:
    """It is as old as the discriminator that played last, and stays while that learns alone."""
    _, run, _ = whole
    for step in run.checkpoints.steps():
        checkpoint = run.checkpoints.open(step)
        generator, discriminator = checkpoint.load("generator"), checkpoint.load("discriminator")
        is_alone = 6 < step <= 11
        assert torch.equal(generator["leaked.embedding"], discriminator["embedding.weight"]) != is_alone, step
        assert torch.equal(generator["leaked.filters_3"], discriminator["filters.1"]) != is_alone, step


def test_an_export_is_refused_with_the_reason(whole) -> None:
    _, _, folder = whole
    result = load_result(str(folder), "latest", device="cpu", say=lambda message: None)
    with pytest.raises(UserError, match="A generator of kind leak cannot be exported: export knows of lstm"):
        refuse_unknown(result)
