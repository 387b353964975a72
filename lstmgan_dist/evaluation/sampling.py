"""Texts of a generator: the same for a seed, however they are dealt to workers.

Equal means for the same number of threads in each process, on like machines: matrix products round by it, and a token
whose random number lies that close to a border then is another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from lstmgan_dist.models.drawing import END, Drawn, draw
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.runtime.base import Runtime
from lstmgan_dist.runtime.randomness import Noise, derive

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


def sample_shared(generator: Generator, sampling: Sampling, *, count: int, seed: int, runtime: Runtime) -> Drawn:
    """`count` texts of a seed, each drawn by one worker and known to all."""
    each = -(-count // runtime.world_size)
    first = runtime.rank * each
    mine = join(list(sample(generator, sampling, count=each, seed=seed, device=runtime.device, first=first)))
    return Drawn(runtime.gather(mine.tokens_BT)[:count], runtime.gather(mine.lengths_B)[:count])


def join(blocks: Sequence[Drawn]) -> Drawn:
    """Blocks of one length as one."""
    return Drawn(torch.cat([block.tokens_BT for block in blocks]), torch.cat([block.lengths_B for block in blocks]))


def rows(drawn: Drawn) -> list[list[int]]:
    """The tokens of each text, without padding."""
    return [tokens[:length] for tokens, length in zip(drawn.tokens_BT.tolist(), drawn.lengths_B.tolist(), strict=True)]
