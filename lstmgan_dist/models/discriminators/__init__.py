"""The kinds of discriminator, by their word in a job file; for what a kind is, see the generators.

To add one: a file with its settings and one with its network, and a line here; adversarial/README.md has an example.
"""

from lstmgan_dist.models.discriminators.convolutional import ConvolutionalKind
from lstmgan_dist.models.discriminators.hidden_states import HiddenStatesKind
from lstmgan_dist.models.discriminators.lstm import LSTMDiscriminatorKind
from lstmgan_dist.models.discriminators.mediator import MediatorKind
from lstmgan_dist.models.discriminators.multi_class import MultiClassKind

DISCRIMINATORS = {
    "lstm": LSTMDiscriminatorKind,
    "convolutional": ConvolutionalKind,
    "hidden_states": HiddenStatesKind,
    "mediator": MediatorKind,
    "multi_class": MultiClassKind,
}
