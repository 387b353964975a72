"""Job files: what is accepted, what is refused, and in which words.

Also for config/job.py, config/training.py, config/reading.py and config/explain.py. And for what settings of every kind
say of themselves: models/generators/kind.py, models/discriminators/kind.py, adversarial/estimators/kind.py and
phases/kind.py.
"""

import json
from pathlib import Path

import pytest
import yaml

from lstmgan_dist.adversarial.estimators import ESTIMATORS
from lstmgan_dist.config import Job, chosen, differences, dump_job, load_job, parse_job
from lstmgan_dist.errors import UserError
from lstmgan_dist.models.generators.lstm import LSTMGeneratorKind
from lstmgan_dist.phases import PHASES
from lstmgan_dist.settings import Interval, Schedule, either

JOBS = Path(__file__).parent.parent / "jobs"

JOB = """
name: tiny
corpus: {source: text.txt, max_length: 16}
discriminator: {kind: lstm, scores: per_token}
phases:
  - {kind: likelihood, epochs: 2, optimizer: {learning_rate: {start: 1e-3, end: 1e-5, shape: cosine}}}
  - kind: adversarial
    steps: 10
    loss: probability
    estimator: {kind: score_function, credit: discounted, discount: 0.9}
"""


def job(*overrides: str) -> Job:
    return parse_job(JOB, name="tiny.yaml", overrides=overrides)


def test_resolved_job_reads_back_as_itself():
    assert parse_job(dump_job(job()), name="again") == job()


@pytest.mark.parametrize("path", sorted(JOBS.glob("*.yaml")), ids=lambda path: path.stem)
def test_what_is_unlike_the_defaults_is_the_whole_job_and_much_shorter(path):
    whole = load_job(path)
    written = yaml.safe_dump(chosen(whole))
    assert parse_job(written, name="again") == whole
    assert len(written.splitlines()) < len(dump_job(whole).splitlines()) / 2


DEAD = [
    (
        "phases.0.optimizer={kind: sgd, betas: [0.5, 0.9]}",
        "optimizer.betas: kind sgd has no use for it",
        "adam or adamw",
    ),
    ("phases.0.optimizer={momentum: 0.0}", "optimizer.momentum: kind adam has no use for it", "set kind: sgd."),
    ("phases.0.optimizer={kind: adamw, momentum: 0.9}", "optimizer.momentum: kind adamw has no use", "set kind: sgd."),
    (
        "phases.1.estimator={kind: score_function, baseline: {kind: none, decay: 0.1}}",
        "phases.1.estimator.baseline.decay: kind none has no use for it",
        "moving_average or per_position.",
    ),
    (
        "phases.1.estimator={kind: score_function, credit: sentence, discount: 0.9}",
        "phases.1.estimator.discount: credit sentence has no use for it",
        "set credit: discounted.",
    ),
    ("corpus.tokenizer={kind: byte, min_count: 2}", "corpus.tokenizer.min_count: kind byte has no use", "word or bpe."),
    (
        "corpus.tokenizer={kind: byte, vocabulary_size: 9}",
        "vocabulary_size: kind byte has no use",
        "character, word or",
    ),
]


@pytest.mark.parametrize(("override", "words", "remedy"), DEAD)
def test_a_setting_without_use_is_refused(override, words, remedy):
    with pytest.raises(UserError) as error:
        job(override)
    assert words in str(error.value)
    assert remedy in str(error.value)


def test_a_guard_that_would_never_act_is_refused():
    text = "{name: a, corpus: {source: a.txt, layout: continuous}, phases: [{kind: likelihood, steps: 1}]}"
    parse_job(text, name="a.yaml")
    with pytest.raises(UserError, match=r"guard\.distinct_2_floor needs corpus\.layout: sentences"):
        parse_job(text, name="a.yaml", overrides=("guard.distinct_2_floor=0.1",))


@pytest.mark.parametrize(
    "override",
    [
        "phases.0.optimizer={kind: sgd, momentum: 0.9}",
        "phases.0.optimizer={learning_rate: 1e-3, betas: [0.5, 0.9]}",
        "phases.1.estimator={kind: score_function, baseline: {kind: none}}",
        "phases.1.estimator={kind: score_function, credit: sentence}",
        "corpus.tokenizer={kind: byte}",
    ],
)
def test_resolved_job_of_any_kind_reads_back_as_itself(override):
    resolved = job(override)
    assert parse_job(dump_job(resolved), name="again") == resolved
    assert differences(parse_job(dump_job(resolved), name="again"), resolved) == []


def test_resolved_job_of_an_older_version_reads_back_without_what_has_no_use():
    resolved = job(
        "phases.0.optimizer={kind: sgd}",
        "phases.1.estimator={kind: score_function, credit: sentence, baseline: {kind: none}}",
        "corpus.tokenizer={kind: byte}",
    )
    written = yaml.safe_load(dump_job(resolved))
    del written["synchronisation"], written["storage"]
    assert "betas" not in written["phases"][0]["optimizer"]
    written["phases"][0]["optimizer"]["betas"] = [0.5, 0.9]
    written["phases"][1]["estimator"]["discount"] = 0.23
    written["phases"][1]["estimator"]["baseline"]["decay"] = 0.08
    written["phases"][1]["generator_optimizer"]["momentum"] = 0.0
    written["corpus"]["tokenizer"] |= {"min_count": 1, "vocabulary_size": None}
    again = parse_job(yaml.safe_dump(written), name="old")
    assert again == resolved
    assert differences(again, resolved) == []


@pytest.mark.parametrize("path", sorted(JOBS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_is_valid_and_names_its_command(path):
    load_job(path)
    assert f"lstmgan train jobs/{path.name}" in path.read_text(encoding="utf-8")


def test_exported_schema_is_the_one_beside_the_recipes():
    assert json.loads((JOBS / "schema.json").read_text(encoding="utf-8")) == Job.model_json_schema()


def test_every_setting_is_described():
    definitions = [Job.model_json_schema(), *Job.model_json_schema()["$defs"].values()]
    for definition in definitions:
        for name, field in definition.get("properties", {}).items():
            assert "description" in field or "$ref" in field or name == "kind", (definition["title"], name)


def test_overrides_reach_into_lists_and_keep_their_order():
    changed = job("phases.0.epochs=5", "batch.size=32", "batch.size=16", "generator.dropout=0.3")
    assert changed.phases[0].epochs == 5
    assert changed.batch.size == 16
    assert isinstance(changed.generator, LSTMGeneratorKind)
    assert changed.generator.dropout.between == 0.3


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("batch.size=100", "size 100 must be divisible by 8 lanes: try size 96 or 104"),
        ("batch.units=3", "3 units cannot share 8 lanes equally: try 1 or 2 or 4 or 8"),
        ("batch.lanez=3", "batch.lanez: there is no such key: did you mean lanes?"),
        ("generator.hidden=many", "generator.hidden: 'many' will not do"),
        ("generator.dropout=2", "generator.dropout: 2 will not do: it must be 0 or more, and below 1."),
        ("seed=-1", "seed: -1 will not do"),
        ("evaluate.every=5", "write '50 steps' or '1 epoch'"),
        ("phases.0.kind=magic", f"phases.0: kind magic is not known: choose {either(PHASES)}."),
        ("phases.1.estimator={discount: 0.5}", f"estimator: kind is missing: choose {either(ESTIMATORS)}."),
        ("corpus={}", "corpus.source: this key is required."),
        ("colour=red", "colour: there is no such key: choose name, seed, corpus,"),
        (
            "discriminator.filters={2: 3}",
            "discriminator.filters: an lstm discriminator has no filters (a convolutional",
        ),
        ("discriminator.filter={2: 3}", "discriminator.filter: there is no such key: choose kind, scores, embedding,"),
        ("discriminator={kind: convolutional, bidirectional: true}", "a convolutional discriminator has no bidirect"),
        ("phases.0.estimator={}", "phases.0.estimator: a likelihood phase has no estimator (an adversarial one has)."),
        ("phases.0.loss=hinge", "a likelihood phase has no loss (a discriminator or an adversarial one has)."),
        ("phases.1.estimator.straight_through=true", "a score_function estimator has no straight_through (a gumbel_"),
        ("phases.1.estimator.discont=1", "phases.1.estimator.discont: there is no such key: did you mean discount?"),
        ("phases.1.optimiser={}", "phases.1.optimiser: there is no such key: choose steps"),
        ("phases.0.optimizer.learning_rate=fast", "optimizer.learning_rate: 'fast' will not do"),
        ("phases.0.optimizer.learning_rate={start: 1}", "phases.0.optimizer.learning_rate.end: this key is required."),
        (
            "phases.0.optimizer.learning_rate.shap=linear",
            "learning_rate.shap: there is no such key: did you mean shape",
        ),
        ("phases.0.optimizer.betas=[2, 0.5]", "phases.0.optimizer.betas.0: 2 will not do"),
        ("corpus.source=[a.txt, 3]", "corpus.source.1: 3 will not do"),
        ("phases.0.steps=3", "either steps or epochs"),
        ("phases.1.loss=relativistic", "pairs whole texts"),
        ("discriminator=null", "needs a discriminator"),
        ("discriminator.bidirectional=true", "credit discounted is biased"),
        ("discriminator.scores=per_sentence", "needs a reward for every token"),
        ("corpus.layout=continuous", "needs corpus.layout: sentences"),
        ("discriminator.embedding_from_generator=true", "must equal generator.embedding"),
        ("phases.1.estimator={kind: gumbel_softmax, inverse_temperature: -1}", "inverse_temperature"),
        ("evaluate.frontier={temperatures: [1, 1]}", "a temperature is given twice"),
        ("evaluate.frontier={temperatures: [0]}", "evaluate.frontier.temperatures.0: 0 will not do"),
        ("evaluate.frontier={samples: 10}", "evaluate.frontier.samples: 10 will not do"),
        ("checkpoint.best_by=luck", "checkpoint.best_by: 'luck' will not do: choose "),
        ("phases.1.loss=bce", "phases.1.loss: 'bce' will not do: write cross_entropy."),
        ("phases.1.loss=WGAN-GP", "write wasserstein with regulariser: {kind: token_gradient_penalty, weight: 10}."),
        ("phases.1.loss=hinged", "phases.1.loss: 'hinged' will not do: did you mean hinge?"),
        ("phases.1.estimator={kind: reinforce}", "kind reinforce is not known: write score_function."),
        ("phases.0.kind=mle", "phases.0: kind mle is not known: write likelihood."),
        (
            "phases.1.regulariser=gp",
            "phases.1.regulariser: 'gp' will not do: it must be a block of settings: kind or weight.",
        ),
        ("generator.latent=32", "generator.latent: 32 will not do: it must be a block of settings: size or feed."),
        ("generator=lstm", "generator: 'lstm' will not do: it must be a block of settings."),
        ("evaluate.frontier={temperatures: 1}", "frontier.temperatures: 1 will not do: it must be a list, in square"),
        ("evaluate.frontier={temperatures: []}", "frontier.temperatures: it must be a list of at least 1."),
        ("phases.0.optimizer.betas=[0.9]", "phases.0.optimizer.betas.1: this key is required."),
        ("phases=[]", "phases: it must be a list of at least 1."),
        ("batch.size=1.5", "batch.size: 1.5 will not do: it must be a whole number."),
        ("generator.tied=maybe", "generator.tied: 'maybe' will not do: it must be true or false."),
        ("discriminator.dropout=1", "discriminator.dropout: 1 will not do: it must be below 1."),
        ("phases.0.optimizer.learning_rate=0", "learning_rate: 0 will not do: it must be above 0."),
        ("phases.0.optimizer.learning_rate=.inf", "learning_rate: inf will not do: it must be a finite number."),
        ("phases.0.optimizer.learning_rate=1000", "learning_rate: 1000 will not do: it must be 100 or less."),
        ("name=3", "name: 3 will not do: it must be text."),
        ("phases.7.steps=1", "the job has no place called phases.7.steps"),
        ("steps", "write it as key=value"),
    ],
)
def test_a_mistake_is_named_with_its_key_and_what_would_do(override, words):
    with pytest.raises(UserError) as error:
        job(override)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_one_value_that_fits_no_member_of_a_union_is_one_mistake():
    with pytest.raises(UserError) as error:
        job("phases.0.optimizer.learning_rate=fast")
    assert "\n" not in str(error.value)


def test_all_mistakes_are_shown_a_line_each():
    with pytest.raises(UserError) as error:
        job("phases.0.optimizer.learning_rate=fast", "phases.1.steps=0", "batch.lanez=3", "corpus.max_length=1")
    where = [line.split(": ")[1] for line in str(error.value).splitlines()]
    assert where == ["corpus.max_length", "batch.lanez", "phases.0.optimizer.learning_rate", "phases.1.steps"]
    with pytest.raises(UserError) as error:
        job("discriminator.scores=per_sentence", "discriminator.embedding_from_generator=true")
    assert len(str(error.value).splitlines()) == 2


def test_a_filter_wider_than_the_text_is_refused():
    with pytest.raises(UserError, match="width 20, more than"):
        job("discriminator={kind: convolutional, filters: {20: 4}}", "phases.1.estimator={kind: gumbel_softmax}")


def test_broken_files_are_named_with_their_line(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        load_job(tmp_path / "absent.yaml")
    (tmp_path / "broken.yaml").write_text("name: x\nphases: [1,\n")
    with pytest.raises(UserError, match=r"broken\.yaml, line 3: this is not valid YAML"):
        load_job(tmp_path / "broken.yaml")
    (tmp_path / "twice.yaml").write_text("name: x\nbatch: {size: 8}\nbatch: {size: 16}\n")
    with pytest.raises(UserError, match=r"twice\.yaml, line 3: the key batch stands twice in one block: leave one of"):
        load_job(tmp_path / "twice.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(UserError, match="a job file is a mapping of settings"):
        load_job(tmp_path / "list.yaml")


def test_differences_between_jobs_are_listed_by_key():
    assert differences(job(), job()) == []
    assert differences(job(), job("batch.size=32", "phases.0.early_stop=2")) == [
        "batch.size: 64 -> 32",
        "batch.units: 2 -> 1",
        "phases.0.early_stop: None -> 2",
    ]


def test_schedules_start_and_end_where_they_say():
    for shape in ("linear", "cosine", "exponential"):
        schedule = Schedule(start=1, end=100, shape=shape)
        assert schedule.at(0, 11) == pytest.approx(1)
        assert schedule.at(10, 11) == pytest.approx(100)
    assert Schedule(start=1, end=100, shape="exponential").at(5, 11) == pytest.approx(10)
    assert Schedule(start=0, end=2, shape="linear").at(5, 21) == pytest.approx(0.5)


def test_intervals_are_written_in_words():
    assert Interval.model_validate("50 steps").steps(7) == 50
    assert Interval.model_validate("2 epochs").steps(7) == 14
    assert str(Interval.model_validate("1 epoch")) == "1 epoch"


def test_a_schedule_of_so_many_steps_ends_on_the_way_in_a_shorter_phase():
    """RelGAN's code fixes 5,000 steps: its 2,000 end at 100 ** 0.4."""
    beta = Schedule(start=1, end=100, shape="exponential", steps=5000)
    assert beta.at(2000, 2001) == pytest.approx(100**0.4)
    assert beta.at(9000, 10_000) == 100
