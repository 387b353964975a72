"""WGAN-GP on text: the critic sees distributions, is held to slope 1 by tokens, and texts grow longer.

For adversarial/soft_text.py, adversarial/estimators/softmax.py, adversarial/estimators/soft_text_objective.py and
adversarial/estimators/gumbel_softmax_objective.py.
"""

import threading
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lstmgan_dist.adversarial import texts as drawing_of_objectives
from lstmgan_dist.adversarial.baselines import NoBaseline
from lstmgan_dist.adversarial.regularisers import REGULARISERS
from lstmgan_dist.corpus.stream import Batch
from lstmgan_dist.errors import UserError
from lstmgan_dist.models import fused
from lstmgan_dist.models.discriminators.convolutional_network import ConvolutionalDiscriminator
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.models.padding import valid
from lstmgan_dist.runtime.randomness import Noise
from lstmgan_dist.settings import Schedule
from lstmgan_dist.training.run_log import read_metrics
from tests.networks import convolutional_discriminator, lstm_generator
from tests.training.comparison import final_state
from tests.training.tiny_jobs import SENTENCES, job_of, run_in_pieces, run_job

from .game import (
    V,
    extra,
    make_discriminator,
    make_generator,
    make_objective,
    noise_of,
    prepare,
    sentences,
    some_rows,
    update,
)
from .test_estimators import TINY_T, TINY_V, all_texts, log_probabilities

CRITIC = "discriminator of distributions with token_gradient_penalty"


def dense_text(part: dict[str, Tensor], generator: Generator) -> tuple[Tensor, Tensor]:
    """Real and drawn text as an unfused program has them, (B, T, V): certain, and the generator's softmax."""
    real_within = valid(part["real_lengths_B"], part["real_BT"].shape[1])[..., None]
    fake_within = valid(part["fake_lengths_B"], part["fake_BT"].shape[1])[..., None]
    features, _ = generator(F.pad(part["fake_BT"], (1, -1)))
    fake_BTV = generator.logits(features).softmax(-1).detach()
    return F.one_hot(part["real_BT"], V) * real_within, fake_BTV * fake_within


@pytest.mark.parametrize("kind", ["per_sentence", "convolutional"])
def test_a_critics_update_is_the_papers_on_dense_text(kind: str) -> None:
    """Gulrajani et al. 2017, algorithm 1: mean of fake minus real scores, and the penalty by the one-hot text."""
    generator, discriminator = make_generator().requires_grad_(False), make_discriminator(kind, dropout=0.0)
    objective = make_objective(CRITIC, "wasserstein", kind, generator, discriminator)
    real, noise, schedules = sentences(), noise_of(), extra(CRITIC) | {"inverse_temperature": 1.0}
    loss, report, found = update(objective, discriminator, generator, real, noise, schedules=schedules)
    ((part, _),) = prepare(objective, real, opponent=generator, noise=noise, schedules=schedules)
    real_BTV, fake_BTV = dense_text(part, generator)

    def score(text_BTV: Tensor, lengths_B: Tensor) -> Tensor:
        scores = discriminator(text_BTV.float() @ discriminator.embedding.weight, lengths_B)
        return scores if scores.dim() == 1 else scores.mean(1)

    share = noise.at("regulariser").uniform("between", 1, 1)
    between_BTV = (share * real_BTV + (1 - share) * fake_BTV).requires_grad_()
    with fused.twice_differentiable():
        total = score(between_BTV, part["real_lengths_B"].maximum(part["fake_lengths_B"])).sum()
        (slope_BTV,) = torch.autograd.grad(total, between_BTV, create_graph=True)
    penalty = (slope_BTV.flatten(1).norm(dim=1) - 1).square().mean()
    distance = (score(real_BTV, part["real_lengths_B"]) - score(fake_BTV, part["fake_lengths_B"])).mean()
    expected_loss = -distance + 0.5 * penalty
    assert loss == pytest.approx(expected_loss.item(), abs=1e-5)
    assert report["discriminator/penalty"] == pytest.approx(penalty.item(), rel=1e-4)
    names, weights = zip(*discriminator.named_parameters(), strict=True)
    expected = dict(zip(names, torch.autograd.grad(expected_loss, weights, allow_unused=True), strict=True))
    for name, gradient in found.items():
        wanted = expected[name]
        torch.testing.assert_close(gradient, torch.zeros_like(gradient) if wanted is None else wanted)


def test_the_generator_moves_by_the_score_of_its_own_softmax() -> None:
    """Against autograd through dense distributions; the drawn tokens decide only what is read."""
    generator, discriminator = make_generator(), make_discriminator("convolutional", dropout=0.0).requires_grad_(False)
    objective = make_objective("softmax", "wasserstein", "convolutional", generator, discriminator)
    objective.likelihood_weight = 0.0
    real, noise = sentences(), noise_of()
    ((part, _),) = prepare(objective, real, opponent=discriminator, noise=noise, schedules={"inverse_temperature": 1.0})
    objective(part, opponent=discriminator, noise=noise).loss.backward()
    found = [weight.grad for weight in generator.parameters()]
    features, _ = generator(part["inputs_BT"])
    within = valid(part["lengths_B"], part["tokens_BT"].shape[1])[..., None]
    soft_BTV = generator.logits(features).softmax(-1) * within
    score = discriminator(soft_BTV @ discriminator.embedding.weight, part["lengths_B"]).mean()
    expected = torch.autograd.grad(-score, list(generator.parameters()))
    torch.testing.assert_close(found, list(expected), atol=1e-7, rtol=1e-4)


def test_its_gradient_varies_less_than_reinforces_and_points_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over every text, each as often as it is probable. Only REINFORCE's mean is the gradient of the expected score."""
    generator = lstm_generator(TINY_V, embedding=5, hidden=6, seed=4)
    critic = convolutional_discriminator(TINY_V, embedding=4, filters={2: 3, 3: 4}, dense=5, dropout=0)
    critic.requires_grad_(False)
    texts = all_texts()
    rows = len(texts.lengths_B)
    monkeypatch.setattr(drawing_of_objectives, "draw", lambda *arguments, **settings: texts)
    one = some_rows(sentences(), slice(1, 2)).cut(TINY_T)
    inputs_BT, targets_BT = (tokens.clamp(max=TINY_V - 1).repeat(rows, 1) for tokens in (one.inputs_BT, one.targets_BT))
    real = Batch(inputs_BT, targets_BT, one.lengths_B.repeat(rows), fresh=True)  # the same beside every drawn text
    weights, noise = list(generator.parameters()), Noise(1, torch.arange(rows))
    total_B = log_probabilities(generator, texts).sum(1).exp()
    scores_B = critic(critic.embed(texts.tokens_BT), texts.lengths_B)
    exact = torch.cat([part.flatten() for part in torch.autograd.grad(-(total_B * scores_B).sum(), weights)])
    moments = {}
    for name in ("softmax", "score_function"):
        objective = make_objective(name, "wasserstein", "per_sentence", generator, critic)
        objective.likelihood_weight, objective.max_length, objective.baseline = 0.0, TINY_T, NoBaseline()
        ((prepared, _),) = prepare(
            objective, real, opponent=critic, noise=noise, schedules={"inverse_temperature": 1.0}
        )
        gradients = []
        for row in range(rows):
            part = {name: value[row : row + 1] if value.dim() else value for name, value in prepared.items()}
            part |= {"sentence_count": torch.tensor(1.0), "score_count": torch.tensor(1.0)}
            loss = objective(part, opponent=critic, noise=noise.part(slice(row, row + 1))).loss
            gradients.append(torch.cat([one.flatten() for one in torch.autograd.grad(loss, weights)]))
        gradients, probability_B1 = torch.stack(gradients), total_B.detach()[:, None]
        mean = (probability_B1 * gradients).sum(0)
        moments[name] = mean, (probability_B1 * (gradients - mean).square()).sum().item()
    torch.testing.assert_close(moments["score_function"][0], exact, atol=1e-6, rtol=1e-4)
    assert F.cosine_similarity(moments["softmax"][0], exact, dim=0) < 0.9
    ratio = moments["softmax"][1] / moments["score_function"][1]
    print(f"variance of the softmax's gradient over REINFORCE's: {ratio:.3f}")
    assert 0 < ratio < 0.2


def test_a_critics_update_gives_the_generator_no_gradient() -> None:
    """Even where nobody has frozen it."""
    generator, discriminator = make_generator(), make_discriminator("per_sentence")
    objective = make_objective(CRITIC, "wasserstein", "per_sentence", generator, discriminator)
    update(objective, discriminator, generator, sentences(), noise_of(), schedules=extra(CRITIC))
    assert all(weight.grad is None for weight in generator.parameters())


class Operations(TorchDispatchMode):
    """Which operations ran."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(str(func))
        return func(*args, **(kwargs or {}))


def test_no_fused_lstm_is_asked_for_a_second_derivative() -> None:
    """`torch.lstm`, which on a GPU is cuDNN's and on a CPU oneDNN's, is what scores and never what is penalised."""
    layer, calls = fused.LSTMLayer(3, 4), []
    layer.initialise(1, "layer")
    inputs = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(1))
    lstm = torch.lstm

    def counted(*arguments: Any, **settings: Any) -> Any:
        calls.append(1)
        return lstm(*arguments, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "lstm", counted)
        fast = layer.read(inputs)
        assert calls == [1]
        with Operations() as operations, fused.twice_differentiable():
            slow = layer.read(inputs)
        assert calls == [1]
    assert not [name for name in operations.names if "lstm" in name or "rnn" in name]
    torch.testing.assert_close(slow, fast, atol=1e-6, rtol=1e-5)


class Reading(nn.Module):
    """A layer's reading as a module's forward."""

    def __init__(self, layer: fused.LSTMLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer.read(inputs)[0]


def test_second_derivatives_of_an_lstm_are_those_of_finite_differences() -> None:
    """In float64, by the input and by every weight."""
    reading = Reading(fused.LSTMLayer(2, 3).double())
    inputs = torch.randn(2, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    names, weights = zip(*reading.named_parameters(), strict=True)

    def read(inputs: Tensor, *weights: Tensor) -> Tensor:
        with fused.twice_differentiable():
            return torch.func.functional_call(reading, dict(zip(names, weights, strict=True)), (inputs,))

    assert torch.autograd.gradgradcheck(read, (inputs, *weights))


def test_units_beside_one_that_is_differentiated_twice_keep_their_kernels() -> None:
    """The mode is the thread's own, or another unit's bits would depend on when this one has its penalty."""
    inside, seen = threading.Event(), []

    def other() -> None:
        inside.wait(10)
        seen.append(fused.is_twice_differentiable())
        with fused.twice_differentiable():
            seen.append(fused.is_twice_differentiable())

    thread = threading.Thread(target=other)
    thread.start()
    with fused.twice_differentiable():
        inside.set()
        thread.join()
        assert fused.is_twice_differentiable()
        assert torch.backends.mkldnn.enabled
    assert seen == [False, True]
    assert not fused.is_twice_differentiable()


def test_a_penalty_by_tokens_is_not_fooled_by_an_embedding_that_is_spread_out() -> None:
    """With filters that make up for it, scores stay what they are, and so does their slope by the text."""
    penalties = {}
    for scale in (1.0, 30.0):
        discriminator = make_discriminator("convolutional", dropout=0.0)
        assert isinstance(discriminator, ConvolutionalDiscriminator)
        with torch.no_grad():
            discriminator.embedding.weight.mul_(scale)
            for weight in discriminator.filters:
                weight /= scale
        generator = make_generator()
        objective = make_objective(CRITIC, "wasserstein", "convolutional", generator, discriminator)
        for kind in ("gradient_penalty", "token_gradient_penalty"):
            objective.regulariser = REGULARISERS[kind]
            _, report, _ = update(objective, discriminator, generator, sentences(), noise_of(), schedules=extra(CRITIC))
            penalties[kind, scale] = report["discriminator/penalty"]
    by_tokens = penalties["token_gradient_penalty", 1.0], penalties["token_gradient_penalty", 30.0]
    assert by_tokens[0] == pytest.approx(by_tokens[1], rel=1e-3)
    by_embedding = penalties["gradient_penalty", 1.0], penalties["gradient_penalty", 30.0]
    assert by_embedding[0] != pytest.approx(by_embedding[1], rel=1e-2)


def test_a_cut_text_goes_on_and_a_shorter_one_has_ended() -> None:
    real = sentences()
    cut = real.cut(3)
    assert cut.lengths_B.tolist() == real.lengths_B.clamp(max=3).tolist()
    assert cut.targets_BT.shape == cut.inputs_BT.shape == (len(real.lengths_B), 3)
    for row, length in enumerate(real.lengths_B.tolist()):
        assert cut.targets_BT[row].tolist() == real.targets_BT[row, :3].tolist()
        ended = cut.targets_BT[row, cut.lengths_B[row] - 1].item() == 0
        assert ended == (length <= 3)


@pytest.mark.parametrize("name", ["softmax", "score_function", CRITIC])
def test_drawn_text_is_the_beginning_of_what_would_be_drawn(name: str) -> None:
    drawn = []
    for real in (sentences(), sentences().cut(3)):
        generator, discriminator = make_generator(), make_discriminator("convolutional")
        objective = make_objective(name, "wasserstein", "convolutional", generator, discriminator)
        opponent = generator if name == CRITIC else discriminator
        ((part, _),) = prepare(objective, real, opponent=opponent, noise=noise_of(), schedules=extra(name))
        drawn.append(
            (part["fake_BT"], part["fake_lengths_B"]) if name == CRITIC else (part["tokens_BT"], part["lengths_B"])
        )
    (whole_BT, whole_lengths_B), (cut_BT, cut_lengths_B) = drawn
    assert cut_lengths_B.tolist() == whole_lengths_B.clamp(max=3).tolist()
    for row, length in enumerate(cut_lengths_B.tolist()):
        assert cut_BT[row, :length].tolist() == whole_BT[row, :length].tolist()


GAME = """
  - {kind: discriminator, steps: 3, loss: wasserstein, shown: distributions, text_length: 4}
  - kind: adversarial
    steps: 8
    discriminator_updates: 2
    loss: wasserstein
    estimator: {kind: softmax}
    regulariser: {kind: token_gradient_penalty, weight: 10}
    text_length: {start: 1, end: 12, steps: 6}
"""
WGAN = SENTENCES.replace(
    SENTENCES[SENTENCES.index("  - {kind: discriminator") : SENTENCES.index("evaluate:")], GAME.lstrip("\n")
).replace("scores: per_token", "scores: per_sentence")


def test_lengths_grow_with_the_phase_and_stops_change_nothing(text, tmp_path) -> None:
    job = job_of(WGAN, text, "log.every=1 steps")
    whole, _ = run_job(job, tmp_path / "whole")
    lengths = [row["generator/length"] for row in read_metrics(whole.folder) if "generator/length" in row]
    schedule = Schedule(start=1, end=12, steps=6)
    assert len(lengths) == 8
    assert lengths[0] == 1
    assert lengths[-1] > 4
    assert all(length <= round(schedule.at(step, 8)) for step, length in enumerate(lengths))
    run_in_pieces(job, tmp_path / "pieces", steps=5)
    assert final_state(tmp_path / "pieces") == final_state(tmp_path / "whole")


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("phases.2.text_length=0", "phases.2.text_length"),
        ("phases.2.text_length={start: 0, end: 5}", "a text has one token or more: try start: 1"),
        ("discriminator.scores=per_token", "pairs whole texts"),
        (
            "phases.2.estimator={kind: gumbel_softmax, straight_through: true, soft_for_discriminator: true}",
            "leave one of them out",
        ),
        ("discriminator={kind: hidden_states}", "needs a discriminator that reads tokens"),
        (
            "discriminator={kind: convolutional, spectral_norm: true}|phases.2.regulariser={kind: spectral_norm}",
            "has no use beside discriminator.spectral_norm",
        ),
    ],
)
def test_what_cannot_work_is_refused_with_a_reason(override: str, reason: str, text) -> None:
    with pytest.raises(UserError, match=reason):
        job_of(WGAN, text, *override.split("|"))
