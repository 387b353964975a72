"""Scores of all kinds, whatever their network.

For models/discriminators/lstm.py, models/discriminators/lstm_network.py with models/bidirectional.py,
models/discriminators/convolutional.py, models/discriminators/convolutional_network.py,
models/spectral.py and models/padding.py.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lstmgan_dist.models.discriminator import TokenReader
from lstmgan_dist.models.discriminators import convolution_on_cpu
from lstmgan_dist.models.discriminators.convolutional_network import ConvolutionalDiscriminator
from lstmgan_dist.models.spectral import of_norm_1
from lstmgan_dist.runtime.randomness import Noise
from tests.networks import convolutional_discriminator, lstm_discriminator

V, B, T = 31, 6, 9
LENGTHS = torch.tensor([9, 1, 2, 4, 7, 9])
KINDS = {
    "per token": lambda: lstm_discriminator(
        V, scores="per_token", embedding=8, hidden=8, layers=2, layer_norm=True, position_features=4
    ),
    "per sentence": lambda: lstm_discriminator(
        V, scores="per_sentence", embedding=8, hidden=8, layers=2, bidirectional=True, dropout=0.3
    ),
    "bidirectional per token": lambda: lstm_discriminator(
        V, scores="per_token", embedding=8, hidden=8, bidirectional=True, dropout=0.3
    ),
    "convolutional": lambda: convolutional_discriminator(V, embedding=8, filters={3: 5, 2: 4}, dropout=0.3),
    "one-dimensional representations": lambda: convolutional_discriminator(
        V, embedding=8, representations=8, filters={2: 4, 3: 5, 5: 3}, dropout=0.3
    ),
    "spectrally normalised": lambda: convolutional_discriminator(
        V, embedding=8, representations=8, filters={2: 4, 3: 5}, dropout=0.3, spectral_norm=True
    ),
    "convolutional without highway and dense": lambda: convolutional_discriminator(
        V, embedding=8, representations=4, filters={2: 4}, highway=False, dense=0, dropout=0.3
    ),
}


@pytest.fixture(params=KINDS.values(), ids=list(KINDS))
def discriminator(request: pytest.FixtureRequest) -> TokenReader:
    return request.param()


def text() -> Tensor:
    return torch.randint(0, V, (B, T), generator=torch.Generator().manual_seed(1))


def test_padding_never_changes_a_score_nor_its_gradient(discriminator: TokenReader) -> None:
    noise = Noise(1, torch.arange(B))
    valid = torch.arange(T) < LENGTHS[:, None]
    results = []
    for padding in (0, 5):
        embedded = discriminator.embed(text().where(valid, padding)).detach().requires_grad_()
        scores = discriminator(embedded, LENGTHS, noise=noise)
        (gradient,) = torch.autograd.grad(scores.square().sum(), embedded)
        assert (gradient[~valid] == 0).all()
        results.append((scores, gradient))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)
    wider = F.pad(text(), (0, 4), value=3)
    scores = discriminator(discriminator.embed(wider), LENGTHS, noise=noise)
    expected = results[0][0]
    per_token = discriminator.scores == "per_token"
    torch.testing.assert_close(scores[:, :T] if per_token else scores, expected, atol=1e-6, rtol=1e-5)
    if per_token:
        assert (scores[:, T:] == 0).all()
        assert (scores[:, :T][~valid] == 0).all()


def test_a_row_is_scored_the_same_alone_and_in_a_batch(discriminator: TokenReader) -> None:
    noise = Noise(1, torch.arange(B))
    together = discriminator(discriminator.embed(text()), LENGTHS, noise=noise)
    for row in range(B):
        one = slice(row, row + 1)
        alone = discriminator(discriminator.embed(text()[one]), LENGTHS[one], noise=noise.part(one))
        torch.testing.assert_close(alone[0], together[row], atol=1e-6, rtol=1e-5)


def test_a_certain_distribution_embeds_like_its_token(discriminator: TokenReader) -> None:
    tokens = text().flatten()
    torch.testing.assert_close(
        discriminator.embed_distribution(F.one_hot(tokens, V).float()),
        discriminator.embed(tokens),
        atol=1e-6,
        rtol=1e-5,
    )


def test_dropout_depends_on_the_noise_alone(discriminator: TokenReader) -> None:
    embedded = discriminator.embed(text())
    torch.testing.assert_close(discriminator(embedded, LENGTHS), discriminator.eval()(embedded, LENGTHS))
    first, second = (discriminator(embedded, LENGTHS, noise=Noise(key, torch.arange(B))) for key in (1, 2))
    has_dropout = discriminator.dropout > 0  # type: ignore[operator]
    assert torch.allclose(first, second) != has_dropout


def test_every_parameter_has_a_gradient(discriminator: TokenReader) -> None:
    discriminator(discriminator.embed(text()), LENGTHS, noise=Noise(1, torch.arange(B))).sum().backward()
    for name, parameter in discriminator.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_the_same_seed_gives_the_same_weights(discriminator: TokenReader, request: pytest.FixtureRequest) -> None:
    again = KINDS[request.node.callspec.id]()
    torch.rand(1)
    for one, other in zip(discriminator.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_scores_of_tokens_read_left_to_right_do_not_know_the_future() -> None:
    discriminator = KINDS["per token"]()
    changed = text()
    changed[:, 5:] = 7
    one, other = (discriminator(discriminator.embed(tokens), torch.full((B,), T)) for tokens in (text(), changed))
    assert torch.equal(one[:, :5], other[:, :5])
    assert not torch.allclose(one[:, 5:], other[:, 5:])


def test_bidirectional_reads_the_sentence_backwards_from_its_own_end() -> None:
    discriminator = lstm_discriminator(V, scores="per_sentence", embedding=8, hidden=8, bidirectional=True)
    forwards, backwards = next(discriminator.directions())
    scores = discriminator(discriminator.embed(text()), LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        embedded = discriminator.embed(text()[row : row + 1, :length])
        _, (ahead, _) = forwards.read(embedded)
        _, (back, _) = backwards.read(embedded.flip(1))
        expected = discriminator.output(torch.cat([ahead, back], dim=-1)).squeeze()
        torch.testing.assert_close(scores[row], expected, atol=1e-6, rtol=1e-5)


def reference_scores(discriminator: ConvolutionalDiscriminator, embedded_BTE: Tensor, noise: Noise | None) -> Tensor:
    """RelGAN's discriminator by nn.functional alone, one sentence and one representation at a time."""
    sentences = []
    keep = None
    features = sum(len(bias) for bias in discriminator.biases)
    if noise is not None:
        keep = noise.keep("features", discriminator.representations, features, dropout=discriminator.dropout)
    for row, length in enumerate(LENGTHS.tolist()):
        scores = []
        for number, part in enumerate(embedded_BTE[row, :length].chunk(discriminator.representations, dim=1)):
            pooled = []
            for weight, bias in zip(discriminator.filters, discriminator.biases, strict=True):
                x = F.pad(part.T[None], (0, max(0, weight.shape[2] - length)))
                pooled.append(F.conv1d(x, weight, bias).relu().max(dim=2).values[0])
            x = torch.cat(pooled)
            highway = discriminator.highway
            if highway is not None:
                h = highway(x)
                x = h.sigmoid() * h.relu() + (1 - h.sigmoid()) * x
            if keep is not None:
                x = x * keep[row, number]
            if discriminator.dense is not None:
                x = discriminator.dense(x)
            scores.append(discriminator.output(x))
        sentences.append(torch.cat(scores))
    scores_BR = torch.stack(sentences)
    return scores_BR if discriminator.representations > 1 else scores_BR[:, 0]


@pytest.mark.parametrize("channels", [1, 2, 8])
@pytest.mark.parametrize("with_noise", [True, False])
def test_convolutional_scores_equal_plain_convolutions_with_their_gradients(
    channels: int, with_noise: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolution_on_cpu, "_TEXTS", 20)  # several slices
    discriminator = convolutional_discriminator(
        V, embedding=8, representations=8 // channels, filters={3: 5, 2: 4, 5: 7}, dropout=0.3, dense=6
    )
    with torch.no_grad():
        for bias in discriminator.biases:
            bias.normal_(generator=torch.Generator().manual_seed(3))
    noise = Noise(1, torch.arange(B)) if with_noise else None
    results = []
    for score in (
        lambda embedded: discriminator(embedded, LENGTHS, noise=noise),
        lambda embedded: reference_scores(discriminator, embedded, noise),
    ):
        scores = score(discriminator.embed(text()))
        results.append(
            (scores, torch.autograd.grad((scores * scores.detach()).sum(), list(discriminator.parameters())))
        )
    torch.testing.assert_close(results[0], results[1], atol=1e-5, rtol=1e-4)


def test_frozen_discriminator_passes_the_gradient_on_and_keeps_none() -> None:
    discriminator = KINDS["one-dimensional representations"]()
    embedded = discriminator.embed(text()).detach().requires_grad_()
    (expected,) = torch.autograd.grad(discriminator(embedded, LENGTHS).sum(), embedded)
    discriminator.requires_grad_(False)
    discriminator(embedded, LENGTHS).sum().backward()
    assert embedded.grad is not None
    torch.testing.assert_close(embedded.grad, expected)
    assert all(parameter.grad is None for parameter in discriminator.parameters())


def test_spectral_normalisation_divides_every_layer_by_its_largest_singular_value() -> None:
    """Miyato et al. 2018, equation 8: against singular values by decomposition, value and gradient of the scores."""
    settings = {"embedding": 8, "representations": 4, "filters": {2: 4, 3: 5}, "dense": 6}
    normal = convolutional_discriminator(V, **settings, spectral_norm=True)
    plain = convolutional_discriminator(V, **settings)
    layers = [name for name, weight in normal.named_parameters() if weight.dim() > 1 and name != "embedding.weight"]
    assert layers == ["filters.0", "filters.1", "highway.weight", "dense.weight", "output.weight"]
    weights = dict(normal.named_parameters())
    divided = {name: weight.detach().clone().requires_grad_() for name, weight in weights.items()}
    used = {
        name: weight / torch.linalg.matrix_norm(weight.flatten(1), ord=2) if name in layers else weight
        for name, weight in divided.items()
    }
    embedded = normal.embed(text()).detach()
    expected = torch.func.functional_call(plain, used, (embedded, LENGTHS))
    found = normal(embedded, LENGTHS)
    torch.testing.assert_close(found, expected, rtol=0.02, atol=1e-3)  # the power method stops near its end
    factors = torch.randn(found.shape, generator=torch.Generator().manual_seed(2))
    wanted = torch.autograd.grad((expected * factors).sum(), [divided[name] for name in layers])
    for one, other in zip(
        torch.autograd.grad((found * factors).sum(), [weights[name] for name in layers]), wanted, strict=True
    ):
        assert F.cosine_similarity(one.flatten(), other.flatten(), dim=0) > 0.99


def test_a_weight_of_norm_1_does_not_change_with_its_scale_and_holds_no_state() -> None:
    weight = torch.randn(7, 3, 4, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(of_norm_1(100 * weight), of_norm_1(weight))
    assert torch.equal(of_norm_1(weight), of_norm_1(weight))
    assert torch.linalg.matrix_norm(of_norm_1(weight).flatten(1), ord=2).item() == pytest.approx(1, abs=0.02)
    settings = {"embedding": 8, "filters": {2: 4}}
    names = [set(convolutional_discriminator(V, **settings, spectral_norm=on).state_dict()) for on in (True, False)]
    assert names[0] == names[1]
