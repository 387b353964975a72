"""SentiGAN (Wang and Wan 2018): a discriminator of labels, a penalty, and probabilities that it weighs.

For models/discriminators/multi_class.py and models/discriminators/multi_class_network.py.
"""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lstmgan_dist.adversarial import texts as drawing_of_objectives
from lstmgan_dist.adversarial.baselines import NoBaseline
from lstmgan_dist.adversarial.credits import CREDITS
from lstmgan_dist.adversarial.estimators.score_function_objective import ScoreFunctionObjective
from lstmgan_dist.adversarial.losses import LOSSES
from lstmgan_dist.corpus.stream import Batch
from lstmgan_dist.errors import UserError
from lstmgan_dist.models.discriminator import Discriminator
from lstmgan_dist.models.discriminators.multi_class import MultiClassKind
from lstmgan_dist.models.discriminators.multi_class_network import MultiClassDiscriminator
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.models.generators.lstm import LSTMGeneratorKind
from lstmgan_dist.runtime.randomness import Noise
from tests.networks import lstm_discriminator, lstm_generator
from tests.training.comparison import final_state
from tests.training.tiny_jobs import SENTENCES, job_of, run_in_pieces, run_job

from .game import MAX_LENGTH, B, V, extra, make_objective, noise_of, prepare, sentences, update
from .test_estimators import TINY_T, TINY_V, all_texts, log_probabilities

LABELS = 3
CORPUS = "corpus={source: SOURCE, heldout_fraction: 0.2, max_length: 12, column: answer, label_column: mood}"
MULTI_CLASS = "discriminator={kind: multi_class, embedding: 8, hidden: 8, bidirectional: true, dropout: 0.1}"
PENALTY = "loss: penalty, estimator: {kind: score_function, weighs: probability}"


def labelled(rows: int = B, labels: list[int] | None = None) -> Batch:
    """Sentences behind a label and an end mark each."""
    texts = sentences(rows)
    numbers_B = torch.tensor(labels) if labels else torch.arange(rows) % LABELS
    contexts_BP = torch.stack([V + numbers_B, torch.zeros(rows, dtype=torch.int64)], dim=1)
    targets_BT = torch.cat([contexts_BP, texts.targets_BT], dim=1)
    return Batch(
        F.pad(targets_BT, (1, -1)),
        targets_BT,
        texts.lengths_B + 2,
        fresh=True,
        starts_B=torch.full((rows,), 2),
        contexts_BP=contexts_BP,
    )


def players(dropout: float = 0.0) -> tuple[Generator, MultiClassDiscriminator]:
    generator = LSTMGeneratorKind(embedding=6, hidden=10).build(vocabulary_size=V, labels=LABELS, seed=2)
    with torch.no_grad():
        generator.output_bias[0] = 0.5
    kind = MultiClassKind(embedding=6, hidden=8, bidirectional=True, dropout=dropout)
    discriminator = kind.build(vocabulary_size=V + LABELS, labels=LABELS, generator_hidden=0, seed=1)
    with torch.no_grad():
        discriminator.output.weight *= 4  # an opinion
    return generator, discriminator


def posteriors(discriminator: MultiClassDiscriminator, tokens_BT: Tensor, lengths_B: Tensor) -> Tensor:
    """D of each class, (B, k + 1), by a softmax over the network's own outputs."""
    seen_BTD = discriminator.embed(tokens_BT)
    seen_BTD[:, 0] = 0  # the network does not see the label
    return discriminator.outputs(seen_BTD[..., :-1], lengths_B, noise=None)[:, 0].softmax(dim=-1)


def test_the_discriminators_loss_is_the_papers() -> None:
    """Minus log D_i of real texts of label i, and minus log D_(k+1) of drawn ones."""
    generator, discriminator = players()
    objective = make_objective("discriminator", "penalty", "per_sentence", generator, discriminator)
    real = labelled()
    ((part, noise),) = prepare(objective, real, opponent=generator, noise=noise_of())
    found = objective(part, opponent=generator, noise=noise).loss
    real_BC = posteriors(discriminator, part["real_BT"], part["real_lengths_B"])
    fake_BC = posteriors(discriminator, part["fake_BT"], part["fake_lengths_B"])
    rows = torch.arange(B)
    expected = -real_BC[rows, rows % LABELS].log().mean() - fake_BC[:, LABELS].log().mean()
    torch.testing.assert_close(found, expected)
    assert fake_BC[:, LABELS].std() > 0.01


def test_the_generators_penalty_is_the_papers() -> None:
    """1 - D_i of a text drawn behind label i; its reward is how much less than an undecided one's."""
    generator, discriminator = players()
    ((part, _),) = prepare(
        ScoreFunctionObjective(
            generator,
            LOSSES["penalty"],
            max_length=MAX_LENGTH,
            credit=CREDITS["sentence"],
            discount=1.0,
            baseline=NoBaseline(),
        ),
        labelled(),
        opponent=discriminator,
        noise=noise_of(),
    )
    posteriors_BC = posteriors(discriminator, part["tokens_BT"], part["lengths_B"])
    own_B = posteriors_BC[torch.arange(B), torch.arange(B) % LABELS]
    torch.testing.assert_close(part["costs"], 1 - own_B)
    torch.testing.assert_close(part["rewards"], own_B - 0.5)


def test_softened_texts_are_penalised_by_their_label_too() -> None:
    generator, discriminator = players()
    objective = make_objective("straight_through", "penalty", "per_sentence", generator, discriminator)
    objective.likelihood_weight = 0.0
    ((part, noise),) = prepare(
        objective, labelled(), opponent=discriminator, noise=noise_of(), schedules=extra("straight_through")
    )
    loss = objective(part, opponent=discriminator, noise=noise).loss
    posteriors_BC = posteriors(discriminator, part["tokens_BT"], part["lengths_B"])
    torch.testing.assert_close(loss, (1 - posteriors_BC[torch.arange(B), torch.arange(B) % LABELS]).mean())


def test_a_rows_label_is_its_own() -> None:
    """Another label of one row changes that row's text and score, and of the discriminator's opinion nothing."""
    generator, discriminator = players()
    objective = make_objective("score_function", "penalty", "per_sentence", generator, discriminator)
    numbers = [0, 1, 2, 0, 1, 2, 0, 1]
    found: list[dict[str, Tensor]] = []
    for labels in (numbers, [*numbers[:3], 1, *numbers[4:]]):
        ((part, _),) = prepare(objective, labelled(labels=labels), opponent=discriminator, noise=noise_of())
        found.append(part)
    one, other = found
    differ_B = one["rewards"] != other["rewards"]
    assert differ_B.nonzero().flatten().tolist() == [3]
    longest = min(part["tokens_BT"].shape[1] for part in found)
    others = torch.arange(B) != 3
    assert torch.equal(one["tokens_BT"][others, :longest], other["tokens_BT"][others, :longest])
    texts = labelled(labels=numbers)
    again = labelled(labels=[*numbers[:3], 1, *numbers[4:]])
    opinions = [posteriors(discriminator, batch.targets_BT, batch.lengths_B) for batch in (texts, again)]
    assert torch.equal(*opinions)
    scores = [discriminator(discriminator.embed(batch.targets_BT), batch.lengths_B) for batch in (texts, again)]
    torch.testing.assert_close(scores[0].sigmoid(), opinions[0][torch.arange(B), torch.tensor(numbers)])
    assert (scores[0] != scores[1]).nonzero().flatten().tolist() == [3]


@pytest.mark.parametrize("name", ["discriminator", "score_function", "relaxed", "discriminator with gradient_penalty"])
@pytest.mark.parametrize("units", [2, 4])
def test_an_update_is_the_same_in_any_number_of_units(name: str, units: int) -> None:
    found = []
    for count in (1, units):
        generator, discriminator = players(dropout=0.2)
        objective = make_objective(name, "penalty", "per_sentence", generator, discriminator)
        moves = (discriminator, generator) if name.startswith("discriminator") else (generator, discriminator)
        found.append(update(objective, *moves, labelled(), noise_of(), units=count, schedules=extra(name)))
    (loss, _, gradients), (other_loss, _, others) = found
    assert other_loss == pytest.approx(loss, rel=1e-5)
    assert gradients.keys() == others.keys()
    for gradient_name, gradient in gradients.items():
        torch.testing.assert_close(others[gradient_name], gradient, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("units", [1, 2])
def test_a_pair_of_a_relativistic_game_is_of_one_label(units: int) -> None:
    """So the loss is the labels' own ones, by how many texts each has: CatGAN's (Liu et al. 2020), of pairs."""
    generator, _ = players()
    discriminator = lstm_discriminator(V + LABELS, scores="per_sentence", embedding=6, hidden=8)
    objective = make_objective("discriminator", "relativistic", "per_sentence", generator, discriminator)
    numbers = [0, 2, 2, 1, 0, 0, 2, 0]
    total = torch.zeros(())
    of_labels = {label: torch.zeros(()) for label in range(LABELS)}
    for part, noise in prepare(objective, labelled(labels=numbers), opponent=generator, noise=noise_of(), units=units):
        assert torch.equal(part["real_BT"][:, :2], part["fake_BT"][:, :2])
        total = total + objective(part, opponent=generator, noise=noise).loss
        scores = [
            discriminator(discriminator.embed(part[f"{kind}_BT"]), part[f"{kind}_lengths_B"])
            for kind in ("real", "fake")
        ]
        for label, gap in zip(part["real_BT"][:, 0] - V, scores[0] - scores[1], strict=True):
            of_labels[int(label)] = of_labels[int(label)] - gap.sigmoid().log()
    shares = {label: numbers.count(label) / len(numbers) for label in of_labels}
    expected = sum(shares[label] * of_labels[label] / numbers.count(label) for label in of_labels)
    torch.testing.assert_close(total, expected)


# --- probabilities instead of their logarithms ------------------------------------------------------------------------


def estimate(weighs: Any, discriminator: Discriminator, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, list[Any]]:
    """By every text of a tiny vocabulary, alone: the generator with the rewards, and each text's gradient."""
    generator, texts = lstm_generator(TINY_V, embedding=5, hidden=6, seed=4), all_texts()
    with torch.no_grad():
        generator.output_bias.copy_(torch.tensor([0.5, -0.4, 0.1]))
    monkeypatch.setattr(drawing_of_objectives, "draw", lambda *args, **settings: texts)
    objective = ScoreFunctionObjective(
        generator,
        LOSSES["penalty"],
        max_length=TINY_T,
        credit=CREDITS["sentence"],
        discount=1.0,
        baseline=NoBaseline(),
        weighs=weighs,
    )
    rows = len(texts.lengths_B)
    noise, real = Noise(1, torch.arange(rows)), sentences(rows=rows)
    ((prepared, _),) = prepare(objective, real, opponent=discriminator, noise=noise)
    gradients = []
    for row in range(rows):
        part = {name: value[row : row + 1] if value.dim() else value for name, value in prepared.items()}
        part["sentence_count"] = torch.tensor(1.0)
        loss = objective(part, opponent=discriminator, noise=noise.part(slice(row, row + 1))).loss
        one = torch.autograd.grad(loss, list(generator.parameters()))
        gradients.append(torch.cat([gradient.flatten() for gradient in one]))
    return (generator, prepared["rewards"]), gradients


def test_weighing_probabilities_equals_enumeration_and_varies_less(
    monkeypatch: pytest.MonkeyPatch, record_property: Any
) -> None:
    """The mean over texts is the gradient of the sum over tokens of penalty times G(token | before)."""
    discriminator = lstm_discriminator(V, scores="per_sentence", embedding=6, hidden=8)
    variances = {}
    for weighs in ("log_probability", "probability"):
        (generator, rewards_B), gradients = estimate(weighs, discriminator, monkeypatch)
        logs_BT = log_probabilities(generator, all_texts())
        valid_BT = torch.arange(TINY_T) < all_texts().lengths_B[:, None]
        probability_B = logs_BT.sum(1).exp().detach()
        moved_BT = logs_BT.exp() * valid_BT if weighs == "probability" else logs_BT
        expectation = (probability_B * (-rewards_B) * moved_BT.sum(1)).sum()
        expected = torch.autograd.grad(expectation, list(generator.parameters()))
        stacked = torch.stack(gradients)
        mean = (probability_B[:, None] * stacked).sum(0)
        torch.testing.assert_close(mean, torch.cat([part.flatten() for part in expected]), atol=2e-6, rtol=1e-4)
        spread = (probability_B[:, None] * (stacked - mean).square()).sum().item()
        variances[weighs] = spread / mean.square().sum().item()
    record_property("variance over squared mean", str(variances))
    assert all(0 < variance < 1e6 for variance in variances.values())


def test_an_undecided_discriminator_moves_no_probability(monkeypatch: pytest.MonkeyPatch) -> None:
    discriminator = lstm_discriminator(V, scores="per_sentence", embedding=6, hidden=8)
    torch.nn.init.zeros_(discriminator.output.weight)
    _, gradients = estimate("probability", discriminator, monkeypatch)
    assert not torch.stack(gradients).any()


# --- runs ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sentigan(talk, tmp_path_factory):
    """A short run of it."""
    phases = f"phases=[{{kind: likelihood, steps: 3}}, {{kind: adversarial, steps: 4, {PENALTY}}}]"
    job = job_of(SENTENCES, "SOURCE", CORPUS.replace("SOURCE", str(talk)), MULTI_CLASS, phases)
    return run_job(job, tmp_path_factory.mktemp("sentigan") / "run")[0]


def test_a_run_that_is_stopped_and_resumed_is_the_same(sentigan, tmp_path):
    run_in_pieces(sentigan.job, tmp_path / "run", steps=2)
    assert final_state(tmp_path / "run") == final_state(sentigan.folder)


def test_text_without_labels_is_refused_before_anything_is_written(text, tmp_path):
    job = job_of(SENTENCES, text, MULTI_CLASS, f"phases=[{{kind: adversarial, steps: 4, {PENALTY}}}]")
    with pytest.raises(
        UserError, match=r"kind multi_class tells labels of texts apart, .* have none: set corpus\.label_column"
    ):
        run_job(job, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_label_that_the_corpus_lacks_is_refused_with_those_that_it_has(sentigan):
    with pytest.raises(UserError, match="There is no label 'angry' in this text; there is calm or loud"):
        sentigan.tokenizer().label_id("angry")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (
            [MULTI_CLASS, "phases=[{kind: adversarial, steps: 4, loss: hinge, estimator: {kind: score_function}}]"],
            "loss hinge is not of odds, as the scores of a multi_class discriminator are: choose cross_entropy, non_",
        ),
        (
            [MULTI_CLASS, f"phases=[{{kind: adversarial, steps: 4, {PENALTY[:-1]}, credit: discounted}}}}]"],
            "credit discounted needs a reward for every token",
        ),
        (
            [f"phases=[{{kind: adversarial, steps: 4, {PENALTY[:-1]}, baseline: {{kind: none}}}}}}]"],
            "baseline: weighs probability has no use for it: leave it out, or set weighs: log_probability",
        ),
        (["discriminator={kind: multi_class, scores: per_token}"], "discriminator.scores: 'per_token' will not do"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(settings, reason, text):
    with pytest.raises(UserError) as error:
        job_of(SENTENCES, text, *settings)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)
