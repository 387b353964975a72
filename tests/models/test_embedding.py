"""An embedding of which some dimensions are learnt, and the others are word vectors that never move."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lstmgan_dist.adversarial.discrimination import DiscriminatorObjective
from lstmgan_dist.adversarial.losses import LOSSES
from lstmgan_dist.models.discriminators.lstm import LSTMDiscriminatorKind
from lstmgan_dist.models.discriminators.lstm_network import LSTMDiscriminator
from lstmgan_dist.models.embedding import PartlyFixedEmbedding
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.models.vectors import Vectors
from tests.adversarial.game import (
    MAX_LENGTH,
    V,
    gradients_of,
    make_generator,
    make_objective,
    noise_of,
    sentences,
    update,
)

E, LEARNT = 6, 2


def generator_of_vectors() -> Generator:
    return make_generator(embedding=E, trainable_dimensions=LEARNT, pretrained_vectors="corpus", layers=2)


def discriminator_of_vectors() -> LSTMDiscriminator:
    kind = LSTMDiscriminatorKind(
        scores="per_token", embedding=E, embedding_from_generator=True, trainable_dimensions=LEARNT, hidden=8
    )
    return kind.build(vocabulary_size=V, generator_hidden=0, seed=1)


def fixed_part(network: Generator | LSTMDiscriminator) -> PartlyFixedEmbedding:
    assert isinstance(network.embedding, PartlyFixedEmbedding)
    return network.embedding


def as_one_matrix(generator: Generator) -> Generator:
    """The same numbers in a generator of which all is learnt."""
    whole = make_generator(embedding=E, layers=2)
    weights = {name: tensor for name, tensor in generator.state_dict().items() if not name.startswith("embedding.")}
    whole.load_state_dict(weights | {"embedding.weight": generator.embedding.weight})
    return whole


def test_the_tied_output_multiplies_by_both_parts() -> None:
    generator, text = generator_of_vectors(), sentences()
    features, _ = generator(text.inputs_BT)
    both_VE = torch.cat([fixed_part(generator).vectors, fixed_part(generator).learnt], dim=1)
    torch.testing.assert_close(generator.logits(features), features @ both_VE.T + generator.output_bias)


@pytest.mark.parametrize("name", ["likelihood", "score_function", "relaxed"])
def test_it_learns_as_one_of_which_the_other_dimensions_have_no_gradient(name: str) -> None:
    """Text is drawn alike, too: the loss is the same."""
    found: list[tuple[float, dict[str, Tensor]]] = []
    for generator in (generator_of_vectors(), as_one_matrix(generator_of_vectors())):
        discriminator = discriminator_of_vectors()
        objective = make_objective(name, "probability", "per_token", generator, discriminator)
        schedules = {"inverse_temperature": 1.7} if name == "relaxed" else {}
        loss, _, gradients = update(
            objective, generator, discriminator, sentences(), noise_of(), units=2, schedules=schedules
        )
        found.append((loss, gradients))
    (loss, gradients), (expected_loss, expected) = found
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    expected["embedding.learnt"] = expected.pop("embedding.weight")[:, E - LEARNT :]
    assert gradients.keys() == expected.keys()
    for gradient, wanted in zip(gradients.values(), (expected[name] for name in gradients), strict=True):
        torch.testing.assert_close(gradient, wanted, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("units", [2, 4])
def test_a_discriminator_learns_the_same_in_any_number_of_units(units: int) -> None:
    generator, found = generator_of_vectors(), []
    for count in (1, units):
        discriminator = discriminator_of_vectors()
        objective = DiscriminatorObjective(discriminator, LOSSES["probability"], max_length=MAX_LENGTH)
        found.append(update(objective, discriminator, generator, sentences(), noise_of(), units=count)[2])
    assert "embedding.learnt" in found[0]
    for name in found[0]:
        torch.testing.assert_close(found[0][name], found[1][name], atol=1e-6, rtol=1e-4)


def test_no_optimiser_is_told_of_the_fixed_part() -> None:
    """So neither momentum nor weight decay moves it."""
    generator = generator_of_vectors()
    before, learnt = fixed_part(generator).vectors.clone(), fixed_part(generator).learnt.detach().clone()
    optimizer = torch.optim.AdamW(generator.parameters(), lr=0.1, weight_decay=0.5)
    for _ in range(2):
        features, _ = generator(sentences().inputs_BT)
        F.cross_entropy(generator.logits(features).flatten(0, 1), sentences().targets_BT.flatten()).backward()
        optimizer.step()
    assert "embedding.vectors" not in gradients_of(generator)
    assert torch.equal(fixed_part(generator).vectors, before)
    assert not torch.isclose(fixed_part(generator).learnt, learnt).any()


def test_word_vectors_take_the_place_of_the_fixed_part_alone() -> None:
    generator = generator_of_vectors()
    embedding, found_V = fixed_part(generator), torch.arange(V) % 3 > 0
    before, learnt = embedding.vectors.clone(), embedding.learnt.detach().clone()
    vectors_VP = torch.randn(V, E - LEARNT) * found_V[:, None]
    Vectors(vectors_VP, found_V).copy_to(embedding.pretrained)
    assert torch.equal(embedding.vectors[~found_V], before[~found_V])
    directions = F.normalize(embedding.vectors[found_V], dim=1), F.normalize(vectors_VP[found_V], dim=1)
    torch.testing.assert_close(*directions)
    assert torch.equal(embedding.learnt, learnt)
    discriminator = discriminator_of_vectors()
    with torch.no_grad():
        discriminator.embedding.copy_(embedding.weight)
    assert torch.equal(fixed_part(discriminator).vectors, embedding.vectors)
