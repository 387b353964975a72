"""Labels, and what texts answer, are read and not learnt: by no player, loss or estimator."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lstmgan_dist.adversarial import texts as drawing_of_objectives
from lstmgan_dist.adversarial.baselines import BASELINES
from lstmgan_dist.adversarial.credits import CREDITS
from lstmgan_dist.adversarial.discrimination import DiscriminatorObjective
from lstmgan_dist.adversarial.estimators.score_function_objective import ScoreFunctionObjective
from lstmgan_dist.adversarial.likelihood import LikelihoodObjective
from lstmgan_dist.adversarial.losses import LOSSES
from lstmgan_dist.corpus.stream import Batch
from lstmgan_dist.models.drawing import Drawn
from lstmgan_dist.models.generators.lstm import LSTMGeneratorKind
from lstmgan_dist.runtime.randomness import Noise
from tests.networks import lstm_discriminator

from .game import (
    GAMES,
    MAX_LENGTH,
    B,
    extra,
    make_discriminator,
    make_generator,
    make_objective,
    noise_of,
    prepare,
    sentences,
    update,
)
from .test_estimators import TINY_T, TINY_V, all_texts

LABEL = TINY_V  # the first token behind the vocabulary


def answers(rows: int = B) -> Batch:
    """Sentences of which each answers another one, of another length."""
    texts, contexts = sentences(rows), sentences(rows, seed=2)
    lengths_B, starts_B = texts.lengths_B + contexts.lengths_B, contexts.lengths_B
    targets_BT = torch.zeros(rows, int(lengths_B.max()), dtype=torch.int64)
    for row in range(rows):
        start, length = int(starts_B[row]), int(texts.lengths_B[row])
        targets_BT[row, : start - 1] = contexts.targets_BT[row, : start - 1]
        targets_BT[row, start : start + length] = texts.targets_BT[row, :length]
    contexts_BP = targets_BT[:, : int(starts_B.max())]
    contexts_BP = contexts_BP * (torch.arange(contexts_BP.shape[1]) < starts_B[:, None])
    return Batch(
        F.pad(targets_BT, (1, -1)), targets_BT, lengths_B, fresh=True, starts_B=starts_B, contexts_BP=contexts_BP
    )


def log_probabilities(generator, tokens_BT: Tensor) -> Tensor:
    """Of every token of rows, given what is before it."""
    features, _ = generator(F.pad(tokens_BT, (1, -1)))
    logs_BTV = F.log_softmax(generator.logits(features), dim=-1)
    return logs_BTV.gather(2, tokens_BT[..., None].clamp(max=logs_BTV.shape[2] - 1)).squeeze(2)


def test_the_likelihood_of_a_pair_is_that_of_the_answer_alone() -> None:
    """Its value and every gradient are those of the sum over the answers' tokens; no token of a prompt is learnt."""
    generator, real = make_generator(), answers()
    objective = LikelihoodObjective(generator, carries_state=False)
    loss, _, gradients = update(objective, generator, None, real, noise_of())
    assert real.starts_B is not None
    logs_BT = log_probabilities(generator, real.targets_BT)
    position_T = torch.arange(logs_BT.shape[1])
    of_answer_BT = (position_T >= real.starts_B[:, None]) & (position_T < real.lengths_B[:, None])
    expected = -logs_BT[of_answer_BT].mean()
    assert loss == pytest.approx(expected.item(), rel=1e-6)
    names, parameters = zip(*generator.named_parameters(), strict=True)
    for name, gradient in zip(names, torch.autograd.grad(expected, parameters), strict=True):
        torch.testing.assert_close(gradients[name], gradient, atol=1e-6, rtol=1e-5)
    # What the output layer learns does not depend on which prompt tokens would have been right.
    features, _ = generator(real.inputs_BT)
    features.retain_grad()
    logs_BT = F.log_softmax(generator.logits(features), dim=-1).gather(2, real.targets_BT[..., None]).squeeze(2)
    (gradient_BTF,) = torch.autograd.grad(-logs_BT[of_answer_BT].mean(), [features])
    assert not gradient_BTF[position_T < real.starts_B[:, None]].any()
    assert gradient_BTF[of_answer_BT].any()


@pytest.mark.parametrize("baseline", ["none", "per_position"])
@pytest.mark.parametrize("scores", ["per_token", "per_sentence"])
def test_score_function_gradient_behind_a_label_equals_exact_enumeration(
    scores: str, baseline: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = LSTMGeneratorKind(embedding=5, hidden=6).build(vocabulary_size=TINY_V, labels=2, seed=4)
    with torch.no_grad():
        generator.output_bias.copy_(torch.tensor([0.5, -0.4, 0.1]))
    texts, context = all_texts(), torch.tensor([LABEL + 1, 0])
    rows = len(texts.lengths_B)
    tokens_BT = torch.cat([context.expand(rows, 2), texts.tokens_BT], dim=1)
    drawn = Drawn(tokens_BT, texts.lengths_B + 2, torch.full((rows,), 2))
    of_text_BT = torch.arange(TINY_T) < texts.lengths_B[:, None]
    discriminator = lstm_discriminator(TINY_V + 2, scores=scores, embedding=6, hidden=8)
    found_scores = discriminator(discriminator.embed(tokens_BT), drawn.lengths_B).detach()
    rewards = 2 * found_scores.sigmoid() - 1
    total_B = rewards if scores == "per_sentence" else (rewards[:, 2:] * of_text_BT).sum(1)
    logs_BT = log_probabilities(generator, tokens_BT)[:, 2:] * of_text_BT
    assert logs_BT.sum(1).exp().sum().item() == pytest.approx(1, abs=1e-5)  # labels are never written
    expected = torch.autograd.grad(-(logs_BT.sum(1).exp() * total_B).sum(), list(generator.parameters()))

    learning = BASELINES[baseline](0.7, TINY_T)
    if baseline != "none":
        returns_BT = torch.randn(6, TINY_T) + 1
        learning.learn(learning.lessons(returns_BT, torch.ones(6, TINY_T, dtype=torch.bool)))
    objective = ScoreFunctionObjective(
        generator,
        LOSSES["probability"],
        max_length=TINY_T,
        credit=CREDITS["sentence" if scores == "per_sentence" else "discounted"],
        discount=1.0,
        baseline=learning,
    )
    monkeypatch.setattr(drawing_of_objectives, "draw", lambda *args, **settings: drawn)
    noise = Noise(1, torch.arange(rows))
    ((prepared, _),) = prepare(objective, sentences(rows=rows), opponent=discriminator, noise=noise)
    # One batch of all texts, in which each weighs as much as it is probable.
    prepared["advantages_BT"] = prepared["advantages_BT"] * logs_BT.sum(1, keepdim=True).exp().detach()
    prepared["sentence_count"] = torch.tensor(1.0)
    loss = objective(prepared, opponent=discriminator, noise=noise).loss
    for gradient, wanted in zip(torch.autograd.grad(loss, list(generator.parameters())), expected, strict=True):
        torch.testing.assert_close(gradient, wanted, atol=2e-6, rtol=1e-4)


def test_a_baseline_of_positions_learns_those_of_the_text() -> None:
    generator, discriminator, learning = (
        make_generator(),
        make_discriminator("per_token"),
        BASELINES["per_position"](0.5, MAX_LENGTH),
    )
    objective = ScoreFunctionObjective(
        generator,
        LOSSES["probability"],
        max_length=MAX_LENGTH,
        credit=CREDITS["discounted"],
        discount=0.0,
        baseline=learning,
    )
    ((part, _),) = prepare(objective, answers(), opponent=discriminator, noise=noise_of())
    starts, lengths = part["starts_B"].tolist(), part["lengths_B"].tolist()
    rewards_BT = part["rewards"]
    for position in range(MAX_LENGTH):
        own = [
            rewards_BT[row, start + position].item()
            for row, start in enumerate(starts)
            if start + position < lengths[row]
        ]
        expected = sum(own) / len(own) if own else 0.0
        weight = learning.memory()["weight"][position].item()
        assert weight == pytest.approx(0.5 if own else 0.0)
        assert learning.memory()["total"][position].item() == pytest.approx(0.5 * expected, abs=1e-6)


def test_the_discriminator_is_told_the_context_and_judges_the_text() -> None:
    discriminator, generator, real = make_discriminator("per_token", dropout=0.0), make_generator(), answers()
    objective = DiscriminatorObjective(discriminator, LOSSES["cross_entropy"], max_length=MAX_LENGTH)
    ((part, noise),) = prepare(objective, real, opponent=generator, noise=noise_of())
    starts_B = part["starts_B"]
    context_BT = torch.arange(part["fake_BT"].shape[1]) < starts_B[:, None]
    assert torch.equal(part["fake_BT"][context_BT], part["real_BT"][context_BT])
    found = objective(part, opponent=generator, noise=noise).loss
    total, count = torch.zeros(()), 0
    for tokens, lengths, sign in (
        (part["real_BT"], part["real_lengths_B"], -1),
        (part["fake_BT"], part["fake_lengths_B"], 1),
    ):
        for row in range(B):
            start, stop = int(starts_B[row]), int(lengths[row])
            scores_1T = discriminator(discriminator.embed(tokens[row : row + 1, :stop]), torch.tensor([stop]))
            total, count = total + F.softplus(sign * scores_1T[0, start:]).sum(), count + stop - start
    assert found.item() == pytest.approx((total / (count / 2)).item(), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "loss", "kind"), [game for game in GAMES if game[1] in ("cross_entropy", "hinge", "wasserstein")]
)
def test_an_update_behind_contexts_is_the_same_in_any_number_of_units(name: str, loss: str, kind: str) -> None:
    generator, discriminator = make_generator(), make_discriminator(kind)
    player, opponent = (discriminator, generator) if name.startswith("discriminator") else (generator, discriminator)
    found = []
    for units in (1, 4):
        objective = make_objective(name, loss, kind, generator, discriminator)
        found.append(update(objective, player, opponent, answers(), noise_of(), units=units, schedules=extra(name)))
    (one, report, gradients), (other, its_report, its_gradients) = found
    assert one == pytest.approx(other, rel=1e-5, abs=1e-6)
    assert report == pytest.approx(its_report, rel=1e-4, abs=1e-5)
    for parameter, gradient in gradients.items():
        torch.testing.assert_close(its_gradients[parameter], gradient, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("name", ["straight_through", "relaxed"])
def test_softened_text_stands_behind_its_context_as_that_is(name: str) -> None:
    generator, discriminator = make_generator(), make_discriminator("per_sentence", dropout=0.0)
    objective = make_objective(name, "cross_entropy", "per_sentence", generator, discriminator)
    ((part, noise),) = prepare(
        objective, answers(), opponent=discriminator, noise=noise_of(), schedules={"inverse_temperature": 1e6}
    )
    scores = objective._fake_scores(part, discriminator, noise)  # so cold that soft tokens are the hard ones
    hard = discriminator(discriminator.embed(part["tokens_BT"]), part["lengths_B"])
    torch.testing.assert_close(scores, hard, atol=1e-4, rtol=1e-3)


def test_a_discriminators_own_update_sees_softened_text_behind_its_context_as_that_is() -> None:
    generator, discriminator = make_generator(), make_discriminator("per_sentence", dropout=0.0)
    found = []
    for name in ("discriminator", "discriminator of samples"):
        objective = make_objective(name, "hinge", "per_sentence", generator, discriminator)
        schedules = {"inverse_temperature": 1e6}  # so cold that soft tokens are the hard ones
        ((part, noise),) = prepare(objective, answers(), opponent=generator, noise=noise_of(), schedules=schedules)
        found.append(objective(part, opponent=generator, noise=noise).report)
    torch.testing.assert_close(found[0], found[1], atol=1e-4, rtol=1e-3)


def test_texts_are_cut_behind_their_contexts_which_are_whole() -> None:
    real, generator, discriminator = answers(), make_generator(), make_discriminator("per_sentence")
    cut = real.cut(2)
    assert real.starts_B is not None
    assert cut.lengths_B.tolist() == real.lengths_B.minimum(real.starts_B + 2).tolist()
    for row, length in enumerate(cut.lengths_B.tolist()):
        assert cut.targets_BT[row, :length].tolist() == real.targets_BT[row, :length].tolist()
        assert cut.inputs_BT[row, :length].tolist() == real.inputs_BT[row, :length].tolist()
        assert not cut.targets_BT[row, length:].any()
    objective = make_objective("relaxed", "hinge", "per_sentence", generator, discriminator)
    ((part, _),) = prepare(objective, cut, opponent=discriminator, noise=noise_of(), schedules=extra("relaxed"))
    written_B = part["lengths_B"] - part["starts_B"]
    assert written_B.max().item() == 2
    assert torch.equal(part["starts_B"], real.starts_B)
