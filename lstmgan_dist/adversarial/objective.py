"""What a player minimises: a module whose forward returns a loss, which is what is wrapped for the workers.

A batch has fixed units, see `runtime.units`, and an update two halves, which see one unit at a time. `prepare` has no
gradient: it draws text, scores it, and says what has to be known of all units. `forward` knows that, and has all the
gradient. Its loss is the sum over the unit's rows divided by the *global* count, so the gradients of the units add up
to that of the batch; its report holds shares of global means, which add up as well.

Shapes: B rows of a unit, T positions, N valid positions of all rows, V vocabulary, F features, H hidden units, Z latent
dimensions, G rows of the global batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor, nn

from lstmgan_dist.runtime.randomness import Noise

if TYPE_CHECKING:
    from lstmgan_dist.corpus.stream import Batch

Tensors = dict[str, Tensor]
Report = dict[str, Tensor]


class Prepared(NamedTuple):
    """What the first half of an update has made of a unit.

    own: is the unit's own. added: is added up over all units. joined: rows, of which all units' are put one after the
    other. The second half finds all of it under the names that it has here.
    """

    own: Tensors
    added: Tensors
    joined: Tensors


class Outcome(NamedTuple):
    """What the second half has made of it: the loss, shares of figures, and what the next update is to find as carried.

    carried: of each of the unit's rows, rows first.
    """

    loss: Tensor
    report: Report
    carried: Tensors = {}  # noqa: RUF012  (nobody writes into it)


class Objective(nn.Module, ABC):
    """What every objective answers to; a player knows none of them by name.

    Whoever remembers something from update to update says so in `memory`, the same on every worker, or as `carried`, of
    rows: a checkpoint holds both, and a run goes on with other workers from it. Units are worked on side by side, so
    neither half changes the objective: `hear` and `stepped` do.

    leaves_out: whether the loss does not depend on some of the parameters.
    """

    leaves_out: bool = False

    @abstractmethod
    def prepare(
        self, real: Batch, *, opponent: Any, noise: Noise, schedules: Mapping[str, float], carried: Tensors
    ) -> Prepared:
        """The first half of an update.

        schedules: the values of what changes over the phase, by name. carried: what the unit's rows brought along from
        the update before; empty at the first one.
        """

    @abstractmethod
    def forward(self, part: Tensors, *, opponent: Any, noise: Noise) -> Outcome:
        """The second half."""

    def hear(self, added: Tensors) -> None:
        """Learn from what was added up over all units."""

    def stepped(self) -> None:
        """The optimiser has made its step: what follows the network's weights goes after them."""

    def followers(self) -> list[Tensor]:
        """Those weights, which workers that synchronise seldom average with the network's."""
        return []

    def memory(self) -> Tensors:
        """What is remembered, the same on every worker."""
        return {}

    def load_memory(self, tensors: Tensors) -> None:
        """The inverse of `memory`."""
