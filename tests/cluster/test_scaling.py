"""cluster/SCALING.md shows what cluster/scaling.py computes, and that computes what the program does.

Also for adversarial/work.py.
"""

import importlib.util
import sys

import pytest
import torch

from lstmgan_dist.adversarial.work import Work
from lstmgan_dist.config import load_job
from lstmgan_dist.corpus.stream import Batch
from lstmgan_dist.phases.player import Moment
from lstmgan_dist.runtime.local import LocalRuntime
from lstmgan_dist.runtime.randomness import Noise
from lstmgan_dist.runtime.units import Units
from lstmgan_dist.training.game import Game, Vocabulary
from tests.cases import cases
from tests.cluster.commands import CLUSTER, ROOT

spec = importlib.util.spec_from_file_location("scaling", CLUSTER / "scaling.py")
assert spec
assert spec.loader
scaling = sys.modules["scaling"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(scaling)

TEXT = (CLUSTER / "SCALING.md").read_text()


@pytest.mark.parametrize(
    "name",
    cases(
        [
            "update_table",
            "exchange_table",
            "checkpoint_table",
            "efficiency_table",
            "remedy_table",
            "large_table",
            "sweep_table",
        ],
        quick=["remedy_table"],
    ),
)
def test_the_tables_are_what_the_script_computes(name):
    assert getattr(scaling, name)() in TEXT


def test_every_setting_of_the_measured_table_is_one_of_the_script():
    for name in scaling.SETTINGS:
        assert f"| {name} |" in TEXT, name
        load_job(ROOT / "jobs/quickstart.yaml", (*scaling.SMALLER, *scaling.SETTINGS[name]))


def test_the_assumptions_are_those_of_the_script():
    for figure in (
        f"{scaling.MESSAGE * 1e6:.0f} µs",
        f"{scaling.SUSTAINED / 1e12:.0f} TFLOP/s",
        f"{scaling.POSITION * 1e6:.0f} µs",
        f"{scaling.STORAGE / 1e6:.0f} MB/s",
        f"starts for {scaling.START:.0f} s",
        f"{scaling.H100 / 1e12:.0f} TFLOP/s a GPU",
        f"{scaling.NVLINK / 1e12:.1f} Tbit/s",
        f"{scaling.PORT / 1e9:.0f} Gbit/s",
    ):
        assert figure in TEXT, figure


def test_sizes_for_a_gpu_are_read_from_the_recipe():
    assert "batch.size=512" in scaling.paper_sizes(ROOT / "jobs/coco_scratchgan.yaml")
    assert scaling.paper_sizes(ROOT / "jobs/quickstart.yaml") == ()
    assert "coco_scratchgan, paper's sizes" in dict(scaling.recipes())


class CountingUnits(Units):
    """Counts the messages that all workers would exchange, beside gradients."""

    messages = 0

    def total(self, values):
        self.messages += 1
        return super().total(values)

    def join(self, values, rows):
        self.messages += 1
        return super().join(values, rows)


@pytest.mark.parametrize(
    "name",
    cases(
        ["coco_relgan", "coco_scratchgan", "lstm_gan", "quickstart", "char_lm_small"],
        quick=["quickstart", "char_lm_small"],
    ),
)
def test_parameters_and_messages_are_those_of_a_real_update(name):
    """Real players of the recipe make one update each, of one row."""
    job = load_job(ROOT / "jobs" / f"{name}.yaml", ("batch={size: 1, lanes: 1}",))
    predicted = {kind: {player: update for _, player, update in updates} for kind, updates in scaling.phases(job)}
    batch = Batch(torch.ones(1, 8).long(), torch.ones(1, 8).long(), torch.tensor([8]), fresh=True)
    with CountingUnits(LocalRuntime(torch.device("cpu")), 1) as units:
        game = Game(job, Vocabulary(scaling.TEXTS[job.corpus.sources[0]].vocabulary), units)
        for number, phase in enumerate(job.phases):
            game.begin_phase(number, 10)
            assert game.players.keys() == predicted[phase.kind].keys()
            for player_name, player in game.players.items():
                units.messages = 0
                opponents = {"generator": game.discriminator, "discriminator": game.generator}
                opponent = None if phase.kind == "likelihood" else opponents[player_name]
                player.learn([batch], opponent=opponent, moment=Moment(0, 1.0, Noise(1, torch.arange(1))))
                assert units.messages == 1, (phase.kind, player_name)
                moving = [parameter for parameter in player.network.parameters() if parameter.grad is not None]
                numbers = sum(parameter.numel() for parameter in moving)
                assert numbers == predicted[phase.kind][player_name].parameters


def test_operations_are_those_of_the_matrices():
    """char_lm: 256 -> 1024 units -> 67 characters, untied; two operations a weight, thrice for a trained token."""
    job = load_job(ROOT / "jobs/char_lm.yaml")
    ((_, updates),) = scaling.phases(job)
    ((_, _, update),) = updates
    weights = 4 * 1024 * (256 + 1024) + 67 * 1024
    assert update.work.operations == 3 * 2 * weights * 128 * 100
    assert update.tokens == 128 * 100


def test_a_ring_of_two_exchanges_its_bytes_once():
    update = scaling.Update(parameters=1_000_000, work=Work(positions=1), rows=1, tokens=1)
    seconds = scaling.communication(update, 2, 1e9, scaling.Remedy())
    assert seconds == pytest.approx(4e6 * 8 / 1e9 + 3 * scaling.MESSAGE)
    assert scaling.communication(update, 1, 1e9, scaling.Remedy()) == 0


def test_remedies_help_and_more_workers_do_not():
    _, job = next(scaling.recipes())
    ((_, updates),) = scaling.phases(job)
    step = [(count, update) for count, _, update in updates]
    figures = [scaling.efficiency(step, 512, 10e9, remedy) for remedy in scaling.REMEDIES.values()]
    assert all(figure > figures[0] for figure in figures[1:])
    by_workers = [scaling.efficiency(step, workers, 10e9, scaling.Remedy()) for workers in (1, 8, 64, 512)]
    assert by_workers[0] == 1
    assert by_workers == sorted(by_workers, reverse=True)
