"""What a finished or running run gives: its generator.

A result can be sent to other processes: it travels as an address, and is loaded where it arrives.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch

from lstmgan_dist.corpus.manifest import PreparedCorpus
from lstmgan_dist.corpus.tokenizer import Tokenizer
from lstmgan_dist.errors import UserError
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.runtime.local import DeviceChoice, choose_device
from lstmgan_dist.training.checkpoint import Checkpoint
from lstmgan_dist.training.game import build_generator
from lstmgan_dist.training.run import Run


@dataclass(frozen=True)
class Result:
    """A run's generator at one checkpoint, ready to use on a device.

    weights: digest of the generator's file. device_of_others: which one other processes are to take.
    """

    run: Run
    step: int
    generator: Generator
    weights: str
    tokenizer: Tokenizer
    device: torch.device
    device_of_others: DeviceChoice

    @cached_property
    def corpus(self) -> PreparedCorpus:
        """The corpus that the run was trained on."""
        return self.run.corpus()

    def __reduce__(self) -> tuple[Callable[..., Result], tuple[str, int, DeviceChoice]]:
        folder = self.run.folder
        return _arrived, (str(folder.local_path or folder), self.step, self.device_of_others)


def load_result(url: str, checkpoint: str, *, device: DeviceChoice, say: Callable[[str], None]) -> Result:
    """The generator of the run at `url`, at a checkpoint as `Run.checkpoint` names it; `say` is told which one.

    Raises:
        UserError: if there is no such run or checkpoint.
    """
    run = Run.open(url)
    chosen = run.checkpoint(checkpoint, say=say)
    tokenizer = run.tokenizer()
    generator = load_generator(run, chosen)
    on = choose_device(device)
    return Result(run, chosen.step, generator.to(on), chosen.digest("generator"), tokenizer, on, device)


def load_generator(run: Run, checkpoint: Checkpoint) -> Generator:
    """The generator of a run at one of its checkpoints, on the CPU."""
    generator = build_generator(run.job, run.tokenizer())
    generator.load_state_dict(checkpoint.load("generator"))
    return generator


@lru_cache(maxsize=1)
def _arrived(url: str, step: int, device: DeviceChoice) -> Result:
    """A result that was sent here, loaded once by each process."""
    try:
        return load_result(url, str(step), device=device, say=lambda sentence: None)
    except UserError as error:
        raise UserError(f"On {platform.node()}: {error}") from error
