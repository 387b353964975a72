"""The schema of job files, for editors."""

from __future__ import annotations

import json

import typer

from lstmgan_dist import config


def schema() -> None:
    """Print the JSON schema of job files, with which editors check and complete them.

    [dim]
    lstmgan schema > jobs/schema.json
    [/dim]
    """
    typer.echo(json.dumps(config.Job.model_json_schema(), indent=1))
