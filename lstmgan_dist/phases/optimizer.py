"""How a player's weights follow its gradient, and how the workers of a run keep together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from lstmgan_dist.settings import Probability, Schedule, Settings, WithoutUse, value_at

if TYPE_CHECKING:
    import torch


_MOST_LEARNING_RATE = 100


class Optimizer(Settings):
    """How a player's weights follow its gradient."""

    without_use: ClassVar[WithoutUse] = {
        ("kind", "sgd"): ("betas",),
        ("kind", "adam"): ("momentum",),
        ("kind", "adamw"): ("momentum",),
    }

    kind: Literal["adam", "adamw", "sgd"] = Field(default="adam", description="Update rule.")
    learning_rate: Annotated[float, Field(gt=0, le=_MOST_LEARNING_RATE)] | Schedule = Field(
        default=1e-3,
        description=f"Above 0, {_MOST_LEARNING_RATE} or less; a number or schedule.",
    )
    warmup_steps: int = Field(default=0, ge=0, description="Steps over which the learning rate rises linearly from 0.")
    betas: tuple[Probability, Probability] = Field(default=(0.9, 0.999), description="Adam's moment decays, 0 to 1.")
    momentum: Probability = Field(default=0.0, description="SGD's momentum, 0 to 1.")
    weight_decay: float = Field(default=0.0, ge=0, description="L2 penalty (adam, sgd) or decoupled decay (adamw).")
    average_decay: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Decay of an exponential moving average of the weights over the phase's updates, above 0, below 1; "
        "none: no average. The averages are evaluated, saved for all commands, kept as best and handed to the next "
        "phase; updates go on from the weights that move, which the opponent meets meanwhile.",
    )
    clip: float | None = Field(default=5.0, gt=0, description="Largest norm of the whole gradient; none does not clip.")

    def learning_rate_at(self, step: int, steps: int) -> float:
        """The learning rate of the phase's `step` (from 0) of `steps`."""
        warmup = min(1.0, (step + 1) / (self.warmup_steps + 1))
        return warmup * value_at(self.learning_rate, step, steps)

    def build(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """The update rule for these weights, with a learning rate of 0."""
        import torch

        # One fused kernel instead of a loop over parameters, on CPU and CUDA alike.
        common: dict[str, Any] = {"lr": 0.0, "weight_decay": self.weight_decay, "fused": True}
        match self.kind:
            case "adam":
                return torch.optim.Adam(parameters, betas=self.betas, **common)
            case "adamw":
                return torch.optim.AdamW(parameters, betas=self.betas, **common)
            case "sgd":
                return torch.optim.SGD(parameters, momentum=self.momentum, **common)


class Synchronisation(Settings):
    """How the workers of a run keep together where the network between them is slow; one worker has nothing to do.

    Either setting makes the numbers depend on how many workers there are.
    """

    compression: Literal["none", "bf16"] = Field(
        default="none", description="What gradients travel as: float32, or bf16 in half the bytes."
    )
    every: int = Field(
        default=1,
        ge=1,
        description="Updates of a player between synchronisations. 1: gradients are averaged at every update; "
        "more: each worker applies its own, and the weights are averaged (local SGD, Stich 2019).",
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.compression != "none" and self.every > 1:
            raise ValueError("compression is of gradients, and with every above 1 none travel: try compression: none")
        return self
