from typing import Any

import pytest
import torch
from torch import Tensor

from lstmgan_dist.models import drawing
from lstmgan_dist.models.drawing import Drawn, Given, draw
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.models.generators.lstm import LSTMGeneratorKind
from lstmgan_dist.runtime.randomness import Noise
from tests.networks import lstm_generator

V = 150  # more than one block, and no multiple of it


def make(**settings: Any) -> Generator:
    generator = lstm_generator(V, **{"embedding": 8, "hidden": 16, **settings})
    with torch.no_grad():
        generator.embedding.weight.mul_(3)
        generator.output_bias[0] = 2
    return generator


def uniforms(rows: int, positions: int = 12) -> Tensor:
    return Noise(6, torch.arange(rows)).uniform("tokens", positions)


def naive(
    generator: Generator, uniforms_BT: Tensor, latent_BZ: Tensor | None = None, prompt: tuple[int, ...] = (0,)
) -> Drawn:
    """One row at a time, one token at a time, every step from the start."""
    texts = []
    for row, uniforms_T in enumerate(uniforms_BT):
        text: list[int] = []
        for uniform in uniforms_T:
            latent = None if latent_BZ is None else latent_BZ[row : row + 1]
            features, _ = generator(torch.tensor([[*prompt, *text]]), latent_BZ=latent)
            cumulative = generator.logits(features[0, -1:])[0].double().softmax(-1).cumsum(-1)
            text.append(int((cumulative <= uniform.double()).sum()))
            if text[-1] == 0:
                break
        texts.append(text)
    tokens = torch.zeros(uniforms_BT.shape, dtype=torch.int64)
    for row, text in enumerate(texts):
        tokens[row, : len(text)] = torch.tensor(text)
    return Drawn(tokens, torch.tensor([len(text) for text in texts]))


def assert_same(one: Drawn, other: Drawn) -> None:
    assert torch.equal(one.tokens_BT, other.tokens_BT)
    assert torch.equal(one.lengths_B, other.lengths_B)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"layers": 2, "tied": False},
        {"softmaxes": 3},
        {"latent": {"size": 3}},
        {"latent": {"size": 3, "feed": "initial_state"}, "layers": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("prompt", [(0,), (0, 7, 3)], ids=["sentence", "prompt"])
@torch.no_grad()
def test_drawing_equals_the_naive_loop(
    settings: dict[str, object], prompt: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "_SLOTS", 6)  # so that rows wait for slots, and slots run out of rows
    monkeypatch.setattr(drawing, "_SLOT_STEP", 2)
    generator = make(**settings)
    latent = Noise(2, torch.arange(21)).normal("z", 3) if "latent" in settings else None
    drawn = draw(generator, uniforms(21), latent_BZ=latent, prompt=prompt)
    assert_same(drawn, naive(generator, uniforms(21), latent, prompt))
    assert 1 < drawn.lengths_B.float().mean() < 12


@pytest.mark.parametrize("settings", [{"layers": 2}, {"softmaxes": 3}, {"latent": {"size": 3}}], ids=str)
def test_the_draw_of_cuda_graphs_equals_that_of_cpus(
    settings: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a graph captures, without the capture."""
    generator = make(**settings)
    latent = Noise(2, torch.arange(30)).normal("z", 3) if "latent" in settings else None
    expected = draw(generator, uniforms(30), latent_BZ=latent)

    given = Given.of([[5] * (row % 4) + [0] for row in range(30)])
    behind = draw(generator, uniforms(30), latent_BZ=latent, given=given)

    def without_slots(generator, uniforms_BT, latent_BZ, first_token, given, begin, pick):
        state = begin(latent_BZ, len(uniforms_BT))
        return drawing._draw_in_step(generator, uniforms_BT, latent_BZ, state, first_token, given, pick, torch.float32)

    monkeypatch.setattr(drawing, "_draw_in_slots", without_slots)
    assert_same(draw(generator, uniforms(30), latent_BZ=latent), expected)
    assert_same(draw(generator, uniforms(30), latent_BZ=latent, given=given), behind)


@pytest.mark.parametrize("settings", [{}, {"latent": {"size": 3}}], ids=str)
def test_what_rows_are_given_is_read_like_a_prompt_of_their_own(
    settings: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "_SLOTS", 6)
    monkeypatch.setattr(drawing, "_SLOT_STEP", 2)
    generator, openings = make(**settings), [[7, 0], [0], [3, 5, 9, 0], [4, 4, 0], [9, 9]] * 4
    latent = Noise(2, torch.arange(20)).normal("z", 3) if "latent" in settings else None
    tokens, lengths, starts = draw(generator, uniforms(20), latent_BZ=latent, given=Given.of(openings))
    assert starts is not None
    for row, opening in enumerate(openings):
        own = None if latent is None else latent[row : row + 1]
        alone = draw(generator, uniforms(20)[row : row + 1], latent_BZ=own, prompt=(0, *opening))
        assert starts[row] == len(opening)
        found = tokens[row, : int(lengths[row])].tolist()
        assert found == opening + alone.tokens_BT[0, : int(alone.lengths_B[0])].tolist()
        assert not tokens[row, int(lengths[row]) :].any()


def test_labels_are_never_drawn_and_have_no_probability() -> None:
    generator = LSTMGeneratorKind(embedding=8, hidden=16).build(vocabulary_size=10, labels=3, seed=1)
    tokens, _, _ = draw(generator, uniforms(300), given=Given.of([[10 + row % 3, 0] for row in range(300)]))
    assert tokens[:, 0].max() == 12
    assert tokens[:, 1:].max() < 10
    features, _ = generator(torch.tensor([[0, 12, 0]]))
    assert generator.logits(features).shape == (1, 3, 10)


def test_a_row_is_drawn_the_same_alone_and_in_a_batch() -> None:
    generator = make()
    together = draw(generator, uniforms(600))
    for row in (0, 17, 599):
        alone = draw(generator, uniforms(600)[row : row + 1])
        assert torch.equal(alone.tokens_BT[0], together.tokens_BT[row])


@torch.no_grad()
def test_drawn_tokens_have_the_probabilities_of_teacher_forcing() -> None:
    """Each uniform lies in its token's interval of the distribution that teacher forcing gives."""
    generator = make()
    uniforms_BT = uniforms(200)
    tokens, lengths, _ = draw(generator, uniforms_BT)
    features, _ = generator(torch.nn.functional.pad(tokens, (1, -1)))
    probabilities = generator.logits(features).double().softmax(-1)
    after = probabilities.cumsum(-1).gather(2, tokens[..., None]).squeeze(2)
    before = after - probabilities.gather(2, tokens[..., None]).squeeze(2)
    valid = torch.arange(12) < lengths[:, None]
    assert ((before - 1e-6 <= uniforms_BT) & (uniforms_BT <= after + 1e-6))[valid].all()


def test_texts_end_once_and_are_padded_with_zero() -> None:
    tokens, lengths, _ = draw(make(), uniforms(300))
    position = torch.arange(12)
    ended = (tokens == 0) & (position < lengths[:, None])
    assert (tokens[position >= lengths[:, None]] == 0).all()
    assert torch.equal(ended.sum(1).bool(), tokens.gather(1, lengths[:, None] - 1).squeeze(1) == 0)
    assert (lengths[~ended.any(1)] == 12).all()
    assert 0 < ended.any(1).sum() < 300


@torch.no_grad()
def test_inverse_cdf_has_the_distribution() -> None:
    weights = torch.rand(1, V, generator=torch.Generator().manual_seed(0)) ** 4
    weights[0, [0, 5, 64, V - 1]] = 0
    count = 200_000
    tokens = drawing.inverse_cdf(weights.expand(count, -1), Noise(3, torch.arange(count)).uniform("u", 1)[:, 0])
    expected = (weights / weights.sum())[0].double() * count
    found = tokens.bincount(minlength=V).double()
    assert (found[expected == 0] == 0).all()
    some = expected > 5
    chi_square = ((found - expected)[some].square() / expected[some]).sum().item()
    degrees = int(some.sum()) - 1
    assert abs(chi_square - degrees) < 4 * (2 * degrees) ** 0.5


@pytest.mark.parametrize("uniform", [2**-24, 0.5, 1 - 2**-24])
def test_inverse_cdf_never_takes_a_token_without_weight(uniform: float) -> None:
    for only in (0, 63, 64, 100, V - 1):
        weights = torch.zeros(1, V)
        weights[0, only] = 0.1
        assert drawing.inverse_cdf(weights, torch.tensor([uniform])).item() == only


@torch.no_grad()
def test_greedy_takes_the_most_probable_token() -> None:
    generator = make()
    tokens, lengths, _ = draw(generator, uniforms(4), temperature=0, suppress=(0,))
    features, _ = generator(torch.nn.functional.pad(tokens, (1, -1)))
    logits = generator.logits(features)
    logits[..., 0] = -torch.inf
    assert torch.equal(logits.argmax(-1), tokens)
    assert (lengths == 12).all()


@torch.no_grad()
def test_temperature_divides_the_logits() -> None:
    generator = make()
    divided = make()
    divided.load_state_dict(generator.state_dict())
    divided.output_weight = torch.nn.Parameter(generator.output_matrix / 0.7)
    divided.output_bias.div_(0.7)
    assert_same(draw(generator, uniforms(50), temperature=0.7), draw(divided, uniforms(50)))


@pytest.mark.parametrize(("top_k", "top_p"), [(5, None), (None, 0.4), (9, 0.5), (V + 5, None), (1, 0.01)])
@torch.no_grad()
def test_truncated_draws_never_leave_their_set(top_k: int | None, top_p: float | None) -> None:
    generator = make()
    tokens, lengths, _ = draw(generator, uniforms(200), top_k=top_k, top_p=top_p, suppress=(3,))
    features, _ = generator(torch.nn.functional.pad(tokens, (1, -1)))
    logits = generator.logits(features)
    logits[..., 3] = -torch.inf
    for row, length in enumerate(lengths.tolist()):
        for t in range(length):
            values, order = logits[row, t].sort(descending=True)
            probabilities = values[: top_k or V].double().softmax(-1)
            allowed = len(probabilities)
            if top_p is not None:
                allowed = int((probabilities.cumsum(-1) - probabilities < top_p - 1e-6).sum())
            assert tokens[row, t] in order[:allowed]


def test_suppressed_tokens_are_never_drawn() -> None:
    tokens, lengths, _ = draw(make(), uniforms(300), suppress=(0, 1, 2))
    assert (tokens > 2).all()
    assert (lengths == 12).all()


def test_a_prompt_continues_from_where_it_leads() -> None:
    generator = make()
    tokens, _, _ = draw(generator, uniforms(8), suppress=(0,))
    first = draw(generator, uniforms(8)[:1], suppress=(0,))
    prompt = (0, *first.tokens_BT[0, :5].tolist())
    continued = draw(generator, uniforms(8)[:1, 5:], prompt=prompt, suppress=(0,))
    assert torch.equal(continued.tokens_BT[0], tokens[0, 5:])
