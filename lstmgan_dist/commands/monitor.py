"""Watching runs in TensorBoard."""

from __future__ import annotations

import os
import socket
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from lstmgan_dist.commands.options import RunUrl
from lstmgan_dist.commands.terminal import warn
from lstmgan_dist.errors import UserError

if TYPE_CHECKING:
    from lstmgan_dist.storage import Folder

# As training/curves.py has it, which takes seconds to import.
TENSORBOARD = "tensorboard"


def monitor(
    run: RunUrl,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on localhost; 0 takes a free one.")] = 6006,
) -> None:
    """Open TensorBoard on localhost for a run, or for a folder of runs to compare.

    [dim]
    lstmgan monitor runs/quickstart\n
    lstmgan monitor runs --port 7007
    [/dim]
    """
    from lstmgan_dist.corpus.manifest import is_prepared
    from lstmgan_dist.storage import Folder

    folder = Folder(run)
    if not folder.list():
        raise UserError(f"{run} is empty or absent: monitor takes the folder of a run, or a folder of runs.")
    if is_prepared(folder):
        raise UserError(f"{run} holds a corpus, which has no curves: monitor takes the folder of a run, or of runs.")
    if port and not _is_free(port):
        raise UserError(f"Port {port} is taken on this machine: choose another with --port, or 0 for a free one.")
    shown = _curves_of(folder)
    if len(shown) > 1:
        warn(f"{len(shown)} runs are shown; one that begins later is shown when this is started again.")
    where = ["--logdir_spec", ",".join(shown)] if len(shown) > 1 else ["--logdir", *(shown or [run])]
    # TensorBoard reads s3:// with boto3, which finds AWS_ENDPOINT_URL itself but knows no AWS_REGION.
    if "AWS_REGION" in os.environ:
        os.environ.setdefault("AWS_DEFAULT_REGION", os.environ["AWS_REGION"])
    command = [sys.executable, "-m", "tensorboard.main", *where, "--host", "localhost", "--port", str(port)]
    # TensorBoard takes this process's place, so that whoever stops the command stops it.
    os.execv(sys.executable, command)


def _curves_of(folder: Folder) -> list[str]:
    """Where the curves are of the runs that a folder is or holds. TensorBoard calls them as the folders within are."""
    if folder.exists(TENSORBOARD):
        return [folder.path(TENSORBOARD)]
    return [(folder / name).path(TENSORBOARD) for name in folder.list() if (folder / name).exists(TENSORBOARD)]


def _is_free(port: int) -> bool:
    try:
        with socket.create_server(("localhost", port)):
            return True
    except OSError:
        return False
