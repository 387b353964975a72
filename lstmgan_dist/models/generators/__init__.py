"""The kinds of generator, by their word in a job file.

A kind is its settings, which any command can read, with how a network is built from them and what that costs; what
computes stands beside it in `<kind>_network.py`, which is opened when a network is built.
"""

from lstmgan_dist.models.generators.leak import LeakKind
from lstmgan_dist.models.generators.lstm import LSTMGeneratorKind
from lstmgan_dist.models.generators.mogrifier import MogrifierKind
from lstmgan_dist.models.generators.relational_memory import RelationalMemoryKind

GENERATORS = {
    "lstm": LSTMGeneratorKind,
    "relational_memory": RelationalMemoryKind,
    "leak": LeakKind,
    "mogrifier": MogrifierKind,
}
