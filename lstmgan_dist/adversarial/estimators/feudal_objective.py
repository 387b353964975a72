"""Manager and worker at work.

Shapes: B rows, T positions, N valid positions of all rows, S = T + 1 prefixes, K features of a prefix, G rows of the
global batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lstmgan_dist.adversarial.estimators.objective import GeneratorObjective
from lstmgan_dist.adversarial.estimators.score_function_objective import score_function
from lstmgan_dist.adversarial.losses import Loss
from lstmgan_dist.adversarial.objective import Outcome, Prepared, Tensors
from lstmgan_dist.adversarial.texts import select
from lstmgan_dist.models.discriminator import Discriminator
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.models.generators.goals import cosines_of_aims, intrinsic_rewards
from lstmgan_dist.models.generators.leak_network import LeakGenerator
from lstmgan_dist.models.padding import valid
from lstmgan_dist.runtime.randomness import Noise

if TYPE_CHECKING:
    from lstmgan_dist.corpus.stream import Batch


class FeudalObjective(GeneratorObjective):
    """The losses of a manager and of a worker over drawn text (Guo et al. 2018).

    The manager's is minus the reward Q of the text times the cosine of each goal with what the features become within
    its horizon; the worker's is REINFORCE with rewards of single tokens, which are constants.
    Q is the whole sentence's, at all of its positions; the paper estimates one for each, by rollouts.

    Args:
        intrinsic_alone: whether the worker is rewarded for following the goals whatever the sentence's reward; else the
            product of both counts, which is nothing where the discriminator is undecided.
        steepness: of rewards by rank; None: rewards as they are.
    """

    def __init__(
        self,
        generator: Generator,
        loss: Loss,
        *,
        max_length: int,
        intrinsic_alone: bool,
        steepness: float | None,
        likelihood_weight: float = 0.0,
    ) -> None:
        super().__init__(generator, loss, max_length=max_length, likelihood_weight=likelihood_weight)
        assert isinstance(generator, LeakGenerator), "Feudal.objection_to_generator has checked this"
        self.leak = [generator]  # within a list it is no second submodule
        self.intrinsic_alone = intrinsic_alone
        self.steepness = steepness

    @torch.no_grad()
    def prepare(
        self, real: Batch, *, opponent: Discriminator, noise: Noise, schedules: Mapping[str, float], carried: Tensors
    ) -> Prepared:
        """Draw text, reward it, and see how far its tokens went where the goals point."""
        (generator,) = self.leak
        prepared = self._prepare_text(real, noise)
        tokens_BT, lengths_B = prepared.own["tokens_BT"], prepared.own["lengths_B"]
        starts_B = prepared.own.get("starts_B")
        scores = opponent(opponent.see(tokens_BT, generator), lengths_B)
        real_scores = self._real_scores(real, opponent, None)
        rewards_B = opponent.of_sentences(self.loss.reward(scores, real_scores), lengths_B, starts_B)
        features_BSK = generator.prefixes(tokens_BT)
        goals_BTK, _ = generator.goals(features_BSK[:, :-1])
        valid_BT = valid(lengths_B, tokens_BT.shape[1], starts_B)
        intrinsic_BT = intrinsic_rewards(features_BSK, goals_BTK, generator.horizon, starts_B) * valid_BT
        own = {
            "features_BSK": features_BSK,
            "rewards_B": rewards_B,
            "intrinsic_BT": intrinsic_BT,
            "costs": self.loss.generator(scores, real_scores),
        }
        added = {
            "score_count": opponent.count(lengths_B, starts_B),
            "intrinsic_sum": intrinsic_BT.sum(),
            "intrinsic_count": valid_BT.sum().float(),
        }
        joined = {} if self.steepness is None else {"rewards_G": rewards_B}
        return Prepared(prepared.own | own, prepared.added | added, joined)

    def forward(self, part: Tensors, *, opponent: Discriminator, noise: Noise) -> Outcome:
        """One teacher-forced pass of both over the drawn tokens."""
        (generator,) = self.leak
        tokens_BT, lengths_B, starts_B = part["tokens_BT"], part["lengths_B"], part.get("starts_B")
        features_BSK = part["features_BSK"]
        valid_BT = valid(lengths_B, tokens_BT.shape[1], starts_B)
        rewards_B = part["rewards_B"]
        if self.steepness is not None:
            rewards_B = rewards_by_rank(rewards_B, part["rewards_G"], self.steepness)
        goals_BTK, _ = generator.goals(features_BSK[:, :-1])
        cosines_BT = cosines_of_aims(features_BSK, goals_BTK, lengths_B, generator.horizon) * valid_BT
        manager = -(rewards_B[:, None] * cosines_BT).sum()
        actions_BTA, _, _ = generator.act(part["inputs_BT"], goals_BTK)
        index_N = valid_BT.flatten().nonzero().squeeze(1)
        log_likelihoods_N = generator.log_likelihoods(
            generator.features(select(actions_BTA, index_N)), select(tokens_BT, index_N)
        )
        worker = score_function(log_likelihoods_N, select(self._advantages(part, rewards_B, valid_BT), index_N)).sum()
        report = {
            "generator/reward": part["rewards_B"].sum() / part["sentence_count"],
            "generator/cost": opponent.total(part["costs"], lengths_B, starts_B) / part["score_count"],
            "generator/intrinsic_reward": part["intrinsic_BT"].sum() / part["intrinsic_count"],
        }
        return self._with_likelihood((manager + worker) / part["sentence_count"], report, part, noise)

    def _advantages(self, part: Tensors, rewards_B: Tensor, valid_BT: Tensor) -> Tensor:
        """What each token earns, (B, T)."""
        intrinsic_BT = part["intrinsic_BT"]
        if not self.intrinsic_alone:
            return rewards_B[:, None] * intrinsic_BT
        # Without the text's own rewards the mean has nothing to do with its tokens, and the estimate is unbiased.
        others_B = part["intrinsic_sum"] - intrinsic_BT.sum(dim=1)
        count_B = (part["intrinsic_count"] - valid_BT.sum(dim=1)).clamp(min=1)
        return intrinsic_BT - (others_B / count_B)[:, None]


def rewards_by_rank(rewards_B: Tensor, rewards_G: Tensor, steepness: float) -> Tensor:
    """Bootstrapped rescaled activation (Guo et al. 2018), measured from the middle: -1 to 1, mean 0.

    2 σ(δ (1/2 - rank / G)) - 1, in which ranks are counted from 1/2 and equal rewards share the mean of theirs: the
    paper's σ, from 1 for its first, would reward texts between which the discriminator sees no difference.
    """
    above_B = (rewards_G > rewards_B[:, None]).sum(dim=1)
    equal_B = (rewards_G == rewards_B[:, None]).sum(dim=1)
    rank_B = above_B + equal_B / 2
    return 2 * (steepness * (0.5 - rank_B / len(rewards_G))).sigmoid() - 1
