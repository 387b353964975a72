"""The kinds of discriminator, by their word in a job file; for what a kind is, see the generators."""

from lstmgan_dist.models.discriminators.convolutional import ConvolutionalKind
from lstmgan_dist.models.discriminators.hidden_states import HiddenStatesKind
from lstmgan_dist.models.discriminators.lstm import LSTMDiscriminatorKind

DISCRIMINATORS = {
    "lstm": LSTMDiscriminatorKind,
    "convolutional": ConvolutionalKind,
    "hidden_states": HiddenStatesKind,
}
