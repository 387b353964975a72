"""Joining a Ray cluster, or starting a local one.

Ray reads its authentication settings when it is imported, so this module imports it late, and whatever else needs Ray
is to be imported within `connected`.
"""

from __future__ import annotations

import math
import os
import re
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from typing import Any, Literal

from lstmgan_dist.addresses import scheme_of
from lstmgan_dist.errors import UserError
from lstmgan_dist.runtime.worker_size import WorkerSize

_SECONDS_TO_REACH = 5.0
_SECONDS_FOR_NODES = 300.0
_SECONDS_FOR_MORE = 20.0

# Ray Train's controller looks for lost workers twice a second, not every other second, and does not wait long for them
# to leave the process group politely. Threads that wait by spinning slow down those that work.
_ENVIRONMENT = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "30",
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "2",
    "TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
}
# This machine is not taken away with notice, so nobody need watch for one.
_LOCAL_ENVIRONMENT = _ENVIRONMENT | {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}


def _most_resources() -> dict[str, float]:
    import ray

    # A cluster that grows on demand says how far.
    limit = ray._private.state.state.get_max_resources_from_cluster_config() or {}  # type: ignore[attr-defined]
    now = ray.cluster_resources()
    return {name: max(now.get(name, 0.0), limit.get(name, 0.0)) for name in {*now, *limit}}


def await_room(size: WorkerSize, *, say: Callable[[str], None], seconds: float = _SECONDS_FOR_NODES) -> None:
    """Wait until the cluster has room for so many workers, or says that it grows on demand so far.

    Nodes that start together with the job are waited for: `seconds` for the fewest workers, and then a little for more.

    Raises:
        UserError: if there is no room even for the fewest.
    """
    begun = time.monotonic()
    lacking = _lacking(size, size.most)
    if lacking and seconds:
        say(f"Waiting for nodes: {size} need {lacking} so far.")
    while lacking:
        waited = time.monotonic() - begun
        too_few = _lacking(size, size.fewest)
        if too_few and waited >= seconds:
            raise UserError(
                f"{size} need {too_few}, also after {seconds:.0f} s: ask for fewer or smaller workers, or start nodes."
                if seconds
                else f"{size} need {too_few}: ask for fewer or smaller workers."
            )
        if not too_few and waited >= min(seconds, _SECONDS_FOR_MORE):
            return
        time.sleep(1)
        lacking = _lacking(size, size.most)


def _lacking(size: WorkerSize, number: int) -> str:
    """What so many workers need and the cluster cannot give, in words; empty if there is room."""
    there = _most_resources()
    for name, each in size.resources.items():
        if number * each > there.get(name, 0.0):
            return f"{number * each:g} {name}s, but this cluster can only give {there.get(name, 0.0):g}"
    return ""


def check_installed() -> None:
    """See that Ray is here, which local use does without.

    Raises:
        UserError: if it is not.
    """
    if find_spec("ray") is None:
        raise UserError("Ray is not installed: install it with pip install 'lstmgan-dist[cluster]'.")


@contextmanager
def connected(address: str | None, *, cpus: int | None = None) -> Iterator[None]:
    """Meanwhile this process is a driver of the cluster at `address`, or of a local Ray of its own that ends with it.

    cpus: cores that a local Ray may use; without it, all of this machine's.

    Raises:
        UserError: if there is no such cluster, it does not take our token, or it runs another version of Ray.
    """
    check_installed()
    options: dict[str, Any] = _local(cpus) if address is None else _remote(address)
    import ray
    import ray.exceptions

    options |= {
        # Workers tell what matters through us; everything else is in the log files of the session.
        "log_to_driver": False,
        "logging_level": "ERROR",
    }
    # Processes of a local Ray inherit this one's environment.
    with _environment(_LOCAL_ENVIRONMENT if address is None else {}):
        try:
            ray.init(**options)
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise UserError(explain(address, error)) from error
        # Else Ray reports each lost worker in a paragraph of its own.
        ray_worker: Any = sys.modules["ray._private.worker"]
        ray_worker._worker_logs_enabled = False
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def connected_for(
    size: WorkerSize, *, device: Literal["auto", "cpu", "cuda"], address: str | None, say: Callable[[str], None]
) -> Iterator[WorkerSize]:
    """`connected`, and the size with what each worker takes, where it was not said; the cluster has room for them.

    On a local Ray a worker gets its share of the cores, elsewhere one; and a GPU, where the device allows and there are
    enough. Nodes that have not joined yet are waited for, and `say` is told so.

    Raises:
        UserError: as `connected`, or if the cluster has no room for the workers, or not the device.
    """
    cores = os.cpu_count() or 1
    cpus, gpus = size.cpus, size.gpus
    if cpus is None:
        cpus = 1 if address else max(1, cores // size.most)
    seconds = _SECONDS_FOR_NODES if address else 0.0  # a Ray of our own is whole at once
    with connected(address, cpus=max(cores, math.ceil(size.most * cpus))):
        await_room(replace(size, cpus=cpus, gpus=gpus or 0), say=say, seconds=seconds)
        if gpus is None:
            gpus = 1 if device != "cpu" and _most_resources().get("GPU", 0) >= size.fewest else 0
        if device == "cuda" and not gpus:
            raise UserError("The device cuda is asked for, but the cluster has too few GPUs: try auto.")
        yield replace(size, cpus=cpus, gpus=gpus)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@cache
def own_token() -> str:
    """One for all clusters of this process, for Ray's libraries read it once."""
    return secrets.token_hex(32)


def _local(cpus: int | None) -> dict[str, Any]:
    # Whoever reaches a Ray can run code there: ours listens to its own token only.
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN"] = own_token()
    return {
        "address": "local",
        "num_cpus": cpus or os.cpu_count() or 1,
        "include_dashboard": False,
    }


def _remote(address: str) -> dict[str, Any]:
    if address != "auto":
        _check_reachable(address)
    return {"address": address, "runtime_env": {"env_vars": _ENVIRONMENT}}


def _check_reachable(address: str) -> None:
    if scheme_of(address) in ("http", "https"):
        raise UserError(
            f"--address {address} is a cluster's jobs address, for lstmgan submit; this command joins a cluster from "
            "one of its nodes, with --address auto."
        )
    match = re.fullmatch(r"(?:ray://)?([^/:]+|\[[^\]]+\]):(\d+)", address)
    if not match:
        raise UserError(f"--address {address} is no address of a cluster: write auto, or host:port.")
    host, port = match[1].strip("[]"), int(match[2])
    try:
        socket.create_connection((host, port), timeout=_SECONDS_TO_REACH).close()
    except OSError as error:
        reason = error.strerror or "no answer"
        raise UserError(f"No Ray cluster can be reached at {address} ({reason}): check the address.") from error


def explain(address: str | None, error: Exception) -> str:
    """Why Ray could not be started or joined, in a sentence."""
    import ray
    import ray.exceptions

    text = str(error)
    if isinstance(error, ray.exceptions.AuthenticationError):
        return (
            f"The Ray cluster at {address} does not take this token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or "
            "RAY_AUTH_TOKEN_PATH to the cluster's."
        )
    if "ersion mismatch" in text:
        found = re.findall(r"Ray: (\S+)", text)
        versions = f"{found[0]} there, {found[1]} here" if len(found) == 2 else f"here it is {ray.__version__}"
        return f"The Ray cluster at {address} runs another version of Ray ({versions}): install the same one."
    if isinstance(error, ConnectionError):
        return f"No running Ray cluster was found at {address}: start one, or leave --address out for a local one."
    first = next((line for line in text.splitlines() if line.strip()), type(error).__name__)
    return f"Ray did not start: {first.rstrip('.')}."
