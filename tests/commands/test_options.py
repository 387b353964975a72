"""What several commands ask alike, they refuse alike.

Also for runs/workers.py, which makes workers of it; test_cli_on_ray.py has them work.
"""

import pytest
from typer.testing import CliRunner

from lstmgan_dist.cli import app
from lstmgan_dist.errors import UserError
from tests.training.tiny_jobs import SENTENCES


@pytest.mark.parametrize("command", ["train JOB", "generate absent", "evaluate absent", "evaluate absent --brief"])
def test_an_address_without_workers_is_refused_before_anything_is_looked_for(command, tmp_path):
    (tmp_path / "job.yaml").write_text(SENTENCES.replace("SOURCE", "absent.txt"))
    words = command.replace("JOB", str(tmp_path / "job.yaml")).split()
    error = CliRunner().invoke(app, [*words, "--address", "auto"]).exception
    assert isinstance(error, UserError)
    assert str(error) == "--address auto needs --workers, which says how many workers to start there."
