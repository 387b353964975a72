"""What a job would do, before it does it: networks, steps and memory. Nothing is built: networks have shapes alone."""

from __future__ import annotations

import torch
from torch import nn

from lstmgan_dist.config import Job
from lstmgan_dist.corpus.manifest import PreparedCorpus
from lstmgan_dist.corpus.stream import batches_per_epoch
from lstmgan_dist.corpus.tokenizer import Tokenizer
from lstmgan_dist.errors import UserError
from lstmgan_dist.training.clock import steps_of
from lstmgan_dist.training.game import Vocabulary, networks_without_numbers

_FLOAT = 4  # bytes
_MEBI = 2**20
# What a process has before its first tensor, PyTorch for the most part, and what glibc's malloc comes to keep of freed
# tensors of many sizes: measured over the first hundreds of steps of the recipes with PyTorch 2.15.
_PROGRAM, _KEPT = 850 * _MEBI, 800 * _MEBI


def plan(job: Job, corpus: PreparedCorpus) -> str:
    """The networks layer by layer, the steps of each phase, and an estimate of the memory of one worker."""
    vocabulary_size = corpus.tokenizer.vocabulary_size
    networks = networks_without_numbers(job, corpus.tokenizer)
    lines = []
    for name, network in networks.items():
        lines.append(f"{name}: {_parameters(network):,} parameters")
        for path, parameter in network.named_parameters():
            shape = " x ".join(map(str, parameter.shape))
            lines.append(f"  {path:<40} {shape:>16} {parameter.numel():>14,}")
    split = corpus.splits["train"]
    batches = batches_per_epoch(corpus, job.batch.size)
    lines.append(f"corpus: {split.rows:,} training sequences, {split.tokens:,} tokens, vocabulary {vocabulary_size:,}")
    for number, phase in enumerate(job.phases):
        steps = steps_of(phase, batches)
        lines.append(
            f"phase {number + 1}, {phase.kind}: at most {steps:,} steps, "
            f"{steps * phase.batches_per_step / batches:.1f} epochs of real text"
        )
    tensors = _weight_bytes(networks) + _activation_bytes(job, vocabulary_size, corpus.max_context)
    lines.append(
        f"memory of one worker, about: {(_PROGRAM + tensors) / _MEBI:,.0f} MiB, {tensors / _MEBI:,.0f} of them tensors "
        f"(on its device), and up to {_KEPT / _MEBI:,.0f} that a CPU's allocator keeps"
    )
    return "\n".join(lines)


def memory_warning(job: Job, vocabulary: Vocabulary | Tokenizer, available: int, *, max_context: int = 0) -> str | None:
    """Why a worker with so many bytes of memory may not be able to train the job; None if it should be.

    max_context: tokens of the longest context of a text.

    Raises:
        UserError: if not even its weights fit.
    """
    networks = networks_without_numbers(job, vocabulary)
    weights = _weight_bytes(networks)
    activations = _activation_bytes(job, vocabulary.vocabulary_size, max_context)
    if weights > available:
        sizes = " and ".join(f"{_parameters(network):,} of the {name}" for name, network in networks.items())
        raise UserError(
            f"The parameters ({sizes}), their gradients and Adam's moments take {weights / _MEBI:,.0f} MiB, and there "
            f"are {available / _MEBI:,.0f}: make the networks smaller."
        )
    if weights + activations > available:
        return (
            f"This may need {(weights + activations) / _MEBI:,.0f} MiB, and there are {available / _MEBI:,.0f}: lower "
            "batch.size, or raise batch.units."
        )
    return None


def _parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _weight_bytes(networks: dict[str, nn.Module]) -> int:
    """Of weights, gradients and Adam's two moments."""
    return 4 * _FLOAT * sum(map(_parameters, networks.values()))


def _activation_bytes(job: Job, vocabulary_size: int, max_context: int) -> int:
    """Of the widest update, of which as many units are worked on as this machine has cores."""
    units = job.batch.units
    on_gpu = job.device == "cuda" or (job.device == "auto" and torch.cuda.is_available())
    side_by_side = 1 if on_gpu else min(units, torch.get_num_threads())
    rows, longest = job.batch.size // units * side_by_side, max_context + job.corpus.max_length
    positions = rows * longest
    # Logits with their gradient and softmax.
    generator = positions * (job.generator.activations() + 3 * job.generator.softmaxes * vocabulary_size)
    of_phases = [0]
    for phase in job.phases:
        if phase.plays and phase.moves_generator and job.discriminator:
            of_texts = 2 * rows * job.discriminator.activations(longest)  # real and drawn ones
            of_phases.append(of_texts + phase.activations(positions, vocabulary_size))
    return (generator + max(of_phases)) * _FLOAT
