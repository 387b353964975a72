"""Cooperative Training: what mediator and generator learn, what the mediator's score is, and whole runs.

Also for adversarial/cooperation.py and phases/cooperative.py, and for models/discriminators/mediator.py and
models/discriminators/mediator_network.py.
"""

import itertools
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import lstmgan_dist as lstmgan
from lstmgan_dist.adversarial import texts as drawing_of_objectives
from lstmgan_dist.adversarial.cooperation import CooperativeObjective, MediatorObjective
from lstmgan_dist.adversarial.divergence import divergence
from lstmgan_dist.adversarial.losses import LOSSES
from lstmgan_dist.adversarial.soft_text import gumbel_softmax
from lstmgan_dist.errors import UserError
from lstmgan_dist.models.discriminators.mediator import MediatorKind
from lstmgan_dist.models.discriminators.mediator_network import Mediator
from lstmgan_dist.models.drawing import Drawn
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.models.generators.lstm import LSTMGeneratorKind
from lstmgan_dist.runtime.randomness import Noise
from lstmgan_dist.training.game import Vocabulary
from lstmgan_dist.training.plan import memory_warning
from lstmgan_dist.training.run_log import read_metrics
from tests.networks import lstm_generator
from tests.training.comparison import final_state
from tests.training.tiny_jobs import SENTENCES, job_of, run_in_pieces, run_job

from .game import MAX_LENGTH, V, make_discriminator, make_generator, noise_of, prepare, sentences, update
from .test_contexts import answers
from .test_estimators import TINY_T, TINY_V, all_texts, log_probabilities

MEDIATOR = "discriminator={kind: mediator, language_model: {embedding: 8, hidden: 10, tied: false, dropout: 0.3}}"
COOPERATIVE = (
    MEDIATOR,
    "phases.1={kind: cooperative, steps: 5, mediator_updates: 2}",
    "phases.2={kind: cooperative, steps: 4, likelihood_weight: 0.1}",
)


def mediator_of(vocabulary_size: int = V, *, dropout: float = 0.0, seed: int = 9) -> Mediator:
    kind = MediatorKind.model_validate(
        {"kind": "mediator", "language_model": {"embedding": 5, "hidden": 7, "tied": False, "dropout": dropout}}
    )
    return kind.build(vocabulary_size=vocabulary_size, generator_hidden=0, seed=seed)


def cooperative(generator: Generator, *, max_length: int = MAX_LENGTH, weight: float = 0.0) -> CooperativeObjective:
    return CooperativeObjective(generator, LOSSES["cross_entropy"], max_length=max_length, likelihood_weight=weight)


def mediating(mediator: Mediator) -> MediatorObjective:
    return MediatorObjective(mediator, LOSSES["cross_entropy"], max_length=MAX_LENGTH)


def log_distributions(model: Generator, tokens_BT: Tensor) -> Tensor:
    """Of the token at each position, (B, T, V)."""
    return model.logits(model(F.pad(tokens_BT, (1, -1)))[0]).log_softmax(-1)


def tiny_game() -> tuple[Generator, Mediator]:
    generator, mediator = lstm_generator(TINY_V, embedding=5, hidden=6, seed=4), mediator_of(TINY_V)
    with torch.no_grad():
        generator.output_bias.copy_(torch.tensor([0.5, -0.4, 0.1]))
        mediator.language_model.output_bias.copy_(torch.tensor([-0.3, 0.9, 0.0]))
    return generator, mediator


def exact_gradient(generator: Generator, mediator: Mediator) -> list[Tensor]:
    """Of the paper's objective: over every prefix, as often as G draws it, the divergence of the next token.

    Sum over t and s_t of G(s_t) · Σ_v g(v | s_t) (log g(v | s_t) - log m(v | s_t)), with G(s_t) constant (equation 10).
    """
    total = torch.zeros(())
    for length in range(TINY_T):
        for prefix in itertools.product(range(1, TINY_V), repeat=length):
            row_BT = torch.tensor([[*prefix, 0]])
            generated, mediated = (
                log_distributions(model, row_BT)[0] for model in (generator, mediator.language_model)
            )
            probability = generated[torch.arange(length), row_BT[0, :length]].sum().exp().detach()
            total = total + probability * (generated[-1].exp() * (generated[-1] - mediated[-1])).sum()
    return list(torch.autograd.grad(total, list(generator.parameters())))


def test_the_gradient_equals_exact_enumeration_and_varies_less_than_reinforce(monkeypatch):
    """REINFORCE on the same target: each drawn token's own log g - log m in the place of the whole vocabulary's."""
    generator, mediator = tiny_game()
    texts = all_texts()
    monkeypatch.setattr(drawing_of_objectives, "draw", lambda *args, **settings: texts)
    rows = len(texts.lengths_B)
    noise = Noise(1, torch.arange(rows))
    objective = cooperative(generator, max_length=TINY_T)
    ((prepared, _),) = prepare(objective, sentences(rows=rows), opponent=mediator, noise=noise)
    probability_B = log_probabilities(generator, texts).sum(1).exp().detach()
    parameters = list(generator.parameters())
    estimates: dict[str, list[Tensor]] = {"cooperative": [], "reinforce": []}
    for row in range(rows):
        part = {name: value[row : row + 1] if value.dim() else value for name, value in prepared.items()}
        part |= {"sentence_count": torch.tensor(1.0), "token_count": part["lengths_B"].sum().float()}
        loss = objective(part, opponent=mediator, noise=noise.part(slice(row, row + 1))).loss
        text = Drawn(texts.tokens_BT[row : row + 1], texts.lengths_B[row : row + 1])
        logs, mediated = (log_probabilities(model, text) for model in (generator, mediator.language_model))
        sampled = ((logs - mediated).detach() * logs).sum()
        for name, value in ("cooperative", loss), ("reinforce", sampled):
            gradients = torch.autograd.grad(value, parameters)
            estimates[name].append(torch.cat([gradient.flatten() for gradient in gradients]))
    expected = torch.cat([gradient.flatten() for gradient in exact_gradient(generator, mediator)])
    variance = {}
    for name, of_texts in estimates.items():
        mean = (probability_B[:, None] * torch.stack(of_texts)).sum(0)
        torch.testing.assert_close(mean, expected, atol=2e-6, rtol=1e-4)
        variance[name] = (probability_B * (torch.stack(of_texts) - mean).square().sum(1)).sum().item()
    print(f"variance beside REINFORCE's: {variance['cooperative'] / variance['reinforce']:.3f}")
    assert variance["cooperative"] < 0.5 * variance["reinforce"]


def test_nothing_moves_a_generator_whose_mediator_is_its_equal():
    """Whatever the lengths of the texts are."""
    generator = make_generator()
    mediator = Mediator(make_generator())
    mediator.load_state_dict({f"language_model.{name}": weight for name, weight in generator.state_dict().items()})
    loss, report, gradients = update(cooperative(generator), generator, mediator, sentences(), noise_of())
    assert abs(loss) < 1e-6
    assert report["generator/cost"] == pytest.approx(0, abs=1e-6)
    assert max(gradient.abs().max().item() for gradient in gradients.values()) < 1e-6


def test_the_cost_is_the_divergence_of_the_papers_code():
    """-Σ g (log m - log g) over all positions of the drawn texts; the report is a mean over tokens, in nats."""
    generator, mediator = make_generator(), mediator_of()
    objective = cooperative(generator)
    ((prepared, noise),) = prepare(objective, sentences(), opponent=mediator, noise=noise_of())
    outcome = objective(prepared, opponent=mediator, noise=noise)
    total = 0.0
    for tokens_T, length in zip(prepared["tokens_BT"], prepared["lengths_B"].tolist(), strict=True):
        text_1T = tokens_T[None, :length]
        generated, mediated = (log_distributions(model, text_1T)[0] for model in (generator, mediator.language_model))
        total += -(generated.exp() * (mediated - generated)).sum().item()
    assert outcome.loss.item() == pytest.approx(total / len(prepared["lengths_B"]), rel=1e-5)
    assert outcome.report["generator/cost"].item() == pytest.approx(total / int(prepared["lengths_B"].sum()), rel=1e-5)


def test_the_mediator_learns_the_mixture_of_both_kinds_of_text():
    """-½ (E_P log M + E_G log M), over the tokens of as many texts of each (equation 4)."""
    generator, mediator = make_generator().requires_grad_(False), mediator_of()
    real, objective = sentences(), mediating(mediator)
    ((prepared, noise),) = prepare(objective, real, opponent=generator, noise=noise_of())
    outcome = objective(prepared, opponent=generator, noise=noise)
    outcome.loss.backward()
    nats, counts = {}, {}
    for kind, tokens_BT in ("real", real.targets_BT), ("fake", prepared["fake_BT"]):
        lengths_B = prepared[f"{kind}_lengths_B"]
        logs_BT = log_distributions(mediator.language_model, tokens_BT).gather(2, tokens_BT[..., None]).squeeze(2)
        nats[kind] = -(logs_BT * (torch.arange(tokens_BT.shape[1]) < lengths_B[:, None])).sum().item()
        counts[kind] = lengths_B.sum().item()
    assert outcome.loss.item() == pytest.approx(sum(nats.values()) / sum(counts.values()), rel=1e-5)
    for kind in nats:
        assert outcome.report[f"discriminator/{kind}_nll"].item() == pytest.approx(nats[kind] / counts[kind], rel=1e-5)
    assert all(parameter.grad is not None for parameter in mediator.parameters())


@pytest.mark.parametrize("units", [2, 4, 8])
def test_the_number_of_units_changes_nothing(units):
    """Of one row each, too: no row's cost depends on another's tokens."""
    generator, mediator = make_generator(dropout={"output": 0.3}), mediator_of(dropout=0.3)
    for objective, player, opponent in (
        (mediating(mediator), mediator, generator),
        (cooperative(generator, weight=0.3), generator, mediator),
    ):
        whole = update(objective, player, opponent, sentences(), noise_of())
        found = update(objective, player, opponent, sentences(), noise_of(), units)
        torch.testing.assert_close(found, whole, atol=2e-6, rtol=1e-5)


def test_contexts_are_read_and_not_learnt():
    """By neither: costs and counts are those of the texts behind them, and the mediator writes no label."""
    real = answers()
    starts_B = real.starts_B
    assert starts_B is not None
    assert real.contexts_BP is not None
    labelled_BT = real.targets_BT.clone()
    labelled_BT[:, 0] = V  # a label, behind the vocabulary
    contexts_BP = real.contexts_BP.clone()
    contexts_BP[:, 0] = V
    real = replace(real, inputs_BT=F.pad(labelled_BT, (1, -1)), targets_BT=labelled_BT, contexts_BP=contexts_BP)
    generator = LSTMGeneratorKind(embedding=6, hidden=10).build(vocabulary_size=V, labels=1, seed=2)
    mediator = mediator_of(V + 1)
    ((prepared, noise),) = prepare(cooperative(generator), real, opponent=mediator, noise=noise_of())
    outcome = cooperative(generator)(prepared, opponent=mediator, noise=noise)
    generated_BTV = log_distributions(generator, prepared["tokens_BT"])
    mediated_BTV = mediator.logits(mediator.features(prepared["tokens_BT"]).flatten(0, 1), V).log_softmax(-1)
    costs_BT = (generated_BTV.exp() * (generated_BTV - mediated_BTV.view_as(generated_BTV))).sum(-1)
    position_T = torch.arange(costs_BT.shape[1])
    texts_BT = (position_T >= prepared["starts_B"][:, None]) & (position_T < prepared["lengths_B"][:, None])
    assert outcome.report["generator/cost"].item() == pytest.approx(costs_BT[texts_BT].mean().item(), rel=1e-5)
    ((prepared, noise),) = prepare(mediating(mediator), real, opponent=generator, noise=noise_of())
    report = mediating(mediator)(prepared, opponent=generator, noise=noise).report
    texts_BT = torch.arange(real.targets_BT.shape[1])[None] >= starts_B[:, None]
    texts_BT &= torch.arange(real.targets_BT.shape[1])[None] < real.lengths_B[:, None]
    scored_BT = mediator.see(real.targets_BT, generator)[..., 0]
    assert report["discriminator/real_nll"].item() == pytest.approx(-scored_BT[texts_BT].mean().item(), rel=1e-5)


def test_a_score_is_the_logarithm_of_how_much_more_probable_a_token_is_in_real_text():
    """With m = (p + g) / 2 it is log(p/g), so its sigmoid is the share of real ones among both; and it is bounded."""
    mediator, lengths_B = mediator_of(), torch.tensor([4, 2])
    real, drawn = torch.tensor([[0.3, 0.1, 0.2, 0.5]] * 2), torch.tensor([[0.1, 0.3, 0.2, 0.5]] * 2)
    seen = torch.stack([((real + drawn) / 2).log(), drawn.log()], dim=-1)
    scores = mediator(seen, lengths_B)
    torch.testing.assert_close(scores[0], (real / drawn).log()[0])
    torch.testing.assert_close(scores[0].sigmoid(), (real / (real + drawn))[0])
    assert not scores[1, 2:].any()
    far = mediator(torch.tensor([[[-1.0, -300.0], [-300.0, -1.0]]]), torch.tensor([2]))
    torch.testing.assert_close(far.exp(), torch.tensor([[100.0, 0.01]]))


def kept(compute, *leaves: Tensor) -> int:
    """Numbers that a computation keeps for its backward pass beside its leaves, without views of them."""
    found: dict[int, int] = {}
    known = {leaf.untyped_storage().data_ptr() for leaf in leaves}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in known:
            found[tensor.untyped_storage().data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = compute()  # alive until all is counted
    assert result.requires_grad
    return sum(found.values())


def test_the_divergence_keeps_one_number_for_each_logit_and_the_gumbel_estimator_more():
    logits_NV = torch.randn(6, V, generator=torch.Generator().manual_seed(1)).requires_grad_()
    other_NV = torch.randn(6, V, generator=torch.Generator().manual_seed(2))
    plain = (logits_NV.softmax(-1) * (logits_NV.log_softmax(-1) - other_NV.log_softmax(-1))).sum(-1)
    torch.testing.assert_close(divergence(logits_NV, other_NV), plain)
    weights_N = torch.arange(6.0)
    expected, found = (
        torch.autograd.grad((weights_N * value).sum(), [logits_NV])[0]
        for value in (plain, divergence(logits_NV, other_NV))
    )
    torch.testing.assert_close(found, expected)
    generator, discriminator = make_generator(), make_discriminator("per_sentence").requires_grad_(False)
    features_NF = torch.randn(6, 6).requires_grad_()
    weights = [features_NF, *generator.parameters(), *discriminator.parameters()]
    softened = kept(
        lambda: discriminator.embed_distribution(
            gumbel_softmax(generator.logits(features_NF), torch.arange(6), Noise(1, torch.arange(6)), torch.tensor(1.0))
        ),
        *weights,
    )
    assert kept(lambda: divergence(generator.logits(features_NF), other_NV), *weights) == 6 * V <= softened


def test_any_kind_of_generator_may_mediate_and_the_estimate_of_memory_counts_its_logits(text):
    kind = MediatorKind.model_validate(
        {"kind": "mediator", "language_model": {"kind": "relational_memory", "head_size": 4, "embedding": 4}}
    )
    mediator = kind.build(vocabulary_size=V, generator_hidden=0, seed=1)
    assert mediator.see(sentences().targets_BT, make_generator()).shape == (*sentences().targets_BT.shape, 2)
    sizes = []
    for overrides in ((), COOPERATIVE):
        job = job_of(SENTENCES, text, "batch={size: 4000, lanes: 4, units: 1}", *overrides)
        warning = memory_warning(job, Vocabulary(1000), 2**24)
        assert warning is not None
        sizes.append(int(warning.split()[3].replace(",", "")))
    assert sizes[1] > 1.8 * sizes[0]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("phases.1={kind: cooperative, steps: 1}",), "phases.1.kind cooperative needs a mediator, and lstm is none"),
        ((MEDIATOR,), "phases.1.loss cross_entropy teaches by scores, and a mediator learns by likelihood"),
        ((MEDIATOR, "phases=[{kind: adversarial, steps: 1, estimator: {kind: gumbel_softmax}}]"), "set kind: cooper"),
        ((*COOPERATIVE, "generator.latent={size: 3}"), "leave generator.latent out"),
        ((*COOPERATIVE, "discriminator.language_model.latent={size: 3}"), "language_model.latent has no use"),
        ((*COOPERATIVE, "discriminator.language_model.pretrained_vectors=corpus"), "for they are the generator's"),
        ((*COOPERATIVE, "phases.1.loss=hinge"), "phases.1.loss: "),
    ],
)
def test_what_cannot_work_is_refused(overrides, words, text):
    with pytest.raises(UserError, match=words) as refusal:
        job_of(SENTENCES, text, *overrides)
    assert all(line.endswith((".", "?")) for line in str(refusal.value).splitlines())


def test_a_run_stopped_every_few_steps_equals_an_uninterrupted_one_and_looks_at_its_mediator(text, tmp_path):
    job = job_of(SENTENCES, text, *COOPERATIVE)
    run, _ = run_job(job, tmp_path / "whole")
    run_in_pieces(job, tmp_path / "run", steps=4)
    assert final_state(tmp_path / "run") == final_state(tmp_path / "whole")
    last = [row for row in read_metrics(run.folder) if "heldout/nll" in row][-1]
    assert 0 <= last["heldout/discriminator_auc"] <= 1
    (score,) = lstmgan.open(str(tmp_path / "whole"), "latest").score(["the cat sees the dog"], tokens=True)
    assert score.by_token is not None
    of_tokens = [one.discriminator for one in score.by_token if one.discriminator is not None]
    assert len(of_tokens) == score.tokens
    assert score.discriminator == pytest.approx(sum(of_tokens) / score.tokens, abs=1e-6)
    assert score.probability_real is not None
    assert 0 < score.probability_real < 1
