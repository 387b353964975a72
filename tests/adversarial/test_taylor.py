"""TaylorGAN's estimator: its formula token by token, where it is exact, and what it is where the kernel vanishes.

For adversarial/estimators/taylor.py and adversarial/estimators/taylor_objective.py.
"""

import itertools
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lstmgan_dist.adversarial import texts as drawing_of_objectives
from lstmgan_dist.adversarial.baselines import MovingAverage, NoBaseline
from lstmgan_dist.adversarial.credits import CREDITS
from lstmgan_dist.adversarial.estimators.score_function_objective import ScoreFunctionObjective
from lstmgan_dist.adversarial.estimators.taylor_objective import TaylorObjective
from lstmgan_dist.adversarial.losses import LOSSES
from lstmgan_dist.errors import UserError
from lstmgan_dist.models.discriminator import TokenReader
from lstmgan_dist.models.drawing import Drawn
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.runtime.randomness import Noise
from tests.networks import lstm_discriminator, lstm_generator
from tests.training.comparison import final_state
from tests.training.tiny_jobs import SENTENCES, job_of, run_in_pieces, run_job

from .game import MAX_LENGTH, make_discriminator, make_generator, noise_of, prepare, sentences, update
from .test_baselines import scores_of_tokens
from .test_equilibrium import ByToken
from .test_estimators import TINY_T, TINY_V, all_texts, log_probabilities

V, T = 4, 3


class Linear(TokenReader):
    """A sentence's score that is linear in the embedding of each of its tokens, at each position otherwise."""

    scores = "per_sentence"

    def __init__(self) -> None:
        super().__init__(V, 2)
        random = torch.Generator().manual_seed(3)
        with torch.no_grad():
            self.embedding.weight.copy_(torch.randn(V, 2, generator=random))
        self.slope_TE = torch.randn(T, 2, generator=random)

    def forward(self, seen_BTD: Tensor, lengths_B: Tensor, *, noise: Noise | None = None) -> Tensor:
        positions = seen_BTD.shape[1]
        is_text_BT = torch.arange(positions) < lengths_B[:, None]
        return ((seen_BTD * self.slope_TE[:positions]).sum(-1) * is_text_BT).sum(1) + 0.4


def taylor(generator: Generator, *, bandwidth: float, loss: str = "reverse_kl", **settings: object) -> TaylorObjective:
    return TaylorObjective(
        generator,
        LOSSES[loss],
        **{"max_length": MAX_LENGTH, "baseline": NoBaseline(), "bandwidth": bandwidth, **settings},  # type: ignore[arg-type]
    )


def expected_gradient(
    objective: TaylorObjective | ScoreFunctionObjective, texts: Drawn, probability_B: Tensor, discriminator: TokenReader
) -> list[Tensor]:
    """The mean over texts of the objective's gradient, each a batch of its own and as often as it is probable."""
    noise = noise_of(torch.arange(len(probability_B)))
    ((prepared, _),) = prepare(objective, sentences(rows=len(probability_B)), opponent=discriminator, noise=noise)
    found = [torch.zeros_like(parameter) for parameter in objective.generator.parameters()]
    for row, probability in enumerate(probability_B.tolist()):
        part = {name: value[row : row + 1] if value.dim() else value for name, value in prepared.items()}
        part["sentence_count"] = torch.tensor(1.0)
        loss = objective(part, opponent=discriminator, noise=noise.part(slice(row, row + 1))).loss
        gradients = torch.autograd.grad(loss, list(objective.generator.parameters()), allow_unused=True)
        for total, gradient in zip(found, gradients, strict=True):
            total += 0 if gradient is None else probability * gradient
    return found


def never_ending() -> tuple[Generator, Drawn]:
    """A generator whose next token depends on the position alone, and all its texts."""
    generator = lstm_generator(V, embedding=5, hidden=6, seed=4)
    with torch.no_grad():
        generator.get_parameter("layers.0.weight_ih_l0").zero_()
        generator.get_parameter("layers.0.bias_ih_l0").normal_(generator=torch.Generator().manual_seed(2))
        generator.output_bias.copy_(torch.tensor([-40.0, 0.6, -0.5, 0.2]))
    tokens_BT = torch.tensor(list(itertools.product(range(1, V), repeat=T)))
    return generator, Drawn(tokens_BT, torch.full((len(tokens_BT),), T))


@pytest.mark.parametrize("bandwidth", [0.3, 1.0, 5.0])
def test_with_a_linear_discriminator_the_expected_gradient_is_the_exact_one(
    bandwidth: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By enumeration of all texts, compared with any constant."""
    generator, texts = never_ending()
    discriminator = Linear().requires_grad_(False)
    monkeypatch.setattr(drawing_of_objectives, "draw", lambda *args, **settings: texts)
    rewards_B = discriminator(discriminator.embed(texts.tokens_BT), texts.lengths_B)

    def probabilities() -> Tensor:
        features, _ = generator(F.pad(texts.tokens_BT, (1, -1)))
        logs = generator.logits(features).log_softmax(-1)
        return logs.gather(2, texts.tokens_BT[..., None]).squeeze(2).sum(1).exp()

    parameters = list(generator.parameters())
    exact = torch.autograd.grad(-(probabilities() * rewards_B).sum(), parameters)
    probability_B = probabilities().detach()
    assert probability_B.sum().item() == pytest.approx(1, abs=1e-5)
    baseline = MovingAverage(decay=0.5)
    baseline.learn({"sums": torch.tensor([0.8]), "counts": torch.tensor([1.0])})  # any constant
    objective = taylor(generator, bandwidth=bandwidth, max_length=T, baseline=baseline)
    found = expected_gradient(objective, texts, probability_B, discriminator)
    torch.testing.assert_close(found, list(exact), atol=2e-6, rtol=1e-3)


def test_of_a_single_token_the_end_included_the_expected_gradient_is_the_exact_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator, discriminator = lstm_generator(V, embedding=5, hidden=6, seed=4), Linear().requires_grad_(False)
    texts = Drawn(torch.arange(V)[:, None], torch.ones(V, dtype=torch.int64))
    monkeypatch.setattr(drawing_of_objectives, "draw", lambda *args, **settings: texts)
    probability_V = generator.logits(generator(torch.zeros(1, 1, dtype=torch.int64))[0][0, 0]).softmax(-1)
    rewards_V = discriminator(discriminator.embed(texts.tokens_BT), texts.lengths_B)
    parameters = list(generator.parameters())
    exact = torch.autograd.grad(-(probability_V * rewards_V).sum(), parameters, allow_unused=True)
    found = expected_gradient(
        taylor(generator, bandwidth=0.7, max_length=1), texts, probability_V.detach(), discriminator
    )
    for gradient, wanted in zip(found, exact, strict=True):
        torch.testing.assert_close(
            gradient, torch.zeros_like(gradient) if wanted is None else wanted, atol=1e-6, rtol=1e-4
        )


@pytest.mark.parametrize("kind", ["per_sentence", "per_token"])
@pytest.mark.parametrize("texts_of", ["all", "some"])
def test_the_gradient_is_that_of_the_papers_formula_of_every_row_alone(
    kind: str, texts_of: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Position by position and token by token, each row scored without the others."""
    generator, texts = lstm_generator(TINY_V, embedding=5, hidden=6, seed=4), all_texts()
    if texts_of == "some":
        texts = Drawn(texts.tokens_BT[5:9], texts.lengths_B[5:9])
    discriminator = lstm_discriminator(TINY_V, scores=kind, embedding=4, hidden=5).requires_grad_(False)
    embedding_VE, bandwidth = discriminator.embedding.weight, 1.3
    monkeypatch.setattr(drawing_of_objectives, "draw", lambda *args, **settings: texts)
    probability_B = torch.full((len(texts.lengths_B),), 0.5)
    found = expected_gradient(
        taylor(generator, bandwidth=bandwidth, max_length=TINY_T), texts, probability_B, discriminator
    )
    total = torch.zeros(())
    for tokens_T, length in zip(texts.tokens_BT, texts.lengths_B.tolist(), strict=True):
        seen_1TE = embedding_VE[tokens_T[None, :length]].clone().requires_grad_()
        reward = discriminator(seen_1TE, torch.tensor([length])).mean()  # reverse_kl: minus its cost
        (slope_1TE,) = torch.autograd.grad(reward, seen_1TE)
        for position in range(length):
            drawn = int(tokens_T[position])
            prefix = torch.tensor([[0, *tokens_T[:position].tolist()]])
            p_V = generator.logits(generator(prefix)[0][0, -1]).softmax(-1)

            def near(one: int, other: int) -> float:
                distance = (embedding_VE[one] - embedding_VE[other]).norm().item()
                return math.exp(-0.5 * (distance / bandwidth) ** 2)

            for token in range(TINY_V):
                its_reward = reward + slope_1TE[0, position] @ (embedding_VE[token] - embedding_VE[drawn])
                often = sum(p_V[other].item() * near(other, token) for other in range(TINY_V))
                total = total - 0.5 * near(drawn, token) / often * its_reward.detach() * p_V[token]
    expected = torch.autograd.grad(total, list(generator.parameters()))
    torch.testing.assert_close(found, list(expected), atol=5e-6, rtol=1e-3)


@pytest.mark.parametrize("loss", ["probability", "relativistic"])
def test_as_the_bandwidth_vanishes_it_is_the_score_function_with_any_discriminator(loss: str) -> None:
    generator, discriminator = make_generator(), make_discriminator("convolutional")
    with torch.no_grad():
        discriminator.embedding.weight.mul_(3)  # no two tokens are near each other
    common = {"max_length": MAX_LENGTH, "likelihood_weight": 0.3}
    score_function = ScoreFunctionObjective(
        generator, LOSSES[loss], credit=CREDITS["sentence"], discount=1.0, baseline=MovingAverage(decay=0.5), **common
    )
    found = []
    for objective in (
        score_function,
        taylor(generator, bandwidth=0.05, loss=loss, baseline=MovingAverage(decay=0.5), **common),
    ):
        updates = [  # two, so that the baseline takes part
            update(objective, generator, discriminator, sentences(seed=number), noise_of().at(number))
            for number in range(2)
        ]
        found.append((updates[1][1]["generator/reward"], updates[1][2]))
    torch.testing.assert_close(found[1], found[0], atol=1e-5, rtol=1e-3)


def test_its_variance_and_bias_beside_reinforce(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over all texts of a generator that goes on otherwise behind another token, with a discriminator that is no line.

    Printed: the variance, and the squared distance of the mean from the exact gradient, both over REINFORCE's variance.
    """
    generator, texts = lstm_generator(TINY_V, embedding=5, hidden=6, seed=4), all_texts()
    discriminator = lstm_discriminator(TINY_V, scores="per_sentence", embedding=4, hidden=5).requires_grad_(False)
    monkeypatch.setattr(drawing_of_objectives, "draw", lambda *args, **settings: texts)
    probability_B = log_probabilities(generator, texts).sum(1).exp().detach()
    noise = noise_of(torch.arange(len(probability_B)))
    scores_BTP = scores_of_tokens(generator, texts)
    reward_B = discriminator(discriminator.embed(texts.tokens_BT), texts.lengths_B)
    reinforce_BP = -reward_B[:, None] * scores_BTP.sum(1)
    exact_P = probability_B @ reinforce_BP
    of_reinforce = probability_B @ (reinforce_BP - exact_P).square().sum(1)
    for bandwidth in (0.3, 1.0, 2.0):
        objective = taylor(generator, bandwidth=bandwidth, max_length=TINY_T)
        ((prepared, _),) = prepare(objective, sentences(rows=len(probability_B)), opponent=discriminator, noise=noise)
        rows = []
        for row in range(len(probability_B)):
            part = {name: value[row : row + 1] if value.dim() else value for name, value in prepared.items()}
            part["sentence_count"] = torch.tensor(1.0)
            loss = objective(part, opponent=discriminator, noise=noise.part(slice(row, row + 1))).loss
            rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(generator.parameters()))]))
        mean_P = probability_B @ torch.stack(rows)
        variance = probability_B @ (torch.stack(rows) - mean_P).square().sum(1) / of_reinforce
        bias = (mean_P - exact_P).square().sum() / of_reinforce
        print(f"bandwidth {bandwidth}: variance {variance:.3f}, squared bias {bias:.4f}")
        assert variance.isfinite()
        assert variance < 1.01


def test_the_entropy_of_every_next_token_is_rewarded() -> None:
    generator, discriminator = make_generator(), make_discriminator("per_sentence", dropout=0.0)
    gradients = {}
    for weight in (0.0, 0.7):
        objective = taylor(generator, bandwidth=0.5, entropy_weight=weight)
        _, report, gradients[weight] = update(objective, generator, discriminator, sentences(), noise_of())
    ((part, _),) = prepare(objective, sentences(), opponent=discriminator, noise=noise_of())
    valid_BT = torch.arange(part["tokens_BT"].shape[1]) < part["lengths_B"][:, None]
    logs_NV = generator.logits(generator(part["inputs_BT"])[0][valid_BT]).log_softmax(-1)
    entropy = -(logs_NV.exp() * logs_NV).sum() / len(valid_BT)
    assert report["generator/entropy"] == pytest.approx(entropy.item(), rel=1e-5)
    generator.zero_grad()
    entropy.backward()
    for name, parameter in generator.named_parameters():
        if parameter.grad is not None:
            difference = gradients[0.7][name] - gradients[0.0][name]
            torch.testing.assert_close(difference, -0.7 * parameter.grad, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("scores", ["per_token", "per_sentence", "per_representation"])
def test_an_undecided_discriminator_moves_nothing_whatever_the_lengths(
    scores: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator, texts = lstm_generator(TINY_V, embedding=5, hidden=6, seed=4), all_texts()
    monkeypatch.setattr(drawing_of_objectives, "draw", lambda *args, **settings: texts)
    for name, loss in LOSSES.items():
        if loss.middle is None or loss.compares == "batch":
            continue
        discriminator = ByToken(scores, loss.middle).requires_grad_(False)  # type: ignore[arg-type]
        objective = taylor(generator, bandwidth=0.5, loss=name, max_length=TINY_T)
        for gradient in expected_gradient(objective, texts, torch.ones(len(texts.lengths_B)), discriminator):
            assert gradient.abs().max() < 1e-6


HIDDEN_STATES = "discriminator={kind: hidden_states, hidden: 6, dense: 5}"
TAYLOR = "phases.2.estimator={kind: taylor, bandwidth: 0.5, entropy_weight: 0.02}"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ((TAYLOR, HIDDEN_STATES), "kind taylor needs a discriminator that reads tokens"),
        ((TAYLOR, "discriminator.scores=per_sentence", "phases.2.loss=relativistic_average"), "whole batch: choose"),
        ((TAYLOR, "phases.2.estimator.bandwidth=0"), "bandwidth"),
        ((TAYLOR, "phases.2.estimator.baseline={kind: group}"), "baseline.kind"),
    ],
)
def test_what_cannot_work_is_refused(overrides: tuple[str, ...], words: str, text: Path) -> None:
    with pytest.raises(UserError, match=words):
        job_of(SENTENCES, text, *overrides)


def test_a_run_stopped_every_few_steps_equals_an_uninterrupted_one(text: Path, tmp_path: Path) -> None:
    job = job_of(SENTENCES, text, TAYLOR, "discriminator.embedding_from_generator=true")
    run_job(job, tmp_path / "whole")
    run_in_pieces(job, tmp_path / "run", steps=5)
    assert final_state(tmp_path / "run") == final_state(tmp_path / "whole")
