"""Texts of a generator: the same for a seed, however they are dealt to workers.

Equal means on like machines, and for whole blocks with the same number of threads in each process: matrix products
round by it, and a token whose random number lies that close to a border then is another one. What is drawn while a run
is trained is dealt to the units of its batch, which have one thread each wherever they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from lstmgan_dist.models.drawing import END, Drawn, draw
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.runtime.randomness import Noise, derive
from lstmgan_dist.runtime.tree import part_of
from lstmgan_dist.runtime.units import Units

# Texts whose noise is made at once; `draw` works on fewer at a time.
BLOCK = 4096


@dataclass(frozen=True)
class Sampling:
    """How texts are drawn.

    The rule: text is drawn as it is judged, `<unk>` like any other token, wherever it is shown, written or measured.
    Only what is written for readers leaves `<unk>` out, and only when they ask for it; text of an oracle, which knows
    no `<unk>`, never has it.

    length: most tokens of each, the prompt not counted. prompt: what the generator reads first. temperature, top_k,
    top_p, suppress: as in `draw`.
    """

    length: int
    prompt: tuple[int, ...] = (END,)
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    suppress: tuple[int, ...] = ()


def sample(
    generator: Generator, sampling: Sampling, *, count: int, seed: int, device: torch.device, first: int = 0
) -> Iterator[Drawn]:
    """Texts number `first` to `first + count - 1` of a seed, block by block."""
    noise = Noise(derive(seed, "sample"), torch.arange(first, first + count, device=device))
    for start in range(0, count, BLOCK):
        block = noise.part(slice(start, start + BLOCK))
        yield draw(
            generator,
            block.uniform("token", sampling.length),
            latent_BZ=block.normal("latent", generator.latent_size) if generator.latent_size else None,
            prompt=sampling.prompt,
            temperature=sampling.temperature,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
            suppress=sampling.suppress,
        )


def blocks_of(count: int, size: int = BLOCK) -> list[range]:
    """The numbers of so many texts, a block at a time: whoever draws a block as a whole draws the same texts."""
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def sample_shared(generator: Generator, sampling: Sampling, *, count: int, seed: int, units: Units) -> Drawn:
    """`count` texts of a seed, known to all workers: each unit draws its share."""

    device = units.runtime.device

    def draw_share(numbers: range) -> Drawn:
        drawn = sample(generator, sampling, count=len(numbers), seed=seed, device=device, first=numbers.start)
        none = torch.zeros(0, sampling.length, dtype=torch.int64, device=device)
        return join([Drawn(none, none[:, 0]), *drawn])

    shares = [part_of(count, unit, units.count) for unit in range(units.count)]
    mine = units.map(draw_share, [shares[unit] for unit in units.own])
    rows = [len(share) for share in shares]
    return Drawn(
        units.join([drawn.tokens_BT for drawn in mine], rows), units.join([drawn.lengths_B for drawn in mine], rows)
    )


def join(blocks: Sequence[Drawn]) -> Drawn:
    """Blocks of one length as one."""
    return Drawn(torch.cat([block.tokens_BT for block in blocks]), torch.cat([block.lengths_B for block in blocks]))


def rows(drawn: Drawn) -> list[list[int]]:
    """The tokens of each text, without padding."""
    return [tokens[:length] for tokens, length in zip(drawn.tokens_BT.tolist(), drawn.lengths_B.tolist(), strict=True)]
