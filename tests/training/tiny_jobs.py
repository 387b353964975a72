"""Jobs so small that a whole run takes a second, with every kind of phase in them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from rich.console import Console

from lstmgan_dist.config import Job, parse_job
from lstmgan_dist.models.discriminators import DISCRIMINATORS
from lstmgan_dist.models.generators import GENERATORS
from lstmgan_dist.runs.train import train
from lstmgan_dist.runtime.local import LocalRuntime
from lstmgan_dist.runtime.signals import StopRequest
from lstmgan_dist.training.progress import Score
from lstmgan_dist.training.run import Run, prepared_corpus
from lstmgan_dist.training.screen import Terminal
from lstmgan_dist.training.trainer import Outcome

SENTENCES = """
name: tiny
seed: 3
corpus: {source: SOURCE, heldout_fraction: 0.2, max_length: 12}
batch: {size: 8, lanes: 4, units: 4}
generator: {embedding: 8, hidden: 12, dropout: 0.2}
discriminator: {kind: lstm, scores: per_token, embedding: 8, hidden: 8, dropout: 0.1}
phases:
  - kind: likelihood
    steps: 6
    finish_with: best
    optimizer: {learning_rate: {start: 1e-2, end: 1e-3}, warmup_steps: 2}
  - {kind: discriminator, steps: 5}
  - kind: adversarial
    steps: 6
    discriminator_updates: 2
    loss: probability
    estimator: {kind: score_function, credit: discounted, discount: 0.5, baseline: {kind: per_position}}
    likelihood_weight: 0.1
evaluate: {every: 4 steps, samples: 16, show: 2, heldout_sequences: 40}
checkpoint: {every: 3 steps, keep: 2}
log: {every: 2 steps}
"""

GUMBEL = """
  - kind: adversarial
    steps: 6
    loss: relativistic
    estimator: {kind: gumbel_softmax, inverse_temperature: {start: 1, end: 10, shape: exponential}}
"""

# Every kind of phase, and a loss that works with either kind of score.
GAMES = SENTENCES.replace("evaluate:", GUMBEL.lstrip("\n").replace("relativistic", "cross_entropy") + "evaluate:")

CONTINUOUS = """
name: tiny-text
seed: 3
corpus: {source: SOURCE, heldout_fraction: 0.2, layout: continuous, max_length: 10, tokenizer: {kind: character}}
batch: {size: 8, lanes: 4, units: 4}
generator: {embedding: 8, hidden: 12, dropout: {output: 0.2, weight: 0.1}}
phases:
  - {kind: likelihood, epochs: 2}
evaluate: {every: 4 steps, show: 2, sample_length: 20, prompt: the}
checkpoint: {every: 3 steps, keep: 2}
log: {every: 2 steps}
"""


# By block of a job, whatever its kind.
_CONVOLUTIONS = {"embedding": 8, "representations": 4, "filters": {2: 3, 3: 4}}
SIZES = {
    "generator": {"embedding": 8, "hidden": 12, "head_size": 6, "manager_hidden": 10, "leaked": _CONVOLUTIONS},
    "discriminator": {"hidden": 8, "dense": 6, **_CONVOLUTIONS},
}


def small_sizes(block: str, kind: str, given: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """What a kind of generator or discriminator has of the settings that make any kind small.

    given: its settings, of which some have a size only where they are used.
    """
    kinds = {"generator": GENERATORS, "discriminator": DISCRIMINATORS}[block]
    sizes = {name: size for name, size in SIZES[block].items() if name in kinds[kind].model_fields}
    return sizes | ({"trainable_dimensions": 3} if given.get("trainable_dimensions") else {})


def job_of(template: str, text, *overrides: str) -> Job:
    """A job whose source is the text."""
    return parse_job(template.replace("SOURCE", str(text)), name="tiny.yaml", overrides=overrides)


class StoppingRuntime(LocalRuntime):
    """Asks to stop after so many steps."""

    def __init__(self, device, steps):
        super().__init__(device)
        self.steps_left = steps

    def stop_request(self):
        self.steps_left -= 1
        return StopRequest.STOP if self.steps_left <= 0 else StopRequest.NONE


def run_job(job, folder, *, runtime=None, device="cpu"):
    """Train a job in a folder, from wherever that stands."""
    corpus = prepared_corpus(job.corpus, str(folder), lambda progress: None, job.storage)
    run = Run.create_or_resume(str(folder), job, corpus)
    outcome = train(run, corpus, runtime or LocalRuntime(torch.device(device)), Terminal(Console(quiet=True)))
    return run, outcome


def run_in_pieces(job, folder, *, steps, device="cpu"):
    """Train a job that is stopped and resumed every so many steps."""
    finished = False
    while not finished:
        _, outcome = run_job(job, folder, runtime=StoppingRuntime(torch.device(device), steps))
        finished = outcome.finished


def best_of(outcome: Outcome, phase: int | None = None) -> Score:
    """The best score of the last phase of a run that was evaluated, or of an ended one."""
    progress = outcome.progress
    best = progress.best_of_last_phase if phase is None else progress.ended[phase].best
    assert best is not None
    return best
