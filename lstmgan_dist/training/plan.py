"""What a job would do, before it does it: networks, steps and memory."""

from __future__ import annotations

from torch import nn

from lstmgan_dist.config import AdversarialPhase, Job
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
    positions = job.batch.size // job.batch.accumulate * job.corpus.max_length
    settings = job.generator
    # Gates and states that a fused LSTM keeps for its backward pass, and logits with their gradient and softmax.
    generator = positions * (settings.embedding + settings.layers * 7 * settings.hidden + 3 * vocabulary_size)
    discriminator = 0
    if any(isinstance(phase, AdversarialPhase) for phase in job.phases):
        if job.discriminator and job.discriminator.kind == "lstm":
            directions = 2 if job.discriminator.bidirectional else 1
            discriminator = 2 * positions * directions * job.discriminator.layers * 7 * job.discriminator.hidden
        elif job.discriminator:
            rows = job.batch.size // job.batch.accumulate * job.discriminator.representations
            discriminator = 2 * rows * 4 * sum(job.discriminator.filters.values())
        # Soft samples: perturbed logits, their softmax and its gradient.
        discriminator += 3 * positions * vocabulary_size
    return (4 * weights + generator + discriminator) * _FLOAT
