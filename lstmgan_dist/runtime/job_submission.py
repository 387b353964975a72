"""What is submitted to a cluster: a job that every node can carry out, under a name of its run, with its command.

Nothing here asks a cluster, so a mistake is found before one is asked; `ray_jobs` does the asking.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import shlex
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import fsspec

import lstmgan_dist
from lstmgan_dist.addresses import WITHOUT_FILE, path_of, scheme_of
from lstmgan_dist.config import Job
from lstmgan_dist.errors import UserError
from lstmgan_dist.runtime.worker_size import WorkerSize

_JOB_FILE = "job.yaml"


def find_address(address: str | None) -> str:
    """The address of a cluster's jobs: the one given, or the one that Ray's variables name.

    Raises:
        UserError: if there is none, or if it is where something else of Ray answers.
    """
    if address is None:
        address = os.environ.get("RAY_API_SERVER_ADDRESS")
        ray_address = os.environ.get("RAY_ADDRESS", "")
        if not address and scheme_of(ray_address) in ("http", "https"):
            address = ray_address
    if not address:
        raise UserError("Which cluster? Give --address http://HEAD:8265, or set RAY_API_SERVER_ADDRESS.")
    if scheme_of(address) not in ("http", "https"):
        host = re.sub(r"^\w+://", "", address).rsplit(":", 1)[0]
        host = "127.0.0.1" if host in ("auto", "local", "") else host
        raise UserError(
            f"--address {address} is not where a cluster takes jobs; that is the address of its dashboard: "
            f"try --address http://{host}:8265."
        )
    return address.rstrip("/")


def base_name(run_url: str) -> str:
    """What the names of a run's submissions begin with: one run has one, whatever its job is called."""
    label = re.sub(r"[^A-Za-z0-9._-]+", "-", posixpath.basename(run_url)).strip("-.") or "run"
    return f"{label}-{hashlib.sha256(run_url.encode()).hexdigest()[:6]}"


def shared_run_url(url: str | None, job: Job) -> str:
    """A run's address in one form, once it is one that every node can reach.

    Raises:
        UserError: if it is absent, or only this machine can reach it.
    """
    if url is None:
        raise UserError(
            "The run needs an address that every node of the cluster reaches: "
            f"--run s3://bucket/runs/{job.name}, or --run /mnt/shared/runs/{job.name} on a mount that all nodes have."
        )
    _check_shared(url, "--run", "The run")
    return posixpath.normpath(path_of(url)) if scheme_of(url) == "file" else url.rstrip("/")


def check(job: Job, size: WorkerSize) -> None:
    """See that a job can start on a cluster, as far as can be seen from outside it.

    Raises:
        UserError: if a file that the job names is only on this machine, it wants a GPU and gets none, or so many
            workers cannot share its lanes.
    """
    if job.device == "cuda" and size.gpus == 0:
        raise UserError("device: cuda is asked for with --gpus-per-worker 0: try --gpus-per-worker 1.")
    sources = {"corpus.source": job.corpus.sources, "corpus.heldout_source": job.corpus.heldout_sources}
    for setting, addresses in sources.items():
        for address in addresses:
            if scheme_of(address) not in WITHOUT_FILE:
                _check_shared(address, setting, "Text")
    if job.start_from:
        _check_shared(job.start_from.partition("@")[0], "start_from", "A run")
    if job.generator.vectors_file:
        _check_shared(job.generator.vectors_file, "generator.pretrained_vectors", "A file of vectors")
    size.check_units(job.batch.units)


def _check_shared(url: str, setting: str, what: str) -> None:
    scheme = scheme_of(url)
    if scheme == "file" and posixpath.isabs(path_of(url)):
        return
    if scheme in ("file", "memory"):
        raise UserError(
            f"{setting} {url} is a place on this machine, and only the job is sent to the cluster. {what} must be "
            "where every node reaches it: at a URL such as s3://bucket/…, or at the absolute path of a shared mount."
        )
    if urlsplit(url).password:
        raise UserError(f"{setting} holds a password, which would be shown to all: give it to the cluster's nodes.")
    if scheme not in fsspec.available_protocols():
        raise UserError(f"{setting} {url}: there is no storage called {scheme}://: try s3:// or gs://.")


def entrypoint(run_url: str, size: WorkerSize, *, timeout: float | None, take_over: bool = False) -> str:
    """The command that trains a run, as the cluster carries it out in the folder that it was sent."""
    words = ["python", "-m", lstmgan_dist.__name__, "train", _JOB_FILE, "--run", run_url]
    if size.most:
        words += ["--workers", size.number, "--address", "auto"]
        for option, value in (
            ("--gpus-per-worker", size.gpus),
            ("--cpus-per-worker", size.cpus),
            ("--timeout", timeout),
        ):
            if value is not None:
                words += [option, f"{value:g}"]
    if take_over:
        words.append("--take-over")
    return shlex.join(words)


def pack(folder: Path, job_text: str) -> None:
    """Put into a folder what is sent: the job and this package's source. Ray names it by its content."""
    (folder / _JOB_FILE).write_text(job_text, encoding="utf-8")
    package = Path(lstmgan_dist.__file__).parent
    shutil.copytree(package, folder / package.name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc", ".*"))
