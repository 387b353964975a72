"""Training runs sent to a Ray cluster from outside it, through the HTTP interface of its jobs.

A submission is one attempt to train one run, and is named after the run's address: `captions-1a2b3c-1`, and after a
failure `captions-1a2b3c-2`. Ray takes a name once, so two people who submit the same run at the same moment do not
train it twice. What an attempt is about stands in its metadata; nothing is kept on this machine.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lstmgan_dist.config import Job, dump_job
from lstmgan_dist.errors import UserError
from lstmgan_dist.runtime.job_submission import base_name, entrypoint, find_address, pack
from lstmgan_dist.runtime.worker_size import WorkerSize

try:
    import aiohttp
    import ray
    import requests
    from ray.dashboard.modules.dashboard_sdk import SubmissionClient
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient
except ImportError as error:
    raise UserError(
        "Jobs on a cluster need Ray, which is not installed: pip install 'lstmgan-dist[cluster]'."
    ) from error

# How long a stopped run may take to write its checkpoint before Ray kills it; Ray's own patience is 3 s.
STOP_GRACE_SECONDS = 180

# Ray's client waits without end for a cluster that has fallen silent.
_CONNECT_SECONDS = 5
_FIRST_ANSWER_SECONDS = 8  # whether a dashboard is there at all
_ANSWER_SECONDS = 60
_SILENCE_SECONDS = 10  # without a line of the log, the status is asked for
_LOST_SECONDS = 120  # without an answer, following gives up

_NO_AGENT = "No available agent"  # how Ray says that the process which starts jobs is not there

# What a submission is about; Ray's dashboard shows it.
_RUN, _JOB, _WORKERS, _PHASES, _CURVES = (f"lstmgan_{what}" for what in ("run", "job", "workers", "phases", "curves"))

# What Ray writes at the head of each log, which says nothing that the user does not know.
_RAYS_LINES = re.compile(r"Running entrypoint for job |\S+ \S+\tINFO job_manager\.py:")


@dataclass(frozen=True)
class Submission:
    """One attempt at a run, as the cluster knows it."""

    name: str
    run: str
    job_digest: str
    workers: str
    phases: str
    curves: str  # the command that shows them
    status: str
    entrypoint: str
    started: float | None  # seconds since 1970
    ended: float | None
    message: str
    exit_code: int | None
    node: str | None

    @property
    def is_over(self) -> bool:
        """Whether it will never run again."""
        return JobStatus(self.status).is_terminal()

    @property
    def succeeded(self) -> bool:
        """Whether it trained the run to its end."""
        return self.status == JobStatus.SUCCEEDED

    @property
    def attempt(self) -> int:
        """1 for a run's first submission."""
        return int(self.name.rpartition("-")[2])

    @property
    def seconds(self) -> float:
        """How long it has been going on, or took."""
        return 0.0 if self.started is None else (self.ended or time.time()) - self.started

    @property
    def reason(self) -> str:
        """Why it ended, in one line; empty if it runs or succeeded."""
        if self.status != JobStatus.FAILED:
            return ""
        if self.exit_code is not None and (self.exit_code < 0 or self.exit_code == 137):
            return "its process was killed"
        lines = [line for line in self.message.splitlines() if line.strip()]
        if self.exit_code is None:
            return lines[0] if lines else "the cluster gives no reason"
        mistakes = [line.removeprefix("Error: ") for line in lines if line.startswith("Error: ")]
        last = mistakes[-1] if mistakes else lines[-1].strip() if len(lines) > 1 else "its log is empty"
        return f"exit code {self.exit_code}: {last.rstrip('.')}"


class Cluster:
    """The jobs of one cluster, once it has answered and accepted this user's token.

    Raises:
        UserError: from here and from every method, if the cluster cannot be reached or refuses the token.
    """

    def __init__(self, address: str | None) -> None:
        self.address = find_address(address)
        # Ray prefers this variable over the address that its client is given.
        os.environ["RAY_API_SERVER_ADDRESS"] = self.address
        for name in ("ray", JobSubmissionClient.__module__, SubmissionClient.__module__):
            logging.getLogger(name).setLevel(logging.WARNING)
        with self._plainly():
            self._client = _Client(self.address)

    def submissions(self) -> list[Submission]:
        """All attempts at runs that the cluster remembers, oldest first."""
        with self._plainly():
            details = self._client.list_jobs()
        known = [_submission(detail) for detail in details if _RUN in (detail.metadata or {})]
        return sorted(known, key=lambda submission: (submission.started or 0, submission.attempt))

    def find(self, name: str | None) -> Submission:
        """The submission of this name, the latest attempt at the run of this name or address, or the latest of all."""
        known = self.submissions()
        if name is None:
            if not known:
                raise UserError(f"Nothing has been submitted to {self.address} yet.")
            return known[-1]
        meant = [
            submission
            for submission in known
            if name.rstrip("/") in (submission.name, submission.run, base_name(submission.run))
        ]
        if not meant:
            names = ", ".join(submission.name for submission in known[-5:])
            hint = f"it has {names}" if known else "nothing has been submitted to it"
            raise UserError(f"{self.address} knows no submission called {name}: {hint}.")
        return max(meant, key=lambda submission: submission.attempt)

    def only_unfinished(self) -> Submission:
        """The one submission that has not ended: nobody's run is stopped by a guess."""
        unfinished = [submission for submission in self.submissions() if not submission.is_over]
        if len(unfinished) == 1:
            return unfinished[0]
        names = ", ".join(submission.name for submission in unfinished)
        raise UserError(f"Which one? These run: {names}." if names else f"Nothing runs on {self.address}.")

    def submit(
        self, job: Job, run_url: str, size: WorkerSize, *, timeout: float | None, take_over: bool = False
    ) -> tuple[Submission, Literal["new", "unfinished", "finished"]]:
        """Have the cluster train a run, unless it does so or has done so.

        Args:
            job: as resolved; it is sent as it is.
            run_url: from `job_submission.shared_run_url`.
            size: 0 workers are one process somewhere on the cluster; what is not said is left to `lstmgan train`.
            timeout: seconds after which a silent worker is replaced; None leaves it to `lstmgan train`.
            take_over: from a training that this cluster does not know, which then ends.

        Raises:
            UserError: if the cluster has another Ray, or trains the run with a different job.
        """
        self._check_version()
        job_text = dump_job(job)
        digest = hashlib.sha256(job_text.encode()).hexdigest()[:12]
        command = entrypoint(run_url, size, timeout=timeout, take_over=take_over)
        about = {
            _RUN: run_url,
            _JOB: digest,
            _WORKERS: size.number,
            _PHASES: ", ".join(phase.kind for phase in job.phases),
            _CURVES: f"lstmgan monitor {run_url}",
        }
        name = ""
        for _ in range(10):  # as many people may submit the run at this moment
            latest = max(
                (one for one in self.submissions() if one.run == run_url), key=lambda one: one.attempt, default=None
            )
            if latest and not latest.is_over:
                if latest.job_digest != digest:
                    raise UserError(
                        f"{run_url} is being trained by {latest.name} with different settings: choose another --run, "
                        f"or end that one with lstmgan stop {latest.name}."
                    )
                return latest, "unfinished"
            if latest and latest.succeeded and latest.job_digest == digest:
                return latest, "finished"
            name = f"{base_name(run_url)}-{latest.attempt + 1 if latest else 1}"
            if self._submit_as(name, command, job_text, about, size):
                return self.find_exactly(name), "new"
        raise UserError(f"{self.address} has a job called {name} that is none of ours: choose another --run.")

    def _submit_as(self, name: str, command: str, job_text: str, about: dict[str, str], size: WorkerSize) -> bool:
        """Submit under a name; False if somebody else has just taken it."""
        # One process without Ray needs a place of its own; workers are placed by Ray, and their driver needs little.
        alone = not size.most
        patience = {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_GRACE_SECONDS)}
        with tempfile.TemporaryDirectory() as folder, self._plainly():
            pack(Path(folder), job_text)
            try:
                self._client.submit_job(
                    submission_id=name,
                    entrypoint=command,
                    entrypoint_num_cpus=(size.cpus or 1) if alone else None,
                    entrypoint_num_gpus=(size.gpus or None) if alone else None,
                    # Credentials stay out of this: whoever reads the dashboard reads it.
                    runtime_env={"working_dir": folder, "env_vars": patience},
                    metadata=about,
                )
            except RuntimeError as error:
                if f"{name} already exists" in str(error):
                    return False
                raise
        return True

    def _check_version(self) -> None:
        with self._plainly():
            theirs = self._client.ray_version()
        if theirs.split(".")[:2] != ray.__version__.split(".")[:2]:
            raise UserError(
                f"The cluster at {self.address} runs Ray {theirs}, but Ray {ray.__version__} is installed here: "
                f"pip install 'ray[default,train]=={theirs}' here, or use the cluster's image."
            )

    def log(self, name: str) -> str:
        """What a submission has printed so far."""
        with self._plainly():
            text = self._client.get_job_logs(name)
        return "".join(line for line in text.splitlines(keepends=True) if not _RAYS_LINES.match(line))

    def last_line(self, name: str) -> str:
        """What a submission printed last, which is how far it is."""
        return next((line for line in reversed(self.log(name).splitlines()) if line.strip()), "")

    def follow(self, name: str, write: Callable[[str], object]) -> Submission:
        """Write what a submission prints, from its beginning, until it is over; then what became of it.

        A lost connection is taken up again; the submission does not depend on it.
        """

        async def write_all() -> None:
            async with aclosing(self._log_lines(name)) as lines:
                async for line in lines:
                    write(line)

        asyncio.run(write_all())
        return self.find_exactly(name)

    async def _log_lines(self, name: str) -> AsyncGenerator[str]:
        """The lines that a submission prints, until it is over."""
        given, heard = 0, time.monotonic()
        while True:
            number = 0
            try:
                async with (
                    aclosing(self._client.tail_job_logs(name)) as chunks,  # type: ignore[type-var]
                    aclosing(_lines(chunks, _SILENCE_SECONDS)) as lines,
                ):
                    async for line in lines:
                        if line is None:
                            if await asyncio.to_thread(self._is_over, name):
                                return
                        else:
                            # Every connection begins at the first line.
                            number += 1
                            if number > given:
                                given = number
                                yield line
                        heard = time.monotonic()
                if await asyncio.to_thread(self._is_over, name):
                    return
            except (aiohttp.ClientError, RuntimeError, OSError, UserError) as error:
                if time.monotonic() - heard > _LOST_SECONDS:
                    raise UserError(
                        f"{self.address} has not answered for {_LOST_SECONDS} s, so nothing is known of {name}: "
                        f"try lstmgan logs {name} --follow later."
                    ) from error
            await asyncio.sleep(1)

    def _is_over(self, name: str) -> bool:
        return self.find_exactly(name).is_over

    def find_exactly(self, name: str) -> Submission:
        """The submission of this very name."""
        with self._plainly():
            return _submission(self._client.get_job_info(name))

    def stop(self, name: str) -> Submission:
        """Ask a submission to write a checkpoint and end; wait until it has, or until Ray should have killed it."""
        with self._plainly():
            self._client.stop_job(name)
        deadline = time.monotonic() + STOP_GRACE_SECONDS + _ANSWER_SECONDS
        while not (now := self.find_exactly(name)).is_over and time.monotonic() < deadline:
            time.sleep(0.5)
        return now

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        """Say in one line what went wrong between here and the cluster."""
        try:
            yield
        except AuthenticationError as error:
            raise UserError(self._about_token(error.message)) from error
        except (requests.ConnectionError, requests.Timeout, ConnectionError) as error:
            raise UserError(
                f"{self.address} does not answer: is the cluster up, and is this the address of its dashboard? "
                "(From outside Kubernetes: kubectl port-forward.)"
            ) from error
        except (requests.RequestException, ValueError, KeyError) as error:
            raise UserError(
                f"{self.address} answers, but not as Ray's dashboard does: try http://HEAD:8265."
            ) from error
        except RuntimeError as error:
            if _NO_AGENT in str(error):
                raise UserError(
                    f"{self.address} takes no jobs, for the agent of its head has not started: most often another "
                    "program, or another Ray, has the agent's port there (52365). Start the head with "
                    "--dashboard-agent-listen-port and a free one."
                ) from error
            first = next(iter(str(error).splitlines()), "no reason given")
            raise UserError(f"{self.address} refused: {first}") from error

    def _about_token(self, message: str) -> str:
        where = "RAY_AUTH_TOKEN, in the file that RAY_AUTH_TOKEN_PATH names, or in ~/.ray/auth_token"
        if "Invalid" in message:
            return f"{self.address} refuses this token: put the cluster's own in {where}."
        if os.environ.get("RAY_AUTH_MODE", "").lower() != "token":
            return f"{self.address} asks for a token: set RAY_AUTH_MODE=token, and put the token in {where}."
        if path := os.environ.get("RAY_AUTH_TOKEN_PATH"):
            return f"RAY_AUTH_TOKEN_PATH names {path}, which cannot be read or is empty."
        return f"RAY_AUTH_MODE is token, but there is none: put the cluster's in {where}."


class _Client(JobSubmissionClient):
    """Ray's client with time limits."""

    def _do_request(self, method: str, endpoint: str, **options: Any) -> requests.Response:
        patience = _FIRST_ANSWER_SECONDS if endpoint == "/api/version" else _ANSWER_SECONDS
        return super()._do_request(method, endpoint, timeout=(_CONNECT_SECONDS, patience), **options)

    def ray_version(self) -> str:
        return str(self._do_request("GET", "/api/version").json()["ray_version"])


def _submission(detail: JobDetails) -> Submission:
    metadata = detail.metadata or {}
    return Submission(
        name=detail.submission_id or "",
        run=metadata.get(_RUN, ""),
        job_digest=metadata.get(_JOB, ""),
        workers=metadata.get(_WORKERS, ""),
        phases=metadata.get(_PHASES, ""),
        curves=metadata.get(_CURVES, ""),
        status=detail.status.value,
        entrypoint=detail.entrypoint,
        started=None if detail.start_time is None else detail.start_time / 1000,
        ended=None if detail.end_time is None else detail.end_time / 1000,
        message=detail.message or "",
        exit_code=detail.driver_exit_code,
        node=detail.driver_node_id,
    )


async def _lines(chunks: AsyncIterator[str], silence: float) -> AsyncGenerator[str | None]:
    """Lines of a text that comes in chunks, less those of Ray's own; None when none has come for so many seconds."""
    rest, waiting = "", None
    try:
        while True:
            waiting = waiting or asyncio.ensure_future(anext(chunks, None))
            await asyncio.wait({waiting}, timeout=silence)
            if not waiting.done():
                yield None
                continue
            chunk, waiting = waiting.result(), None
            *whole, rest = [rest] if chunk is None else (rest + chunk).split("\n")
            for line in whole:
                if not _RAYS_LINES.match(line):
                    yield f"{line}\n"
            if chunk is None:
                if rest:
                    yield f"{rest}\n"
                return
    finally:
        if waiting:
            # The chunks cannot be closed while they are waited for.
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
