"""What the job's `synchronisation` block does to the numbers, in two real processes that talk through gloo."""

from contextlib import contextmanager
from functools import partial

import pytest
import torch
import torch.distributed as dist
from rich.console import Console

from lstmgan_dist.config import parse_job
from lstmgan_dist.corpus.stream import Batch
from lstmgan_dist.errors import UserError
from lstmgan_dist.phases.player import Moment
from lstmgan_dist.runs.train import train
from lstmgan_dist.runtime.distributed import DistributedRuntime
from lstmgan_dist.runtime.local import LocalRuntime
from lstmgan_dist.runtime.randomness import Noise
from lstmgan_dist.runtime.signals import StopRequest
from lstmgan_dist.runtime.units import Units
from lstmgan_dist.training.game import Game, Vocabulary
from lstmgan_dist.training.run import Run, prepared_corpus
from lstmgan_dist.training.screen import Terminal
from tests.bare_workers import side_by_side
from tests.training.comparison import final_state
from tests.training.tiny_jobs import SENTENCES, job_of

CPU = torch.device("cpu")
WORKERS, ROWS, LENGTH, UPDATES = 2, 4, 6, 8

JOB = """
name: tiny
corpus: {source: none}
batch: {units: 2}
generator: {embedding: 8, hidden: 12, dropout: 0.2}
phases: [{kind: likelihood, steps: 8, optimizer: {learning_rate: 1.0e-2}}]
"""
SETTINGS = {
    "unset": (),
    "plain": ("synchronisation={compression: none, every: 1}",),
    "bf16": ("synchronisation.compression=bf16",),
    "every 4": ("synchronisation.every=4",),
    "every 4, twins": ("synchronisation.every=4",),
    "every 4, units": ("synchronisation.every=4", "batch.units=4"),
}
TRAINING = "synchronisation.every=3"  # divides neither the checkpoints' interval (3 of 2 updates), nor the phases
GAMES = {
    "with a baseline": (),
    "with a policy that follows the generator": (
        "discriminator.scores=per_sentence",
        "phases.2.estimator={kind: score_function, credit: rollouts, rollouts: 2}",
    ),
}


def learn(runtime, rows_B, overrides):
    """What a worker has after each update, and the sizes of the messages that it sent."""
    job = parse_job(JOB, name="tiny.yaml", overrides=overrides)
    with Units(runtime, job.batch.units) as units, recorded_messages() as messages:
        game = Game(job, Vocabulary(20), units)
        game.begin_phase(0, UPDATES)
        player, history = game.players["generator"], []
        for update in range(UPDATES):
            text_BT = torch.randint(
                1, 20, (WORKERS * ROWS, LENGTH + 1), generator=torch.Generator().manual_seed(update)
            )
            lengths_B = 1 + torch.arange(WORKERS * ROWS) % LENGTH
            batch = [
                Batch(text_BT[own_B, :-1], text_BT[own_B, 1:], lengths_B[own_B], fresh=False)
                for own_B in rows_B.chunk(len(units.own))
            ]
            messages.clear()
            report = player.learn(batch, opponent=None, moment=Moment(update, 1.0, Noise(update, rows_B)))
            taken = list(messages)
            history.append(
                {
                    "weights": torch.cat([weight.detach().flatten() for weight in player.network.parameters()]),
                    "optimizer": {name: tensor.clone() for name, tensor in player.optimizer_state().items()},
                    "nll": units.total(report["likelihood/nll"].unbind()).item(),
                    "synchronised": player.is_synchronised,
                    "messages": taken,
                }
            )
    return history


@contextmanager
def recorded_messages():
    """The numbers in what this process sends, message by message."""
    messages = []

    def recorded(function, sent):
        def record(*arguments, **keywords):
            messages.append(sent(arguments))
            return function(*arguments, **keywords)

        return record

    sends = {
        "all_reduce": lambda arguments: arguments[0].numel(),
        "all_gather_into_tensor": lambda arguments: arguments[1].numel(),
        "batch_isend_irecv": lambda arguments: sum(one.tensor.numel() for one in arguments[0] if one.op is dist.isend),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, sent in sends.items():
            patch.setattr(dist, name, recorded(getattr(dist, name), sent))
        yield messages


class StoppingDistributedRuntime(DistributedRuntime):
    """Asks to stop after so many steps."""

    def __init__(self, steps):
        super().__init__(CPU, lambda: StopRequest.NONE)
        self.steps_left = steps

    def stop_request(self):
        self.steps_left -= 1
        return StopRequest.STOP if self.steps_left <= 0 else StopRequest.NONE


def train_here(job, folder, runtime):
    if runtime.rank == 0:
        Run.create_or_resume(folder, job, prepared_corpus(job.corpus, folder, lambda progress: None))
    runtime.barrier()
    corpus = prepared_corpus(job.corpus, folder, lambda progress: None)
    finished = train(Run.open(folder), corpus, runtime, Terminal(Console(quiet=True))).finished
    runtime.barrier()  # the next attempt begins when the first worker has written what this one leaves
    return finished


def worker(rank, folder, text):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=WORKERS)
    runtime = DistributedRuntime(CPU, lambda: StopRequest.NONE)
    histories = {}
    for name, overrides in SETTINGS.items():
        rows_B = torch.arange(ROWS) + (0 if "twins" in name else ROWS * rank)
        histories[name] = learn(runtime, rows_B, overrides)
    torch.save(histories, f"{folder}/histories-{rank}.pt")
    for game, overrides in GAMES.items():
        job = job_of(SENTENCES, text, TRAINING, *overrides)
        assert train_here(job, f"{folder}/whole {game}", runtime)
        while not train_here(job, f"{folder}/stopped {game}", StoppingDistributedRuntime(7)):
            pass
    runtime.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(text, tmp_path_factory):
    """Where two workers have left what they did."""
    folder = tmp_path_factory.mktemp("workers")
    side_by_side(worker, str(folder), str(text), workers=WORKERS)
    return folder


@pytest.fixture(scope="module")
def histories(folder):
    return [torch.load(folder / f"histories-{rank}.pt") for rank in range(WORKERS)]


@pytest.fixture
def alone():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the workers have, for matrix products round by it
    yield partial(learn, LocalRuntime(CPU))
    torch.set_num_threads(threads)


def same(first, second):
    return torch.equal(first["weights"], second["weights"])


@pytest.mark.slow
def test_the_default_is_one_exchange_of_gradients_at_every_update_and_the_bits_of_one_process(histories, alone):
    for unset, plain in zip(histories[0]["unset"], histories[0]["plain"], strict=True):
        assert same(unset, plain)
    parameters = len(histories[0]["plain"][0]["weights"])
    for rank in range(WORKERS):
        for update, whole in zip(histories[rank]["plain"], alone(torch.arange(WORKERS * ROWS), ()), strict=True):
            assert same(update, whole)
            assert update["nll"] == whole["nll"]
            count, to_all, back = update["messages"]
            assert count == 1, "nothing but the number of tokens beside the gradients"
            assert (to_all, back) == pytest.approx((parameters / WORKERS, parameters / WORKERS), abs=WORKERS)


@pytest.mark.slow
def test_bf16_gradients_are_close_and_the_same_on_all_workers(histories):
    for mine, yours, exact in zip(histories[0]["bf16"], histories[1]["bf16"], histories[0]["plain"], strict=True):
        assert same(mine, yours)
        assert not same(mine, exact)
        # Adam's first steps are the learning rate whatever a gradient's size, so those close to 0 may turn over.
        assert (mine["weights"] - exact["weights"]).abs().mean() < 1e-3
        assert mine["nll"] == pytest.approx(exact["nll"], rel=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["every 4", "every 4, units"])
def test_workers_go_their_own_ways_for_four_updates_and_meet(name, histories):
    for number, (mine, yours) in enumerate(zip(histories[0][name], histories[1][name], strict=True), start=1):
        assert mine["synchronised"] == (number % 4 == 0)
        assert same(mine, yours) == mine["synchronised"]
        if mine["synchronised"]:
            assert mine["optimizer"].keys() == yours["optimizer"].keys()
            assert all(torch.equal(mine["optimizer"][key], yours["optimizer"][key]) for key in mine["optimizer"])


@pytest.mark.slow
def test_no_gradient_travels_in_between_and_one_message_brings_weights_and_moments(histories):
    parameters = len(histories[0]["every 4"][0]["weights"])
    for number, update in enumerate(histories[0]["every 4"], start=1):
        assert update["messages"] == ([1, 3 * parameters] if number % 4 == 0 else [1])


@pytest.mark.slow
def test_workers_meet_at_the_mean(histories):
    """With plain SGD in mind: what four updates did to each is averaged, not added."""
    before, after = (histories[rank]["every 4"][2] for rank in range(WORKERS)), histories[0]["every 4"][3]
    centre = torch.stack([update["weights"] for update in before]).mean(0)
    assert (after["weights"] - centre).abs().max() < 2e-2, "one more update of 0.01 each away"


@pytest.mark.slow
def test_workers_on_the_same_text_have_the_numbers_of_one(histories, alone):
    for number, update in enumerate(alone(torch.arange(ROWS), ("batch.units=1",))):
        for rank in range(WORKERS):
            assert same(histories[rank]["every 4, twins"][number], update)


def test_one_process_has_nothing_to_synchronise(alone):
    rows_B = torch.arange(ROWS)
    for overrides in SETTINGS["bf16"], SETTINGS["every 4"]:
        for update, plain in zip(alone(rows_B, overrides), alone(rows_B, ()), strict=True):
            assert same(update, plain)
            assert update["synchronised"]


@pytest.mark.slow
@pytest.mark.parametrize("game", GAMES)
def test_a_run_of_workers_that_meet_seldom_is_resumed_bit_for_bit(game, folder):
    assert final_state(folder / f"stopped {game}") == final_state(folder / f"whole {game}")


def test_compression_and_rare_synchronisation_exclude_each_other():
    with pytest.raises(UserError, match="synchronisation: compression is of gradients, and with every above 1 none"):
        parse_job(JOB, name="tiny.yaml", overrides=("synchronisation={compression: bf16, every: 2}",))
