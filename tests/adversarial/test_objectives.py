"""The same update in any number of units, with any padding: what objectives owe their player.

For adversarial/objective.py, adversarial/batch_scores.py and adversarial/estimators/objective.py.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lstmgan_dist.adversarial.likelihood import LikelihoodObjective
from lstmgan_dist.adversarial.losses import LOSSES
from lstmgan_dist.corpus.stream import Batch
from lstmgan_dist.models.discriminator import Discriminator
from lstmgan_dist.models.generator import Generator
from tests.cases import cases

from .game import (
    GAMES,
    B,
    continuous,
    extra,
    make_discriminator,
    make_generator,
    make_objective,
    noise_of,
    prepare,
    sentences,
    update,
)

DROPOUT = {"dropout": {"embedding": 0.2, "output": 0.3, "weight": 0.2, "between": 0.2}}


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    network.requires_grad_(False)
    yield
    network.requires_grad_(True)


def sides(name: str, generator: Generator, discriminator: Discriminator) -> tuple[nn.Module, nn.Module]:
    """Who learns in a game, and the opponent."""
    return (discriminator, generator) if name.startswith("discriminator") else (generator, discriminator)


def play(game: tuple[str, str, str], units: int) -> list[Any]:
    """Two updates, so that what the first leaves behind (a baseline) takes part in the second."""
    name, loss, kind = game
    generator, discriminator = make_generator(**DROPOUT), make_discriminator(kind)
    objective = make_objective(name, loss, kind, generator, discriminator)
    player, opponent = sides(name, generator, discriminator)
    results = []
    with frozen(opponent):
        for number in range(2):
            noise = noise_of().at(number)
            results.append(
                update(objective, player, opponent, sentences(seed=number), noise, units, schedules=extra(name))
            )
    assert all(parameter.grad is None for parameter in opponent.parameters())
    return results


@pytest.mark.parametrize(
    "game", cases(GAMES, quick=[game for game in GAMES if game[1] == "relativistic"]), ids=" ".join
)
def test_the_number_of_units_changes_neither_loss_nor_report_nor_gradient(game: tuple[str, str, str]) -> None:
    """But for rounding."""
    whole = play(game, units=1)
    assert all(gradient.isfinite().all() for gradient in whole[1][2].values())
    assert any(gradient.abs().sum() > 0 for gradient in whole[1][2].values())
    for units in (2, 4):
        torch.testing.assert_close(play(game, units), whole, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("units", [1, 2, 4])
def test_likelihood_in_units_carries_the_state_of_every_row(units: int) -> None:
    def run(units: int) -> list[Any]:
        generator = make_generator(layers=2, **DROPOUT)
        objective = LikelihoodObjective(generator, carries_state=True)
        results: list[Any] = []
        carried: list[dict[str, Tensor]] = [{} for _ in range(units)]
        for number in (0, 1, 2, 0):
            noise = noise_of().at(number)
            result = update(objective, generator, None, continuous(number), noise, units, carried=carried)
            states = zip(*(unit.values() for unit in carried), strict=True)
            results.append((*result, [torch.cat(tensors) for tensors in states]))
        return results

    torch.testing.assert_close(run(units), run(1), atol=1e-6, rtol=1e-5)


def test_carried_state_equals_reading_the_text_at_once_and_a_fresh_batch_forgets() -> None:
    generator = make_generator(layers=2)
    objective = LikelihoodObjective(generator, carries_state=True)
    carried: list[dict[str, Tensor]] = [{}]
    *_, report = (
        update(objective, generator, None, continuous(number), noise_of(), carried=carried)[1] for number in range(3)
    )
    text = torch.cat([continuous(number).inputs_BT for number in range(3)], dim=1)
    features, state = generator(text)
    torch.testing.assert_close(tuple(carried[0].values()), state, atol=1e-6, rtol=1e-5)
    logs = generator.log_likelihoods(features[:, 12:].flatten(0, 1), continuous(2).targets_BT.flatten())
    assert report["likelihood/nll"] == pytest.approx(-logs.mean().item(), abs=1e-5)
    _, fresh, _ = update(objective, generator, None, continuous(0), noise_of(), carried=carried)
    expected = update(LikelihoodObjective(generator, carries_state=True), generator, None, continuous(0), noise_of())
    assert fresh == expected[1]


def test_likelihood_is_the_mean_over_valid_tokens() -> None:
    generator, real = make_generator(), sentences()
    loss, report, _ = update(LikelihoodObjective(generator, carries_state=False), generator, None, real, noise_of())
    total = 0.0
    for row, length in enumerate(real.lengths_B.tolist()):
        features, _ = generator(real.inputs_BT[row : row + 1, :length])
        total -= (
            F.log_softmax(generator.logits(features[0]), -1)[range(length), real.targets_BT[row, :length]].sum().item()
        )
    assert loss == report["likelihood/nll"] == pytest.approx(total / real.lengths_B.sum().item(), abs=1e-5)


PADDED = ["likelihood", "discriminator", "discriminator with gradient_penalty", "score_function", "straight_through"]


@pytest.mark.parametrize("name", PADDED)
@pytest.mark.parametrize("kind", ["per_token", "per_sentence"])
def test_padding_never_changes_a_loss(name: str, kind: str) -> None:
    results = []
    for padding in (0, 3):
        real = sentences()
        outside = torch.arange(real.targets_BT.shape[1] + padding) >= real.lengths_B[:, None]
        wide = [
            F.pad(tokens, (0, padding)).masked_fill(outside, padding) for tokens in (real.inputs_BT, real.targets_BT)
        ]
        generator, discriminator = make_generator(**DROPOUT), make_discriminator(kind)
        player, opponent = (
            (discriminator, generator) if name.startswith("discriminator") else (generator, discriminator)
        )
        objective = make_objective(name, "cross_entropy", kind, generator, discriminator)
        results.append(
            update(
                objective,
                player,
                None if name == "likelihood" else opponent,
                Batch(wide[0], wide[1], real.lengths_B, fresh=True),
                noise_of(),
                schedules=extra(name),
            )
        )
    torch.testing.assert_close(results[0], results[1], atol=1e-6, rtol=1e-5)


def test_the_discriminator_report_is_what_its_names_say() -> None:
    generator, discriminator = make_generator(), make_discriminator("per_sentence", dropout=0.0)
    objective = make_objective("discriminator", "hinge", "per_sentence", generator, discriminator)
    real = sentences()
    ((prepared, noise),) = prepare(objective, real, opponent=generator, noise=noise_of())
    loss, report, _ = objective(prepared, opponent=generator, noise=noise)
    fake_BT, fake_lengths_B = prepared["fake_BT"], prepared["fake_lengths_B"]
    real_scores = discriminator(discriminator.embed(real.targets_BT), real.lengths_B)
    fake_scores = discriminator(discriminator.embed(fake_BT), fake_lengths_B)
    expected = {
        "discriminator/loss": (F.relu(1 - real_scores).mean() + F.relu(1 + fake_scores).mean()).item(),
        "discriminator/real_score": real_scores.mean().item(),
        "discriminator/fake_score": fake_scores.mean().item(),
        "discriminator/accuracy": ((real_scores > 0).float().mean() + (fake_scores < 0).float().mean()).item() / 2,
    }
    assert {name: value.item() for name, value in report.items()} == pytest.approx(expected, abs=1e-6)
    assert loss.item() == pytest.approx(expected["discriminator/loss"], abs=1e-6)


@pytest.mark.parametrize("loss", ["hinge", "relativistic"])
def test_the_gumbel_cost_is_the_loss_of_the_drawn_text_when_straight_through(loss: str) -> None:
    """Its value, without dropout, is that of scoring the drawn tokens."""
    generator, discriminator = make_generator(), make_discriminator("convolutional", dropout=0.0)
    objective = make_objective("straight_through", loss, "per_sentence", generator, discriminator)
    real = sentences()
    ((prepared, noise),) = prepare(
        objective, real, opponent=discriminator, noise=noise_of(), schedules={"inverse_temperature": 2.0}
    )
    report = objective(prepared, opponent=discriminator, noise=noise).report
    fake = discriminator(discriminator.embed(prepared["tokens_BT"]), prepared["lengths_B"])
    real_scores = discriminator(discriminator.embed(real.targets_BT), real.lengths_B)
    expected = LOSSES[loss].generator(fake, real_scores).mean().item()
    assert report["generator/cost"].item() == pytest.approx(expected, abs=1e-5)
    assert report["generator/length"].item() == pytest.approx(prepared["lengths_B"].float().mean().item())


def test_latent_noise_is_drawn_for_both_texts_and_kept_for_the_second_pass() -> None:
    for feed in ("every_step", "initial_state"):
        generator, discriminator = make_generator(latent={"size": 3, "feed": feed}), make_discriminator("per_token")
        objective = make_objective("score_function", "probability", "per_token", generator, discriminator)
        real = sentences()
        ((prepared, noise),) = prepare(objective, real, opponent=discriminator, noise=noise_of())
        assert prepared["latent_BZ"].shape == prepared["real_latent_BZ"].shape == (B, 3)
        assert not torch.equal(prepared["latent_BZ"], prepared["real_latent_BZ"])
        objective(prepared, opponent=discriminator, noise=noise).loss.backward()
        assert all(parameter.grad is not None for parameter in generator.parameters())


def test_drawn_text_is_cut_to_the_longest() -> None:
    generator, discriminator = make_generator(), make_discriminator("per_token")
    with torch.no_grad():
        generator.output_bias[0] = 50
    objective = make_objective("score_function", "probability", "per_token", generator, discriminator)
    ((prepared, _),) = prepare(objective, sentences(), opponent=discriminator, noise=noise_of())
    assert prepared["tokens_BT"].shape == (B, 1)
