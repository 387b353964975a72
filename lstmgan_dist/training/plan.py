"""What a job would do, before it does it: networks, steps and memory."""

from __future__ import annotations

from torch import nn

from lstmgan_dist.config import Job
from lstmgan_dist.corpus.manifest import PreparedCorpus
from lstmgan_dist.corpus.stream import batches_per_epoch
from lstmgan_dist.training.clock import steps_of
from lstmgan_dist.training.game import build_discriminator, build_generator

_FLOAT = 4  # bytes
_MEBI = 2**20


def plan(job: Job, corpus: PreparedCorpus) -> str:
    """The networks layer by layer, the steps of each phase, and an estimate of the memory of one worker."""
    vocabulary_size = corpus.tokenizer.vocabulary_size
    networks: dict[str, nn.Module] = {"generator": build_generator(job, vocabulary_size)}
    if job.discriminator:
        networks["discriminator"] = build_discriminator(job, vocabulary_size)
    lines = []
    for name, network in networks.items():
        total = sum(parameter.numel() for parameter in network.parameters())
        lines.append(f"{name}: {total:,} parameters")
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
    lines.append(f"memory of one worker, about: {_bytes(job, networks, vocabulary_size) / _MEBI:,.0f} MiB")
    return "\n".join(lines)


def _bytes(job: Job, networks: dict[str, nn.Module], vocabulary_size: int) -> int:
    """Weights, gradients and Adam's two moments, and the activations of the widest update."""
    weights = sum(parameter.numel() for network in networks.values() for parameter in network.parameters())
    rows, longest = job.batch.size // job.batch.accumulate, job.corpus.max_length
    positions = rows * longest
    # Logits with their gradient and softmax.
    generator = positions * (job.generator.activations() + 3 * vocabulary_size)
    of_phases = [0]
    for phase in job.phases:
        if phase.plays and phase.moves_generator and job.discriminator:
            of_texts = 2 * rows * job.discriminator.activations(longest)  # real and drawn ones
            of_phases.append(of_texts + phase.activations(positions, vocabulary_size))
    return (4 * weights + generator + max(of_phases)) * _FLOAT
