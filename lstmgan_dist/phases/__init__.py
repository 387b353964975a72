"""The kinds of phase, by their word in a job file.

A kind is its settings, which any command can read, with who learns in it and how a round goes.
"""

from lstmgan_dist.phases.adversarial import AdversarialPhase
from lstmgan_dist.phases.cooperative import CooperativePhase
from lstmgan_dist.phases.discriminator import DiscriminatorPhase
from lstmgan_dist.phases.likelihood import LikelihoodPhase

PHASES = {
    "likelihood": LikelihoodPhase,
    "discriminator": DiscriminatorPhase,
    "adversarial": AdversarialPhase,
    "cooperative": CooperativePhase,
}
