"""What a run shows in TensorBoard: the order of its groups, two players in two colours, texts beside real ones."""

import json
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import STORE_EVERYTHING_SIZE_GUIDANCE, EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData  # pyright: ignore[reportAttributeAccessIssue]

from lstmgan_dist.training import run_log
from tests.training.tiny_jobs import GUMBEL, SENTENCES, job_of, run_job


@pytest.fixture(scope="module")
def folder(text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("curves") / "run"
    template = (
        SENTENCES[: SENTENCES.index("  - kind: adversarial")] + GUMBEL + SENTENCES[SENTENCES.index("evaluate:") :]
    )
    run_job(job_of(template, text, "discriminator.scores=per_sentence"), folder)
    return folder


def events_of(folder: Path, player: str = "") -> EventAccumulator:
    events = EventAccumulator(str(folder / "tensorboard" / "run" / player), STORE_EVERYTHING_SIZE_GUIDANCE)
    events.Reload()
    return events


def test_what_is_looked_at_first_comes_first(folder):
    scalars = events_of(folder).Tags()["scalars"]
    assert sorted(scalars)[0] == "1 held-out text/nll"
    assert {"1 held-out text/nll", "2 samples/bleu_4", "5 likelihood/nll", "8 machine/tokens_per_second"} <= {*scalars}
    # What hardly changes is apart.
    last = [tag for tag in scalars if tag.startswith("9 settings/")]
    assert {"9 settings/phase", "9 settings/learning rate of the generator"} <= {*last}
    assert not any("learning_rate" in tag for tag in scalars)


def test_both_players_share_charts_in_runs_of_their_own(folder):
    for player in ("generator", "discriminator"):
        events = events_of(folder, player)
        assert {"4 game/losses of both players", "4 game/scores of drawn and real text"} <= {*events.Tags()["scalars"]}
    assert "4 game/auc on held-out text" in events_of(folder, "discriminator").Tags()["scalars"]
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for player, name in (("generator", "generator/cost"), ("discriminator", "discriminator/loss")):
        drawn = [(one.step, one.value) for one in events_of(folder, player).Scalars("4 game/losses of both players")]
        assert drawn == [(row["step"], pytest.approx(row[name])) for row in metrics if name in row]


def test_histograms_of_both_kinds_of_text_have_one_range(folder):
    limits = []
    for player in ("generator", "discriminator"):
        *_, last = events_of(folder, player).Histograms("4 game/scores of texts")
        assert sum(last.histogram_value.bucket) == last.histogram_value.num > 0
        limits.append(last.histogram_value.bucket_limit)
    assert limits[0] == limits[1]


def test_phases_begin_where_their_curve_rises(folder):
    steps = {one.step: one.value for one in events_of(folder).Scalars("9 settings/phase")}
    assert all(steps[step] == 1 + (step > 6) + (step > 11) for step in steps)
    assert {*steps.values()} == {1, 2, 3}


def test_curves_are_described(folder):
    events = events_of(folder)
    described = {tag: events.summary_metadata[tag].summary_description for tag in events.Tags()["scalars"]}
    assert [tag for tag, description in described.items() if not description and "learning rate" not in tag] == []
    assert "Nats per token of held-out text" in described["1 held-out text/nll"]


def test_texts_are_beside_real_ones_and_nothing_in_them_is_markup(folder, tmp_path):
    (event, *_) = events_of(folder).Tensors("samples/text_summary")
    (table,) = event.tensor_proto.string_val
    shown = table.decode()
    assert "<th>generated</th><th>held-out text</th>" in shown
    texts = (folder / "samples" / f"step-{event.step:08d}.txt").read_text().splitlines()
    assert all(f"<td>{one}</td>" in shown for one in texts)
    curves = run_log.Curves(tmp_path, job_of(SENTENCES, "text.txt"), step=0)
    curves.samples(1, ["<b> & two\nlines"], [])
    curves.close()
    (found,) = EventAccumulator(str(tmp_path)).Reload().Tensors("samples/text_summary")
    assert b"<td>&lt;b&gt; &amp; two<br>lines</td><td></td>" in found.tensor_proto.string_val[0]


def test_hyperparameters_begin_with_what_was_chosen_and_end_with_figures(folder):
    events = events_of(folder)
    plugins = events.summary_metadata
    experiment = plugins["_hparams_/experiment"].plugin_data.content
    found = HParamsPluginData.FromString(experiment).experiment
    names = [info.name for info in found.hparam_infos]
    assert names.index("generator.hidden") < names.index("generator.layers")
    assert {"samples/bleu_4", "samples/self_bleu_4", "heldout/nll"} <= {info.name.tag for info in found.metric_infos}
    assert "job/text_summary" in events.Tags()["tensors"]


def test_times_and_rates_have_a_file_to_which_every_attempt_adds(folder, text):
    lines = [json.loads(line) for line in (folder / "times.jsonl").read_text().splitlines()]
    assert all(line["throughput/tokens_per_second"] > 0 for line in lines)
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)
    assert "tokens_per_second" not in (folder / "metrics.jsonl").read_text()
