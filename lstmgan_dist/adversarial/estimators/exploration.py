"""From which texts a generator learns, where these are not the ones that it would write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from lstmgan_dist.settings import Settings

if TYPE_CHECKING:
    from lstmgan_dist.adversarial.estimators.exploration_weights import Exploration


class NucleusSettings(Settings):
    """Some of the texts hold likely tokens alone (Holtzman et al. 2020)."""

    top_p: float = Field(
        gt=0, lt=1, description="Each token is drawn from the fewest that have this probability together, 0 to 1."
    )
    share: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="Of the texts that are drawn like this, 0 to 1; any text can be among the others, so the estimate "
        "stays unbiased.",
    )


class ExplorationSettings(Settings):
    """Texts near the modes, with importance weights that make up for it (ColdGAN, Scialom et al. 2020)."""

    temperature: float = Field(default=0.8, gt=0, le=10, description="Divides the logits; below 1: colder.")
    nucleus: NucleusSettings | None = Field(
        default=None, description="Draw some of the texts from likely tokens alone; without it, none."
    )
    clip: float | None = Field(
        default=5.0,
        gt=0,
        description="Largest importance weight of a text; none does not clip, and is unbiased at a larger variance.",
    )

    @model_validator(mode="after")
    def _explores(self) -> Self:
        if self.temperature == 1 and self.nucleus is None:
            raise ValueError("temperature 1 without a nucleus draws what the generator would: leave exploration out")
        return self

    def build(self) -> Exploration:
        from lstmgan_dist.adversarial.estimators.exploration_weights import Exploration

        top_p, share = (self.nucleus.top_p, self.nucleus.share) if self.nucleus else (None, 0.0)
        return Exploration(self.temperature, top_p, share, self.clip)
