"""Watching runs in TensorBoard."""

from __future__ import annotations

import os
import socket
import sys
from typing import Annotated

import typer

from lstmgan_dist.commands.options import RunUrl
from lstmgan_dist.errors import UserError


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
    # TensorBoard reads s3:// with boto3, which finds AWS_ENDPOINT_URL itself but knows no AWS_REGION.
    if "AWS_REGION" in os.environ:
        os.environ.setdefault("AWS_DEFAULT_REGION", os.environ["AWS_REGION"])
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", run, "--host", "localhost", "--port", str(port)]
    # TensorBoard takes this process's place, so that whoever stops the command stops it.
    os.execv(sys.executable, command)


def _is_free(port: int) -> bool:
    try:
        with socket.create_server(("localhost", port)):
            return True
    except OSError:
        return False
