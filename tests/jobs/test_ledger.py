"""The ledger is what its script makes of the results, and says of a run what the run says."""

import json
import runpy
import shutil
from pathlib import Path

import pytest

from lstmgan_dist.training.run_log import read_metrics
from tests.training.tiny_jobs import SENTENCES, job_of, run_job

JOBS = Path(__file__).parents[2] / "jobs"


@pytest.fixture(scope="module")
def ledger():
    return runpy.run_path(str(JOBS / "ledger.py"), run_name="ledger")


def test_it_is_what_the_results_say(ledger):
    assert (JOBS / "LEDGER.md").read_text() == ledger["page"]()


def test_every_recipe_has_its_claim_and_no_result_is_of_none(ledger):
    names = {path.stem for path in (JOBS / "results").glob("*.yaml")} - {"left_out"}
    assert names == set(ledger["recipes"]())
    assert {path.stem for path in (JOBS / "results").glob("*.json")} <= names


@pytest.mark.slow
def test_a_run_is_taken_up_as_it_measured_itself(ledger, tmp_path):
    lines = tmp_path / "lines.txt"
    lines.write_text("\n".join(f"the cat eats fish {number}" for number in range(200)) + "\n")
    run, _ = run_job(job_of(SENTENCES, lines, "name=lstm-gan", "seed=7"), tmp_path / "run")
    rows = [row for row in read_metrics(run.folder) if "heldout/nll" in row]
    verdict = {"sampler": "run", "reference": "start", "word": "worse", "margin": {"value": -1, "low": -2, "high": 0}}
    samplers = [{"name": "run", "kind": "run"}, {"name": "start", "kind": "likelihood start"}]
    found = {"samplers": samplers, "verdicts": [verdict], "places": []}
    (run.folder / "evaluation").write("frontier.json", json.dumps(found).encode())
    for path in (JOBS / "results").glob("*.yaml"):
        shutil.copy(path, tmp_path)
    for _ in range(2):  # the same run twice is one
        assert ledger["take_up"](run.folder.url, tmp_path) == "lstm_gan"
    (measured,) = json.loads((tmp_path / "lstm_gan.json").read_text())
    # The likelihood phase ends with its best weights, the game with its latest.
    assert measured["likelihood"]["nll"] == round(min(row["heldout/nll"] for row in rows if row["step"] <= 6), 4)
    assert measured["game"]["nll"] == round(rows[-1]["heldout/nll"], 4)
    assert measured["seed"] == 7
    assert "generator.hidden=12" in measured["changes"]
    assert not [change for change in measured["changes"] if change.startswith("corpus.source")]
    page = ledger["page"](tmp_path)
    assert "worse: -1.000 [-2.000, +0.000]" in page
    assert f"{measured['game']['nll']:.4f} (distinct-2 " in page
