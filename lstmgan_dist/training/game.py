"""Both sides of a run, as its job describes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Literal, NamedTuple

import safetensors.torch
import torch
from torch import Tensor, nn

from lstmgan_dist.config import Job
from lstmgan_dist.corpus.tokenizer import Tokenizer
from lstmgan_dist.models.discriminator import Discriminator, TokenReader
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.phases.player import Player, Sides
from lstmgan_dist.runtime.randomness import derive
from lstmgan_dist.runtime.units import Units
from lstmgan_dist.training.checkpoint import Checkpoint


class Game:
    """The networks of a run, which last, and the players of the current phase, which are made anew with each phase."""

    def __init__(self, job: Job, vocabulary: Vocabulary | Tokenizer, units: Units) -> None:
        device = units.runtime.device
        self._job = job
        self.generator = build_generator(job, vocabulary).to(device)
        self.discriminator: Discriminator | None = None
        if job.discriminator:
            self.discriminator = build_discriminator(job, vocabulary).to(device)
        self.sides = Sides(
            generator=self.generator,
            discriminator=self.discriminator,
            max_length=job.corpus.max_length,
            carries_state=job.corpus.layout == "continuous",
            precision=choose_precision(job.precision, device),
            synchronisation=job.synchronisation,
            repeat_every=job.guard.repeat_every,
            units=units,
        )
        self.players: dict[str, Player] = {}

    def begin_phase(self, number: int, steps: int) -> None:
        """Make the players of a phase, with fresh optimisers."""
        self.players = self._job.phases[number].players(self.sides, steps)

    @torch.no_grad()
    def copy_embedding_to_discriminator(self) -> None:
        """Let the discriminator start from what the generator's embedding has become."""
        assert isinstance(self.discriminator, TokenReader), "no other kind's settings can ask for it"
        self.discriminator.embedding.copy_(self.generator.embedding.weight)

    @property
    def is_synchronised(self) -> bool:
        """Whether every worker has the same players; always, unless the job has them synchronise seldom."""
        return all(player.is_synchronised for player in self.players.values())

    def synchronise(self) -> None:
        """Give every worker the same players."""
        for player in self.players.values():
            player.synchronise()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Meanwhile players that average their weights have the averages, as who is judged or saved."""
        with ExitStack() as stack:
            for player in self.players.values():
                stack.enter_context(player.averaged())
            yield

    def end_phase(self) -> None:
        """Its players learn no more: who averaged has the averages for good."""
        for player in self.players.values():
            player.settle()

    def state(self) -> dict[str, dict[str, Tensor]]:
        """Every tensor that a resumed run needs, by section; the same on every worker."""
        sections = {name: dict(network.state_dict()) for name, network in self.networks().items()}
        for name, player in self.players.items():
            sections[name] |= player.averages()
            sections[f"{name}-optimizer"] = player.optimizer_state()
            sections[f"{name}-memory"] = player.memory()
        return sections

    def load_networks(self, checkpoint: Checkpoint) -> None:
        """Take both networks' weights from a checkpoint; a discriminator that the run was extended by is new."""
        for name, network in self.networks().items():
            if name in checkpoint:
                network.load_state_dict(checkpoint.load(name))

    def load_start(self, weights: Mapping[str, bytes]) -> None:
        """Take the weights of another run, as far as it has them."""
        for name, network in self.networks().items():
            if name in weights:
                network.load_state_dict(safetensors.torch.load(weights[name]))

    def load_players(self, checkpoint: Checkpoint) -> None:
        """Take the optimisers and memories from a checkpoint of this phase."""
        for name, player in self.players.items():
            player.load_optimizer_state(checkpoint.load(f"{name}-optimizer"))
            player.load_memory(checkpoint.load(f"{name}-memory"))

    def networks(self) -> dict[str, nn.Module]:
        networks: dict[str, nn.Module] = {"generator": self.generator}
        return networks | ({"discriminator": self.discriminator} if self.discriminator else {})


class Vocabulary(NamedTuple):
    """What networks have to know of a tokenizer: how many tokens texts are of, and the labels behind them."""

    vocabulary_size: int
    labels: tuple[str, ...] = ()


def build_generator(job: Job, vocabulary: Vocabulary | Tokenizer) -> Generator:
    """The job's generator, with its initial weights, on the CPU."""
    return job.generator.build(
        vocabulary_size=vocabulary.vocabulary_size,
        labels=len(vocabulary.labels),
        seed=derive(job.seed, "generator"),
    )


def build_discriminator(job: Job, vocabulary: Vocabulary | Tokenizer) -> Discriminator:
    """The job's discriminator, with its initial weights, on the CPU."""
    assert job.discriminator is not None
    return job.discriminator.build(
        vocabulary_size=vocabulary.vocabulary_size + len(vocabulary.labels),
        labels=len(vocabulary.labels),
        generator_hidden=job.generator.hidden_size,
        seed=derive(job.seed, "discriminator"),
    )


def networks_without_numbers(job: Job, vocabulary: Vocabulary | Tokenizer) -> dict[str, nn.Module]:
    """The job's networks by name, with the shapes of their weights alone: on the meta device, nothing is built."""
    with torch.device("meta"):
        networks: dict[str, nn.Module] = {"generator": build_generator(job, vocabulary)}
        if job.discriminator:
            networks["discriminator"] = build_discriminator(job, vocabulary)
    return networks


def choose_precision(wanted: Literal["auto", "fp32", "bf16"], device: torch.device) -> Literal["fp32", "bf16"]:
    """bf16 where it is faster: GPUs that compute in it. A CPU's LSTM in bf16 leaves the fused kernel."""
    if wanted != "auto":
        return wanted
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
