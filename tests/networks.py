"""Small networks, by the settings of their kinds; what is not named has its default."""

from typing import Any

from lstmgan_dist.models.discriminators.convolutional import ConvolutionalKind
from lstmgan_dist.models.discriminators.convolutional_network import ConvolutionalDiscriminator
from lstmgan_dist.models.discriminators.lstm import LSTMDiscriminatorKind
from lstmgan_dist.models.discriminators.lstm_network import LSTMDiscriminator
from lstmgan_dist.models.generators.lstm import LSTMGeneratorKind
from lstmgan_dist.models.generators.lstm_network import LSTMGenerator


def lstm_generator(vocabulary_size: int, *, seed: int = 0, **settings: Any) -> LSTMGenerator:
    return LSTMGeneratorKind(**settings).build(vocabulary_size=vocabulary_size, seed=seed)


def lstm_discriminator(vocabulary_size: int, *, seed: int = 0, **settings: Any) -> LSTMDiscriminator:
    return LSTMDiscriminatorKind(**settings).build(vocabulary_size=vocabulary_size, generator_hidden=0, seed=seed)


def convolutional_discriminator(vocabulary_size: int, *, seed: int = 0, **settings: Any) -> ConvolutionalDiscriminator:
    return ConvolutionalKind(**settings).build(vocabulary_size=vocabulary_size, generator_hidden=0, seed=seed)
