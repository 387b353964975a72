"""Every two kinds go together, and train, or are refused with a reason; what is refused is a table to look at.

Kinds and losses are combined all with all, but for generators, which see no loss; of what may be trained, so few
combinations are that every pair is in one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from lstmgan_dist.adversarial.estimators import ESTIMATORS
from lstmgan_dist.adversarial.losses import LOSSES
from lstmgan_dist.errors import UserError
from lstmgan_dist.models.discriminators import DISCRIMINATORS
from lstmgan_dist.models.generators import GENERATORS
from lstmgan_dist.settings import Interval
from tests.training.tiny_jobs import SENTENCES, job_of, run_job

BY_PLACE = {
    "generator": {
        "lstm": "{kind: lstm, embedding: 8, hidden: 12}",
        "mogrifier": "{kind: mogrifier, embedding: 8, hidden: 12}",
        "latent": "{kind: lstm, embedding: 8, hidden: 12, latent: {size: 3}}",
        "relational_memory": "{kind: relational_memory, embedding: 8, slots: 2, head_size: 6}",
        "leak": "{kind: leak, embedding: 8, hidden: 6, manager_hidden: 6, goal_size: 3, "
        "leaked: {embedding: 8, filters: {2: 3, 3: 4}}}",
    },
    "discriminator": {
        "lstm of tokens": "{kind: lstm, scores: per_token, embedding: 8, hidden: 8}",
        "lstm": "{kind: lstm, scores: per_sentence, embedding: 8, hidden: 8, bidirectional: true}",
        "convolutional": "{kind: convolutional, embedding: 8, filters: {2: 3, 3: 4}, dense: 6}",
        "representations": "{kind: convolutional, embedding: 8, representations: 4, filters: {2: 3, 3: 4}, dense: 6}",
        "hidden_states": "{kind: hidden_states, hidden: 6, dense: 5}",
        "multi_class": "{kind: multi_class, embedding: 8, hidden: 8}",
        "mediator": "{kind: mediator, language_model: {embedding: 8, hidden: 10}}",
    },
    "estimator": {
        "score_function": "{kind: score_function, baseline: {kind: none}}",
        "discounted": "{kind: score_function, credit: discounted}",
        "rollouts": "{kind: score_function, credit: rollouts, rollouts: 2}",
        "drafts": "{kind: score_function, baseline: {kind: group, drafts: 2}}",
        "proximal": "{kind: score_function, proximal: {every: 2}}",
        "exploring": "{kind: score_function, exploration: {nucleus: {top_p: 0.9}}}",
        "probabilities": "{kind: score_function, weighs: probability}",
        "normalised_weights": "{kind: normalised_weights}",
        "taylor": "{kind: taylor, entropy_weight: 0.02}",
        "gumbel_softmax": "{kind: gumbel_softmax}",
        "soft for both": "{kind: gumbel_softmax, soft_for_discriminator: true}",
        "straight through": "{kind: gumbel_softmax, straight_through: true, inverse_temperature: 2}",
        "softmax": "{kind: softmax}",
        "professor_forcing": "{kind: professor_forcing}",
        "feudal": "{kind: feudal}",
    },
    "loss": {name: name for name in LOSSES},
}


PARTS = 8  # of what is trained, a test each
REFUSED = Path(__file__).parent / "refused_pairs.txt"


class Combination(NamedTuple):
    generator: str
    discriminator: str
    estimator: str
    loss: str

    @property
    def pairs(self) -> set[tuple[str, ...]]:
        """Any two of them, each with its place, but for generator and loss."""
        of_all = itertools.combinations((f"{place}: {name}" for place, name in self._named()), 2)
        return {two for two in of_all if not (two[0].startswith("generator") and two[1].startswith("loss"))}

    def _named(self) -> Iterator[tuple[str, str]]:
        return zip(self._fields, self, strict=True)

    def settings(self) -> list[str]:
        found = {place: BY_PLACE[place][name] for place, name in self._named()}
        phase = f"{{kind: adversarial, steps: 2, loss: {found['loss']}, estimator: {found['estimator']}}}"
        return [f"phases=[{phase}]", f"generator={found['generator']}", f"discriminator={found['discriminator']}"]


@cache
def refusals() -> dict[Combination, str | None]:
    """Of every combination why it is refused; None if it is not."""
    found: dict[Combination, str | None] = {}
    for names in itertools.product(*BY_PLACE.values()):
        combination = Combination(*names)
        if combination.generator != "lstm" and combination.loss not in ("cross_entropy", "relativistic"):
            continue
        try:
            job_of(SENTENCES, "text.txt", *combination.settings())
            found[combination] = None
        except UserError as error:
            found[combination] = str(error)
    return found


def accepted() -> list[Combination]:
    return [combination for combination, refusal in refusals().items() if refusal is None]


def covered_by(combinations: Iterable[Combination]) -> set[tuple[str, ...]]:
    return set().union(*(combination.pairs for combination in combinations))


def covering() -> list[Combination]:
    """So few of the accepted ones that every pair of any of them is in one; the same ones every time."""
    left = covered_by(accepted())
    chosen: list[Combination] = []
    while left:
        chosen.append(max(accepted(), key=lambda combination: len(combination.pairs & left)))
        left -= chosen[-1].pairs
    return chosen


def test_every_kind_is_here():
    kinds = {"generator": GENERATORS, "discriminator": DISCRIMINATORS, "estimator": ESTIMATORS}
    for place, table in kinds.items():
        named = {settings.split("kind: ")[1].split(",")[0].rstrip("}") for settings in BY_PLACE[place].values()}
        assert named == set(table)


def refused_pairs() -> str:
    """Those that no accepted combination has, a line each."""
    known = set().union(*(combination.pairs for combination in refusals()))
    return "".join(f"{one}, {other}\n" for one, other in sorted(known - covered_by(accepted())))


def test_what_is_refused_is_known():
    """Written anew by `python -m tests.training.test_pairs`, to be looked at before it is committed."""
    assert refused_pairs() == REFUSED.read_text()


def test_what_is_refused_says_in_a_line_which_setting_it_is_and_what_would_do():
    for reason in set(filter(None, refusals().values())):
        for line in reason.splitlines():
            assert line.startswith(("tiny.yaml: generator.", "tiny.yaml: discriminator.", "tiny.yaml: phases.0.")), line
            assert any(f" {word} " in line for word in ("set", "choose", "leave")), line


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_every_pair_that_is_not_refused_trains(part, text, talk, tmp_path):
    for number, combination in enumerate(covering()[part::PARTS]):
        settings = combination.settings()
        if combination.discriminator == "multi_class":
            columns = "column: answer, label_column: mood, heldout_fraction: 0.2, max_length: 12"
            settings.append(f"corpus={{source: {talk}, {columns}}}")
        job = job_of(SENTENCES, text, *settings)
        every = job.checkpoint.model_copy(update={"every": Interval(count=1, unit="steps")})
        run, _ = run_job(job.model_copy(update={"checkpoint": every}), tmp_path / str(number))
        for network in ("generator", "discriminator"):
            before, after = (run.checkpoints.open(step).load(network) for step in (1, 2))
            assert before.keys() == after.keys()
            assert any(not torch.equal(before[name], after[name]) for name in before), combination
            assert all(tensor.isfinite().all() for tensor in after.values()), combination


if __name__ == "__main__":
    REFUSED.write_text(refused_pairs())
