"""The word vectors that a run's embedding starts from: of a file, or learnt from the run's own training text.

Those that are learnt are made once, before anybody trains, and kept in the run, so that all workers have the same.
"""

from __future__ import annotations

import safetensors.torch
import torch.nn.functional as F

from lstmgan_dist.config import Job
from lstmgan_dist.corpus.manifest import PreparedCorpus
from lstmgan_dist.models.cooccurrence import Cooccurrences, learn_vectors
from lstmgan_dist.models.vectors import Vectors, read_vectors
from lstmgan_dist.runtime.randomness import derive, permutation
from lstmgan_dist.runtime.tasks import Watch
from lstmgan_dist.storage import Folder

LEARNT = "vectors.safetensors"
# More text hardly changes them: some minutes of one core, then.
MOST_TOKENS = 2**24

# Which words are shown with their neighbours: these, of the frequent ones in order of their numbers.
_SHOWN, _CANDIDATES, _NEIGHBOURS = (20, 40, 60, 80), 2000, 3


def write_learnt(folder: Folder, job: Job, corpus: PreparedCorpus, watch: Watch) -> None:
    """Learn vectors from a corpus's training text, or so many tokens of it from all over, and keep them in a folder."""
    size = corpus.tokenizer.vocabulary_size
    split = corpus.splits["train"]
    blocks = permutation(derive("vectors"), len(split.blocks)).tolist()
    share = min(1.0, MOST_TOKENS / max(split.tokens, 1))
    blocks = blocks[: max(1, round(share * len(blocks)))]
    counted = Cooccurrences(size)
    for block in watch(blocks, len(blocks), "word vectors"):
        (read,) = corpus.read_blocks("train", [block])
        counted.add(read.texts.tokens_T)
    vectors = learn_vectors(counted, size, job.generator.vector_size)
    folder.write(LEARNT, safetensors.torch.save(vectors._asdict()))


def read_learnt(folder: Folder) -> Vectors:
    """The vectors that `write_learnt` has kept in a folder."""
    return Vectors(**safetensors.torch.load(folder.read(LEARNT)))


def starting_vectors(job: Job, folder: Folder, vocabulary: tuple[str, ...]) -> Vectors:
    """Those that a job's run starts from. folder: where a run keeps what it starts from.

    Raises:
        UserError: if a file of vectors cannot be read, or has other dimensions than the job's embedding.
    """
    if job.generator.learns_vectors:
        return read_learnt(folder)
    assert job.generator.vectors_file, "the job names some"
    return read_vectors(job.generator.vectors_file, vocabulary, job.generator.vector_size, job.storage)


def what_they_know(vectors: Vectors, vocabulary: tuple[str, ...]) -> str:
    """The share of a vocabulary that has vectors, and the nearest words of some frequent ones, in a sentence."""
    words = [
        token
        for token in range(min(len(vocabulary), _CANDIDATES))
        if vectors.found_V[token] and vocabulary[token].isalpha()
    ]
    directions_NE = F.normalize(vectors.matrix_VE[words], dim=1)
    near = []
    for shown in (place for place in _SHOWN if place < len(words)):
        likeness_N = directions_NE @ directions_NE[shown]
        likeness_N[shown] = -1
        others = likeness_N.topk(min(_NEIGHBOURS, len(words) - 1)).indices.tolist()
        near.append(f"{vocabulary[words[shown]]} ({', '.join(vocabulary[words[other]] for other in others)})")
    beside = f"; words and those nearest to them: {', '.join(near)}" if near else ""
    return f"vectors for {vectors.coverage:.1%} of the vocabulary{beside}"
