"""How many workers share a piece of work, and what each of them takes: as asked for, and as a cluster grants it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from lstmgan_dist.errors import UserError


@dataclass(frozen=True)
class WorkerSize:
    """Between `fewest` and `most` workers; 0 of them are one process without Ray.

    cpus, gpus: what each takes; None where it was not said, which `ray_cluster.connected_for` decides.
    """

    fewest: int
    most: int
    cpus: float | None = None
    gpus: float | None = None

    @classmethod
    def parse(cls, number: str, *, cpus: float | None = None, gpus: float | None = None) -> Self:
        """With `number` as `--workers` takes it: `4` or `2..8`.

        Raises:
            UserError: if it is neither.
        """
        match = re.fullmatch(r"(\d+)(?:\.\.(\d+))?", number)
        fewest, most = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if fewest > most or (most and not fewest):
            raise UserError(f"--workers {number}: write a number such as 4, or a range such as 2..8.")
        return cls(fewest, most, cpus, gpus)

    @property
    def number(self) -> str:
        """How many, as `parse` takes it."""
        return str(self.most) if self.fewest == self.most else f"{self.fewest}..{self.most}"

    @property
    def resources(self) -> dict[str, float]:
        """What each worker takes, under Ray's names; to be asked once it is decided."""
        assert self.cpus is not None, "connected_for has decided this"
        assert self.gpus is not None, "connected_for has decided this"
        return {"CPU": self.cpus, "GPU": self.gpus}

    def check_units(self, units: int) -> None:
        """See that every worker can have a unit of the batch.

        Raises:
            UserError: if there are fewer.
        """
        if self.most > units:
            raise UserError(
                f"{self.most} workers cannot share batch.units {units}: try {units} workers or fewer, or --set "
                f"batch.units={self.most}, whose numbers are others."
            )

    def __str__(self) -> str:
        number = str(self.most) if self.fewest == self.most else f"{self.fewest} to {self.most}"
        cpus, gpus = self.resources.values()
        each = f"{cpus:g} CPU{'s' if cpus != 1 else ''}"
        each += f" and {gpus:g} GPU{'s' if gpus != 1 else ''}" if gpus else ""
        return f"{number} worker{'s' if self.most != 1 else ''} with {each} each"
