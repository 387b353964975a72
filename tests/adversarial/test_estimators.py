import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lstmgan_dist.adversarial import texts as drawing_of_objectives
from lstmgan_dist.adversarial.baselines import BASELINES
from lstmgan_dist.adversarial.credits import CREDITS
from lstmgan_dist.adversarial.estimators.score_function_objective import ScoreFunctionObjective, score_function
from lstmgan_dist.adversarial.losses import LOSSES
from lstmgan_dist.adversarial.soft_text import conditioned_gumbel, gumbel_softmax, seen
from lstmgan_dist.models.drawing import Drawn
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.runtime.randomness import Noise
from tests.networks import lstm_generator

from .game import V, make_discriminator, make_generator, prepare, sentences

TINY_V, TINY_T = 3, 4


def all_texts() -> Drawn:
    """Every text of at most TINY_T tokens over TINY_V."""
    texts = []
    for length in range(1, TINY_T + 1):
        for text in itertools.product(range(1, TINY_V), repeat=length - 1):
            texts.append([*text, 0])
            if length == TINY_T:
                texts.extend([*text, last] for last in range(1, TINY_V))
    tokens = torch.zeros(len(texts), TINY_T, dtype=torch.int64)
    for row, text in enumerate(texts):
        tokens[row, : len(text)] = torch.tensor(text)
    return Drawn(tokens, torch.tensor([len(text) for text in texts]))


def log_probabilities(generator: Generator, texts: Drawn) -> Tensor:
    """Of every token, zero at padding."""
    features, _ = generator(F.pad(texts.tokens_BT, (1, -1)))
    logs = F.log_softmax(generator.logits(features), dim=-1).gather(2, texts.tokens_BT[..., None]).squeeze(2)
    return logs * (torch.arange(TINY_T) < texts.lengths_B[:, None])


def exact_gradient(generator: Generator, texts: Drawn, rewards_BT: Tensor, discount: float) -> list[Tensor]:
    """Of minus the expected reward by enumeration, in which a reward s tokens ahead moves a token by discount**s."""
    logs_BT = log_probabilities(generator, texts)
    probability_B = logs_BT.sum(1).exp().detach()
    assert probability_B.sum().item() == pytest.approx(1, abs=1e-5)
    total = logs_BT.new_zeros(())
    for s in range(TINY_T):
        for t in range(s + 1):
            total = total + (probability_B * rewards_BT[:, s] * discount ** (s - t) * logs_BT[:, t]).sum()
    return list(torch.autograd.grad(-total, list(generator.parameters())))


@pytest.mark.parametrize("baseline", ["none", "moving_average", "per_position"])
@pytest.mark.parametrize("kind", ["sentence", "discounted", "undiscounted"])
def test_score_function_gradient_equals_exact_enumeration(
    kind: str, baseline: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The estimate's mean over all texts, each as often as it is probable, equals the gradient of the expectation."""
    generator = lstm_generator(TINY_V, embedding=5, hidden=6, seed=4)
    with torch.no_grad():
        generator.output_bias.copy_(torch.tensor([0.5, -0.4, 0.1]))
    texts = all_texts()
    valid = torch.arange(TINY_T) < texts.lengths_B[:, None]
    discriminator = make_discriminator("per_sentence" if kind == "sentence" else "per_token")
    scores = discriminator(discriminator.embed(texts.tokens_BT), texts.lengths_B).detach()
    rewards, discount = 2 * scores.sigmoid() - 1, 0.6 if kind == "discounted" else 1.0
    if kind == "sentence":
        # The sentence's reward comes with its last token.
        rewards_BT = torch.zeros_like(valid, dtype=torch.float32)
        rewards_BT[torch.arange(len(valid)), texts.lengths_B - 1] = rewards
        expected = exact_gradient(generator, texts, rewards_BT, discount=1.0)
    else:
        expected = exact_gradient(generator, texts, rewards * valid, discount)
    if kind != "discounted":
        # The same by differentiating the expectation itself, without any log-probability trick.
        total_B = rewards if kind == "sentence" else (rewards * valid).sum(1)
        expectation = (log_probabilities(generator, texts).sum(1).exp() * total_B).sum()
        direct = torch.autograd.grad(-expectation, list(generator.parameters()))
        torch.testing.assert_close(expected, list(direct), atol=1e-6, rtol=1e-4)

    learning = BASELINES[baseline](0.7, TINY_T)
    if baseline != "none":
        returns_BT = torch.randn(6, TINY_T) + 1
        learning.learn(learning.lessons(returns_BT, torch.ones(6, TINY_T, dtype=torch.bool)))
    objective = ScoreFunctionObjective(
        generator,
        LOSSES["probability"],
        max_length=TINY_T,
        credit=CREDITS["sentence" if kind == "sentence" else "discounted"],
        discount=discount,
        baseline=learning,
    )
    monkeypatch.setattr(drawing_of_objectives, "draw", lambda *args, **settings: texts)
    noise = Noise(1, torch.arange(len(valid)))
    real = sentences(rows=len(valid))
    ((prepared, _),) = prepare(objective, real, opponent=discriminator, noise=noise)
    probability_B = log_probabilities(generator, texts).sum(1).exp().detach()
    found = [torch.zeros_like(parameter) for parameter in generator.parameters()]
    for row, probability in enumerate(probability_B.tolist()):
        part = {name: value[row : row + 1] if value.dim() else value for name, value in prepared.items()}
        part["sentence_count"] = torch.tensor(1.0)  # each text is a batch of its own
        loss = objective(part, opponent=discriminator, noise=noise.part(slice(row, row + 1))).loss
        for total, gradient in zip(found, torch.autograd.grad(loss, list(generator.parameters())), strict=True):
            total += probability * gradient
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=1e-4)


def drawn_with_logits(rows: int = 40_000) -> tuple[Tensor, Tensor, Noise]:
    logits = torch.tensor([2.0, 0.0, -1.0, 0.7, -4.0]).expand(rows, -1)
    noise = Noise(3, torch.arange(rows))
    cumulative = logits.softmax(-1).cumsum(-1)
    tokens = (cumulative <= noise.uniform("tokens", 1) * cumulative[:, -1:]).sum(-1)
    return logits, tokens, noise


def test_the_drawn_token_is_always_the_argmax_of_logits_and_noise() -> None:
    logits, tokens, noise = drawn_with_logits()
    perturbed = logits + conditioned_gumbel(logits, tokens, noise)
    assert torch.equal(perturbed.argmax(-1), tokens)
    assert perturbed.isfinite().all()


def test_even_of_an_impossible_token_the_noise_is_finite() -> None:
    logits = torch.tensor([[0.0, -500.0, 3.0]]).expand(1000, -1)
    gumbel = conditioned_gumbel(logits, torch.ones(1000, dtype=torch.int64), Noise(3, torch.arange(1000)))
    assert gumbel.isfinite().all()


def test_over_draws_the_conditioned_noise_is_gumbel_noise() -> None:
    """Kolmogorov and Smirnov's distance for each token, independence of tokens, mean and variance."""
    logits, tokens, noise = drawn_with_logits()
    gumbel = conditioned_gumbel(logits, tokens, noise).double()
    rows = len(gumbel)
    ordered = torch.exp(-torch.exp(-gumbel)).sort(dim=0).values
    steps = torch.arange(1, rows + 1, dtype=torch.float64)[:, None] / rows
    distance = torch.maximum(steps - ordered, ordered - steps + 1 / rows).max(dim=0).values
    assert (distance * rows**0.5 < 1.95).all()  # 0.1 % point of each
    assert gumbel.mean(0).tolist() == pytest.approx([0.5772] * 5, abs=0.03)
    assert gumbel.var(0).tolist() == pytest.approx([torch.pi**2 / 6] * 5, abs=0.08)
    correlation = torch.corrcoef(gumbel.T) - torch.eye(5)
    assert correlation.abs().max() < 0.02


@pytest.fixture
def softened() -> dict[str, object]:
    generator, discriminator = make_generator(), make_discriminator("per_sentence").requires_grad_(False)
    features = torch.randn(9, 6, generator=torch.Generator().manual_seed(2)).requires_grad_()
    return {
        "generator": generator,
        "features_NF": features,
        "tokens_N": torch.arange(9) % V,
        "discriminator": discriminator,
        "noise_N": Noise(1, torch.arange(9)),
        "inverse_temperature": torch.tensor(1.7),
    }


def explicit(softened: dict) -> tuple[Tensor, Tensor]:
    """The relaxed sample and its embedding, written out."""
    logits = softened["features_NF"] @ softened["generator"].output_matrix.T + softened["generator"].output_bias
    gumbel = conditioned_gumbel(logits.detach(), softened["tokens_N"], softened["noise_N"])
    exponentials = torch.exp(softened["inverse_temperature"] * (logits + gumbel))
    soft = exponentials / exponentials.sum(-1, keepdim=True)
    return soft, soft @ softened["discriminator"].embedding.weight


def found_of(softened: dict, *, straight_through: bool) -> Tensor:
    """What the discriminator sees of nine texts of one token, as the objective has it."""
    logits = softened["generator"].logits(softened["features_NF"])
    soft = gumbel_softmax(logits, softened["tokens_N"], softened["noise_N"], softened["inverse_temperature"])
    text = {"tokens_BT": softened["tokens_N"][:, None], "lengths_B": torch.ones(9, dtype=torch.int64)}
    seen_BTE = seen(soft, text, softened["discriminator"], positions=1, straight_through=straight_through)
    return seen_BTE.squeeze(1)


def gradients(value: Tensor, softened: dict) -> list[Tensor]:
    weights = torch.randn(value.shape, generator=torch.Generator().manual_seed(3))
    inputs = [softened["features_NF"], softened["generator"].output_matrix, softened["generator"].output_bias]
    return list(torch.autograd.grad((value * weights).sum(), inputs))


def test_relaxed_gradient_equals_autograd_through_the_formula(softened: dict) -> None:
    found = found_of(softened, straight_through=False)
    _, expected = explicit(softened)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(gradients(found, softened), gradients(expected, softened), atol=1e-6, rtol=1e-4)


def test_straight_through_has_the_hard_value_and_the_soft_gradient(softened: dict) -> None:
    found = found_of(softened, straight_through=True)
    embedding = softened["discriminator"].embedding.weight
    torch.testing.assert_close(found, embedding[softened["tokens_N"]], atol=1e-6, rtol=1e-6)
    soft, _ = explicit(softened)
    hard = F.one_hot(softened["tokens_N"], V).float()
    definition = (hard + soft - soft.detach()) @ embedding
    torch.testing.assert_close(gradients(found, softened), gradients(definition, softened), atol=1e-6, rtol=1e-4)


def test_the_softened_sample_hardens_as_the_inverse_temperature_grows(softened: dict) -> None:
    softened["inverse_temperature"] = torch.tensor(1e4)
    found = found_of(softened, straight_through=False)
    torch.testing.assert_close(found, softened["discriminator"].embed(softened["tokens_N"]), atol=1e-3, rtol=1e-3)


def test_score_function_weighs_log_likelihoods() -> None:
    logs, advantages = torch.tensor([-1.0, -2.0], requires_grad=True), torch.tensor([3.0, -4.0])
    score_function(logs, advantages).sum().backward()
    assert logs.grad is not None
    assert logs.grad.tolist() == [-3.0, 4.0]
