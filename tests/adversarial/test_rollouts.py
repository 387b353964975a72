"""Rollouts: action values beside a loop that reads every prefix anew, their gradient, the delayed policy, whole runs.

Also for models/completion.py.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lstmgan_dist.adversarial import rollouts as rollouts_module
from lstmgan_dist.adversarial import texts as drawing_of_objectives
from lstmgan_dist.adversarial.baselines import NoBaseline
from lstmgan_dist.adversarial.credits import CREDITS
from lstmgan_dist.adversarial.estimators.score_function_objective import ScoreFunctionObjective
from lstmgan_dist.adversarial.losses import LOSSES
from lstmgan_dist.adversarial.rollouts import Rollouts
from lstmgan_dist.corpus.stream import Batch
from lstmgan_dist.errors import UserError
from lstmgan_dist.models import completion
from lstmgan_dist.models.discriminator import Discriminator
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.models.generators.relational_memory import RelationalMemoryKind
from lstmgan_dist.runtime.randomness import Noise
from tests.networks import lstm_generator
from tests.training.comparison import everything_in, final_state
from tests.training.tiny_jobs import SENTENCES, job_of, run_in_pieces, run_job

from .game import MAX_LENGTH, B, V, make_discriminator, make_generator, noise_of, prepare, sentences, update
from .test_contexts import answers
from .test_equilibrium import ByToken
from .test_estimators import TINY_T, TINY_V, all_texts, exact_gradient, log_probabilities

GAME = (
    "discriminator.scores=per_sentence",
    "phases.2.estimator={kind: score_function, credit: rollouts, rollouts: 2, rollout_policy_decay: 0.8}",
)
Texts = dict[tuple[int, int], list[list[int]]]


def objective_of(generator: Generator, *, count: int, max_length: int = MAX_LENGTH, decay: float = 0.8) -> Any:
    return ScoreFunctionObjective(
        generator,
        LOSSES["probability"],
        max_length=max_length,
        credit=CREDITS["rollouts"],
        discount=1.0,
        baseline=NoBaseline(),
        rollouts=Rollouts(generator, count=count, decay=decay, max_length=max_length),
    )


def naive_texts(generator: Generator, part: dict[str, Tensor], noise: Noise, count: int) -> Texts:
    """Every rollout of every (row, position): one at a time, every token from the start of the text."""
    texts: Texts = {}
    starts = part.get("starts_B", torch.zeros_like(part["lengths_B"]))
    for row, (start, length) in enumerate(zip(starts.tolist(), part["lengths_B"].tolist(), strict=True)):
        latent = part["latent_BZ"][row : row + 1] if "latent_BZ" in part else None
        for position in range(start, length - 1):
            own = noise.positions(torch.tensor([row]), torch.tensor([position]))
            uniforms = own.uniform("rollouts", count, MAX_LENGTH - 1)[0]
            texts[row, position] = []
            for uniforms_T in uniforms.tolist():
                text = part["tokens_BT"][row, : position + 1].tolist()
                for uniform in uniforms_T:
                    if len(text) - start == MAX_LENGTH or (len(text) > position + 1 and text[-1] == 0):
                        break
                    features, _ = generator(torch.tensor([[0, *text]]), latent_BZ=latent)
                    cumulative = generator.logits(features[0, -1:])[0].double().softmax(-1).cumsum(-1)
                    text.append(int((cumulative <= uniform).sum()))
                texts[row, position].append(text)
    return texts


def relational_memory() -> Generator:
    kind = RelationalMemoryKind(kind="relational_memory", slots=2, head_size=4, embedding=6)
    return kind.build(vocabulary_size=V, seed=2)


@pytest.mark.parametrize("delayed", [False, True])
@pytest.mark.parametrize(
    ("generator", "real"),
    [
        (make_generator(), sentences()),
        (make_generator(layers=2, latent={"size": 3}), sentences()),
        (make_generator(latent={"size": 3, "feed": "initial_state"}), answers()),
        (make_generator(), answers()),
        (relational_memory(), sentences()),
    ],
    ids=["sentences", "latent", "latent and contexts", "contexts", "relational memory"],
)
@torch.no_grad()
def test_rollouts_are_those_of_the_loop_that_reads_every_prefix_anew(
    generator: Generator, real: Batch, delayed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same tokens, from the same noise, and the mean reward of each text scored by itself."""
    monkeypatch.setattr(completion, "_SLOTS", 7)  # so that completions wait for slots, and slots run out of them
    monkeypatch.setattr(rollouts_module, "_TEXTS", 10)
    discriminator, count = make_discriminator("per_sentence"), 3
    objective = objective_of(generator, count=count)
    if delayed:
        objective.rollouts.start()
        for parameter in objective.rollouts.weights():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)), alpha=0.1)
        assert objective.rollouts.policy is not generator
    found, rows = [], []
    see = discriminator.see

    def watch(tokens: Tensor, own: Generator) -> Tensor:
        found.extend(tokens.tolist())
        rows.append(len(tokens))
        return see(tokens, own)

    monkeypatch.setattr(discriminator, "see", watch)
    ((part, noise),) = prepare(objective, real, opponent=discriminator, noise=noise_of())
    expected = naive_texts(objective.rollouts.policy, part, noise, count)
    monkeypatch.undo()
    assert max(rows[1:]) <= 10
    by_position = sorted(expected, key=lambda place: (place[1], place[0]))
    texts = [text for place in by_position for text in expected[place]]
    assert len({len(text) for text in texts}) > 3
    assert [text[: len(own)] for text, own in zip(found[B:], texts, strict=True)] == texts
    assert not any(any(text[len(own) :]) for text, own in zip(found[B:], texts, strict=True))

    def reward(text: list[int]) -> float:
        score = discriminator(discriminator.embed(torch.tensor([text])), torch.tensor([len(text)]))
        return 2 * score.sigmoid().item() - 1

    starts = part.get("starts_B", torch.zeros_like(part["lengths_B"])).tolist()
    for row, length in enumerate(part["lengths_B"].tolist()):
        own = [sum(map(reward, expected[row, t])) / count for t in range(starts[row], length - 1)]
        own.append(reward(part["tokens_BT"][row, :length].tolist()))
        assert part["advantages_BT"][row, starts[row] : length].tolist() == pytest.approx(own, abs=1e-5)
        assert not part["advantages_BT"][row, length:].any()
        assert not part["advantages_BT"][row, : starts[row]].any()


def test_rollouts_on_a_cpu_are_the_same_where_products_are_in_bf16() -> None:
    """Tokens are drawn in float32 whatever the precision of the rest."""
    drawn = []
    for enabled in (False, True):
        generator = make_generator()
        part = {
            "tokens_BT": torch.ones(B, MAX_LENGTH, dtype=torch.int64),
            "inputs_BT": F.pad(torch.ones(B, MAX_LENGTH - 1, dtype=torch.int64), (1, 0)),
            "lengths_B": torch.full((B,), MAX_LENGTH),
        }
        texts: list[Tensor] = []

        def judge(tokens_NW: Tensor, lengths_N: Tensor, row_N: Tensor, texts: list[Tensor] = texts) -> Tensor:
            texts.append(F.pad(tokens_NW, (0, MAX_LENGTH - tokens_NW.shape[1])))
            return torch.zeros(len(row_N))

        rollouts = Rollouts(generator, count=2, decay=0.0, max_length=MAX_LENGTH)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            rollouts.action_values(part, torch.zeros(B), judge, noise_of())
        drawn.append(torch.cat(texts))
    assert torch.equal(*drawn)


class Tiny:
    """Every text of a tiny generator with its reward, and what enumeration says of every beginning."""

    def __init__(self) -> None:
        self.generator = lstm_generator(TINY_V, embedding=5, hidden=6, seed=4)
        with torch.no_grad():
            self.generator.output_bias.copy_(torch.tensor([0.5, -0.4, 0.1]))
        self.texts = all_texts()
        self.discriminator: Discriminator = make_discriminator("per_sentence")
        with torch.no_grad():
            seen = self.discriminator.see(self.texts.tokens_BT, self.generator)
            self.rewards_B = 2 * (3 * self.discriminator(seen, self.texts.lengths_B)).sigmoid() - 1
            self.logs_BT = log_probabilities(self.generator, self.texts)
        self.probability_B = self.logs_BT.sum(1).exp()

    def judge(self, tokens_NW: Tensor, lengths_N: Tensor, row_N: Tensor) -> Tensor:
        seen = self.discriminator.see(tokens_NW, self.generator)
        return 2 * (3 * self.discriminator(seen, lengths_N)).sigmoid() - 1

    def action_values(self) -> Tensor:
        """The mean reward of all texts with the same beginning, zero at padding."""
        values_BT = torch.zeros(self.texts.tokens_BT.shape)
        for row, (tokens, length) in enumerate(zip(*self.texts[:2], strict=True)):
            for position in range(int(length)):
                same_B = (self.texts.tokens_BT[:, : position + 1] == tokens[: position + 1]).all(dim=1)
                same_B &= self.texts.lengths_B > position
                weight_B = self.probability_B * same_B
                values_BT[row, position] = (weight_B * self.rewards_B).sum() / weight_B.sum()
        return values_BT

    def part(self) -> dict[str, Tensor]:
        tokens_BT, lengths_B, _ = self.texts
        return {"tokens_BT": tokens_BT, "inputs_BT": F.pad(tokens_BT, (1, -1)), "lengths_B": lengths_B}

    def gradients(self, values_BT: Tensor) -> Tensor:
        """Of the loss of each text by itself, whose tokens have these values, one row each."""
        logs_BT = log_probabilities(self.generator, self.texts)
        rows = []
        for total in (-(values_BT * logs_BT).sum(1)).unbind():
            own = torch.autograd.grad(total, list(self.generator.parameters()), retain_graph=True)
            rows.append(torch.cat([gradient.flatten() for gradient in own]))
        return torch.stack(rows)


def test_the_mean_of_rollouts_is_the_exact_action_value() -> None:
    """Within five standard errors of each, by enumeration of what may follow every beginning."""
    tiny, count = Tiny(), 3000
    rollouts = Rollouts(tiny.generator, count=count, decay=0.0, max_length=TINY_T)
    rows = torch.arange(len(tiny.texts.lengths_B))
    found = rollouts.action_values(tiny.part(), tiny.rewards_B, tiny.judge, Noise(1, rows))
    valid = rows.new_tensor(range(TINY_T)) < tiny.texts.lengths_B[:, None]
    spread = tiny.rewards_B.max() - tiny.rewards_B.min()
    assert spread > 0.3
    assert ((found - tiny.action_values())[valid].abs() < 5 * spread / 2 / count**0.5).all()


def test_the_gradient_of_exact_action_values_is_that_of_the_expected_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = Tiny()
    objective = objective_of(tiny.generator, count=1, max_length=TINY_T)
    monkeypatch.setattr(drawing_of_objectives, "draw", lambda *args, **settings: tiny.texts)
    monkeypatch.setattr(objective.rollouts, "action_values", lambda *args: tiny.action_values())
    rows = len(tiny.texts.lengths_B)
    noise = Noise(1, torch.arange(rows))
    ((part, _),) = prepare(objective, sentences(rows=rows), opponent=tiny.discriminator, noise=noise)
    part["advantages_BT"] = part["advantages_BT"] * tiny.probability_B[:, None]  # each as often as it is probable
    part["sentence_count"] = torch.tensor(1.0)
    loss = objective(part, opponent=tiny.discriminator, noise=noise).loss
    found = torch.autograd.grad(loss, list(tiny.generator.parameters()))
    rewards_BT = torch.zeros(tiny.texts.tokens_BT.shape)
    rewards_BT[torch.arange(rows), tiny.texts.lengths_B - 1] = tiny.rewards_B
    expected = exact_gradient(tiny.generator, tiny.texts, rewards_BT, discount=1.0)
    torch.testing.assert_close(list(found), expected, atol=2e-6, rtol=1e-4)


def test_rollouts_have_less_variance_than_the_sentences_reward() -> None:
    """Of one text's gradient, over all texts and draws of rollouts: both have the same mean."""
    tiny = Tiny()
    rewards_BT = tiny.rewards_B[:, None].expand(-1, TINY_T)
    rows = torch.arange(len(tiny.rewards_B))

    def moments(values: list[Tensor]) -> tuple[Tensor, float]:
        gradients = torch.stack([tiny.gradients(values_BT) for values_BT in values])
        weights = (tiny.probability_B / len(values))[None, :, None]
        mean = (weights * gradients).sum((0, 1))
        return mean, (weights * (gradients - mean).square()).sum().item()

    mean, reinforce = moments([rewards_BT])
    exact_mean, exact = moments([tiny.action_values()])
    variances = {}
    for count in (1, 16):
        rollouts = Rollouts(tiny.generator, count=count, decay=0.0, max_length=TINY_T)
        draws = [rollouts.action_values(tiny.part(), tiny.rewards_B, tiny.judge, Noise(key, rows)) for key in range(40)]
        estimated_mean, variances[count] = moments(draws)
        assert (estimated_mean - mean).norm() < 0.2 * mean.norm()
    ratios = {"exact values": exact, "16 rollouts": variances[16], "one rollout": variances[1]}
    print("of REINFORCE's variance:", {name: round(value / reinforce, 3) for name, value in ratios.items()})
    torch.testing.assert_close(exact_mean, mean, atol=1e-5, rtol=1e-3)
    assert exact < variances[16] < reinforce
    assert variances[16] < variances[1]


def test_only_the_row_whose_rollouts_earn_something_has_values() -> None:
    """Whatever the others draw: rewards mix neither rows nor positions."""
    generator = make_generator()
    rollouts = Rollouts(generator, count=4, decay=0.0, max_length=MAX_LENGTH)
    tokens_BT = torch.randint(1, V - 1, (B, MAX_LENGTH))
    tokens_BT[3, 2] = V - 1
    part = {
        "tokens_BT": tokens_BT,
        "inputs_BT": F.pad(tokens_BT, (1, -1)),
        "lengths_B": torch.full((B,), MAX_LENGTH),
    }

    def judge(tokens_NW: Tensor, lengths_N: Tensor, row_N: Tensor) -> Tensor:
        assert torch.equal(tokens_NW[:, 0], tokens_BT[row_N, 0])
        return (tokens_NW[:, 2] == V - 1).float() * (tokens_NW[:, 1] == tokens_BT[3, 1])

    with torch.no_grad():
        generator.output_bias[V - 1] = -30  # nobody else draws it
    values_BT = rollouts.action_values(part, torch.zeros(B), judge, noise_of())
    assert values_BT[3].tolist() == [0, 0, 1, 1, 1, 1, 0]  # the last token has the text's own
    values_BT[3] = 0
    assert not values_BT.any()


@pytest.mark.parametrize("loss", [name for name, loss in LOSSES.items() if loss.compares != "batch"])
def test_an_undecided_discriminator_gives_no_token_a_value(loss: str) -> None:
    generator = lstm_generator(TINY_V, embedding=5, hidden=6, seed=4)
    objective = objective_of(generator, count=2, max_length=TINY_T)
    objective.loss = LOSSES[loss]
    discriminator = ByToken("per_sentence", 0.3 if objective.loss.middle is None else objective.loss.middle)
    real = sentences()
    real.targets_BT.clamp_(max=TINY_V - 1)
    ((part, _),) = prepare(objective, real, opponent=discriminator, noise=noise_of())
    assert part["advantages_BT"].abs().max() < 1e-6


@pytest.mark.parametrize("decay", [0.0, 0.8])
def test_the_policy_follows_the_generator_with_delay(decay: float) -> None:
    """policy = decay * policy + (1 - decay) * generator after every update; without decay it is the generator."""
    generator, discriminator = make_generator(), make_discriminator("per_sentence")
    objective = objective_of(generator, count=2, decay=decay)
    expected = [parameter.detach().clone() for parameter in generator.parameters()]
    for number in range(3):
        update(objective, generator, discriminator, sentences(seed=number), noise_of().at(number))
        with torch.no_grad():
            for parameter in generator.parameters():
                parameter -= 0.1 * parameter.grad if parameter.grad is not None else 0.0
        objective.stepped()
        expected = [decay * own + (1 - decay) * its for own, its in zip(expected, generator.parameters(), strict=True)]
        torch.testing.assert_close(list(objective.rollouts.policy.parameters()), expected, atol=1e-6, rtol=1e-5)
    assert (objective.rollouts.policy is generator) == (decay == 0)
    assert bool(objective.memory()) == (decay > 0)
    restored = objective_of(generator, count=2, decay=decay)
    restored.load_memory(objective.memory())
    for own, its in zip(restored.rollouts.weights(), objective.rollouts.weights(), strict=True):
        assert torch.equal(own, its)
    assert len(list(objective.parameters())) == len(list(generator.parameters()))  # nothing else is learnt


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (GAME[1:], "credit rollouts completes texts to have them scored as a whole, and this discriminator scores"),
        ((*GAME, "phases.2.estimator.discount=0.5"), "credit rollouts has no use for it"),
        ((*GAME, "phases.2.estimator.credit=sentence"), "credit sentence has no use for it"),
        ((*GAME, "phases.2.loss=relativistic_average"), "this loss compares texts with the whole batch"),
    ],
)
def test_what_cannot_work_is_refused(overrides: tuple[str, ...], words: str, text: Any) -> None:
    with pytest.raises(UserError, match=words):
        job_of(SENTENCES, text, *overrides)


def test_a_run_stopped_every_few_steps_equals_an_uninterrupted_one(text: Any, tmp_path: Any) -> None:
    job = job_of(SENTENCES, text, *GAME)
    run_job(job, tmp_path / "whole")
    run_in_pieces(job, tmp_path / "run", steps=5)
    assert final_state(tmp_path / "run") == final_state(tmp_path / "whole")
    assert any(b"policy/" in content for content in everything_in(tmp_path / "run").values())
