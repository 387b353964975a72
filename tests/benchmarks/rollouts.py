"""SeqGAN's generator update with its rollouts, on texts of the greatest length, and where its time goes.

TextGAN-PyTorch's seconds are quoted, not measured in this run; its discriminator has fewer filters than SeqGAN's own.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import torch

from lstmgan_dist.adversarial import rollouts
from lstmgan_dist.adversarial.baselines import MovingAverage
from lstmgan_dist.adversarial.credits import CREDITS
from lstmgan_dist.adversarial.estimators.score_function_objective import ScoreFunctionObjective
from lstmgan_dist.adversarial.losses import LOSSES
from lstmgan_dist.phases.optimizer import Optimizer
from lstmgan_dist.runtime.local import choose_device
from tests.benchmarks.players import learner
from tests.benchmarks.table import Row
from tests.benchmarks.timing import fastest
from tests.benchmarks.updates import BATCH, MAX_LENGTH, VOCABULARY, generator_for, real_text
from tests.networks import convolutional_discriminator

_PEER_SECONDS, _TARGET = 90.0, 6.0
_PEER_NOTE = "the peer: 2 cores of an AMD EPYC, torch 2.15, November 2026"
_ROLLOUTS, _ROUNDS = 16, 2
# Width: filters. Both are of an embedding of 64, with a highway layer.
FILTERS = {
    "the peer's discriminator": {2: 200, 3: 200, 4: 200, 5: 200},
    "SeqGAN's discriminator": {1: 100}
    | {width: 200 for width in (2, 3, 4, 5)}
    | {width: 100 for width in (6, 7, 8, 9, 10)}
    | {15: 160, 20: 160},
}


def rows() -> Iterator[Row]:
    """Seconds of an update with either discriminator, and the share of each part."""
    for name, filters in FILTERS.items():
        update = _update(filters)
        (seconds,) = fastest(update, rounds=_ROUNDS)
        start = time.process_time()
        update()
        cores = time.process_time() - start
        what = f"SeqGAN's generator update, {_ROLLOUTS} rollouts, all texts {MAX_LENGTH} tokens, {name}"
        note = f"batch {BATCH}, vocabulary {VOCABULARY:,}, {sum(filters.values()):,} filters; {cores:.1f} core-seconds"
        quoted = "TextGAN-PyTorch, quoted"
        yield Row(what, seconds, "s", _PEER_SECONDS, quoted, _PEER_SECONDS / seconds, _TARGET, f"{note}; {_PEER_NOTE}")
        for part, share in _shares(update).items():
            in_it = "its share of the update, the clocks of both threads together"
            yield Row(f"{name}: {part}", share * seconds, "s", seconds, "the update", share, 1.0, in_it)


def _update(filters: dict[int, int]) -> Callable[[], None]:
    device = choose_device("auto")
    generator = generator_for("full length", embedding=32, hidden=32, tied=False).to(device)
    discriminator = convolutional_discriminator(VOCABULARY, embedding=64, filters=filters, dense=0, dropout=0.25)
    objective = ScoreFunctionObjective(
        generator,
        LOSSES["probability"],
        max_length=MAX_LENGTH,
        credit=CREDITS["rollouts"],
        discount=1.0,
        baseline=MovingAverage(decay=0.9),
        rollouts=rollouts.Rollouts(generator, count=_ROLLOUTS, decay=0.8, max_length=MAX_LENGTH),
    )
    text = real_text("full length")
    optimizer = Optimizer(learning_rate=1e-2)
    return learner(generator, objective, discriminator.to(device), text, optimizer=optimizer)


def _shares(update: Callable[[], None]) -> dict[str, float]:
    """Of one update's time, summed over threads that work side by side."""
    parts = {
        "drawing the rollouts": (rollouts, "complete"),
        "scoring them": (rollouts, "score_completions"),
        "states along the text": (rollouts, "states_along"),
        "gradient of the text's likelihood": (ScoreFunctionObjective, "forward"),
    }
    with _clocks(parts | {"first half": (ScoreFunctionObjective, "prepare")}) as spent:
        start = time.perf_counter()
        update()
        whole = time.perf_counter() - start
    threads = max(1.0, spent.pop("first half") / whole)
    shares = {part: spent[part] / threads / whole for part in parts}
    return shares | {"the rest: drawing the text, its score, backward pass, optimiser": 1 - sum(shares.values())}


@contextmanager
def _clocks(functions: dict[str, tuple[Any, str]]) -> Iterator[dict[str, float]]:
    """Seconds that functions take meanwhile, by name, added up over threads."""
    spent: dict[str, float] = defaultdict(float)
    adding = Lock()

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **keywords: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments, **keywords)
            finally:
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                with adding:
                    spent[name] += time.perf_counter() - start

        return run

    originals = {name: getattr(*place) for name, place in functions.items()}
    for name, place in functions.items():
        setattr(*place, timed(name, originals[name]))
    try:
        yield spent
    finally:
        for name, place in functions.items():
            setattr(*place, originals[name])
