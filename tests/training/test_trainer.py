"""What the loop promises besides resuming: the best is kept, failures are noticed, every combination trains.

Also for phases/likelihood.py and phases/discriminator.py, training/progress.py and training/brief.py, which the loop
is made of; and for how a job's words become objectives: adversarial/estimators/score_function.py and
adversarial/estimators/gumbel_softmax.py.
"""

import json
import math

import pytest
import torch

from lstmgan_dist.config import load_job
from lstmgan_dist.corpus.made import MADE
from lstmgan_dist.errors import UserError
from lstmgan_dist.phases.adversarial import AdversarialPhase
from lstmgan_dist.training import trainer
from lstmgan_dist.training.progress import EndedPhase, Progress
from lstmgan_dist.training.run import prepared_corpus
from lstmgan_dist.training.run_log import read_metrics
from tests.cases import cases
from tests.test_config import JOBS
from tests.toy_text import toy_sentences
from tests.training.tiny_jobs import CONTINUOUS, SENTENCES, best_of, job_of, run_job, small_sizes


@pytest.mark.parametrize(
    "path", cases(sorted(JOBS.glob("*.yaml")), quick=[JOBS / "quickstart.yaml"]), ids=lambda path: path.stem
)
def test_every_recipe_trains_two_steps_of_each_phase(path, text, tmp_path):
    recipe = load_job(path)
    is_made = recipe.corpus.source in MADE
    shrunken = [
        *([] if is_made else [f"corpus.source={text}"]),
        "corpus.heldout_source=null",
        "corpus.heldout_fraction=0.2",
        "batch={size: 8, lanes: 4}",
        "evaluate={every: 2 steps, samples: 8, show: 1, sample_length: 8, heldout_sequences: 16}",
        "evaluate.prompt=''" if is_made else "evaluate.prompt=the",
        "checkpoint.every=2 steps",
    ]
    for block, kind in ("generator", recipe.generator), ("discriminator", recipe.discriminator):
        if kind:
            shrunken += [
                f"{block}.{name}={size}" for name, size in small_sizes(block, kind.kind, kind.model_dump()).items()
            ]
    for number, phase in enumerate(recipe.phases):
        shrunken += [f"phases.{number}.{key}={value}" for key, value in (("epochs", "null"), ("steps", 2))]
        if isinstance(phase, AdversarialPhase):
            shrunken.append(f"phases.{number}.discriminator_updates={min(phase.discriminator_updates, 2)}")
    _, outcome = run_job(load_job(path, tuple(shrunken)), tmp_path / "run")
    assert outcome.finished
    assert outcome.progress.step == 2 * len(recipe.phases)
    assert outcome.last_evaluation
    assert outcome.last_evaluation.scalars["heldout/nll"] > 0


@pytest.mark.slow
def test_the_number_of_units_changes_no_number_but_for_rounding(text, tmp_path):
    for template in (SENTENCES, CONTINUOUS):
        losses = []
        for units in (1, 2, 4):
            job = job_of(template, text, f"batch.units={units}")
            run, _ = run_job(job, tmp_path / f"{job.name}-{units}")
            losses.append([row for row in read_metrics(run.folder) if "weights/generator" not in row])
        for whole, *cut in zip(*losses, strict=True):
            for other in cut:
                assert whole == pytest.approx(other, rel=1e-4, abs=1e-5)


@pytest.mark.slow
def test_training_learns_the_toy_language(tmp_path):
    text = tmp_path / "toy.txt"
    text.write_text("\n".join(toy_sentences(400)) + "\n")
    phase = "{kind: likelihood, epochs: 15, optimizer: {learning_rate: {start: 3e-2, end: 1e-3}}}"
    overrides = ["generator.dropout=0", "evaluate={every: 1 epoch, heldout_sequences: 100}"]
    run, outcome = run_job(job_of(SENTENCES, text, f"phases=[{phase}]", *overrides), tmp_path / "run")
    first, last = (row["heldout/nll"] for row in (heldout(run)[0], heldout(run)[-1]))
    # Four choices of three, the number of "now" among them, over six tokens with the end mark. Held-out sentences are
    # none of the training ones, so a little is lost.
    entropy = 4 * math.log(3) / 6
    assert last == pytest.approx(entropy, abs=0.15)
    assert first > entropy + 0.2
    assert best_of(outcome).value == min(row["heldout/nll"] for row in heldout(run))


def heldout(run):
    return [row for row in read_metrics(run.folder) if "heldout/nll" in row]


def test_phase_that_no_longer_gets_better_stops_early_and_ends_with_its_best(text, tmp_path):
    # A learning rate that destroys: the first evaluation is the best.
    phase = (
        "{kind: likelihood, steps: 40, early_stop: 2, finish_with: best, "
        "optimizer: {kind: sgd, learning_rate: {start: 0.01, end: 500}, clip: null}}"
    )
    run, outcome = run_job(job_of(SENTENCES, text, f"phases=[{phase}]", "evaluate.every=2 steps"), tmp_path)
    best = best_of(outcome)
    assert outcome.progress.step < 40
    final, kept = (run.checkpoints.open(step).load("generator") for step in (outcome.progress.step, best.step))
    assert all(torch.equal(final[name], kept[name]) for name in kept)


def broken_after(step, monkeypatch, *, times=1):
    """Let the generator's weights become NaN in so many updates from `step` on."""
    from lstmgan_dist.phases.player import Player

    learn, count = Player.learn, [0]

    def learn_and_break(self, *arguments, **keywords):
        report = learn(self, *arguments, **keywords)
        count[0] += 1
        if step <= count[0] < step + times:
            next(iter(self.network.parameters())).data.fill_(float("nan"))
        return report

    monkeypatch.setattr(Player, "learn", learn_and_break)


LIKELIHOOD_ONLY = "phases=[{kind: likelihood, steps: 20}]"


def test_a_loss_that_is_not_a_number_stops_with_a_clear_word(text, tmp_path, monkeypatch):
    broken_after(9, monkeypatch)
    with pytest.raises(UserError, match=r"Step 10 \(likelihood\) failed: .*likelihood/nll is nan"):
        run_job(job_of(SENTENCES, text, LIKELIHOOD_ONLY), tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["likelihood/nll"] == "nan"


def test_every_line_of_metrics_says_its_phase(text, tmp_path):
    run, _ = run_job(job_of(SENTENCES, text), tmp_path)
    rows = read_metrics(run.folder)
    assert [row["phase"] for row in rows] == [(row["step"] > 6) + (row["step"] > 11) for row in rows]


def test_a_failed_run_rolls_back_to_its_best_when_the_job_says_so(text, tmp_path, monkeypatch):
    broken_after(9, monkeypatch)
    job = job_of(SENTENCES, text, LIKELIHOOD_ONLY, "guard.on_failure=roll_back")
    run, outcome = run_job(job, tmp_path)
    assert outcome.finished
    assert outcome.progress.roll_backs == 1
    assert outcome.progress.learning_rate_scale == 0.5
    assert heldout(run)[-1]["heldout/nll"] > 0


def saved(run, step, network):
    return run.checkpoints.open(step).load(network)


def same_weights(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
@pytest.mark.parametrize("from_generator", [False, True])
@pytest.mark.parametrize("break_at", ["before the first evaluation", "after it"])
def test_a_game_rolls_back_to_its_own_discriminator(break_at, from_generator, text, tmp_path, monkeypatch):
    """Never to the untrained one beside the lowest held-out loss, which the likelihood phase may have reached."""
    restored = []
    load = trainer.Game.load_networks

    def watch(game, checkpoint):
        load(game, checkpoint)
        restored.append(checkpoint.step)

    monkeypatch.setattr(trainer.Game, "load_networks", watch)
    # 6 steps of likelihood, 5 of the discriminator and, at 3 updates a step, the game.
    broken_after({"before the first evaluation": 13, "after it": 27}[break_at], monkeypatch)
    job = job_of(
        SENTENCES,
        text,
        "phases.0.optimizer.learning_rate=1e-9",  # so that the game's own held-out loss is not the best of all
        "phases.2.generator_optimizer={kind: sgd, learning_rate: 1e-2}",
        "phases.2.steps=12",
        "evaluate.every=2 steps",
        "checkpoint={every: 1 steps, keep: 100}",
        "guard.on_failure=roll_back",
        f"discriminator.embedding_from_generator={str(from_generator).lower()}",
    )
    run, outcome = run_job(job, tmp_path)
    assert outcome.finished
    assert outcome.progress.roll_backs == 1
    # The last time but that the likelihood phase may have ended with its best weights.
    assert restored[-1] == (11 if break_at == "before the first evaluation" else run_best_before(run, 16))
    untrained, back = saved(run, 1, "discriminator"), saved(run, restored[-1], "discriminator")
    assert not same_weights(untrained, back)
    if from_generator:
        assert not torch.equal(untrained["embedding.weight"], back["embedding.weight"])


def run_best_before(run, step):
    """The best of the game's evaluations before a step."""
    rows = [row for row in heldout(run) if 11 < row["step"] < step]
    return min(rows, key=lambda row: row["heldout/nll"])["step"]


@pytest.mark.slow
def test_a_discriminator_phase_is_judged_by_its_accuracy_on_held_out_text(tmp_path):
    text = tmp_path / "toy.txt"
    text.write_text("\n".join(toy_sentences(600)) + "\n")
    job = job_of(
        SENTENCES,
        text,
        "corpus.heldout_fraction=0.4",
        "phases.0.optimizer.learning_rate=1e-9",  # what it draws is easily told apart
        "phases.1={kind: discriminator, steps: 60, finish_with: best, early_stop: 60}",
        "phases.1.optimizer.learning_rate={start: 1e-7, end: 3e-2}",  # knows nothing at its first evaluation
        "phases.2.steps=2",
        "evaluate={every: 4 steps, samples: 40, show: 2, heldout_sequences: 40}",
        "checkpoint={every: 4 steps, keep: 100}",
    )
    run, outcome = run_job(job, tmp_path / "run")
    rows = [row for row in heldout(run) if 6 < row["step"] <= 66]
    assert len({row["heldout/nll"] for row in rows}) == 1
    best = max(rows, key=lambda row: row["heldout/discriminator_accuracy"])
    assert best["heldout/discriminator_accuracy"] > 0.8 > 0.6 > rows[0]["heldout/discriminator_accuracy"]
    assert best["heldout/discriminator_auc"] > 0.8
    assert best["heldout/discriminator_loss"] < rows[0]["heldout/discriminator_loss"]
    ended = outcome.progress.ended[1]
    assert (best_of(outcome, 1).step, best_of(outcome, 1).value) == (
        best["step"],
        best["heldout/discriminator_accuracy"],
    )
    assert same_weights(saved(run, ended.step, "discriminator"), saved(run, best["step"], "discriminator"))
    assert not same_weights(saved(run, ended.step, "discriminator"), saved(run, 6, "discriminator"))
    assert "heldout/discriminator_auc" in heldout(run)[-1]
    assert not any("heldout/discriminator_auc" in row for row in heldout(run) if row["step"] <= 6)


def test_every_phase_keeps_its_best_and_its_last_checkpoint(text, tmp_path):
    said = []
    run, outcome = run_job(job_of(SENTENCES, text, "checkpoint={every: 1 steps, keep: 1}"), tmp_path)
    ended = outcome.progress.ended
    assert [phase.step for phase in ended] == [6, 11, 17]
    assert set(run.checkpoints.steps()) == {phase.step for phase in ended} | {
        best_of(outcome, number).step for number in range(3)
    }
    assert run.checkpoint("best", say=said.append).step == best_of(outcome, 2).step
    assert run.checkpoint("latest", say=said.append).step == 17
    assert run.checkpoint("likelihood", say=said.append).step == 6
    assert run.checkpoint("11", say=said.append).step == 11
    assert [
        f"phase {number} of 3 ({kind})" in sentence
        for (number, kind), sentence in zip(
            [(3, "adversarial"), (3, "adversarial"), (1, "likelihood"), (2, "discriminator")], said, strict=True
        )
    ] == [True] * 4
    assert f"step {best_of(outcome, 2).step}, " in said[0]
    assert "the best of this phase" in said[0]


@pytest.mark.slow
def test_the_best_is_never_silently_another_phases(text, tmp_path):
    """A game that makes held-out text less likely writes with its own best, not with the likelihood phase's."""
    job = job_of(
        SENTENCES, text, "phases.2.generator_optimizer={kind: sgd, learning_rate: 3.0}", "phases.2.likelihood_weight=0"
    )
    run, outcome = run_job(job, tmp_path)
    rows = {row["step"]: row["heldout/nll"] for row in heldout(run)}
    best = run.checkpoint("best", say=lambda sentence: None).step
    assert best > 11
    assert rows[best] == min(value for step, value in rows.items() if step > 11)
    assert best_of(outcome).step == best


def test_a_run_that_keeps_failing_stops_after_its_last_roll_back(text, tmp_path, monkeypatch):
    broken_after(9, monkeypatch, times=100)
    with pytest.raises(UserError, match="after 3 roll-backs"):
        run_job(job_of(SENTENCES, text, LIKELIHOOD_ONLY, "guard.on_failure=roll_back"), tmp_path)


def test_collapsed_samples_stop_the_run(text, tmp_path):
    with pytest.raises(UserError, match=r"samples have collapsed: distinct-2 is 0\.\d+, below 0\.99"):
        run_job(job_of(SENTENCES, text, LIKELIHOOD_ONLY, "guard.distinct_2_floor=0.99"), tmp_path)


@pytest.mark.slow
def test_the_discriminator_starts_from_the_generators_embedding(text, tmp_path, monkeypatch):
    seen = []
    original = trainer.Game.copy_embedding_to_discriminator

    def watch(game):
        original(game)
        seen.append(torch.equal(game.discriminator.embedding.weight, game.generator.embedding.weight))

    monkeypatch.setattr(trainer.Game, "copy_embedding_to_discriminator", watch)
    run_job(job_of(SENTENCES, text, "discriminator.embedding_from_generator=true"), tmp_path)
    assert seen == [True]


@pytest.mark.parametrize(
    ("template", "overrides", "words"),
    [
        (SENTENCES, ["evaluate.prompt=the giraffe"], "evaluate.prompt 'the giraffe' holds"),
        (SENTENCES, ["batch={size: 4096, lanes: 4096}"], "fewer than batch.lanes 4096"),
        (CONTINUOUS, ["batch={size: 4096, lanes: 4}"], "too few for batch.size 4096 rows"),
    ],
)
def test_a_job_that_does_not_fit_its_text_is_refused_before_anything_is_written(
    template, overrides, words, text, tmp_path
):
    with pytest.raises(UserError, match=words):
        run_job(job_of(template, text, *overrides), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("override", "words"),
    [("corpus.layout=continuous", "layout sentences"), ("corpus.max_length=11", "prepared with max_length 12")],
)
def test_a_prepared_corpus_of_another_shape_is_refused(override, words, text, tmp_path):
    only = "phases=[{kind: likelihood, steps: 1}]"
    prepared = prepared_corpus(job_of(SENTENCES, text).corpus, str(tmp_path / "run"), lambda progress: None)
    with pytest.raises(UserError, match=words):
        run_job(job_of(SENTENCES, prepared.folder.url, only, override), tmp_path / "run")
    run_job(job_of(SENTENCES, prepared.folder.url, only, "corpus.max_length=20"), tmp_path / "run")


def test_generator_starts_from_pretrained_vectors(text, tmp_path):
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("cat " + " ".join(map(str, range(8))) + "\ndog " + " ".join(["1"] * 8) + "\n")
    phase = "phases=[{kind: likelihood, steps: 1, optimizer: {kind: sgd, learning_rate: 1e-12}}]"
    job = job_of(SENTENCES, text, phase, f"generator.pretrained_vectors={vectors}")
    run, _ = run_job(job, tmp_path / "run")
    weight = run.checkpoints.open(1).load("generator")["embedding.weight"][run.tokenizer().encode("cat")[0]]
    assert torch.allclose(weight / weight[1], torch.arange(8.0))


def test_a_game_starts_from_the_last_likelihood_before_it_whoever_else_learnt_in_between():
    """LeakGAN's discriminator learns before the generator has ended to: what is compared with must not be its half."""
    phases = load_job(JOBS / "leakgan.yaml").phases
    assert [phase.kind for phase in phases] == ["likelihood", "discriminator", "likelihood", "adversarial"]
    ended = tuple(EndedPhase(step=step, best=None, most_steps=10) for step in (10, 20, 30))
    starts = [Progress(step=35, ended=ended[:count]).likelihood_end(phases) for count in range(4)]
    assert starts == [None, None, None, 30]
    assert Progress(step=35, ended=ended[:2]).likelihood_end([*phases[:2], phases[3]]) == 10
    assert Progress(step=35, ended=ended[:1]).likelihood_end(load_job(JOBS / "cot.yaml").phases) is None
