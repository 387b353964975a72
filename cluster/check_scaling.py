"""Whether an update of two workers takes here what scaling.py says: its bytes, and its seconds.

    python cluster/check_scaling.py

Two processes of one thread each make the updates of some recipes, first each for itself and then together. What a
message and a byte take between them is measured with bare all-reduces; what the model adds for an update is compared
with what it costs. Bytes are counted by the kernel, on the loopback device: nothing else should use it meanwhile, as in
a network of its own (`unshare --net sh -c "ip link set lo up; python cluster/check_scaling.py"`).
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import scaling
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from lstmgan_dist.config import load_job
from lstmgan_dist.corpus.stream import Batch
from lstmgan_dist.phases.player import Moment
from lstmgan_dist.runtime.distributed import DistributedRuntime
from lstmgan_dist.runtime.local import LocalRuntime
from lstmgan_dist.runtime.randomness import Noise
from lstmgan_dist.runtime.signals import StopRequest
from lstmgan_dist.runtime.units import Units
from lstmgan_dist.training.game import Game

WORKERS = 2
RECIPES = ("quickstart",)
UPDATES, WARM_UP = 10, 2
ROUNDS = 3  # of which the median counts: other programs come and go
LARGE = 2_000_000  # floats, as many as a gradient has


def check() -> str:
    """The table, by updates: seconds alone, predicted and measured together, bytes predicted and measured."""
    with tempfile.TemporaryDirectory() as folder:
        spawn(_work, (folder,), nprocs=WORKERS)
        found = json.loads(Path(folder, "found.json").read_text())
    head = ["recipe", "update of", "alone", "together, predicted", "measured", "", "bytes, predicted", "measured"]
    rows = [
        (
            row["recipe"],
            row["update"],
            *(f"{1e3 * row[name]:.1f} ms" for name in ("alone", "predicted", "together")),
            f"{row['predicted'] / row['together'] - 1:+.0%}",
            *(f"{row[name] / 1e6:.2f} MB" for name in ("bytes_predicted", "bytes")),
        )
        for row in found["updates"]
    ]
    link = f"A message takes {1e6 * found['message']:.0f} µs here, and a second has {found['bits'] / 1e9:.1f} Gbit."
    return f"{link}\n\n{scaling._table(head, rows)}"


def _work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=WORKERS)
    message = _seconds(lambda: dist.all_reduce(torch.zeros(1)), 200) / 2
    bits = LARGE * scaling._FLOAT * 8 / (_seconds(lambda: dist.all_reduce(torch.zeros(LARGE)), 10) - 2 * message)
    scaling.MESSAGE = message
    updates = [{**row, **_predicted(row, bits)} for name in RECIPES for row in _measured(name, rank)]
    if rank == 0:
        Path(folder, "found.json").write_text(json.dumps({"message": message, "bits": bits, "updates": updates}))
    dist.barrier()
    dist.destroy_process_group()


def _predicted(row: dict, bits: float) -> dict[str, float]:
    update = scaling.Update(row["parameters"], scaling.Work(), rows=0, tokens=0)
    bytes_sent = 2 * (WORKERS - 1) / WORKERS * scaling._FLOAT * row["parameters"]
    waiting = scaling.communication(update, WORKERS, bits, scaling.Remedy())
    return {"predicted": row["alone"] + waiting, "bytes_predicted": bytes_sent}


def _measured(name: str, rank: int) -> Iterator[dict]:
    job = load_job(scaling.JOBS / f"{name}.yaml")
    planned = {kind: updates for kind, updates in scaling.phases(job)}
    device = torch.device("cpu")
    alone = Units(LocalRuntime(device), job.batch.units)
    # Every worker has the recipe's whole batch.
    together = Units(DistributedRuntime(device, lambda: StopRequest.NONE), WORKERS * job.batch.units)
    learners = {name_of: _learners(name, units, rank) for name_of, units in (("alone", alone), ("together", together))}
    for number, player, learn in learners["together"]:
        kind = job.phases[number].kind
        (update,) = [update for _, of, update in planned[kind] if of == player]
        by_itself = next(one for n, p, one in learners["alone"] if (n, p) == (number, player))
        rounds = [(_seconds(by_itself, UPDATES), _seconds(learn, UPDATES)) for _ in range(ROUNDS)]
        dist.barrier()
        before = _bytes_sent()
        for _ in range(UPDATES):
            learn()
        dist.barrier()
        yield {
            "recipe": name,
            "update": f"{kind}: {player}",
            "parameters": update.parameters,
            "alone": statistics.median(seconds for seconds, _ in rounds),
            "together": statistics.median(seconds for _, seconds in rounds),
            "bytes": (_bytes_sent() - before) / WORKERS / UPDATES,
        }


def _learners(name: str, units: Units, rank: int) -> list[tuple[int, str, Callable[[], object]]]:
    """Every update of a recipe, with text as long as its own: the phase, the player, and what makes one."""
    job = load_job(scaling.JOBS / f"{name}.yaml")
    text, rows = scaling.TEXTS[job.corpus.sources[0]], job.batch.size
    length = round(text.length or job.corpus.max_length)
    tokens_BT = torch.randint(4, text.vocabulary, (rows, length), generator=torch.Generator().manual_seed(rank))
    batch = [
        Batch(part_BT, part_BT, torch.full((len(part_BT),), length), fresh=True)
        for part_BT in tokens_BT.chunk(len(units.own))
    ]
    moment = Moment(0, 1.0, Noise(1, torch.arange(rows) + rank * rows))
    found: list[tuple[int, str, Callable[[], object]]] = []
    for number, phase in enumerate(job.phases):
        game = Game(job, text.vocabulary, units)
        game.begin_phase(number, 1000)
        for player_name, player in game.players.items():
            others = {"generator": game.discriminator, "discriminator": game.generator}
            opponent = None if phase.kind == "likelihood" else others[player_name]

            def learn(player=player, opponent=opponent) -> object:
                return player.learn(batch, opponent=opponent, moment=moment)

            found.append((number, player_name, learn))
    return found


def _seconds(action: Callable[[], object], times: int) -> float:
    """The median of so many, each as long as the slowest worker takes for it, whom the others wait for."""
    for _ in range(WARM_UP):
        action()
    dist.barrier()
    taken = torch.zeros(times)
    for number in range(times):
        begun = time.perf_counter()
        action()
        taken[number] = time.perf_counter() - begun
    dist.all_reduce(taken, dist.ReduceOp.MAX)
    return taken.median().item()


def _bytes_sent() -> int:
    """By the loopback device of this process's network, ever."""
    (line,) = [line for line in Path("/proc/self/net/dev").read_text().splitlines() if line.strip().startswith("lo:")]
    return int(line.split()[9])


if __name__ == "__main__":
    print(check())
