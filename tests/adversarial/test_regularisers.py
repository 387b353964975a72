"""Penalties against gradients of the kernels that train, finite differences and a decomposition; a game with them."""

from typing import Any

import pytest
import torch
from torch import Tensor

from lstmgan_dist.adversarial.regularisers import REGULARISERS, SeenTexts
from lstmgan_dist.models.discriminator import Discriminator, TokenReader
from lstmgan_dist.runtime.randomness import Noise
from lstmgan_dist.training.run_log import read_metrics
from tests.networks import convolutional_discriminator, lstm_discriminator
from tests.training.comparison import final_state
from tests.training.tiny_jobs import SENTENCES, job_of, run_in_pieces, run_job

V, B, T, D = 11, 3, 6, 4
NOISE = Noise(5, torch.arange(B))
REAL_LENGTHS, FAKE_LENGTHS = torch.tensor([6, 2, 4]), torch.tensor([3, 5, 4])
DISCRIMINATORS: dict[str, Any] = {
    "per token": lambda: lstm_discriminator(V, scores="per_token", embedding=D, hidden=5, layer_norm=True),
    "per sentence": lambda: lstm_discriminator(
        V, scores="per_sentence", embedding=D, hidden=5, bidirectional=True, layers=2, position_features=2
    ),
    "convolutional": lambda: convolutional_discriminator(V, embedding=D, filters={2: 3, 3: 4}, dense=5),
    "representations": lambda: convolutional_discriminator(V, embedding=D, representations=4, filters={2: 3}),
}


@pytest.fixture(params=DISCRIMINATORS.values(), ids=list(DISCRIMINATORS))
def discriminator(request: pytest.FixtureRequest) -> Discriminator:
    return request.param()


def seen(lengths_B: Tensor, seed: int) -> SeenTexts:
    seen_BTD = torch.randn(B, T, D, generator=torch.Generator().manual_seed(seed))
    return SeenTexts(seen_BTD * (torch.arange(T) < lengths_B[:, None])[..., None], lengths_B)


REAL, FAKE = seen(REAL_LENGTHS, 1), seen(FAKE_LENGTHS, 2)


def embedding_of(discriminator: Discriminator) -> Tensor:
    assert isinstance(discriminator, TokenReader)
    return discriminator.embedding.weight.detach()


def squared_gradient(
    discriminator: Discriminator, seen_BTD: Tensor, lengths_B: Tensor, by_tokens: bool = False
) -> Tensor:
    """By the kernels that train; by each token's share, as wide as the vocabulary, if that is asked for."""
    seen_BTD = seen_BTD.clone().requires_grad_()
    discriminator.of_sentences(discriminator(seen_BTD, lengths_B), lengths_B).sum().backward()
    assert seen_BTD.grad is not None
    if by_tokens:
        return (seen_BTD.grad @ embedding_of(discriminator).T).square().sum(dim=(1, 2))
    return seen_BTD.grad.square().sum(dim=(1, 2))


def written_out(kind: str, discriminator: Discriminator) -> Tensor:
    """The penalty of each row as its paper has it."""
    if kind.endswith("gradient_penalty"):
        share = NOISE.uniform("between", 1, 1)
        between_BTD = share * REAL.seen_BTD + (1 - share) * FAKE.seen_BTD
        square_B = squared_gradient(discriminator, between_BTD, torch.tensor([6, 5, 4]), kind.startswith("token"))
        return (square_B.sqrt() - 1) ** 2
    if kind == "real_gradient":
        return squared_gradient(discriminator, REAL.seen_BTD, REAL_LENGTHS) / 2
    matrices = [weight for name, weight in discriminator.named_parameters() if name != "embedding.weight"]
    singular = [torch.linalg.svdvals(weight.detach().flatten(1))[0] for weight in matrices if weight.dim() > 1]
    return (torch.stack(singular).square().sum() / 2).expand(B)


@pytest.mark.parametrize("kind", REGULARISERS)
def test_a_penalty_is_its_papers_formula(kind: str, discriminator: Discriminator) -> None:
    found_B = REGULARISERS[kind](discriminator, REAL, FAKE, NOISE).detach()
    torch.testing.assert_close(
        found_B, written_out(kind, discriminator), rtol=0.05 if kind == "spectral_norm" else 1e-4, atol=1e-6
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", REGULARISERS)
def test_the_gradient_of_a_penalty_is_that_of_finite_differences(kind: str, discriminator: Discriminator) -> None:
    """Along a random direction of all weights."""
    random = torch.Generator().manual_seed(3)
    directions = [torch.randn(weight.shape, generator=random) for weight in discriminator.parameters()]
    REGULARISERS[kind](discriminator, REAL, FAKE, NOISE).sum().backward()
    slope = sum(
        (weight.grad * direction).sum().item()
        for weight, direction in zip(discriminator.parameters(), directions, strict=True)
        if weight.grad is not None
    )
    values = []
    for step in (1e-3, -2e-3):
        with torch.no_grad():
            for weight, direction in zip(discriminator.parameters(), directions, strict=True):
                weight += step * direction
        values.append(REGULARISERS[kind](discriminator, REAL, FAKE, NOISE).sum().item())
    rough = 0.1 if kind == "spectral_norm" else 0.02  # the power method is only near its end
    assert slope == pytest.approx((values[0] - values[1]) / 2e-3, rel=rough, abs=1e-3)


@pytest.mark.slow
def test_a_critic_learns_slopes_of_one(discriminator: Discriminator) -> None:
    """Minimised alone, the gradient penalty does what it is for."""
    optimizer = torch.optim.Adam(discriminator.parameters(), lr=0.03)
    penalties = []
    for _ in range(60):
        optimizer.zero_grad()
        penalty = REGULARISERS["gradient_penalty"](discriminator, REAL, FAKE, NOISE).mean()
        penalty.backward()
        optimizer.step()
        penalties.append(penalty.item())
    assert penalties[-1] < 0.1 * penalties[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "regulariser",
    [
        "{kind: gradient_penalty, weight: 10}",
        "{kind: token_gradient_penalty, weight: 10}",
        "{kind: spectral_norm, weight: 0.01}",
    ],
)
def test_a_game_with_a_penalty_reports_it_and_stops_change_nothing(regulariser: str, text, tmp_path) -> None:
    job = job_of(SENTENCES, text, f"phases.1.regulariser={regulariser}", f"phases.2.regulariser={regulariser}")
    whole, _ = run_job(job, tmp_path / "whole")
    rows = [row for row in read_metrics(whole.folder) if "discriminator/penalty" in row]
    assert {row["phase"] for row in rows} == {1, 2}
    assert all(row["discriminator/penalty"] > 0 for row in rows)
    run_in_pieces(job, tmp_path / "pieces", steps=5)
    assert final_state(tmp_path / "pieces") == final_state(tmp_path / "whole")
