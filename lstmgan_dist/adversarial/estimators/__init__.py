"""The kinds of estimator, by their word in a job file.

A kind is its settings, which any command can read, with the objective that is made from them; what computes stands
beside it in `<kind>_objective.py`, which is opened when a phase begins.
"""

from lstmgan_dist.adversarial.estimators.feudal import Feudal
from lstmgan_dist.adversarial.estimators.gumbel_softmax import GumbelSoftmax
from lstmgan_dist.adversarial.estimators.normalised_weights import NormalisedWeights
from lstmgan_dist.adversarial.estimators.professor_forcing import ProfessorForcing
from lstmgan_dist.adversarial.estimators.score_function import ScoreFunction
from lstmgan_dist.adversarial.estimators.softmax import Softmax
from lstmgan_dist.adversarial.estimators.taylor import Taylor

ESTIMATORS = {
    "score_function": ScoreFunction,
    "gumbel_softmax": GumbelSoftmax,
    "normalised_weights": NormalisedWeights,
    "softmax": Softmax,
    "professor_forcing": ProfessorForcing,
    "feudal": Feudal,
    "taylor": Taylor,
}
