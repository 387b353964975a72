"""The same bits on one process and on any number of workers, in every phase, whatever happens to the workers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from lstmgan_dist.config import Job
from lstmgan_dist.runs.train import train_on_worker
from lstmgan_dist.runtime.distributed import DistributedRuntime
from lstmgan_dist.runtime.signals import StopRequest
from lstmgan_dist.training.run import Run, prepared_corpus
from lstmgan_dist.training.run_log import read_metrics
from tests.bare_workers import side_by_side
from tests.training.comparison import everything_in, final_state
from tests.training.tiny_jobs import CONTINUOUS, SENTENCES, job_of, run_job

CPU = torch.device("cpu")
BATCH = ("batch={size: 16, lanes: 8, units: 8}", "evaluate.every=50 steps", "checkpoint.every=10 steps")
ANSWERS = "source: TALK, heldout_fraction: 0.2, max_length: 12, column: answer, source_column: said"
LSTM = "discriminator={kind: lstm, scores: SCORES, embedding: 8, hidden: 8, dropout: 0.1}"
CONVOLUTIONAL = (
    "discriminator={kind: convolutional, embedding: 8, representations: 4, filters: {2: 3, 3: 4}, dense: 6, "
    "dropout: 0.2, spectral_norm: true}"
)


# In a phase. 200 take half an hour: LSTMGAN_UPDATES=200 pytest tests/training/test_exactness.py
UPDATES = int(os.environ.get("LSTMGAN_UPDATES", "6"))
WORKERS = (1, 2, 3, 4, 8)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(100 * UPDATES)]


def phases(*settings: str) -> str:
    """A few steps of likelihood, then more of each."""
    long = (f"{{kind: {setting}, steps: {UPDATES}}}" for setting in settings)
    return f"phases=[{', '.join(['{kind: likelihood, steps: 5}', *long])}]"


LIKELIHOOD = "scheduled_sampling: {probability: 0.5, passes: 2}, optimizer: {average_decay: 0.9}"

# Every kind of phase, estimator, discriminator and generator; dropout, baselines, regularisers, and losses that pair
# texts or compare each with all; labels, and what texts answer.
JOBS: dict[str, tuple[str, tuple[str, ...]]] = {
    "likelihood, one long text": (CONTINUOUS, (f"phases=[{{kind: likelihood, steps: {UPDATES}, {LIKELIHOOD}}}]",)),
    "criteria, one long text": (
        CONTINUOUS,
        (phases("likelihood, criterion: {kind: unlikelihood}", "likelihood, criterion: {kind: mixce}"),),
    ),
    "rewards of tokens": (
        SENTENCES,
        (
            f"corpus={{{ANSWERS}, label_column: mood}}",
            LSTM.replace("SCORES", "per_token"),
            phases(
                "discriminator, loss: probability, regulariser: {kind: gradient_penalty}",
                "adversarial, loss: probability, likelihood_weight: 0.1, discriminator_updates: 2, "
                "history: {share: 0.5, every: 2}, estimator: "
                "{kind: score_function, credit: discounted, discount: 0.5, baseline: {kind: per_position}, "
                "exploration: {temperature: 0.7, nucleus: {top_p: 0.9}}}",
            ),
        ),
    ),
    "rewards of sentences": (
        SENTENCES,
        (
            LSTM.replace("SCORES", "per_sentence"),
            "generator={kind: relational_memory, slots: 2, head_size: 6, embedding: 8, softmaxes: 2}",
            phases(
                "adversarial, loss: relativistic, estimator: {kind: score_function, credit: rollouts, rollouts: 2}",
                "adversarial, estimator: {kind: normalised_weights, baseline: {start: 0, end: 1}}",
                "adversarial, loss: relativistic, start_penalty: 0.1, "
                "estimator: {kind: score_function, baseline: {kind: group, drafts: 2}, proximal: {every: 2}}",
            ),
        ),
    ),
    "softened samples": (
        SENTENCES,
        (
            f"corpus={{{ANSWERS}}}",
            CONVOLUTIONAL,
            "generator.latent={size: 3}",
            phases(
                "discriminator, loss: relativistic_average, regulariser: {kind: real_gradient}",
                "adversarial, loss: relativistic_average, estimator: {kind: gumbel_softmax}",
                "adversarial, loss: relativistic, estimator: {kind: gumbel_softmax, straight_through: true}",
                "adversarial, loss: relativistic, estimator: {kind: gumbel_softmax, soft_for_discriminator: true}",
                "adversarial, loss: ranking, estimator: {kind: score_function, credit: rollouts, rollouts: 2}",
                "adversarial, loss: feature_matching, estimator: {kind: gumbel_softmax}",
                "adversarial, loss: reverse_kl, estimator: {kind: taylor, bandwidth: 2, entropy_weight: 0.02}",
            ),
        ),
    ),
    "a critic of growing texts": (
        SENTENCES,
        (
            f"corpus={{{ANSWERS}}}",
            LSTM.replace("SCORES", "per_sentence"),
            phases(
                "discriminator, loss: wasserstein, shown: distributions, text_length: 4",
                "adversarial, loss: wasserstein, estimator: {kind: softmax}, discriminator_updates: 2, text_length: "
                "{start: 1, end: 12}, regulariser: {kind: token_gradient_penalty, weight: 10}",
            ),
        ),
    ),
    "a mediator": (
        SENTENCES,
        (
            f"corpus={{{ANSWERS}, label_column: mood}}",
            "discriminator={kind: mediator, language_model: {embedding: 8, hidden: 10, dropout: 0.2}}",
            phases(
                "cooperative, mediator_updates: 2, likelihood_weight: 0.1, generator_optimizer: {average_decay: 0.9}"
            ),
        ),
    ),
    "classes, and vectors that stay": (
        SENTENCES,
        (
            f"corpus={{{ANSWERS}, label_column: mood}}",
            "generator={embedding: 8, hidden: 12, layers: 2, pretrained_vectors: corpus, trainable_dimensions: 3}",
            "discriminator={kind: multi_class, embedding: 8, embedding_from_generator: true, trainable_dimensions: 3, "
            "hidden: 8, bidirectional: true, dropout: 0.1}",
            phases("adversarial, loss: penalty, estimator: {kind: score_function, weighs: probability}"),
        ),
    ),
    "manager and worker": (
        SENTENCES,
        (
            f"corpus={{{ANSWERS}}}",
            CONVOLUTIONAL,
            "generator={kind: leak, embedding: 8, hidden: 6, manager_hidden: 5, goal_size: 3, horizon: 2, "
            "dropout: 0.1, leaked: {embedding: 8, representations: 4, filters: {2: 3, 3: 4}}}",
            phases(
                "adversarial, loss: probability, likelihood_weight: 0.1, estimator: {kind: feudal}",
                "adversarial, loss: relativistic, estimator: {kind: feudal, worker_reward: intrinsic, steepness: null}",
            ),
        ),
    ),
    "hidden states": (
        SENTENCES,
        (
            "discriminator={kind: hidden_states, hidden: 6, dense: 5, dropout: 0.1}",
            phases("adversarial, loss: non_saturating, estimator: {kind: professor_forcing}"),
        ),
    ),
}


class StoppingWorker(DistributedRuntime):
    """Asks to stop after so many steps; never if there are none."""

    def __init__(self, steps: int | None) -> None:
        super().__init__(CPU, lambda: StopRequest.NONE)
        self.steps_left = steps or 10**9

    def stop_request(self) -> StopRequest:
        self.steps_left -= 1
        return StopRequest.STOP if self.steps_left <= 0 else StopRequest.NONE


def _work(rank: int, workers: int, meeting: str, runs: list[tuple[str, Job]], steps: int | None) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=workers)
    for url, job in runs:
        train_on_worker(url, job, StoppingWorker(steps), lambda message: None)
    dist.destroy_process_group()


def train_together(jobs: dict[Path, Job], *, workers: int, steps: int | None = None) -> None:
    """Train each job in its folder, on so many processes of one thread, for so many steps or to its end."""
    for folder, job in jobs.items():
        Run.create_or_resume(str(folder), job, prepared_corpus(job.corpus, str(folder), lambda progress: None))
    first = next(iter(jobs))
    meeting = first.with_name(f".{first.name}-{workers}-{steps}.meeting")
    runs = [(str(url), job) for url, job in jobs.items()]
    side_by_side(_work, workers, str(meeting), runs, steps, workers=workers)


@pytest.fixture(scope="module")
def jobs(text, talk) -> dict[str, Job]:
    def of(template: str, settings: tuple[str, ...]) -> Job:
        return job_of(template, text, *BATCH, *(setting.replace("TALK", str(talk)) for setting in settings))

    return {name: of(*job) for name, job in JOBS.items()}


@pytest.fixture(scope="module")
def alone(jobs, tmp_path_factory) -> dict[str, Path]:
    """What one process leaves, which has as many threads as this machine has cores."""
    folder = tmp_path_factory.mktemp("alone")
    for name, job in jobs.items():
        run_job(job, folder / name)
    return {name: folder / name for name in jobs}


@pytest.mark.parametrize("workers", WORKERS)
def test_every_file_of_a_run_is_that_of_one_process(workers, jobs, alone, tmp_path):
    train_together({tmp_path / name: job for name, job in jobs.items()}, workers=workers)
    for name in jobs:
        expected, found = everything_in(alone[name]), everything_in(tmp_path / name)
        assert found.keys() == expected.keys()
        differ = [file for file in expected if found[file] != expected[file]]
        assert not differ, (name, workers)


def test_a_run_that_changes_its_workers_on_the_way_is_that_of_one_process(jobs, alone, tmp_path):
    names = ("rewards of tokens", "likelihood, one long text")
    for workers, steps in ((4, 3), (2, 4), (3, 5), (1, None)):
        train_together({tmp_path / name: jobs[name] for name in names}, workers=workers, steps=steps)
    for name in names:
        assert final_state(tmp_path / name) == final_state(alone[name])


def test_a_long_game_never_parts(text, tmp_path):
    estimator = "{kind: score_function, credit: discounted, baseline: {kind: moving_average}}"
    game = f"phases=[{{kind: likelihood, steps: 50}}, {{kind: adversarial, steps: 500, estimator: {estimator}}}]"
    job = job_of(SENTENCES, text, "batch={size: 8, lanes: 2, units: 2}", game, "evaluate.every=100 steps")
    run_job(job, tmp_path / "alone")
    train_together({tmp_path / "together": job}, workers=2)
    assert read_metrics(Run.open(str(tmp_path / "alone")).folder)[-1]["step"] == 550, "1,000 updates of the game"
    assert everything_in(tmp_path / "together") == everything_in(tmp_path / "alone")
