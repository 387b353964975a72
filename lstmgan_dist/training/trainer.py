"""The loop: rounds of updates, measured, saved and resumable at every step."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from rich.console import Console

from lstmgan_dist.config import Interval
from lstmgan_dist.corpus.manifest import PreparedCorpus
from lstmgan_dist.corpus.stream import Batch, Stream
from lstmgan_dist.errors import UserError
from lstmgan_dist.models.vectors import read_vectors
from lstmgan_dist.runtime.base import Runtime, lanes_of, rows_of
from lstmgan_dist.runtime.randomness import Noise, derive
from lstmgan_dist.training.game import Game
from lstmgan_dist.training.phases import ROUNDS
from lstmgan_dist.training.players import Moment, Report
from lstmgan_dist.training.progress import Progress, batches_per_epoch, steps_of
from lstmgan_dist.training.review import Review, review
from lstmgan_dist.training.run import Run
from lstmgan_dist.training.run_log import RunLog


class FailedUpdateError(Exception):
    """The numbers went wrong; the text says how."""


@dataclass
class Outcome:
    """How a call of `train` ended: finished, or stopped at a step that a later call resumes from."""

    progress: Progress
    finished: bool
    last_review: Review | None


def train(run: Run, corpus: PreparedCorpus, runtime: Runtime, console: Console) -> Outcome:
    """Run the job from wherever the run stands to its end, or until the runtime asks to stop."""
    return _Training(run, corpus, runtime, console).to_the_end()


class _Training:
    """One attempt at a run: everything that lives as long as the process does."""

    def __init__(self, run: Run, corpus: PreparedCorpus, runtime: Runtime, console: Console) -> None:
        self.run = run
        self.job = run.job
        self.corpus = corpus
        self.runtime = runtime
        self.console = console
        self.game = Game(self.job, corpus.tokenizer.vocabulary_size, runtime)
        self.progress = Progress()
        self.last_review: Review | None = None
        batch = self.job.batch
        self.lanes = lanes_of(runtime.rank, runtime.world_size, batch.lanes)
        rows_B = rows_of(self.lanes, batch.size // batch.lanes).to(runtime.device)
        self.noise = Noise(derive(self.job.seed), rows_B)

    def to_the_end(self) -> Outcome:
        checkpoint = self.run.checkpoints.newest(warn=self.console.print)
        if checkpoint:
            self.progress = Progress.from_json(checkpoint.progress())
            if self.progress.phase == len(self.job.phases):
                self.console.print(f"{self.run.folder} is finished, after step {self.progress.step}.", highlight=False)
                return Outcome(self.progress, True, None)
            self.game.load_networks(checkpoint)
        elif self.job.generator.pretrained_vectors:
            self._start_from_vectors(self.job.generator.pretrained_vectors)
        resumed_phase = self.progress.phase if self.progress.phase_step else None
        stream = Stream(
            self.corpus,
            "train",
            batch_size=self.job.batch.size,
            lanes=self.lanes,
            total_lanes=self.job.batch.lanes,
            seed=self.job.seed,
            shuffle_window=self.job.corpus.shuffle_window,
            sequences_read=self.progress.sequences_read,
        )
        real = CountedTokens(stream)
        with stream, RunLog(self.run.folder, self.job, step=self.progress.step, console=self.console) as log:
            if checkpoint:
                log.say(f"Resuming {self.run.folder} after step {self.progress.step}.")
            while self.progress.phase < len(self.job.phases):
                self._begin_phase()
                if checkpoint and self.progress.phase == resumed_phase:
                    self.game.load_players(checkpoint, self.noise.rows_B)
                if not self._run_phase(real, log):
                    return Outcome(self.progress, False, self.last_review)
            if self.last_review:
                log.final(self.progress.step, self.last_review.scalars)
        return Outcome(self.progress, True, self.last_review)

    def _start_from_vectors(self, path: str) -> None:
        vectors = read_vectors(path, self.corpus.tokenizer.tokens, self.job.generator.embedding)
        vectors.copy_to(self.game.generator.embedding)
        self.console.print(f"{path} has vectors for {vectors.coverage:.1%} of the vocabulary.", highlight=False)

    def _begin_phase(self) -> None:
        phase = self.job.phases[self.progress.phase]
        batches = batches_per_epoch(self.corpus, self.job.batch.size)
        self.steps = steps_of(phase, batches)
        self.steps_per_epoch = max(1, round(batches / phase.batches_per_step))
        games = [number for number, other in enumerate(self.job.phases) if other.kind != "likelihood"]
        settings = self.job.discriminator
        begins_game = games[:1] == [self.progress.phase] and self.progress.phase_step == 0
        if settings and settings.embedding_from_generator and begins_game:
            self.game.hand_embedding_over()
        self.game.begin_phase(self.progress.phase, self.steps)

    def _run_phase(self, real: CountedTokens, log: RunLog) -> bool:
        """The rest of the current phase; False when the runtime asked to stop before its end."""
        progress, number = self.progress, self.progress.phase
        phase = self.job.phases[number]
        log.begin_phase(f"{number + 1}/{len(self.job.phases)} {phase.kind}", done=progress.phase_step, total=self.steps)
        while progress.phase == number:
            moment = Moment(progress.phase_step, progress.learning_rate_scale, self.noise.at("step", progress.step))
            report = ROUNDS[phase.kind](self.game, real, phase, moment)
            progress.advance(real.stream.sequences_read)
            log.tick(progress.phase_step)
            stopping = self.runtime.should_stop()
            saving = stopping or self._due(self.job.checkpoint.every)
            try:
                self._observe(report, real, log, saving=saving)
            except FailedUpdateError as failure:
                self._roll_back(failure, log)
            if progress.phase_is_over(phase, self.steps):
                self._finish_phase(log)
            # A score is worth nothing without the weights that reached it.
            if saving or progress.phase != number or (progress.best and progress.best.step == progress.step):
                self._save(log)
            if stopping and progress.phase < len(self.job.phases):
                return False
        return True

    def _due(self, interval: Interval) -> bool:
        """Whether a step that ends an interval, or the phase, has just been done."""
        done = self.progress.phase_step
        return done % interval.steps(self.steps_per_epoch) == 0 or done >= self.steps

    def _observe(self, report: Report, real: CountedTokens, log: RunLog, *, saving: bool) -> None:
        """Log and evaluate when it is time; what is about to be saved is looked at in any case.

        Raises:
            FailedUpdateError: if a figure is not a number, or the samples have collapsed.
        """
        step = self.progress.step
        logging, evaluating = self._due(self.job.log.every), self._due(self.job.evaluate.every)
        if logging or evaluating or saving:
            # The only time that the host waits for the device.
            names = sorted(report)
            values = self.runtime.sum(torch.stack([report[name].float() for name in names])).tolist()
            scalars = dict(zip(names, values, strict=True))
            if logging:
                for name, player in self.game.players.items():
                    scalars[f"{name}/learning_rate"] = player.learning_rate
                rate = real.tokens_per_second() * self.runtime.world_size
                log.scalars(step, scalars)
                log.rate(step, rate)
                log.show({name: scalars[name] for name in _SHOWN if name in scalars}, rate)
            bad = [f"{name} is {value}" for name, value in scalars.items() if not math.isfinite(value)]
            if bad:
                raise FailedUpdateError(", ".join(bad))
        if evaluating:
            self._evaluate(log)

    def _evaluate(self, log: RunLog) -> None:
        result = self.last_review = review(self.game, self.corpus, self.job, self.runtime)
        step = self.progress.step
        log.scalars(step, result.scalars)
        log.histograms(step, result.histograms)
        log.samples(step, result.texts)
        figures = "  ".join(f"{name} {value:.4f}" for name, value in result.scalars.items())
        log.say(f"step {step}: {figures}")
        floor, distinct_2 = self.job.guard.distinct_2_floor, result.scalars.get("samples/distinct_2", 1.0)
        if distinct_2 < floor:
            raise FailedUpdateError(f"the samples have collapsed: distinct-2 is {distinct_2:.3f}, below {floor}")
        if not math.isfinite(result.scalars["heldout/nll"]):
            raise FailedUpdateError(f"heldout/nll is {result.scalars['heldout/nll']}")
        self.progress.record(result.scalars["heldout/nll"])

    def _roll_back(self, failure: FailedUpdateError, log: RunLog) -> None:
        """Go on from the best checkpoint with a smaller learning rate, if the job says so.

        Raises:
            UserError: if it does not, or there is nothing to go back to.
        """
        progress, guard = self.progress, self.job.guard
        kind = self.job.phases[progress.phase].kind
        what = f"Step {progress.step} ({kind}) failed: {failure}"
        if guard.on_failure == "stop":
            raise UserError(
                f"{what}. The last checkpoint is good. Lower the learning rate, or set guard.on_failure: roll_back."
            )
        if progress.best is None or progress.roll_backs >= guard.most_roll_backs:
            raise UserError(f"{what}, after {progress.roll_backs} roll-backs. Lower the learning rate.")
        checkpoint = self.run.checkpoints.open(progress.best.step)
        progress.roll_backs += 1
        progress.learning_rate_scale *= guard.learning_rate_factor
        self.game.load_networks(checkpoint)
        if Progress.from_json(checkpoint.progress()).phase == progress.phase:
            self.game.load_players(checkpoint, self.noise.rows_B)
        else:
            self.game.begin_phase(progress.phase, self.steps)
        log.say(
            f"{what}. Going on from the best checkpoint, step {progress.best.step}, with learning rates times "
            f"{progress.learning_rate_scale:g}."
        )

    def _finish_phase(self, log: RunLog) -> None:
        progress, phase = self.progress, self.job.phases[self.progress.phase]
        if phase.finish_with == "best" and progress.phase_best and progress.phase_best.step != progress.step:
            self.game.load_networks(self.run.checkpoints.open(progress.phase_best.step))
            log.say(
                f"The {phase.kind} phase ends with its best weights, those of step {progress.phase_best.step}: "
                f"held-out {progress.phase_best.heldout_nll:.4f} nats per token."
            )
        progress.next_phase()

    def _save(self, log: RunLog) -> None:
        state = self.game.state(self.noise.rows_B)
        # A new phase makes new players.
        kept = state if self.progress.phase_step else {name: state[name] for name in self.game.networks()}
        if self.runtime.rank == 0:
            self.run.checkpoints.save(self.progress.step, kept, self.progress.to_json())
            self.run.checkpoints.prune(self.progress.protected_steps())
        log.publish()
        self.runtime.barrier()


_SHOWN = ("likelihood/nll", "generator/cost", "generator/reward", "discriminator/loss")


class CountedTokens(Iterator[Batch]):
    """The batches of a stream, and how fast this worker reads their tokens."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._tokens, self._since = 0, time.monotonic()

    def __next__(self) -> Batch:
        batch = next(self.stream)
        self._tokens += int(batch.lengths_B.sum())
        return batch

    def tokens_per_second(self) -> float:
        """The mean rate since the last call."""
        now = time.monotonic()
        rate = self._tokens / max(now - self._since, 1e-9)
        self._tokens, self._since = 0, now
        return rate
