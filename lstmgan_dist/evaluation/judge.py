"""Judges: language models of real text that no player has seen, kept with the corpus for the next evaluation.

<key>.safetensors   the weights; the key is a hash of the text they were learnt from and of how
<key>.json          what they reached
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

import numpy as np
import safetensors.torch
import torch

from lstmgan_dist import __version__
from lstmgan_dist.errors import UserError
from lstmgan_dist.evaluation.archive import Archive
from lstmgan_dist.evaluation.counting import nll_by_frequency
from lstmgan_dist.evaluation.heldout import digest
from lstmgan_dist.evaluation.language_model import METHOD, Recipe, Trained, build, fit, nll, read
from lstmgan_dist.evaluation.texts import Texts
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.runtime.local import DeviceChoice, choose_device, two_threads_or_more

_SEED = 1
# A judge must know more than this beyond the frequencies of words, nats a token.
LEAST_LEARNT = 0.1
SMALLER_VOCABULARY = "a smaller vocabulary (corpus.tokenizer.min_count, or the kind bpe)"


@dataclass(frozen=True)
class Judge:
    """A language model of one half of the held-out text.

    learnt_from: digest of that text. sentences: how many there were. perplexity: on the other half. by_frequency: the
    perplexity there of word frequencies alone, which a judge that learnt anything is far below.
    """

    network: Generator
    learnt_from: str
    sentences: int
    perplexity: float
    by_frequency: float


@dataclass(frozen=True)
class JudgeRequest:
    """What a judge is to learn, and what it is to be tried on."""

    learn: Texts
    test: Texts
    vocabulary_size: int
    recipe: Recipe

    @property
    def key(self) -> str:
        """Equal for equal judges."""
        parts = [digest(self.learn), self.vocabulary_size, sorted(asdict(self.recipe).items()), METHOD, __version__]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def find_judge(request: JudgeRequest, archive: Archive, device: torch.device) -> Judge | None:
    """The judge that an earlier evaluation has left, if there is one."""
    if f"{request.key}.json" not in archive.names():
        return None
    network = build(request.vocabulary_size, request.recipe, seed=_SEED)
    with archive.reading(request.key):
        facts = json.loads(archive.read(f"{request.key}.json"))
        network.load_state_dict(safetensors.torch.load(archive.read(f"{request.key}.safetensors")))
    return _judge(request, Trained(network, facts["held_back_nll"], facts["epochs"]), device)


def train_judge(request: JudgeRequest, *, device: DeviceChoice) -> Trained:
    """A judge's language model, on the CPU."""
    with two_threads_or_more():
        trained = fit(
            request.learn,
            vocabulary_size=request.vocabulary_size,
            recipe=request.recipe,
            seed=_SEED,
            device=choose_device(device),
        )
    trained.network.cpu()
    return trained


def keep_judge(request: JudgeRequest, trained: Trained, archive: Archive, device: torch.device) -> Judge:
    """Leave a judge for later evaluations, its facts last.

    Raises:
        UserError: if it has not learnt anything, in which case it is not kept.
    """
    judge = _judge(request, trained, device)
    weights = {name: tensor.cpu().contiguous() for name, tensor in trained.network.state_dict().items()}
    archive.write(f"{request.key}.safetensors", safetensors.torch.save(weights))
    facts = {
        "learnt_from": judge.learnt_from,
        "sentences": judge.sentences,
        "perplexity": judge.perplexity,
        "held_back_nll": trained.held_back_nll,
        "epochs": trained.epochs,
        "recipe": asdict(request.recipe),
    }
    archive.write(f"{request.key}.json", (json.dumps(facts, indent=1) + "\n").encode())
    return judge


def _judge(request: JudgeRequest, trained: Trained, device: torch.device) -> Judge:
    reached = nll(read(trained.network, request.test, device), request.test)
    by_frequency = nll_by_frequency(request.learn, request.test, request.vocabulary_size)
    if not reached < by_frequency - LEAST_LEARNT:
        raise UserError(
            f"The judge has not learnt this text: its perplexity on the other half is {np.exp(reached):.1f}, where "
            f"word frequencies alone have {np.exp(by_frequency):.1f}, so it cannot judge. It had "
            f"{len(request.learn):,} sentences: prepare the corpus with more held-out text, or with "
            f"{SMALLER_VOCABULARY}."
        )
    return Judge(
        trained.network, digest(request.learn), len(request.learn), float(np.exp(reached)), float(np.exp(by_frequency))
    )
