"""Ray Train starts the workers, watches over them, and starts them again when one is lost.

Ray Train is told nothing of checkpoints: every attempt picks the newest whole one itself. What it reports and when it
believes a checkpoint exists lags behind what is in storage, and a resumed run must not depend on that.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import ray
import ray.exceptions
import ray.train
import ray.train.torch
from ray.train.v2._internal.execution.callback import ControllerCallback
from ray.train.v2._internal.execution.controller.state import ResizingState
from ray.train.v2.api.callback import UserCallback
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from lstmgan_dist.errors import UserError, sentence_of
from lstmgan_dist.runtime.base import Runtime
from lstmgan_dist.runtime.distributed import DistributedRuntime
from lstmgan_dist.runtime.signals import StopRequest, StopSignal, stop_signals
from lstmgan_dist.runtime.worker_size import WorkerSize

T = TypeVar("T")

_SECONDS_BETWEEN_CALLS = 0.2
_SECONDS_UNTIL_A_WAIT_IS_SAID = 20.0
# An elastic group looks so often for room for more workers, and gives its checkpoint so long before it starts anew.
_SECONDS_BETWEEN_LOOKS_FOR_ROOM = 10.0
_SECONDS_FOR_A_CHECKPOINT = 60.0
# Attempts in a row that may end where the one before had been already: a fault that always comes back is no accident.
_MOST_BARREN_ATTEMPTS = 5

# Read by the process that starts the training.
_DRIVER_ENVIRONMENT = {"RAY_CHDIR_TO_TRIAL_DIR": "0", "RAY_TRAIN_METRICS_ENABLED": "0"}


def launch(
    function: Callable[[Runtime, Callable[[Any], None]], T],
    *,
    size: WorkerSize,
    timeout: float,
    listen: Callable[[Any], None],
    tells_of_checkpoint: Callable[[Any], bool],
    say: Callable[[str], None],
    lost: Callable[[str], None],
    furthest: Callable[[], Any],
) -> tuple[T, StopSignal]:
    """Run `function` on every worker until all have finished, again and again where some are lost.

    function: (runtime, send) -> result; what the first worker sends arrives at `listen`, and by `tells_of_checkpoint`
    is known whether it is that one was written. timeout: seconds after which a worker that takes part in no collective
    counts as lost. say, lost: take a sentence about workers that are waited for, and that are lost and started again.
    furthest: how far the work has ever come; when attempt after attempt fails at the same place, it is given up. The
    cluster is the one that this process is connected to.

    Returns:
        the first worker's result, and whether the workers were asked to stop.

    Raises:
        UserError: if a worker raised one, or the work is given up.
    """
    os.environ.update(_DRIVER_ENVIRONMENT)
    if size.fewest < size.most:
        # Ray believes for a while in the workers of a node that is gone; an elastic group then asks for fewer.
        os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = "5"
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    mailbox: Any = _Mailbox.options(num_cpus=0, scheduling_strategy=here).remote(tells_of_checkpoint)
    with stop_signals() as stop, tempfile.TemporaryDirectory(prefix="lstmgan-") as folder:
        fit = _Fit(_trainer(function, size, timeout, mailbox, folder))
        watch = _Watch(size, listen=listen, say=say, lost=lost, furthest=furthest)
        try:
            while fit.is_running():
                watch.take(ray.get(mailbox.collect.remote(stop.number is not None)))
                time.sleep(_SECONDS_BETWEEN_CALLS)
            watch.take(ray.get(mailbox.collect.remote(False)))
        except _GivenUpError as given_up:
            # Nobody may wait for an answer of Ray's when the connection to it ends.
            ray.kill(given_up.controller)
            fit.join()
            raise UserError(given_up.sentence) from given_up
        return fit.result(), stop


def _trainer(
    function: Callable[..., Any], size: WorkerSize, timeout: float, mailbox: Any, folder: str
) -> ray.train.torch.TorchTrainer:
    return ray.train.torch.TorchTrainer(
        _attempt,
        train_loop_config={"function": function, "mailbox": mailbox, "gpus": size.gpus, "timeout": timeout},
        torch_config=ray.train.torch.TorchConfig(
            backend="cpu:gloo,cuda:nccl" if size.gpus else "gloo", timeout_s=round(timeout)
        ),
        scaling_config=ray.train.ScalingConfig(
            num_workers=size.most if size.fewest == size.most else (size.fewest, size.most),  # type: ignore[arg-type]
            use_gpu=bool(size.gpus),
            resources_per_worker={name: each for name, each in size.resources.items() if each or name == "CPU"},
            elastic_resize_monitor_interval_s=_SECONDS_BETWEEN_LOOKS_FOR_ROOM,
        ),
        run_config=ray.train.RunConfig(
            name="lstmgan",
            storage_path=folder,
            # Whether to go on is decided in `_Watch`, by what the attempts achieve.
            failure_config=ray.train.FailureConfig(max_failures=-1),
            callbacks=[_Losses(mailbox), _Resizes(mailbox)],  # type: ignore[list-item]
            logging_config=ray.train.LoggingConfig(log_level="ERROR"),
        ),
    )


class _Fit:
    """A trainer at work in a thread, for signals are the main thread's."""

    def __init__(self, trainer: ray.train.torch.TorchTrainer) -> None:
        self._trainer = trainer
        self._result: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="ray-train", daemon=True)
        self._thread.start()

    def is_running(self) -> bool:
        return self._thread.is_alive()

    def join(self) -> None:
        self._thread.join()

    def result(self) -> Any:
        self.join()
        if self._error:
            raise self._error
        return self._result.return_value

    def _run(self) -> None:
        try:
            self._result = self._trainer.fit()
        except BaseException as error:
            self._error = error


class _GivenUpError(Exception):
    """To start the workers again would not help."""

    def __init__(self, sentence: str, controller: Any) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.controller = controller


class _Watch:
    """What the driver makes of the messages; of those that are "sent", the content is the function's own."""

    def __init__(
        self,
        size: WorkerSize,
        *,
        listen: Callable[[Any], None],
        say: Callable[[str], None],
        lost: Callable[[str], None],
        furthest: Callable[[], Any],
    ) -> None:
        self._size = size
        self._listen = listen
        self._say = say
        self._say_lost = lost
        self._furthest = furthest
        self._reached: Any = None
        self._barren = 0
        self._failure: str | None = None
        self._waiting_since: float | None = time.monotonic()
        self._restarting_since: float | None = None

    def take(self, messages: list[tuple[str, Any]]) -> None:
        for kind, content in messages:
            match kind:
                case "sent":
                    self._say_restarted()
                    self._listen(content)
                case "begun":
                    self._waiting_since = None
                case "failed":
                    self._failure = self._failure or content
                case "lost":
                    self._lost(*content)
                case "resized":
                    self._say(
                        f"There is room for {content} worker{'s' if content > 1 else ''}: they start again, from a "
                        "checkpoint of this step."
                    )
                    self._restarting_since = self._waiting_since = time.monotonic()
        if self._waiting_since and time.monotonic() - self._waiting_since > _SECONDS_UNTIL_A_WAIT_IS_SAID:
            self._waiting_since = None
            free = ray.available_resources()
            self._say(
                f"Waiting for {self._size}: {free.get('CPU', 0):g} CPUs and {free.get('GPU', 0):g} GPUs of the "
                "cluster are free."
            )

    def _lost(self, reason: str, controller: Any) -> None:
        if self._failure:
            raise _GivenUpError(self._failure, controller)
        reached = self._furthest()
        self._barren = self._barren + 1 if reached == self._reached else 0
        self._reached = reached
        if self._barren >= _MOST_BARREN_ATTEMPTS:
            raise _GivenUpError(
                f"{self._barren + 1} attempts in a row failed at the same place; the last one: {reason} The newest "
                f"checkpoint is good. The workers' logs are in {_logs()}.",
                controller,
            )
        self._say_lost(f"{reason} Starting again from the newest checkpoint.")
        self._restarting_since = self._waiting_since = time.monotonic()

    def _say_restarted(self) -> None:
        if self._restarting_since and not self._waiting_since:
            self._say(f"Training goes on after {time.monotonic() - self._restarting_since:.0f} s.")
            self._restarting_since = None


def _logs() -> str:
    return os.path.join(ray._private.worker.global_worker.node.get_session_dir_path(), "logs")  # type: ignore[union-attr]


@ray.remote
class _Mailbox:
    """Between the workers and the driver; it lives beside the driver and dies with it."""

    def __init__(self, tells_of_checkpoint: Callable[[Any], bool]) -> None:
        self._messages: list[tuple[str, Any]] = []
        self._tells_of_checkpoint = tells_of_checkpoint
        self._stopping = self._checkpoint_wanted = self._checkpoint_written = False

    def put(self, messages: list[tuple[str, Any]]) -> StopRequest:
        """Leave messages; tells what the workers are asked for."""
        self._messages += messages
        self._checkpoint_written |= any(
            kind == "closed" or (kind == "sent" and self._tells_of_checkpoint(content)) for kind, content in messages
        )
        if self._stopping:
            return StopRequest.STOP
        wanted, self._checkpoint_wanted = self._checkpoint_wanted, False
        return StopRequest.SAVE if wanted else StopRequest.NONE

    def collect(self, stop: bool) -> list[tuple[str, Any]]:
        """Take what has arrived; leave word whether to stop."""
        self._stopping |= stop
        messages, self._messages = self._messages, []
        return messages

    def want_checkpoint(self) -> None:
        """Ask the workers for one."""
        self._checkpoint_wanted, self._checkpoint_written = True, False

    def checkpoint_is_written(self) -> bool:
        """Whether there has been one since, or the workers have finished."""
        return self._checkpoint_written


class _Losses(UserCallback):
    """Tells the driver, from Ray Train's controller, why an attempt ended."""

    def __init__(self, mailbox: Any) -> None:
        self._mailbox = mailbox

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Called by Ray Train."""
        controller = ray.get_runtime_context().current_actor
        self._mailbox.put.remote([("lost", (_reason(worker_exceptions), controller))])


class _Resizes(ControllerCallback):
    """Has a checkpoint written, and tells the driver, before Ray Train starts the workers again as more or as fewer."""

    def __init__(self, mailbox: Any) -> None:
        self._mailbox = mailbox

    def after_controller_state_update(self, previous_state: Any, current_state: Any) -> None:
        """Called by Ray Train, while the workers still train."""
        if not isinstance(current_state, ResizingState):
            return
        workers = current_state.scaling_decision.num_workers  # type: ignore[attr-defined]
        ray.get([self._mailbox.put.remote([("resized", workers)]), self._mailbox.want_checkpoint.remote()])
        until = time.monotonic() + _SECONDS_FOR_A_CHECKPOINT
        while not ray.get(self._mailbox.checkpoint_is_written.remote()) and time.monotonic() < until:
            time.sleep(_SECONDS_BETWEEN_CALLS)


def _reason(errors: dict[int, Exception]) -> str:
    causes = {rank: getattr(error, "cause", None) or error for rank, error in errors.items()}
    # When one worker dies, what the others raise about it is no news.
    dead = sorted(
        rank
        for rank, cause in causes.items()
        if isinstance(cause, ray.exceptions.RayError) or "actor is dead" in str(cause)
    )
    if dead:
        which = " and ".join(map(str, dead))
        return f"Worker{'s' if len(dead) > 1 else ''} {which} died."
    rank, cause = min(causes.items())
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    text = lines[-1] if lines else type(cause).__name__
    if "imed out" in text:
        return f"Worker {rank} waited for another one in vain."
    if "gloo" in text or "NCCL" in text:
        return f"Worker {rank} lost its connection to another one."
    return f"Worker {rank} failed: {text}"


# --- on the workers --------------------------------------------------------------------------------------------------


def _attempt(config: dict[str, Any]) -> Any:
    """What Ray Train runs on every worker."""
    import torch

    function, mailbox = config["function"], config["mailbox"]
    device = ray.train.torch.get_device() if config["gpus"] else torch.device("cpu")
    post = _Post(mailbox, is_first=ray.train.get_context().get_world_rank() == 0)
    try:
        # A group of its own would wait for half an hour.
        timeout = timedelta(seconds=config["timeout"])
        result = function(DistributedRuntime(device, post.stop_request, timeout=timeout), post.send)
        post.close()
        return result
    except (UserError, OSError) as error:
        ray.get(mailbox.put.remote([("failed", sentence_of(error))]))
        raise


class _Post:
    """One worker's line to the driver, and its ear for notices that a node is to be taken away."""

    def __init__(self, mailbox: Any, *, is_first: bool) -> None:
        self._mailbox = mailbox
        self._is_first = is_first
        self._lock = threading.Lock()
        self._outgoing: list[tuple[str, Any]] = [("begun", None)]
        self._asked = StopRequest.NONE
        self._closed = threading.Event()
        threading.Thread(target=self._listen_for_notices, name="notices", daemon=True).start()
        self._thread = threading.Thread(target=self._exchange_regularly, name="post", daemon=True)
        if is_first:
            self._thread.start()

    def send(self, message: Any) -> None:
        if self._is_first:
            with self._lock:
                self._outgoing.append(("sent", message))

    def stop_request(self) -> StopRequest:
        with self._lock:
            asked = self._asked
            if asked is StopRequest.SAVE:  # once for each time that it is asked for
                self._asked = StopRequest.NONE
        return asked

    def _ask(self, request: StopRequest) -> None:
        with self._lock:
            self._asked = max(self._asked, request)

    def close(self) -> None:
        with self._lock:
            self._outgoing.append(("closed", None))
        self._closed.set()
        if self._is_first:
            self._thread.join()
            self._exchange()

    def _exchange_regularly(self) -> None:
        while not self._closed.wait(_SECONDS_BETWEEN_CALLS):
            self._exchange()

    def _exchange(self) -> None:
        with self._lock:
            outgoing, self._outgoing = self._outgoing, []
        self._ask(ray.get(self._mailbox.put.remote(outgoing)))

    def _listen_for_notices(self) -> None:
        # Every worker asks equally often, for the answer is one that all have agreed on.
        while not self._closed.is_set() and ray.train.get_preemption_info() is None:
            time.sleep(1)
        self._ask(StopRequest.SAVE)
