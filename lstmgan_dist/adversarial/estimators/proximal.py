"""A generator that learns from the texts of an older one, and does not go far from it meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from lstmgan_dist.settings import Settings

if TYPE_CHECKING:
    from lstmgan_dist.adversarial.estimators.proximal_policy import OldPolicy
    from lstmgan_dist.models.generator import Generator


class ProximalSettings(Settings):
    """Probability ratios to an older generator, clipped (PPO, Schulman et al. 2017; in a game, Wu et al. 2020)."""

    clip: float = Field(
        default=0.2, gt=0, lt=1, description="A token whose ratio has gone further from 1 teaches no more, 0 to 1."
    )
    every: int = Field(
        default=4,
        ge=2,
        description="Generator updates from the texts of one generator, before it takes its own weights.",
    )

    def build(self, generator: Generator) -> OldPolicy:
        from lstmgan_dist.adversarial.estimators.proximal_policy import OldPolicy

        return OldPolicy(generator, clip=self.clip, every=self.every)
