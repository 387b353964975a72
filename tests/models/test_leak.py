"""LeakGAN's generator: what leaks to it, what the manager and the worker make of it, and drawing.

For models/generators/leak.py, leak_network.py, prefix_features.py and goals.py: models/generators/leak_network.py,
models/generators/prefix_features.py, models/generators/goals.py.
"""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lstmgan_dist.models import drawing
from lstmgan_dist.models.discriminators.convolutional_network import ConvolutionalDiscriminator
from lstmgan_dist.models.drawing import Given, draw
from lstmgan_dist.models.generators.goals import cosines_of_aims, intrinsic_rewards
from lstmgan_dist.models.generators.leak import LeakKind
from lstmgan_dist.models.generators.leak_network import LeakGenerator
from lstmgan_dist.runtime.randomness import Noise
from tests.networks import convolutional_discriminator

V, B, T = 23, 5, 9
EXTRACTORS: dict[str, dict[str, Any]] = {
    "one representation": {"embedding": 6, "filters": {1: 3, 2: 4, 4: 5}},
    "several": {"embedding": 8, "representations": 2, "filters": {2: 3, 3: 4, 6: 2}},
    "one width": {"embedding": 4, "filters": {1: 5}},
}


def make(extractor: str = "one representation", *, seed: int = 3, **settings: Any) -> LeakGenerator:
    """With the features of `opponent_of`."""
    sizes = {"embedding": 7, "hidden": 6, "manager_hidden": 8, "goal_size": 3, "horizon": 3}
    kind = LeakKind(kind="leak", leaked=EXTRACTORS[extractor], **sizes | settings)  # pyright: ignore[reportArgumentType]
    generator = kind.build(vocabulary_size=V, seed=seed)
    generator.look_at(opponent_of(extractor))
    return generator


def opponent_of(extractor: str = "one representation") -> ConvolutionalDiscriminator:
    discriminator = convolutional_discriminator(V, seed=5, dropout=0.0, **EXTRACTORS[extractor])
    with torch.no_grad():
        for bias in discriminator.biases:  # they are to matter, to the empty prefix too
            bias.normal_(generator=torch.Generator().manual_seed(len(bias)))
    return discriminator


def tokens(rows: int = B, positions: int = T) -> Tensor:
    return torch.randint(1, V, (rows, positions), generator=torch.Generator().manual_seed(1))


def features_of(discriminator: ConvolutionalDiscriminator, text: Tensor) -> Tensor:
    """Those that the discriminator makes of one whole text: every window, filter by filter, as its paper has it."""
    x_TRC = discriminator.embed(text).unflatten(-1, (discriminator.representations, -1))
    found = []
    for representation in range(discriminator.representations):
        for width, weight, bias in zip(discriminator.widths, discriminator.filters, discriminator.biases, strict=True):
            x_TC = F.pad(x_TRC[:, representation], (0, 0, 0, max(0, width - len(text))))
            windows = [x_TC[start : start + width].T for start in range(len(x_TC) - width + 1)]
            found.append(torch.stack([(weight * one).sum((1, 2)) + bias for one in windows]).amax(0).relu())
    return torch.cat(found)


@pytest.mark.parametrize("extractor", EXTRACTORS)
@torch.no_grad()
def test_the_features_of_every_prefix_are_those_that_the_discriminator_makes_of_it_alone(extractor: str) -> None:
    generator, discriminator = make(extractor), opponent_of(extractor)
    seen: list[Tensor] = []
    discriminator.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    for row, found_SK in zip(tokens(), generator.prefixes(tokens()), strict=True):
        torch.testing.assert_close(
            found_SK[0], torch.cat(list(discriminator.biases)).relu().repeat(discriminator.representations)
        )
        for length in range(1, T + 1):
            torch.testing.assert_close(found_SK[length], features_of(discriminator, row[:length]))
    # And these are what it scores: its own layers behind them give its own score.
    scored = discriminator(discriminator.embed(tokens()), torch.full((B,), T))
    features_BRK = torch.stack([features_of(discriminator, row) for row in tokens()]).unflatten(
        1, (discriminator.representations, -1)
    )
    assert discriminator.highway is not None
    assert discriminator.dense is not None
    h_BRK = discriminator.highway(features_BRK)
    through = torch.lerp(features_BRK, h_BRK.relu(), h_BRK.sigmoid())
    expected = discriminator.output(discriminator.dense(through)).squeeze(-1)
    torch.testing.assert_close(scored.view_as(expected), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("horizon", [1, 3])
@pytest.mark.parametrize("tied", [True, False])
@torch.no_grad()
def test_the_logits_are_those_of_the_equations(tied: bool, horizon: int) -> None:
    """g_t of length 1, w_t = ψ(the last goals' sum) of length 1, and O_t · w_t, token by token."""
    generator, text = make(tied=tied, horizon=horizon), tokens()
    generator.output_bias.normal_(generator=torch.Generator().manual_seed(2))
    inputs_BT = F.pad(text, (1, -1))
    found_BTV = generator.logits(generator(inputs_BT)[0])
    prefixes_BSK = generator.prefixes(text)
    for row in range(B):
        manager = worker = None
        goals = []
        for t in range(T):
            hidden, manager = generator.manager(prefixes_BSK[row, t][None], manager)
            goal = generator.goal.weight @ hidden[0] + generator.goal.bias
            goals.append(goal / goal.square().sum().sqrt())
            hidden, worker = generator.worker(generator.embedding.weight[inputs_BT[row, t]][None], worker)
            w_D = generator.goal_embedding.weight @ torch.stack(goals[-horizon:]).sum(0)
            w_D = w_D / w_D.square().sum().sqrt()
            layer_FA = generator.output_weight
            if layer_FA is None:
                assert generator.projection is not None
                layer_FA = generator.embedding.weight @ generator.projection.weight
            of_goals_VDH = layer_FA.unflatten(1, (len(w_D), -1))
            actions_VD = of_goals_VDH[..., :-1] @ hidden[0] + of_goals_VDH[..., -1]  # O_t
            torch.testing.assert_close(
                found_BTV[row, t], actions_VD @ w_D + generator.output_bias, atol=1e-5, rtol=1e-5
            )


@pytest.mark.parametrize("extractor", EXTRACTORS)
@pytest.mark.parametrize("tied", [True, False])
@torch.no_grad()
def test_steps_equal_reading_and_both_go_on_from_any_state(extractor: str, tied: bool) -> None:
    generator, text = make(extractor, tied=tied), tokens()
    whole_BTF, end = generator(text)
    state, step, stepped = generator.initial_state(B), generator.step(None, torch.float32), []
    for token_B in text.unbind(1):
        features_BF, state = step(token_B, state)
        stepped.append(features_BF)
    torch.testing.assert_close(torch.stack(stepped, dim=1), whole_BTF, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(state, end, atol=1e-6, rtol=1e-5)
    state, read = None, []
    for part in text.split([1, 2, 5, 1], dim=1):
        features_BTF, state = generator(part, state)
        read.append(features_BTF)
    torch.testing.assert_close(torch.cat(read, dim=1), whole_BTF, atol=1e-6, rtol=1e-5)
    # A state is of rows, each for itself.
    _, half = generator(text[:, :4])
    order = torch.tensor([3, 0, 4, 1, 2])
    features_BTF, _ = generator(text[order, 4:], tuple(tensor[order] for tensor in half))
    torch.testing.assert_close(features_BTF, whole_BTF[order, 4:], atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_steps_in_bfloat16_are_those_in_float32_but_for_rounding() -> None:
    generator = make("several")
    state = generator.initial_state(B)
    exact, rough = generator.step(None, torch.float32), generator.step(None, torch.bfloat16)
    exact_state, rough_state = state, tuple(tensor.bfloat16() for tensor in state)
    for token_B in tokens().unbind(1):
        exact_features, exact_state = exact(token_B, exact_state)
        rough_features, rough_state = rough(token_B, rough_state)
        assert rough_features.dtype == torch.bfloat16
        assert (rough_features - exact_features).norm() < 0.05 * exact_features.norm()


def uniforms(rows: int) -> Tensor:
    return Noise(6, torch.arange(rows)).uniform("tokens", 12)


@pytest.mark.parametrize(
    ("prompt", "is_given"), [((0,), False), ((0, 7, 3), False), ((0,), True)], ids=["sentence", "prompt", "given"]
)
@torch.no_grad()
def test_drawing_equals_the_naive_loop(
    prompt: tuple[int, ...], is_given: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In slots that rows wait for and that run out of rows, and in one step as a CUDA graph has it."""
    monkeypatch.setattr(drawing, "_SLOTS", 6)
    monkeypatch.setattr(drawing, "_SLOT_STEP", 2)
    generator, rows = make(), 21
    generator.embedding.weight.mul_(2)
    generator.output_bias[0] = 2
    given = Given.of([[5, 6, 7][: 1 + row % 3] for row in range(rows)]) if is_given else None
    drawn = draw(generator, uniforms(rows), prompt=prompt, given=given)
    for row, uniforms_T in enumerate(uniforms(rows)):
        written = given.tokens_BP[row, : given.lengths_B[row]].tolist() if given else []
        before = len(written)
        for uniform in uniforms_T:
            features, _ = generator(torch.tensor([[*prompt, *written]]))
            cumulative = generator.logits(features[0, -1:])[0].double().softmax(-1).cumsum(-1)
            written.append(int((cumulative <= uniform.double()).sum()))
            if written[-1] == 0:
                break
        assert drawn.lengths_B[row] == len(written) > before
        assert drawn.tokens_BT[row, : len(written)].tolist() == written

    def in_one_step(generator, uniforms_BT, latent_BZ, first_token, given, begin, pick):
        state = begin(latent_BZ, len(uniforms_BT))
        return drawing._draw_in_step(generator, uniforms_BT, latent_BZ, state, first_token, given, pick, torch.float32)

    monkeypatch.setattr(drawing, "_draw_in_slots", in_one_step)
    assert torch.equal(draw(generator, uniforms(rows), prompt=prompt, given=given).tokens_BT, drawn.tokens_BT)


def test_the_worker_learns_from_likelihood_and_the_manager_from_its_own_loss_and_nothing_leaks_back() -> None:
    generator, discriminator = make(dropout=0.1), opponent_of()
    of_manager = {"manager", "goal"}
    text, lengths_B = tokens(), torch.tensor([9, 4, 1, 7, 9])
    noise = Noise(2, torch.arange(B))
    features_BTF, _ = generator(F.pad(text, (1, -1)), noise=noise)
    (-generator.log_likelihoods(features_BTF.flatten(0, 1), text.flatten()).sum()).backward()
    moved = {name.partition(".")[0] for name, p in generator.named_parameters() if p.grad is not None}
    assert moved == {name.partition(".")[0] for name, _ in generator.named_parameters()} - of_manager
    generator.zero_grad()
    generator.own_loss(text, lengths_B, None).backward()
    assert {name.partition(".")[0] for name, p in generator.named_parameters() if p.grad is not None} == of_manager
    assert all(parameter.grad is None for parameter in discriminator.parameters())
    assert not any(name.startswith("leaked") for name, _ in generator.named_parameters())
    assert sum(name.startswith("leaked") for name in generator.state_dict()) == len(discriminator.feature_extractor())


def test_the_copy_is_the_discriminators_until_it_is_asked_again() -> None:
    generator, discriminator = make(), opponent_of()
    before = generator.prefixes(tokens())
    with torch.no_grad():
        for parameter in discriminator.parameters():
            parameter += 0.1
    torch.testing.assert_close(generator.prefixes(tokens()), before, atol=0, rtol=0)
    generator.look_at(discriminator)
    assert not torch.equal(generator.prefixes(tokens()), before)
    with torch.no_grad():
        torch.testing.assert_close(generator.prefixes(tokens())[0, T], features_of(discriminator, tokens()[0]))
    other = make(seed=8)
    other.load_state_dict(generator.state_dict())
    assert torch.equal(other.prefixes(tokens()), generator.prefixes(tokens()))


def cosine(one: Tensor, other: Tensor) -> float:
    return (one @ other / (one.norm() * other.norm()).clamp(min=1e-8)).item()


@pytest.mark.parametrize("horizon", [1, 4])
def test_cosines_of_aims_and_intrinsic_rewards_are_those_of_the_paper(horizon: int) -> None:
    random = torch.Generator().manual_seed(3)
    features_BSK = torch.randn(3, 8, 5, generator=random)
    goals_BTK = F.normalize(torch.randn(3, 7, 5, generator=random), dim=-1)
    lengths_B, starts_B = torch.tensor([7, 2, 5]), torch.tensor([0, 1, 2])
    aims_BT = cosines_of_aims(features_BSK, goals_BTK, lengths_B, horizon)
    rewards_BT = intrinsic_rewards(features_BSK, goals_BTK, horizon)
    behind_BT = intrinsic_rewards(features_BSK, goals_BTK, horizon, starts_B)
    for row, length in enumerate(lengths_B.tolist()):
        f, g = features_BSK[row], goals_BTK[row]
        for t in range(length):
            assert aims_BT[row, t].item() == pytest.approx(cosine(f[min(t + horizon, length)] - f[t], g[t]), abs=1e-6)
        for t in range(1, length + 1):
            found = [cosine(f[t] - f[t - i], g[t - i]) for i in range(1, min(horizon, t) + 1)]
            assert rewards_BT[row, t - 1].item() == pytest.approx(sum(found) / len(found), abs=1e-6)
            # Of goals set within a context none counts.
            found = found[: max(0, t - int(starts_B[row]))]
            assert behind_BT[row, t - 1].item() == pytest.approx(sum(found) / max(1, len(found)), abs=1e-6)
