"""Both players, as a job describes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from lstmgan_dist import config
from lstmgan_dist.adversarial import credit, objectives
from lstmgan_dist.adversarial.losses import LOSSES
from lstmgan_dist.models.discriminators import ConvolutionalDiscriminator, Discriminator, LSTMDiscriminator
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.runtime.base import Runtime
from lstmgan_dist.runtime.randomness import derive
from lstmgan_dist.training.checkpoint import Checkpoint
from lstmgan_dist.training.players import Objective, Player


class Game:
    """The networks of a run, which last, and the players of the current phase, which are made anew with each phase."""

    def __init__(self, job: config.Job, vocabulary_size: int, runtime: Runtime) -> None:
        self._job = job
        self._runtime = runtime
        self.precision: Literal["fp32", "bf16"] = choose_precision(job.precision, runtime.device)
        self.generator = build_generator(job, vocabulary_size).to(runtime.device)
        self.discriminator: Discriminator | None = None
        if job.discriminator:
            self.discriminator = build_discriminator(job, vocabulary_size).to(runtime.device)
        self.players: dict[str, Player] = {}

    def begin_phase(self, number: int, steps: int) -> None:
        """Make the players of a phase, with fresh optimisers."""
        self.players = {}
        match self._job.phases[number]:
            case config.LikelihoodPhase() as phase:
                carries_state = self._job.corpus.layout == "continuous"
                objective = objectives.LikelihoodObjective(self.generator, carries_state=carries_state)
                self._add("generator", self.generator, objective, phase.optimizer, steps)
            case config.DiscriminatorPhase() as phase:
                self._add_discriminator(phase.loss, phase.optimizer, steps)
            case config.AdversarialPhase() as phase:
                self._add_discriminator(phase.loss, phase.discriminator_optimizer, steps)
                objective = self._generator_objective(phase)
                schedules = {}
                if isinstance(phase.estimator, config.GumbelSoftmax):
                    schedules = {"inverse_temperature": phase.estimator.inverse_temperature}
                self._add("generator", self.generator, objective, phase.generator_optimizer, steps, schedules)

    def _generator_objective(self, phase: config.AdversarialPhase) -> Objective:
        loss, max_length = LOSSES[phase.loss], self._job.corpus.max_length
        if isinstance(phase.estimator, config.GumbelSoftmax):
            return objectives.GumbelSoftmaxObjective(
                self.generator,
                loss,
                max_length=max_length,
                straight_through=phase.estimator.straight_through,
                likelihood_weight=phase.likelihood_weight,
            )
        return objectives.ScoreFunctionObjective(
            self.generator,
            loss,
            max_length=max_length,
            credit=_credit(phase.estimator),
            baseline=_baseline(phase.estimator.baseline, max_length),
            likelihood_weight=phase.likelihood_weight,
        )

    def _add_discriminator(self, loss: config.LossName, optimizer: config.Optimizer, steps: int) -> None:
        assert self.discriminator is not None
        objective = objectives.DiscriminatorObjective(
            self.discriminator, LOSSES[loss], max_length=self._job.corpus.max_length
        )
        self._add("discriminator", self.discriminator, objective, optimizer, steps)

    def _add(
        self,
        name: str,
        network: nn.Module,
        objective: Objective,
        optimizer: config.Optimizer,
        steps: int,
        schedules: Mapping[str, float | config.Schedule] | None = None,
    ) -> None:
        self.players[name] = Player(
            name,
            network,
            objective.to(self._runtime.device),
            optimizer,
            schedules=schedules or {},
            steps=steps,
            parts=self._job.batch.accumulate,
            precision=self.precision,
            synchronisation=self._job.synchronisation,
            runtime=self._runtime,
        )

    @torch.no_grad()
    def copy_embedding_to_discriminator(self) -> None:
        """Let the discriminator start from what the generator's embedding has become."""
        assert self.discriminator is not None
        self.discriminator.embedding.weight.copy_(self.generator.embedding.weight)

    @property
    def is_synchronised(self) -> bool:
        """Whether every worker has the same players; always, unless the job has them synchronise seldom."""
        return all(player.is_synchronised for player in self.players.values())

    def synchronise(self) -> None:
        """Give every worker the same players."""
        for player in self.players.values():
            player.synchronise()

    def state(self, rows_B: Tensor) -> dict[str, dict[str, Tensor]]:
        """Every tensor that a resumed run needs, by section; the same on every worker.

        rows_B: the rows of the global batch that are this worker's.
        """
        sections = {name: dict(network.state_dict()) for name, network in self.networks().items()}
        for name, player in self.players.items():
            sections[f"{name}-optimizer"] = player.optimizer_state()
            sections[f"{name}-memory"] = player.memory(rows_B)
        return sections

    def load_networks(self, checkpoint: Checkpoint) -> None:
        """Take both networks' weights from a checkpoint."""
        for name, network in self.networks().items():
            network.load_state_dict(checkpoint.load(name))

    def load_players(self, checkpoint: Checkpoint, rows_B: Tensor) -> None:
        """Take the optimisers and the memories of this worker's rows from a checkpoint of this phase."""
        for name, player in self.players.items():
            player.load_optimizer_state(checkpoint.load(f"{name}-optimizer"))
            player.load_memory(checkpoint.load(f"{name}-memory"), rows_B)

    def networks(self) -> dict[str, nn.Module]:
        networks: dict[str, nn.Module] = {"generator": self.generator}
        return networks | ({"discriminator": self.discriminator} if self.discriminator else {})


def build_generator(job: config.Job, vocabulary_size: int) -> Generator:
    """The job's generator, with its initial weights, on the CPU."""
    settings = job.generator
    return Generator(
        vocabulary_size=vocabulary_size,
        embedding=settings.embedding,
        hidden=settings.hidden,
        layers=settings.layers,
        tied=settings.tied,
        embedding_dropout=settings.dropout.embedding,
        between_dropout=settings.dropout.between,
        output_dropout=settings.dropout.output,
        weight_dropout=settings.dropout.weight,
        latent_size=settings.latent.size if settings.latent else 0,
        latent_feed=settings.latent.feed if settings.latent else "every_step",
        seed=derive(job.seed, "generator"),
    )


def build_discriminator(job: config.Job, vocabulary_size: int) -> Discriminator:
    """The job's discriminator, with its initial weights, on the CPU."""
    settings = job.discriminator
    assert settings is not None
    arguments = settings.model_dump(exclude={"kind", "embedding_from_generator"})
    seed = derive(job.seed, "discriminator")
    if isinstance(settings, config.LSTMDiscriminator):
        return LSTMDiscriminator(vocabulary_size=vocabulary_size, seed=seed, **arguments)
    del arguments["scores"]
    return ConvolutionalDiscriminator(vocabulary_size=vocabulary_size, seed=seed, **arguments)


def _credit(estimator: config.ScoreFunction) -> Callable[[Tensor, Tensor], Tensor]:
    if estimator.credit == "sentence":
        return credit.sentence
    return partial(credit.discounted, discount=estimator.discount)


def _baseline(settings: config.Baseline, max_length: int) -> nn.Module:
    match settings.kind:
        case "none":
            return credit.NoBaseline()
        case "moving_average":
            return credit.MovingAverage(decay=settings.decay)
        case "per_position":
            return credit.MovingAverage(decay=settings.decay, positions=max_length)


def choose_precision(wanted: Literal["auto", "fp32", "bf16"], device: torch.device) -> Literal["fp32", "bf16"]:
    """bf16 where it is faster: GPUs that compute in it. A CPU's LSTM in bf16 leaves the fused kernel."""
    if wanted != "auto":
        return wanted
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
