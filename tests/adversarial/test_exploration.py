"""Texts drawn near the modes: what each weighs, and that nothing is expected but what the generator's own would teach.

For adversarial/estimators/exploration.py and adversarial/estimators/exploration_weights.py.
"""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lstmgan_dist.adversarial import texts as drawing_of_objectives
from lstmgan_dist.adversarial.baselines import NoBaseline
from lstmgan_dist.adversarial.credits import CREDITS
from lstmgan_dist.adversarial.estimators.exploration import ExplorationSettings
from lstmgan_dist.adversarial.estimators.exploration_weights import Exploration, log_probabilities
from lstmgan_dist.adversarial.estimators.score_function_objective import ScoreFunctionObjective
from lstmgan_dist.adversarial.losses import LOSSES
from lstmgan_dist.adversarial.texts import draw_text
from lstmgan_dist.corpus.stream import Batch
from lstmgan_dist.errors import UserError
from lstmgan_dist.models.drawing import Drawn
from lstmgan_dist.models.generator import Generator
from tests.networks import lstm_generator
from tests.training.comparison import final_state
from tests.training.tiny_jobs import SENTENCES, job_of, run_in_pieces, run_job

from .game import MAX_LENGTH, make_discriminator, make_generator, noise_of, prepare, sentences, update
from .test_baselines import scores_of_tokens
from .test_contexts import answers
from .test_estimators import TINY_T, TINY_V, all_texts, exact_gradient
from .test_estimators import log_probabilities as log_probabilities_of_texts

COLD = ExplorationSettings(temperature=0.6, clip=None)
NUCLEUS = ExplorationSettings.model_validate(
    {"temperature": 0.7, "nucleus": {"top_p": 0.8, "share": 0.4}, "clip": None}
)
WAYS = {"cold": COLD, "nucleus": NUCLEUS}


def tiny_generator() -> Generator:
    generator = lstm_generator(TINY_V, embedding=5, hidden=6, seed=4)
    with torch.no_grad():
        generator.output_bias.copy_(torch.tensor([0.9, -0.7, 0.3]))
    return generator


def of_token(probabilities: list[float], token: int, settings: ExplorationSettings, *, in_nucleus: bool) -> float:
    """The probability that a token is drawn, by going through the vocabulary."""
    powers = [probability ** (1 / settings.temperature) for probability in probabilities]
    cold = [power / sum(powers) for power in powers]
    if not in_nucleus:
        return cold[token]
    assert settings.nucleus
    kept: list[int] = []
    for candidate in sorted(range(len(cold)), key=lambda candidate: -cold[candidate]):
        if sum(cold[other] for other in kept) < settings.nucleus.top_p:
            kept.append(candidate)
    return cold[token] / sum(cold[other] for other in kept) if token in kept else 0.0


def by_hand(generator: Generator, texts: Drawn, settings: ExplorationSettings) -> Tensor:
    """q of every text, token by token."""
    found = []
    for row, length in enumerate(texts.lengths_B.tolist()):
        cold = nucleus = 1.0
        for position in range(length):
            prefix = torch.tensor([[0, *texts.tokens_BT[row, :position].tolist()]])
            probabilities = generator.logits(generator(prefix)[0][0, -1]).softmax(-1).tolist()
            token = int(texts.tokens_BT[row, position])
            cold *= of_token(probabilities, token, settings, in_nucleus=False)
            nucleus *= of_token(probabilities, token, settings, in_nucleus=True) if settings.nucleus else 0.0
        share = settings.nucleus.share if settings.nucleus else 0.0
        found.append(share * nucleus + (1 - share) * cold)
    return torch.tensor(found)


def exploring(generator: Generator, settings: ExplorationSettings | None, credit: str) -> ScoreFunctionObjective:
    return ScoreFunctionObjective(
        generator,
        LOSSES["probability"],
        max_length=MAX_LENGTH if generator.vocabulary_size > TINY_V else TINY_T,
        credit=CREDITS[credit],
        discount=0.6,
        baseline=NoBaseline(),
        exploration=settings and settings.build(),
    )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("credit", CREDITS)
def test_without_a_clip_the_expected_gradient_is_that_of_the_generators_own_texts(
    credit: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over all texts, each as often as it is explored, against exact enumeration of the generator's own."""
    generator, texts, settings = tiny_generator(), all_texts(), WAYS[way]
    q_B = by_hand(generator, texts, settings)
    assert q_B.sum().item() == pytest.approx(1, abs=1e-5)
    valid_BT = torch.arange(TINY_T) < texts.lengths_B[:, None]
    discriminator = make_discriminator("per_token" if CREDITS[credit].of_tokens else "per_sentence")
    rewards = 2 * discriminator(discriminator.embed(texts.tokens_BT), texts.lengths_B).detach().sigmoid() - 1
    if CREDITS[credit].of_tokens:
        expected = exact_gradient(generator, texts, rewards * valid_BT, 0.6)
    else:
        of_last_BT = torch.arange(TINY_T) == texts.lengths_B[:, None] - 1
        expected = exact_gradient(generator, texts, rewards[:, None] * of_last_BT, 1.0)
    monkeypatch.setattr(drawing_of_objectives, "draw", lambda *args, **ways: texts)
    own_B = log_probabilities_of_texts(generator, texts).sum(1).exp().detach()
    variances = {}
    for exploration, frequency_B in ((None, own_B), (settings, q_B)):
        objective = exploring(generator, exploration, credit)
        noise, real = noise_of(torch.arange(len(q_B))), sentences(rows=len(q_B))
        ((part, _),) = prepare(objective, real, opponent=discriminator, noise=noise)
        weights_B = own_B / frequency_B
        plain_BT = part["advantages_BT"].clone()
        # One batch of all texts, in which each counts as often as it is drawn.
        part["advantages_BT"] = plain_BT * frequency_B[:, None]
        part["sentence_count"] = torch.tensor(1.0)
        outcome = objective(part, opponent=discriminator, noise=noise)
        found = torch.autograd.grad(outcome.loss, list(generator.parameters()))
        torch.testing.assert_close(list(found), expected, atol=2e-6, rtol=1e-4)
        if exploration:
            assert outcome.report["generator/importance"].item() == pytest.approx(weights_B.sum().item(), rel=1e-4)
        scores_BTP = scores_of_tokens(generator, texts)
        estimate_BP = torch.einsum("bt,btp->bp", plain_BT * weights_B[:, None], scores_BTP)
        mean_P = frequency_B @ estimate_BP
        variances[exploration is not None] = (frequency_B @ (estimate_BP - mean_P).square().sum(1)).item()
    assert math.isfinite(variances[True])
    print(f"{way}, {credit}: variance {variances[True] / variances[False]:.3f} of that of the generator's own texts")


@pytest.mark.parametrize("way", WAYS)
def test_texts_are_drawn_as_often_as_their_probability_says(way: str) -> None:
    generator, texts, rows = tiny_generator(), all_texts(), 40_000
    real = Batch(
        torch.zeros(rows, 1, dtype=torch.int64),
        torch.zeros(rows, 1, dtype=torch.int64),
        torch.ones(rows, dtype=torch.int64),
        fresh=True,
    )
    drawn, _ = draw_text(generator, noise_of(torch.arange(rows)), TINY_T, real, exploration=WAYS[way].build())
    place = torch.tensor([TINY_V**position for position in range(TINY_T)])

    def names(texts: Drawn) -> Tensor:
        return (texts.tokens_BT * place).sum(1) * (TINY_T + 1) + texts.lengths_B

    counts_B = (names(drawn)[:, None] == names(texts)).sum(0)
    assert counts_B.sum() == rows
    q_B = by_hand(generator, texts, WAYS[way])
    deviation_B = (counts_B / rows - q_B) / (q_B * (1 - q_B) / rows).sqrt()
    assert deviation_B.abs().max() < 4


def test_the_nucleus_is_exact_in_a_large_vocabulary_and_a_token_at_its_edge_has_a_weight() -> None:
    logits_NV = torch.randn(50, 400, generator=torch.Generator().manual_seed(1)) * 3
    settings = ExplorationSettings.model_validate({"temperature": 0.9, "nucleus": {"top_p": 0.7}})
    for tokens_N in (logits_NV.argmax(1), torch.randint(400, (50,), generator=torch.Generator().manual_seed(2))):
        found = log_probabilities(logits_NV, tokens_N, 0.9, 0.7).exp()
        probabilities = logits_NV.double().softmax(-1).tolist()
        expected = [
            of_token(p, int(t), settings, in_nucleus=True) for p, t in zip(probabilities, tokens_N, strict=True)
        ]
        torch.testing.assert_close(found, torch.tensor(expected), atol=1e-6, rtol=1e-4)
    edge = torch.tensor([[0.7 + 1e-7, 0.2, 0.1]]).log()
    assert log_probabilities(edge, torch.tensor([1]), top_p=0.7).isfinite().all(), "drawing may have rounded otherwise"


def test_the_weights_are_those_of_whole_texts_and_clipped() -> None:
    generator, texts = tiny_generator(), all_texts()
    rows, positions = texts.tokens_BT.shape
    index_N = (torch.arange(positions) < texts.lengths_B[:, None]).flatten().nonzero().squeeze(1)
    features_BTF, _ = generator(torch.nn.functional.pad(texts.tokens_BT, (1, -1)))
    logits_NV = generator.logits(features_BTF.flatten(0, 1)[index_N]).detach()
    p_B = log_probabilities_of_texts(generator, texts).sum(1).exp().detach()
    for settings in WAYS.values():
        expected_B = p_B / by_hand(generator, texts, settings)
        for clip in (None, 1.1):
            way: Exploration = settings.build()._replace(clip=clip)
            found_B = way.weights(logits_NV, texts.tokens_BT.flatten()[index_N], index_N, torch.Size([rows, positions]))
            wanted_B = expected_B if clip is None else expected_B.clamp(max=clip)
            torch.testing.assert_close(found_B, wanted_B, atol=1e-5, rtol=1e-4)
        assert (expected_B > 1.1).any()
        assert (expected_B < 1.1).any()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("texts", [sentences, answers])
def test_the_number_of_units_changes_nothing(way: str, texts: Callable[[], Batch]) -> None:
    generator, discriminator = make_generator(latent={"size": 3}), make_discriminator("per_token")
    found = [
        update(exploring(generator, WAYS[way], "discounted"), generator, discriminator, texts(), noise_of(), units)
        for units in (1, 2, 4)
    ]
    assert found[0][1]["generator/importance"] > 0
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(
    ("exploration", "words"),
    [
        ("{temperature: 1}", "leave exploration out"),
        ("{temperature: 0}", "greater than 0|above 0|more than 0"),
        ("{nucleus: {top_p: 1}}", "top_p"),
        ("{nucleus: {top_p: 0.9, share: 1}}", "share"),
    ],
)
def test_what_cannot_work_is_refused(exploration: str, words: str, text: Path) -> None:
    with pytest.raises(UserError, match=words):
        job_of(SENTENCES, text, f"phases.2.estimator={{kind: score_function, exploration: {exploration}}}")


def test_a_run_stopped_every_few_steps_equals_an_uninterrupted_one(text: Path, tmp_path: Path) -> None:
    way = "exploration: {temperature: 0.7, nucleus: {top_p: 0.9}}"
    job = job_of(SENTENCES, text, f"phases.2.estimator={{kind: score_function, credit: discounted, {way}}}")
    run_job(job, tmp_path / "whole")
    run_in_pieces(job, tmp_path / "run", steps=5)
    assert final_state(tmp_path / "run") == final_state(tmp_path / "whole")
