"""What the networks of a run say of given texts: how probable each is, and how real it looks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from lstmgan_dist.adversarial.losses import LOSSES, Loss
from lstmgan_dist.corpus.given import encode_texts
from lstmgan_dist.corpus.settings import Layout
from lstmgan_dist.errors import UserError
from lstmgan_dist.evaluation.sampling import blocks_of
from lstmgan_dist.evaluation.scoring import discriminator_scores, mean_hidden_states, token_log_likelihoods
from lstmgan_dist.evaluation.texts import Texts
from lstmgan_dist.models.discriminator import Discriminator
from lstmgan_dist.models.drawing import END
from lstmgan_dist.runs.result import Result
from lstmgan_dist.runtime.local import two_threads_or_more
from lstmgan_dist.runtime.tasks import Watch
from lstmgan_dist.settings import either
from lstmgan_dist.training.game import build_discriminator
from lstmgan_dist.training.progress import Progress


@dataclass(frozen=True)
class TokenScore:
    """What is said of one token; see `Score`. discriminator: None where it scores no tokens."""

    token: str
    log_likelihood: float
    discriminator: float | None


@dataclass(frozen=True)
class Score:
    """What is said of one text.

    log_likelihood: its log-probability in nats, of all its tokens together. tokens: how many these are; of a sentence
    the end mark is one. unknown: those among them that are `<unk>`. discriminator: the discriminator's score, of which
    more is more real; where it scores tokens or representations the mean over them. None where the checkpoint has none
    that has learnt. probability_real: what share of the texts with this score are real, by the discriminator's loss,
    among as many real as drawn ones; the mean over its scores; None where the loss does not tell. by_token: the same
    of every token, where it was asked for.
    """

    text: str
    log_likelihood: float
    tokens: int
    unknown: int
    discriminator: float | None
    probability_real: float | None
    by_token: tuple[TokenScore, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain values, without what there is none of."""
        values = _present(asdict(self))
        if self.by_token is not None:
            values["by_token"] = [_present(one) for one in values["by_token"]]
        return values


def _present(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class Opening:
    """What is read before given texts: their context, of a label or what they answer, and all of it, a prompt too."""

    context: tuple[int, ...]
    read_first: tuple[int, ...]


class Scorer:
    """Scores texts with the networks of a run at a checkpoint."""

    def __init__(self, result: Result) -> None:
        self._result = result
        self._layout: Layout = result.run.job.corpus.layout

    @property
    def is_sentences(self) -> bool:
        """Whether texts end, and start anew."""
        return self._layout == "sentences"

    @cached_property
    def critic(self) -> tuple[Discriminator, Loss] | None:
        """The discriminator of the checkpoint and what it has learnt by.

        None if none has learnt by then, or by a loss to which a text's score by itself says nothing.
        """
        result, job = self._result, self._result.run.job
        checkpoint = result.run.checkpoints.open(result.step)
        phases = job.phases[: Progress.of(checkpoint).last_phase + 1]
        losses = [phase.discriminator_loss for phase in phases if phase.discriminator_loss]
        if not losses or LOSSES[losses[-1]].standing:
            return None
        discriminator = build_discriminator(job, result.tokenizer)
        discriminator.load_state_dict(checkpoint.load("discriminator"))
        return discriminator.to(result.device), LOSSES[losses[-1]]

    def log_likelihoods(self, texts: Sequence[str], opening: Opening) -> list[np.ndarray]:
        """Of every token of every text, with its end mark where texts end: nats, float32."""
        found: list[np.ndarray] = []
        for numbers in blocks_of(len(texts)):
            block = self._encoded(texts[numbers.start : numbers.stop])
            log_likelihoods_T = self._log_likelihoods(block, opening, first=numbers.start)
            found += np.split(log_likelihoods_T, np.cumsum(block.lengths_N + self.is_sentences)[:-1])
        return found

    def sums(self, texts: Sequence[str], opening: Opening) -> np.ndarray:
        """Of every text, of all its tokens together: nats, float64 (N,)."""
        blocks = blocks_of(len(texts))
        return np.concatenate([np.zeros(0), *(self._sums(texts, opening, numbers) for numbers in blocks)])

    def embeddings(self, texts: Sequence[str], opening: Opening) -> np.ndarray:
        """The mean over the tokens of each text of the hidden state behind the token: float32 (N, H)."""
        result, hidden = self._result, self._result.generator.hidden_size
        found = [np.zeros((0, hidden), np.float32)]
        for numbers in blocks_of(len(texts)):
            block = self._encoded(texts[numbers.start : numbers.stop])
            with two_threads_or_more():
                found.append(mean_hidden_states(result.generator, block, result.device, opening.read_first))
        return np.concatenate(found)

    def scores(self, texts: Sequence[str], opening: Opening, *, tokens: bool, watch: Watch) -> Iterator[Score]:
        """What is said of each text, in their order."""
        blocks = blocks_of(len(texts))
        for numbers in watch(blocks, len(blocks), "scoring"):
            yield from self._scores(texts[numbers.start : numbers.stop], opening, numbers.start, by_token=tokens)

    def _scores(self, texts: Sequence[str], opening: Opening, first: int, *, by_token: bool) -> Iterator[Score]:
        block = self._encoded(texts)
        nats_T = self._log_likelihoods(block, opening, first=first)
        lengths_N = block.lengths_N + self.is_sentences
        nats_N, unknown_N = _sums(nats_T, lengths_N), self._unknown(block)
        scores_N, probabilities_N, scores_S = self._criticised(block, opening)
        per_token = list(self._by_token(block, nats_T, scores_S, lengths_N)) if by_token else [None] * len(texts)
        for number, text in enumerate(texts):
            yield Score(
                text=text,
                log_likelihood=float(nats_N[number]),
                tokens=int(lengths_N[number]),
                unknown=int(unknown_N[number]),
                discriminator=None if scores_N is None else float(scores_N[number]),
                probability_real=None if probabilities_N is None else float(probabilities_N[number]),
                by_token=per_token[number],
            )

    def _criticised(
        self, block: Texts, opening: Opening
    ) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
        """The discriminator's score of each text, the probability that goes with it, and its score of each token."""
        if self.critic is None:
            return None, None, None
        discriminator, loss = self.critic
        with two_threads_or_more():
            scores_S, scores_N = discriminator_scores(
                discriminator, self._result.generator, block, self._result.device, context=opening.context
            )
        per_token = discriminator.scores == "per_token"
        probabilities_N = None
        if loss.posterior:
            counts_N = block.lengths_N + 1 if per_token else np.full(len(block), discriminator.representations)
            probabilities_N = _sums(loss.posterior(torch.from_numpy(scores_S)).numpy(), counts_N) / counts_N
        return scores_N, probabilities_N, scores_S if per_token else None

    def _by_token(
        self, block: Texts, nats_T: np.ndarray, scores_T: np.ndarray | None, lengths_N: np.ndarray
    ) -> Iterator[tuple[TokenScore, ...]]:
        names = self._result.tokenizer.tokens
        nats = nats_T.tolist()
        scores = [None] * len(nats) if scores_T is None else scores_T.tolist()
        stops = np.cumsum(lengths_N).tolist()
        for row, stop, length in zip(block.rows(), stops, lengths_N.tolist(), strict=True):
            ids = [*row, END] if self.is_sentences else row
            here = slice(stop - length, stop)
            yield tuple(
                TokenScore(names[token], nat, score)
                for token, nat, score in zip(ids, nats[here], scores[here], strict=True)
            )

    def _encoded(self, texts: Sequence[str]) -> Texts:
        block = Texts.encoded(encode_texts(texts, self._result.tokenizer, self._layout))
        if not self.is_sentences and not block.lengths_N.all():
            raise UserError("An empty text has no probability, for texts of this run do not end: leave it out.")
        return block

    def opening(self, prompt: str, label: str | None) -> Opening:
        """What is read before texts that continue or answer a prompt.

        Raises:
            UserError: if texts of the run have labels and none is given, or answer others and there is no prompt.
        """
        tokenizer, answers = self._result.tokenizer, self._result.run.answers
        tokens = tokenizer.encode_prompt(prompt, on_unknown="replace")
        if not self.is_sentences:
            return Opening((), tuple(tokens) or (END,))  # one long text starts anywhere
        if label is None and tokenizer.labels:
            raise UserError(f"Texts of this run have labels: say which, with --label: {either(tokenizer.labels)}.")
        if answers and not tokens:
            raise UserError("Texts of this run answer others: say what they answer, with --prompt.")
        context = [] if label is None else [tokenizer.label_id(label)]
        context += [*tokens, END] if answers else [END] * len(context)
        return Opening(tuple(context), (END, *context, *(() if answers else tokens)))

    def _log_likelihoods(self, block: Texts, opening: Opening, *, first: int) -> np.ndarray:
        result = self._result
        with two_threads_or_more():
            return token_log_likelihoods(
                result.generator, block, result.device, prompt=opening.read_first, ends=self.is_sentences, first=first
            )

    def _sums(self, texts: Sequence[str], opening: Opening, numbers: range) -> np.ndarray:
        block = self._encoded(texts[numbers.start : numbers.stop])
        return _sums(self._log_likelihoods(block, opening, first=numbers.start), block.lengths_N + self.is_sentences)

    def _unknown(self, block: Texts) -> np.ndarray:
        unknown_id = self._result.tokenizer.unknown_id
        if unknown_id is None:
            return np.zeros(len(block))
        return _sums(block.tokens_T == unknown_id, block.lengths_N)


def _sums(values_T: np.ndarray, lengths_N: np.ndarray) -> np.ndarray:
    """The sum over each text of the values of its tokens: float64 (N,)."""
    cumulated = np.append(0.0, np.cumsum(values_T, dtype=np.float64))
    stops_N = np.cumsum(lengths_N)
    return cumulated[stops_N] - cumulated[stops_N - lengths_N]
