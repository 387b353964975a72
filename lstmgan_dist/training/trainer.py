"""The loop: rounds of updates, measured, saved and resumable at every step."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import torch

from lstmgan_dist.adversarial.objective import Report
from lstmgan_dist.corpus.manifest import PreparedCorpus
from lstmgan_dist.corpus.stream import Batch, Stream, batches_per_epoch
from lstmgan_dist.errors import UserError
from lstmgan_dist.phases.kind import DISCRIMINATOR_ACCURACY, HELDOUT_NLL
from lstmgan_dist.phases.player import Moment
from lstmgan_dist.runtime.base import Runtime
from lstmgan_dist.runtime.randomness import Noise, derive
from lstmgan_dist.runtime.tree import part_of
from lstmgan_dist.runtime.units import Units
from lstmgan_dist.training.background import OneAtATime
from lstmgan_dist.training.brief import BriefEvaluation, evaluate_players
from lstmgan_dist.training.checkpoint import Checkpoint, digest_of, snapshot
from lstmgan_dist.training.clock import Clock, Due
from lstmgan_dist.training.environment import note_environment
from lstmgan_dist.training.game import Game
from lstmgan_dist.training.phase_judge import PhaseJudge
from lstmgan_dist.training.progress import Progress
from lstmgan_dist.training.run import START, Run, start_of
from lstmgan_dist.training.run_log import Log, open_log
from lstmgan_dist.training.screen import Screen, write_progress
from lstmgan_dist.training.vectors import starting_vectors, what_they_know


class FailedUpdateError(Exception):
    """The numbers went wrong; the text says how."""


@dataclass
class Outcome:
    """How a call of `train` ended: finished, or stopped at a step that a later call resumes from."""

    progress: Progress
    finished: bool
    last_evaluation: BriefEvaluation | None


def train(run: Run, corpus: PreparedCorpus, runtime: Runtime, screen: Screen, *, judge: PhaseJudge | None) -> Outcome:
    """Run the job from wherever the run stands to its end, or until the runtime wants it to stop.

    screen: where the first worker tells how it goes on; the others need not be heard. judge: of phases, for a job that
    wants them judged.
    """
    with Units(runtime, run.job.batch.units) as units:
        return _Training(run, corpus, units, screen, judge).to_the_end()


class _Training:
    """One attempt at a run: everything that lives as long as the process does."""

    def __init__(
        self, run: Run, corpus: PreparedCorpus, units: Units, screen: Screen, judge: PhaseJudge | None
    ) -> None:
        self.run = run
        self.job = run.job
        self.corpus = corpus
        self.units = units
        self.runtime = units.runtime
        self.screen = screen
        self.judge = judge
        self.game = Game(self.job, corpus.tokenizer, units)
        self.progress = Progress()
        self.last_evaluation: BriefEvaluation | None = None
        batch = self.job.batch
        rows = batch.size // units.count
        rows_B = torch.arange(units.own.start * rows, units.own.stop * rows, device=self.runtime.device)
        self.noise = Noise(derive(self.job.seed), rows_B)
        self.clock = Clock(self.job, batches_per_epoch(corpus, batch.size))
        self.commits = OneAtATime()
        self.hashing = ThreadPoolExecutor(1, "digests")
        self.is_reopened = False  # a phase that had ended, and is longer now

    def to_the_end(self) -> Outcome:
        checkpoint = self._to_resume_from()
        if checkpoint:
            self.progress = Progress.of(checkpoint)
            if self.progress.phase == len(self.job.phases):
                self.screen.say(f"{self.run.folder} is finished, after step {self.progress.step}.")
                return Outcome(self.progress, True, None)
            self.game.load_networks(checkpoint)
        elif self.job.start_from:
            self.game.load_start(start_of(self.run.folder))
        elif self.job.generator.pretrained_vectors:
            self._start_from_vectors()
        step, rank = self.progress.step, self.runtime.rank
        with (
            self._training_text() as stream,
            open_log(self.run, step=step, rank=rank, warn=self.screen.say) as log,
            self.commits,
            self.hashing,
        ):
            if checkpoint:
                self.screen.say(f"Resuming {self.run.folder} after step {step}.")
            note_environment(self.run.folder, self.runtime, step=step, say=self.screen.say)
            return self._run_phases(CountedTokens(stream), log, checkpoint)

    def _to_resume_from(self) -> Checkpoint | None:
        """The newest checkpoint; if its phase has ended and is longer now, the newest from before its end."""
        kept, longer = set(self.run.checkpoints.steps()), None
        for checkpoint in self.run.checkpoints.newest_first(warn=self.screen.say):
            progress = Progress.of(checkpoint)
            if longer is None and not progress.phase_step and progress.ended:
                last = len(progress.ended) - 1
                if progress.ended[last].most_steps < self.clock.steps(last):
                    longer = last
            # At its end it may have taken its best weights, and its optimisers are gone. What was best before then may
            # have been pruned since.
            has_best = progress.best is None or progress.best.step in kept
            if longer is None or (progress.phase <= longer and has_best):
                self.is_reopened = longer is not None
                return checkpoint
        self.is_reopened = longer is not None
        return None

    def _training_text(self) -> Stream:
        batch = self.job.batch
        return Stream(
            self.corpus,
            "train",
            batch_size=batch.size,
            lanes=[part_of(batch.lanes, unit, self.units.count) for unit in self.units.own],
            total_lanes=batch.lanes,
            seed=self.job.seed,
            shuffle_window=self.job.corpus.shuffle_window,
            sequences_read=self.progress.sequences_read,
        )

    def _start_from_vectors(self) -> None:
        vocabulary = self.corpus.tokenizer.tokens
        vectors = starting_vectors(self.job, self.run.folder / START, vocabulary)
        vectors.copy_to(self.game.generator.embedding.pretrained)
        self.screen.say(f"{self.job.generator.pretrained_vectors} has {what_they_know(vectors, vocabulary)}.")

    def _run_phases(self, real: CountedTokens, log: Log, checkpoint: Checkpoint | None) -> Outcome:
        """What is left of the phases, from the checkpoint on if there is one."""
        progress = self.progress
        while progress.phase < len(self.job.phases):
            self._begin_phase()
            if progress.phase_step and checkpoint:
                self.game.load_players(checkpoint)
            if not self._run_phase(real, log):
                return Outcome(progress, False, self.last_evaluation)
        if self.last_evaluation:
            log.final(self.last_evaluation.scalars)
        return Outcome(progress, True, self.last_evaluation)

    def _begin_phase(self) -> None:
        progress = self.progress
        if not progress.phase_step:
            self._start_discriminator()
        self.game.begin_phase(progress.phase, self.clock.steps(progress.phase))

    def _start_discriminator(self) -> None:
        """Give it the generator's embedding, where the first phase that it plays in begins and the job says so."""
        games = [number for number, phase in enumerate(self.job.phases) if phase.plays]
        settings = self.job.discriminator
        if settings and settings.embedding_taken and games[:1] == [self.progress.phase]:
            self.game.copy_embedding_to_discriminator()

    def _run_phase(self, real: CountedTokens, log: Log) -> bool:
        """The rest of the current phase; False when the runtime asked to stop before its end."""
        progress, clock, number = self.progress, self.clock, self.progress.phase
        name = f"{number + 1}/{len(self.job.phases)} {self.job.phases[number].kind}"
        self.screen.begin_phase(
            number=number, name=name, done=progress.phase_step, total=clock.steps(number), step=progress.step
        )
        while progress.phase == number:
            report = self._round(real)
            clock.hear(self.runtime.stop_request())
            if clock.is_meeting(progress):
                self.game.synchronise()
            due = clock.due(progress, synchronised=self.game.is_synchronised)
            try:
                self._observe(report, real, log, due)
            except FailedUpdateError as failure:
                self._roll_back(failure)
            if clock.is_over(progress):
                self._finish_phase(log)
            # A score is worth nothing without the weights that reached it.
            if due.checkpoint or progress.phase != number or progress.best_is_of_this_step:
                self._save(log, of_phase=number)
            elif due.save:
                self._save(log)
            if due.stop and progress.phase < len(self.job.phases):
                return False
        return True

    def _round(self, real: CountedTokens) -> Report:
        """One step: a round of updates."""
        progress, phase = self.progress, self.job.phases[self.progress.phase]
        moment = Moment(progress.phase_step, progress.learning_rate_scale, self.noise.at("step", progress.step))
        report = phase.play(self.game.players, self.game.sides, real, moment)
        progress.advance(real.stream.sequences_read)
        self.screen.tick(done=progress.phase_step)
        self.commits.check()
        return report

    def _observe(self, report: Report, real: CountedTokens, log: Log, due: Due) -> None:
        """Log and evaluate when it is time; what is about to be saved is looked at in any case.

        Raises:
            FailedUpdateError: if a figure is not a number, or the samples have collapsed.
        """
        if due.anything:
            # Beside this the host waits for the device in updates that draw text: for its length, which cuts the work.
            names = sorted(report)
            shares = torch.stack([report[name].float() for name in names], dim=1).unbind()
            values = self.units.total(shares).tolist()
            scalars = dict(zip(names, values, strict=True))
            if due.log:
                self._log(scalars, real, log)
            bad = [f"{name} is {value}" for name, value in scalars.items() if not math.isfinite(value)]
            if bad:
                raise FailedUpdateError(", ".join(bad))
        if due.evaluate:
            self._evaluate(log)

    def _log(self, scalars: dict[str, float], real: CountedTokens, log: Log) -> None:
        step, rate = self.progress.step, real.tokens_per_second() * self.runtime.world_size
        rates = {f"{name}/learning_rate": player.learning_rate for name, player in self.game.players.items()}
        log.scalars(step, scalars | rates, phase=self.progress.phase)
        log.rates(step, {"throughput/tokens_per_second": rate})
        shown = {name: scalars[name] for name in _SHOWN if name in scalars}
        self.screen.show(losses=shown, tokens_per_second=rate)

    def _evaluate(self, log: Log) -> None:
        with self.game.averaged():
            result = self.last_evaluation = evaluate_players(self.game, self.corpus, self.job, self.units)
        step = self.progress.step
        log.scalars(step, result.scalars, phase=self.progress.phase)
        log.histograms(step, result.histograms)
        log.samples(step, result.texts, result.real_texts)
        told = {name: result.scalars[name] for name in _TOLD if name in result.scalars}
        self.screen.report(step=step, figures=told)
        floor, distinct_2 = self.job.guard.distinct_2_floor, result.scalars.get("samples/distinct_2", 1.0)
        if distinct_2 < floor:
            raise FailedUpdateError(f"the samples have collapsed: distinct-2 is {distinct_2:.3f}, below {floor}")
        if not math.isfinite(result.scalars[HELDOUT_NLL]):
            raise FailedUpdateError(f"{HELDOUT_NLL} is {result.scalars[HELDOUT_NLL]}")
        # A discriminator phase leaves the generator, and with it the held-out loss, as it was.
        figure = self.job.phases[self.progress.phase].judged_by
        self.progress.record(figure, result.scalars[figure])

    def _roll_back(self, failure: FailedUpdateError) -> None:
        """Go on from the phase's best checkpoint, or its start, with a smaller learning rate, if the job says so.

        Never from an earlier phase's best: its discriminator may not have learnt anything yet.

        Raises:
            UserError: if it does not, or there is nothing to go back to.
        """
        progress, guard = self.progress, self.job.guard
        kind = self.job.phases[progress.phase].kind
        what = f"Step {progress.step} ({kind}) failed: {failure}"
        if guard.on_failure == "stop":
            good = " The last checkpoint is good." if self.run.checkpoints.steps() else ""
            raise UserError(f"{what}.{good} Lower the learning rate, or set guard.on_failure: roll_back.")
        if progress.best:
            step, which = progress.best.step, "the best checkpoint of this phase"
        elif progress.ended:
            step, which = progress.ended[-1].step, "the end of the phase before"
        else:
            raise UserError(f"{what}, before the first evaluation. Lower the learning rate.")
        if progress.roll_backs >= guard.most_roll_backs:
            raise UserError(f"{what}, after {progress.roll_backs} roll-backs. Lower the learning rate.")
        checkpoint = self._committed(step)
        progress.roll_backs += 1
        progress.learning_rate_scale *= guard.learning_rate_factor
        self.game.load_networks(checkpoint)
        if progress.best:
            self.game.load_players(checkpoint)
        else:
            self._start_discriminator()
            self.game.begin_phase(progress.phase, self.clock.steps(progress.phase))
        self.screen.say(
            f"{what}. Going on from {which}, step {step}, with learning rates times {progress.learning_rate_scale:g}."
        )

    def _finish_phase(self, log: Log) -> None:
        progress, phase = self.progress, self.job.phases[self.progress.phase]
        best = progress.best
        self.game.end_phase()
        if phase.finish_with == "best" and best and best.step != progress.step:
            self.game.load_networks(self._committed(best.step))
            self.screen.say(f"The {phase.kind} phase ends with its best weights, those of step {best.step}: {best}.")
        frontier = self.job.evaluate.frontier
        if frontier and phase.moves_generator:
            self.screen.say(f"Step {progress.step}: the judges read, at {len(frontier.temperatures)} temperatures.")
            self._judge(log)
        progress.next_phase(self.clock.steps(progress.phase))

    def _judge(self, log: Log) -> None:
        """Judge the generator beside the one that the game started from, with all workers."""
        step, start = self.progress.step, self.progress.likelihood_end(self.job.phases)
        weights = snapshot({"generator": self.game.generator.state_dict()})["generator"]
        likelihood = self._committed(start) if start is not None and start != step else None
        watch = partial(write_progress, write=self.screen.say)
        assert self.judge
        found = self.judge(self.run, weights, step, likelihood=likelihood, runtime=self.runtime, watch=watch)
        log.scalars(step, found.figures, phase=self.progress.phase)
        for sentence in found.sentences:
            self.screen.say(sentence)

    def _save(self, log: Log, *, of_phase: int | None = None) -> None:
        """Write a checkpoint, beside training.

        of_phase: where the job has it written, the phase of its step; the log then says which weights they are.
        """
        state = self.game.state()
        # A new phase makes new players.
        kept = state if self.progress.phase_step else {name: state[name] for name in self.game.networks()}
        if self.runtime.rank:
            return
        sections, progress = snapshot(kept), self.progress.to_json()
        step, protected = self.progress.step, self.progress.protected_steps()
        if of_phase is not None:
            digests = {name: self.hashing.submit(digest_of, sections[name]) for name in self.game.networks()}
            log.digests(step, digests, phase=of_phase)

        def commit() -> None:
            self.run.check_lease()
            # The log comes first: a resumed run must find every line up to its checkpoint.
            log.publish()
            self.run.checkpoints.save(step, sections, progress)
            self.screen.saved()
            if self.is_reopened:
                self.run.checkpoints.delete_after(step)
            try:
                self.run.checkpoints.prune(protected)
            except OSError as error:  # it is tried again after the next one
                self.screen.say(f"Older checkpoints stay for now: {error.filename}: {error.strerror}.")

        self.commits.start(commit)

    def _committed(self, step: int) -> Checkpoint:
        """The checkpoint of a step that was saved by this or an earlier attempt, as soon as it is whole."""
        self.commits.wait()
        self.runtime.barrier()
        return self.run.checkpoints.open(step)


_TOLD = (HELDOUT_NLL, DISCRIMINATOR_ACCURACY, "samples/distinct_2", "samples/bleu_4", "samples/self_bleu_4")
_SHOWN = ("likelihood/nll", "generator/cost", "generator/reward", "discriminator/loss")


class CountedTokens(Iterator[list[Batch]]):
    """The batches of a stream, and how fast this worker reads their tokens."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._tokens, self._since = 0, time.monotonic()

    def __next__(self) -> list[Batch]:
        batch = next(self.stream)
        self._tokens += sum(unit.texts_length for unit in batch)
        return batch

    def tokens_per_second(self) -> float:
        """The mean rate since the last call."""
        now = time.monotonic()
        rate = self._tokens / max(now - self._since, 1e-9)
        self._tokens, self._since = 0, now
        return rate
