"""The score function estimator at work.

Shapes: B rows, T positions, N valid positions of all rows, F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lstmgan_dist.adversarial.baselines import Baseline
from lstmgan_dist.adversarial.credits import Credit
from lstmgan_dist.adversarial.estimators.objective import GeneratorObjective
from lstmgan_dist.adversarial.estimators.proximal_policy import OldPolicy, clipped
from lstmgan_dist.adversarial.losses import Loss
from lstmgan_dist.adversarial.objective import Outcome, Prepared, Tensors
from lstmgan_dist.adversarial.rollouts import Judge, Rollouts
from lstmgan_dist.adversarial.texts import drawn_positions, select
from lstmgan_dist.models.discriminator import Discriminator
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.models.padding import valid
from lstmgan_dist.runtime.randomness import Noise

if TYPE_CHECKING:
    from lstmgan_dist.adversarial.estimators.exploration_weights import Exploration
    from lstmgan_dist.corpus.stream import Batch


class ScoreFunctionObjective(GeneratorObjective):
    """The score function estimator: rewards weigh the gradient of log-probabilities (Williams 1992).

    The expected gradient is that of the mean reward of a sentence: of the sum over its tokens where these earn their
    own rewards. The discriminator gives rewards without dropout. Under a loss that compares texts with all, a text's
    reward is by the real ones of its unit.

    Args:
        credit: whose token earned the reward.
        discount: weight of the next token's reward, for a credit that has one.
        baseline: what the returns are compared with.
        rollouts: what tells the values of tokens, for a credit of these.
        weighs: what of a token an advantage weighs. Of its probability the expected gradient is no reward's: it is that
            of the sum over tokens of advantage times probability (Wang and Wan 2018).
        drafts: texts that are drawn of each row, one after the other, with the same context and latent vector.
        exploration: draws texts otherwise than the generator would, and says what each weighs.
        old: an older generator that writes, to which the ratios are clipped.
    """

    def __init__(
        self,
        generator: Generator,
        loss: Loss,
        *,
        max_length: int,
        credit: Credit,
        discount: float,
        baseline: Baseline,
        rollouts: Rollouts | None = None,
        weighs: Literal["log_probability", "probability"] = "log_probability",
        drafts: int = 1,
        exploration: Exploration | None = None,
        old: OldPolicy | None = None,
        likelihood_weight: float = 0.0,
    ) -> None:
        super().__init__(generator, loss, max_length=max_length, likelihood_weight=likelihood_weight)
        self.credit = credit
        self.discount = discount
        self.baseline = baseline
        self.rollouts = rollouts
        self.weighs = weighs
        self.drafts = drafts
        self.exploration = exploration
        self.old = old

    @torch.no_grad()
    def prepare(
        self, real: Batch, *, opponent: Discriminator, noise: Noise, schedules: Mapping[str, float], carried: Tensors
    ) -> Prepared:
        """Draw text, reward it, and compare the rewards with the baseline."""
        writer = self.old and self.old.writer
        prepared = self._prepare_text(real, noise, drafts=self.drafts, exploration=self.exploration, writer=writer)
        tokens_BT, lengths_B = prepared.own["tokens_BT"], prepared.own["lengths_B"]
        starts_B = prepared.own.get("starts_B")
        valid_BT = valid(lengths_B, tokens_BT.shape[1], starts_B)
        rewards, costs = self._judged(prepared.own, opponent.see(tokens_BT, self.generator), real, opponent)
        rewards_BT = rewards
        if opponent.scores != "per_token":
            rewards_B = opponent.of_sentences(rewards, lengths_B, starts_B)
            rewards_BT = rewards_B[:, None].expand_as(tokens_BT)
            if self.rollouts is not None:
                judge = self._judge(real, opponent)
                rewards_BT = self.rollouts.action_values(prepared.own, rewards_B, judge, noise)
        returns_BT = self.credit.returns(rewards_BT, valid_BT, self.discount)
        if starts_B is not None:  # to a baseline, positions are those of the text
            returns_BT, valid_BT = (moved(values, starts_B)[:, : self.max_length] for values in (returns_BT, valid_BT))
        advantages_BT = self.baseline.advantages(returns_BT, valid_BT)
        if starts_B is not None:
            beyond = tokens_BT.shape[1] - advantages_BT.shape[1]
            advantages_BT = moved(F.pad(advantages_BT, (0, beyond)), -starts_B)
        own = {
            "advantages_BT": advantages_BT,
            "rewards": rewards,
            "costs": costs,
        }
        lessons = {f"{_LESSON}{name}": sums for name, sums in self.baseline.lessons(returns_BT, valid_BT).items()}
        added = {"score_count": opponent.count(lengths_B, starts_B)} | lessons
        if self.old:
            added["drawn_token_count"] = valid_BT.sum().float()
        return Prepared(prepared.own | own, prepared.added | added, {})

    def _judged(self, own: Tensors, seen_BTD: Tensor, real: Batch, opponent: Discriminator) -> tuple[Tensor, Tensor]:
        """The reward and the cost beside each score of drawn text, of which the opponent sees this."""
        scores = opponent(seen_BTD, own["lengths_B"])
        real_scores = self._real_scores(real, opponent, None)
        if real_scores is not None and self.loss.compares == "pairs" and self.drafts > 1:
            # Each of a row's drafts is paired with its real text.
            real_scores = real_scores.repeat_interleave(self.drafts, dim=0)
        return self.loss.reward(scores, real_scores), self.loss.generator(scores, real_scores)

    def _judge(self, real: Batch, opponent: Discriminator) -> Judge:
        """Rewards of whole texts that complete rows; a loss that pairs texts has those rows' real scores."""
        real_scores = self._real_scores(real, opponent, None)

        def judge(tokens_NW: Tensor, lengths_N: Tensor, row_N: Tensor) -> Tensor:
            scores = opponent(opponent.see(tokens_NW, self.generator), lengths_N)
            of_rows = real_scores[row_N] if real_scores is not None and self.loss.compares == "pairs" else real_scores
            return opponent.of_sentences(self.loss.reward(scores, of_rows), lengths_N)

        return judge

    def hear(self, added: Tensors) -> None:
        """Let the baseline learn from the rewards of all units, which have drawn."""
        if self.old:
            self.old.age()
        names = [name for name in added if name.startswith(_LESSON)]
        self.baseline.learn({name.removeprefix(_LESSON): added[name] for name in names})
        if self.rollouts is not None:
            self.rollouts.start()

    def stepped(self) -> None:
        if self.rollouts is not None:
            self.rollouts.follow()

    def followers(self) -> list[Tensor]:
        return [] if self.rollouts is None else self.rollouts.weights()

    def forward(self, part: Tensors, *, opponent: Discriminator, noise: Noise) -> Outcome:
        """One teacher-forced pass over the drawn tokens."""
        tokens_BT, lengths_B, starts_B = part["tokens_BT"], part["lengths_B"], part.get("starts_B")
        index_N = drawn_positions(part)
        features_BTF, _ = self.generator(part["inputs_BT"], latent_BZ=part.get("latent_BZ"))
        logits_NV, tokens_N = self.generator.logits(select(features_BTF, index_N)), select(tokens_BT, index_N)
        advantages_N = select(part["advantages_BT"], index_N)
        report = {
            "generator/reward": opponent.total(part["rewards"], lengths_B, starts_B) / part["score_count"],
            "generator/cost": opponent.total(part["costs"], lengths_B, starts_B) / part["score_count"],
        }
        if self.exploration:
            weights_B = self.exploration.weights(logits_NV.detach(), tokens_N, index_N, tokens_BT.shape)
            advantages_N = advantages_N * weights_B[index_N // tokens_BT.shape[1]]
            report["generator/importance"] = weights_B.sum() / part["sentence_count"]
        log_likelihoods_N = -F.cross_entropy(logits_NV, tokens_N, reduction="none")
        if self.old:
            old_N = self.old.log_likelihoods(part, index_N, tokens_N)
            loss_N, ratios_N = clipped(log_likelihoods_N, old_N, advantages_N, self.old.clip)
            is_clipped_N = ((ratios_N - 1).abs() > self.old.clip).float()
            report["generator/clipped"] = is_clipped_N.sum() / part["drawn_token_count"]
        else:
            moved_N = log_likelihoods_N.exp() if self.weighs == "probability" else log_likelihoods_N
            loss_N = score_function(moved_N, advantages_N)
        return self._with_likelihood(loss_N.sum() / part["sentence_count"], report, part, noise)

    def memory(self) -> Tensors:
        policy = {} if self.rollouts is None else self.rollouts.memory()
        return self.baseline.memory() | policy | (self.old.memory() if self.old else {})

    def load_memory(self, tensors: Tensors) -> None:
        tensors = self.old.load_memory(tensors) if self.old else tensors
        if self.rollouts is not None:
            self.rollouts.load_memory(tensors)
        if tensors:
            self.baseline.load_memory(tensors)


_LESSON = "baseline/"


def moved(values_BT: Tensor, places_B: Tensor) -> Tensor:
    """Each row so many places further to the left; zero where nothing is."""
    at_BT = torch.arange(values_BT.shape[1], device=values_BT.device) + places_B[:, None]
    inside_BT = (at_BT >= 0) & (at_BT < values_BT.shape[1])
    return values_BT.gather(1, at_BT.clamp(0, values_BT.shape[1] - 1)) * inside_BT


def score_function(moved_N: Tensor, advantages_N: Tensor) -> Tensor:
    """The loss of each token, whose gradient is minus advantage times that of what is moved.

    Of log-probabilities, it is REINFORCE's (Williams 1992).
    """
    return -(advantages_N * moved_N)
