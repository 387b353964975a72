"""Texts of a generator: the same for a seed, however they are dealt to workers.

Equal means on like machines, and for whole blocks with the same number of threads in each process: matrix products
round by it, and a token whose random number lies that close to a border then is another one. What is drawn while a run
is trained is dealt to the units of its batch, which have one thread each wherever they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from lstmgan_dist.corpus.manifest import PreparedCorpus
from lstmgan_dist.corpus.stream import contexts_of, read_sentences
from lstmgan_dist.corpus.tokenizer import Encoded
from lstmgan_dist.models.drawing import END, Drawn, Given, draw
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
    generator: Generator,
    sampling: Sampling,
    *,
    count: int,
    seed: int,
    device: torch.device,
    first: int = 0,
    given: Given | None = None,
) -> Iterator[Drawn]:
    """Texts number `first` to `first + count - 1` of a seed, block by block. given: what each of these begins with."""
    noise = Noise(derive(seed, "sample"), torch.arange(first, first + count, device=device))
    for start in range(0, count, BLOCK):
        block = noise.part(slice(start, start + BLOCK))
        yield draw(
            generator,
            block.uniform("token", sampling.length),
            latent_BZ=block.normal("latent", generator.latent_size) if generator.latent_size else None,
            prompt=sampling.prompt,
            given=given and part_of_given(given, slice(start, start + BLOCK), device),
            temperature=sampling.temperature,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
            suppress=sampling.suppress,
        )


def blocks_of(count: int, size: int = BLOCK) -> list[range]:
    """The numbers of so many texts, a block at a time: whoever draws a block as a whole draws the same texts."""
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def part_of_given(given: Given, rows: slice, device: torch.device) -> Given:
    """What some rows begin with, on a device."""
    return Given(given.tokens_BP[rows].to(device), given.lengths_B[rows].to(device))


def given_to(corpus: PreparedCorpus, numbers: range) -> Given | None:
    """What texts of these numbers are measured behind: the contexts of held-out sentences, in turn and again from the
    first; None where texts have none.
    """
    if not corpus.max_context or not numbers:
        return None
    rows = corpus.splits["heldout"].rows
    parts, number = [], numbers.start
    while number < numbers.stop:
        row = number % rows
        stop = min(rows, row + numbers.stop - number)
        parts.append(read_sentences(corpus, "heldout", range(row, stop)))
        number += stop - row
    contexts = Encoded.join(parts)
    assert contexts.starts_N is not None
    return Given(contexts_of(contexts, corpus.max_context), torch.from_numpy(contexts.starts_N))


def sample_shared(
    generator: Generator, sampling: Sampling, *, count: int, seed: int, units: Units, given: Given | None = None
) -> Drawn:
    """`count` texts of a seed, known to all workers: each unit draws its share. given: what each of all begins with."""
    device = units.runtime.device

    def draw_share(numbers: range) -> Drawn:
        here = given and part_of_given(given, slice(numbers.start, numbers.stop), device)
        drawn = sample(
            generator, sampling, count=len(numbers), seed=seed, device=device, first=numbers.start, given=here
        )
        longest = sampling.length + (given.tokens_BP.shape[1] if given else 0)
        none = torch.zeros(0, longest, dtype=torch.int64, device=device)
        return join([Drawn(none, none[:, 0], none[:, 0] if given else None), *drawn])

    shares = [part_of(count, unit, units.count) for unit in range(units.count)]
    mine = units.map(draw_share, [shares[unit] for unit in units.own])
    rows = [len(share) for share in shares]
    return Drawn(
        units.join([drawn.tokens_BT for drawn in mine], rows),
        units.join([drawn.lengths_B for drawn in mine], rows),
        given and given.lengths_B.to(device),
    )


def join(blocks: Sequence[Drawn]) -> Drawn:
    """Blocks of one length as one."""
    starts = [block.starts_B for block in blocks if block.starts_B is not None]
    return Drawn(
        torch.cat([block.tokens_BT for block in blocks]),
        torch.cat([block.lengths_B for block in blocks]),
        torch.cat(starts) if starts else None,
    )


def rows(drawn: Drawn) -> list[list[int]]:
    """The tokens of each text, without what was given and without padding."""
    lengths = drawn.lengths_B.tolist()
    starts = [0] * len(lengths) if drawn.starts_B is None else drawn.starts_B.tolist()
    return [tokens[start:stop] for tokens, start, stop in zip(drawn.tokens_BT.tolist(), starts, lengths, strict=True)]
