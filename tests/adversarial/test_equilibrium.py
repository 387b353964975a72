"""Where the discriminator sees no difference: nothing moves the generator, and equal beginnings have an even score."""

import pytest
import torch
from torch import Tensor, nn

from lstmgan_dist.adversarial import texts as drawing_of_objectives
from lstmgan_dist.adversarial.baselines import NoBaseline
from lstmgan_dist.adversarial.credits import CREDITS
from lstmgan_dist.adversarial.discrimination import DiscriminatorObjective
from lstmgan_dist.adversarial.estimators.score_function_objective import ScoreFunctionObjective
from lstmgan_dist.adversarial.losses import LOSSES
from lstmgan_dist.models.discriminator import Scores, TokenReader
from lstmgan_dist.models.drawing import Drawn
from lstmgan_dist.runtime.randomness import Noise
from tests.networks import lstm_generator

from .game import prepare, sentences
from .test_estimators import TINY_T, TINY_V, all_texts, log_probabilities


class ByToken(TokenReader):
    """A score for each token of the vocabulary, wherever it stands: a tabular discriminator."""

    def __init__(self, scores: Scores, score: float) -> None:
        super().__init__(TINY_V, 1)
        self.scores = scores
        self.representations = 3 if scores == "per_representation" else 1
        nn.init.constant_(self.embedding.weight, score)

    def forward(self, seen_BTD: Tensor, lengths_B: Tensor, *, noise: Noise | None = None) -> Tensor:
        if self.scores == "per_token":
            return seen_BTD.squeeze(-1)
        if self.scores == "per_sentence":
            return seen_BTD[:, 0, 0]
        return seen_BTD[:, 0].expand(-1, self.representations)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("give_credit", CREDITS)
def test_an_undecided_discriminator_moves_no_token_whatever_the_lengths(
    loss: str, give_credit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The expected gradient over every text, each as often as it is probable, is zero: length does not pay."""
    generator = lstm_generator(TINY_V, embedding=5, hidden=6, seed=4)
    texts = all_texts()
    assert texts.lengths_B.unique().tolist() == list(range(1, TINY_T + 1))
    middle = LOSSES[loss].middle
    for scores in ("per_token", "per_sentence", "per_representation"):
        if LOSSES[loss].compares == "batch" or (LOSSES[loss].compares == "pairs" and scores == "per_token"):
            continue
        discriminator = ByToken(scores, 0.3 if middle is None else middle)
        objective = ScoreFunctionObjective(
            generator,
            LOSSES[loss],
            max_length=TINY_T,
            credit=CREDITS[give_credit],
            discount=0.9,
            baseline=NoBaseline(),
        )
        monkeypatch.setattr(drawing_of_objectives, "draw", lambda *args, **settings: texts)
        noise = Noise(1, torch.arange(len(texts.lengths_B)))
        real = sentences(rows=len(texts.lengths_B))
        real.targets_BT.clamp_(max=TINY_V - 1)
        ((prepared, _),) = prepare(objective, real, opponent=discriminator, noise=noise)
        probability_B1 = log_probabilities(generator, texts).sum(1, keepdim=True).exp().detach()
        # One batch of all texts, in which each weighs as much as it is probable.
        prepared["advantages_BT"] = prepared["advantages_BT"] * probability_B1
        loss_value = objective(prepared, opponent=discriminator, noise=noise).loss
        for gradient in torch.autograd.grad(loss_value, list(generator.parameters()), allow_unused=True):
            assert gradient is None or gradient.abs().max() < 1e-6


def test_a_beginning_as_frequent_in_both_texts_has_the_score_of_an_undecided_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Token 1 begins every text, and drawn texts go on longer: the gradient of its score vanishes at the middle."""
    drawn = Drawn(torch.tensor([[1, 2, 2, 0]]).repeat(4, 1), torch.full((4,), 4))
    real = sentences(rows=4)
    real.targets_BT.zero_()
    real.targets_BT[:, 0] = 1
    real.lengths_B.fill_(2)
    monkeypatch.setattr(drawing_of_objectives, "draw", lambda *args, **settings: drawn)
    for name, loss in LOSSES.items():
        if loss.middle is None:
            continue
        discriminator = ByToken("per_token", loss.middle)
        objective = DiscriminatorObjective(discriminator, loss, max_length=4)
        generator, noise = lstm_generator(TINY_V, embedding=2, hidden=2), Noise(1, torch.arange(4))
        ((prepared, _),) = prepare(objective, real, opponent=generator, noise=noise)
        loss_value = objective(prepared, opponent=generator, noise=noise).loss
        (gradient_V1,) = torch.autograd.grad(loss_value, [discriminator.embedding.weight])
        assert gradient_V1[1].item() == pytest.approx(0, abs=1e-7), name
        assert gradient_V1[2].item() > 0.1, name  # only drawn text has it


def test_every_representation_has_a_loss_of_its_own() -> None:
    """RelGAN's code averages -log sigmoid(real - fake) over 64 logits a sentence, not the logits before it."""
    loss = LOSSES["relativistic"]
    discriminator = ByToken("per_representation", 0.0)
    objective = DiscriminatorObjective(discriminator, loss, max_length=4)
    real_BR, fake_BR = torch.tensor([[2.0, -2.0, 0.0]]), torch.tensor([[0.0, 0.0, 3.0]])
    lengths_B = torch.tensor([2])
    total = objective.total_loss(real_BR, fake_BR, lengths_B, lengths_B, None)
    found = total / objective.denominator(discriminator.count(lengths_B), discriminator.count(lengths_B))
    expected = sum(torch.nn.functional.softplus(torch.tensor(-gap)).item() for gap in (2.0, -2.0, -3.0)) / 3
    assert found.item() == pytest.approx(expected, abs=1e-6)
    assert discriminator.of_sentences(real_BR, lengths_B).tolist() == [0.0]
