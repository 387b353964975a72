"""Modules whose forward returns a loss: what a player wraps for its workers and minimises.

An update has two halves. `prepare` runs once, without gradient, on all rows of the worker: it draws text, scores it,
and fetches whatever depends on the whole global batch (counts, baselines). `forward` runs on those rows or, to save
memory, on some of them at a time, and has all the gradient. Its loss is the sum over its rows divided by the *global*
count and multiplied by the number of workers, which the averaging of gradients takes out again: neither the number of
parts nor that of workers changes the gradient. Its report holds shares of global means, which add up over parts and
workers.

Prepared tensors have rows first, except for 0-dim ones, which belong to all rows:
`part = {name: value[rows] if value.dim() else value for name, value in prepared.items()}`.

Shapes: B rows, T positions, N valid positions of all rows, V vocabulary, F features, E embedding, H hidden units,
L layers, Z latent dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lstmgan_dist.adversarial import estimators
from lstmgan_dist.adversarial.losses import Loss
from lstmgan_dist.models.discriminators import Discriminator
from lstmgan_dist.models.drawing import Drawn, draw
from lstmgan_dist.models.generator import Generator, State
from lstmgan_dist.runtime.base import Runtime
from lstmgan_dist.runtime.randomness import Noise

if TYPE_CHECKING:
    from lstmgan_dist.corpus.stream import Batch

Prepared = dict[str, Tensor]
Report = dict[str, Tensor]


class LikelihoodObjective(nn.Module):
    """The generator learns to predict the next token: mean negative log-likelihood in nats per token.

    Args:
        carries_state: rows go on where those of the batch before ended (truncated backpropagation through time).
    """

    def __init__(self, generator: Generator, *, carries_state: bool) -> None:
        super().__init__()
        self.generator = generator
        self.carries_state = carries_state
        self._ends: list[State] = []

    @property
    def state(self) -> State | None:
        """Where the rows of the last update ended; None where nothing is carried over."""
        if not self._ends:
            return None
        h, c = zip(*self._ends, strict=True)
        return torch.cat(h), torch.cat(c)

    @state.setter
    def state(self, state: State | None) -> None:
        self._ends = [] if state is None else [state]

    @torch.no_grad()
    def prepare(self, real: Batch, *, opponent: None = None, noise: Noise, runtime: Runtime) -> Prepared:
        """Count the tokens of all workers and fetch the state that the rows start from."""
        prepared = _real_text(self.generator, real, noise, runtime)
        if self.carries_state:
            state = None if real.fresh else self.state
            h_BLH, c_BLH = self.generator.initial_state(len(real.inputs_BT)) if state is None else state
            prepared |= {"h_BLH": h_BLH, "c_BLH": c_BLH}
            self._ends = []
        return prepared

    def forward(self, part: Prepared, *, opponent: None = None, noise: Noise) -> tuple[Tensor, Report]:
        """Teacher forcing over some of the prepared rows."""
        state = (part["h_BLH"], part["c_BLH"]) if self.carries_state else None
        nll, (h_BLH, c_BLH) = _mean_nll(self.generator, part, state, noise)
        if self.carries_state:
            self._ends.append((h_BLH.detach(), c_BLH.detach()))
        return nll * part["workers"], {"likelihood/nll": nll.detach()}


class DiscriminatorObjective(nn.Module):
    """The discriminator learns to tell the real text from as much text that the generator draws.

    Args:
        max_length: tokens at which drawn text is cut off.
    """

    def __init__(self, discriminator: Discriminator, loss: Loss, *, max_length: int) -> None:
        super().__init__()
        self.discriminator = discriminator
        self.loss = loss
        self.max_length = max_length

    @torch.no_grad()
    def prepare(self, real: Batch, *, opponent: Generator, noise: Noise, runtime: Runtime) -> Prepared:
        """Draw as many texts as there are real ones."""
        drawn, _ = _draw(opponent, noise, self.max_length)
        real_BT, fake_BT = _equally_long(real.targets_BT, drawn.tokens_BT)
        return {
            "real_BT": real_BT,
            "real_lengths_B": real.lengths_B,
            "fake_BT": fake_BT,
            "fake_lengths_B": drawn.lengths_B,
            "real_count": runtime.sum(self.discriminator.count(real.lengths_B)),
            "fake_count": runtime.sum(self.discriminator.count(drawn.lengths_B)),
            "workers": _workers(noise, runtime),
        }

    def forward(self, part: Prepared, *, opponent: Generator, noise: Noise) -> tuple[Tensor, Report]:
        """Score real and drawn text in one pass, with dropout."""
        tokens_BT = torch.cat([part["real_BT"], part["fake_BT"]])
        lengths_B = torch.cat([part["real_lengths_B"], part["fake_lengths_B"]])
        embedded_BTE = self.discriminator.embed(tokens_BT)
        scores = self.discriminator(embedded_BTE, lengths_B, noise=_two_texts_a_row(noise))
        real, fake = scores.chunk(2)
        real_lengths_B, fake_lengths_B = part["real_lengths_B"], part["fake_lengths_B"]
        loss = self.total_loss(real, fake, real_lengths_B, fake_lengths_B) / self.denominator(
            part["real_count"], part["fake_count"]
        )

        def real_mean(values: Tensor) -> Tensor:
            return self.discriminator.total(values, real_lengths_B) / part["real_count"]

        def fake_mean(values: Tensor) -> Tensor:
            return self.discriminator.total(values, fake_lengths_B) / part["fake_count"]

        with torch.no_grad():
            if self.loss.middle is None:
                accuracy = real_mean((real > fake).float())
            else:
                is_right = (real > self.loss.middle).float(), (fake < self.loss.middle).float()
                accuracy = (real_mean(is_right[0]) + fake_mean(is_right[1])) / 2
            report = {
                "discriminator/loss": loss.detach(),
                "discriminator/real_score": real_mean(real),
                "discriminator/fake_score": fake_mean(fake),
                "discriminator/accuracy": accuracy,
            }
        return loss * part["workers"], report

    def total_loss(self, real: Tensor, fake: Tensor, real_lengths_B: Tensor, fake_lengths_B: Tensor) -> Tensor:
        """The losses of real and fake scores of as many texts, added up."""
        real_loss, fake_loss = self.loss.discriminator(real, fake)
        return self.discriminator.total(real_loss, real_lengths_B) + self.discriminator.total(fake_loss, fake_lengths_B)

    @staticmethod
    def denominator(real_count: Tensor, fake_count: Tensor) -> Tensor:
        """What the total loss of so many scores is divided by: one count for both kinds of text.

        Divided by its own count each, tokens of the kind that is shorter would weigh more, and a beginning that is as
        frequent in real as in drawn text would not have the score of an undecided one.
        """
        return (real_count + fake_count) / 2


class GeneratorObjective(nn.Module):
    """What both ways to move a generator by a discriminator's scores have in common.

    The generator draws and answers without dropout, so that it learns from the text that it would write.

    Args:
        max_length: tokens at which drawn text is cut off.
        likelihood_weight: weight of the negative log-likelihood of the real text, added to the cost.
    """

    def __init__(self, generator: Generator, loss: Loss, *, max_length: int, likelihood_weight: float = 0.0) -> None:
        super().__init__()
        self.generator = generator
        self.loss = loss
        self.max_length = max_length
        self.likelihood_weight = likelihood_weight

    def _prepare_text(self, real: Batch, noise: Noise, runtime: Runtime) -> Prepared:
        """Drawn text with the inputs that teacher forcing wants, and the real text where it has a weight."""
        drawn, latent_BZ = _draw(self.generator, noise, self.max_length)
        prepared = {
            "tokens_BT": drawn.tokens_BT,
            "inputs_BT": F.pad(drawn.tokens_BT, (1, -1)),  # a sentence starts with <end>, which is 0
            "lengths_B": drawn.lengths_B,
            "sentence_count": runtime.sum(drawn.lengths_B.new_tensor(len(drawn.lengths_B)).float()),
            "workers": _workers(noise, runtime),
        }
        if latent_BZ is not None:
            prepared["latent_BZ"] = latent_BZ
        if self.likelihood_weight:
            prepared |= _real_text(self.generator, real, noise, runtime)
        return prepared

    def _real_scores(self, real: Batch, opponent: Discriminator, noise: Noise | None) -> Tensor | None:
        """Scores of the real text for a loss that compares pairs."""
        if not self.loss.paired:
            return None
        return opponent(opponent.embed(real.targets_BT), real.lengths_B, noise=noise)

    def _with_likelihood(self, loss: Tensor, report: Report, part: Prepared, noise: Noise) -> tuple[Tensor, Report]:
        """Add the likelihood term, and the mean length of the drawn text to the report."""
        report["generator/length"] = part["lengths_B"].sum() / part["sentence_count"]
        if self.likelihood_weight:
            nll, _ = _mean_nll(self.generator, part, None, noise)
            loss = loss + self.likelihood_weight * nll
            report["generator/nll"] = nll.detach()
        return loss * part["workers"], report


class ScoreFunctionObjective(GeneratorObjective):
    """The score function estimator: rewards weigh the gradient of log-probabilities (Williams 1992).

    The expected gradient is that of the mean reward of a sentence: of the sum over its tokens where these earn their
    own rewards. The discriminator gives rewards without dropout.

    Args:
        credit: (rewards_BT, valid_BT) -> returns_BT, from `credit`.
        baseline: a module from `credit`.
    """

    def __init__(
        self,
        generator: Generator,
        loss: Loss,
        *,
        max_length: int,
        credit: Callable[[Tensor, Tensor], Tensor],
        baseline: nn.Module,
        likelihood_weight: float = 0.0,
    ) -> None:
        super().__init__(generator, loss, max_length=max_length, likelihood_weight=likelihood_weight)
        self.credit = credit
        self.baseline = baseline

    @torch.no_grad()
    def prepare(self, real: Batch, *, opponent: Discriminator, noise: Noise, runtime: Runtime) -> Prepared:
        """Draw text, reward it, and compare the rewards with the baseline, which learns from them."""
        prepared = self._prepare_text(real, noise, runtime)
        tokens_BT, lengths_B = prepared["tokens_BT"], prepared["lengths_B"]
        valid_BT = _valid(lengths_B, tokens_BT.shape[1])
        scores = opponent(opponent.embed(tokens_BT), lengths_B)
        real_scores = self._real_scores(real, opponent, None)
        rewards = self.loss.reward(scores, real_scores)
        rewards_BT = rewards
        if opponent.scores != "per_token":
            rewards_BT = opponent.of_sentences(rewards, lengths_B)[:, None].expand_as(tokens_BT)
        advantages_BT = self.baseline(self.credit(rewards_BT, valid_BT), valid_BT, runtime.sum)
        return prepared | {
            "advantages_BT": advantages_BT,
            "rewards": rewards,
            "costs": self.loss.generator(scores, real_scores),
            "score_count": runtime.sum(opponent.count(lengths_B)),
        }

    def forward(self, part: Prepared, *, opponent: Discriminator, noise: Noise) -> tuple[Tensor, Report]:
        """One teacher-forced pass over the drawn tokens."""
        lengths_B = part["lengths_B"]
        index_N = _valid(lengths_B, part["tokens_BT"].shape[1]).flatten().nonzero().squeeze(1)
        features_BTF, _ = self.generator(part["inputs_BT"], latent_BZ=part.get("latent_BZ"))
        log_likelihoods_N = self.generator.log_likelihoods(
            _select(features_BTF, index_N), _select(part["tokens_BT"], index_N)
        )
        loss_N = estimators.score_function(log_likelihoods_N, _select(part["advantages_BT"], index_N))
        report = {
            "generator/reward": opponent.total(part["rewards"], lengths_B) / part["score_count"],
            "generator/cost": opponent.total(part["costs"], lengths_B) / part["score_count"],
        }
        return self._with_likelihood(loss_N.sum() / part["sentence_count"], report, part, noise)


class GumbelSoftmaxObjective(GeneratorObjective):
    """The Gumbel-softmax estimator: the score's own gradient flows through softened samples (Jang et al. 2017).

    The hard token is what the generator reads next; only the discriminator sees the soft one (Nie et al. 2019). So the
    text is drawn first, and one teacher-forced pass over it gives all logits at once.
    """

    def __init__(
        self,
        generator: Generator,
        loss: Loss,
        *,
        max_length: int,
        straight_through: bool,
        likelihood_weight: float = 0.0,
    ) -> None:
        super().__init__(generator, loss, max_length=max_length, likelihood_weight=likelihood_weight)
        self.straight_through = straight_through

    @torch.no_grad()
    def prepare(
        self, real: Batch, *, opponent: Discriminator, noise: Noise, runtime: Runtime, inverse_temperature: float
    ) -> Prepared:
        """Draw the hard tokens."""
        prepared = self._prepare_text(real, noise, runtime)
        prepared["inverse_temperature"] = torch.tensor(inverse_temperature, device=noise.rows_B.device)
        prepared["score_count"] = runtime.sum(opponent.count(prepared["lengths_B"]))
        real_scores = self._real_scores(real, opponent, noise.at("real scores"))
        if real_scores is not None:
            prepared["real_scores"] = real_scores
        return prepared

    def forward(self, part: Prepared, *, opponent: Discriminator, noise: Noise) -> tuple[Tensor, Report]:
        """Soften the drawn tokens and let the discriminator, with its dropout, score them."""
        tokens_BT, lengths_B = part["tokens_BT"], part["lengths_B"]
        rows, positions = tokens_BT.shape
        row_N, position_N = _valid(lengths_B, positions).nonzero().unbind(1)
        index_N = row_N * positions + position_N
        features_BTF, _ = self.generator(part["inputs_BT"], latent_BZ=part.get("latent_BZ"))
        embedded_NE = estimators.gumbel_softmax(
            self.generator,
            _select(features_BTF, index_N),
            _select(tokens_BT, index_N),
            opponent,
            noise_N=noise.positions(row_N, position_N),
            inverse_temperature=part["inverse_temperature"],
            straight_through=self.straight_through,
        )
        embedded_BTE = embedded_NE.new_zeros(rows * positions, embedded_NE.shape[1])
        embedded_BTE = embedded_BTE.index_copy(0, index_N, embedded_NE).view(rows, positions, -1)
        scores = opponent(embedded_BTE, lengths_B, noise=noise.at("fake scores"))
        costs = self.loss.generator(scores, part.get("real_scores"))
        cost = opponent.total(costs, lengths_B) / part["score_count"]
        return self._with_likelihood(cost, {"generator/cost": cost.detach()}, part, noise)


Objective = LikelihoodObjective | DiscriminatorObjective | ScoreFunctionObjective | GumbelSoftmaxObjective


def _real_text(generator: Generator, real: Batch, noise: Noise, runtime: Runtime) -> Prepared:
    """What `_mean_nll` reads."""
    prepared = {
        "real_inputs_BT": real.inputs_BT,
        "real_targets_BT": real.targets_BT,
        "real_lengths_B": real.lengths_B,
        "real_token_count": runtime.sum(real.lengths_B.sum().float()),
        "workers": _workers(noise, runtime),
    }
    if generator.latent_size:
        prepared["real_latent_BZ"] = noise.normal("latent of real text", generator.latent_size)
    return prepared


def _mean_nll(generator: Generator, part: Prepared, state: State | None, noise: Noise) -> tuple[Tensor, State]:
    """These rows' share of the global mean negative log-likelihood of the real text, with dropout."""
    features_BTF, end = generator(
        part["real_inputs_BT"], state, latent_BZ=part.get("real_latent_BZ"), noise=noise.at("likelihood")
    )
    index_N = _valid(part["real_lengths_B"], features_BTF.shape[1]).flatten().nonzero().squeeze(1)
    log_likelihoods_N = generator.log_likelihoods(
        _select(features_BTF, index_N), _select(part["real_targets_BT"], index_N)
    )
    return -log_likelihoods_N.sum() / part["real_token_count"], end


def _draw(generator: Generator, noise: Noise, max_length: int) -> tuple[Drawn, Tensor | None]:
    """One text for each row, cut to the longest, and the latent vectors behind them."""
    latent_BZ = noise.normal("latent", generator.latent_size) if generator.latent_size else None
    drawn = draw(generator, noise.uniform("tokens", max_length), latent_BZ=latent_BZ)
    longest = int(drawn.lengths_B.max())
    return Drawn(drawn.tokens_BT[:, :longest], drawn.lengths_B), latent_BZ


def _two_texts_a_row(noise: Noise) -> Noise:
    """Noise for twice the rows: first each row's first text, then each row's second."""
    return Noise(noise.key, torch.cat([2 * noise.rows_B, 2 * noise.rows_B + 1]))


def _equally_long(first_BT: Tensor, second_BT: Tensor) -> tuple[Tensor, Tensor]:
    longest = max(first_BT.shape[1], second_BT.shape[1])
    return F.pad(first_BT, (0, longest - first_BT.shape[1])), F.pad(second_BT, (0, longest - second_BT.shape[1]))


def _valid(lengths_B: Tensor, positions: int) -> Tensor:
    """Which positions hold a token, (B, T)."""
    return torch.arange(positions, device=lengths_B.device) < lengths_B[:, None]


def _select(values_BT: Tensor, index_N: Tensor) -> Tensor:
    """The values at the valid positions, (B, T, ...) -> (N, ...)."""
    flat = values_BT.flatten(0, 1)
    return flat if len(index_N) == len(flat) else flat.index_select(0, index_N)


def _workers(noise: Noise, runtime: Runtime) -> Tensor:
    return torch.tensor(float(runtime.world_size), device=noise.rows_B.device)
