"""A drill on a real small cluster, by its command: commands/drill.py, runtime/ray_nodes.py, runs/drill_report.py."""

import json
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from lstmgan_dist.cli import app
from lstmgan_dist.runs.drill import FAULTS, DisturbedRun, DrillFindings, Fault, compare
from lstmgan_dist.runs.drill_report import costs, report_html, verdict
from tests.training.tiny_jobs import GAMES, SENTENCES, job_of, run_job

LONGER = ("phases.0.steps=200", "phases.1.steps=100", "phases.2.steps=200", "phases.3.steps=150")
OFTEN = ("log.every=5 steps", "checkpoint.every=20 steps", "checkpoint.keep=1000")


@pytest.fixture
def found():
    """Findings of two runs and three faults."""
    made = DrillFindings("tiny", workers=2, nodes=3, seed=0, undisturbed_seconds=20.0)
    made.faults += [
        Fault("a worker is killed", "disturbed-1", 3.0, 20, 6.0),
        Fault("a worker is killed", "disturbed-1", 12.0, 30, 8.0),
        Fault("a node is lost", "disturbed-2", 31.0, 10),
    ]
    made.runs += [DisturbedRun("disturbed-1", 0.0, 28.0, 12, []), DisturbedRun("disturbed-2", 28.0, 30.0, 12, [])]
    made.curves = {"disturbed-1": [(1.0, 5), (2.0, 10)], "disturbed-2": [(29.0, 5), (30.0, 10)]}
    return made


def test_a_drill_is_passed_when_no_file_differs(found):
    assert found.is_passed
    assert json.loads(found.to_json())["passed"]
    assert verdict(found) == "3 faults in 2 runs, and every file came out as that of the undisturbed run."
    found.runs[1].differing.append("metrics.jsonl")
    assert not found.is_passed
    assert verdict(found) == "3 faults in 2 runs, and disturbed-2 did not come out as the undisturbed run."
    assert "disturbed-2: 1 of 12 files, such as metrics.jsonl" in report_html(found)


def test_what_a_kind_of_fault_cost_is_of_those_that_were_made_up_for(found):
    cost = {kind: rest for kind, *rest in costs(found)}
    assert cost.keys() == FAULTS.keys()
    assert cost["a worker is killed"] == [2, 7.0, 8.0]
    assert cost["a node is lost"] == [1, None, None]
    assert cost["the driver is killed"] == [0, None, None]


def test_the_report_has_every_fault_and_a_picture(found):
    page = report_html(found)
    assert page.count("a worker is killed</td>") == 2
    assert page.count("<svg") == 1
    assert "prefers-color-scheme" in page


def test_whatever_differs_is_found_but_for_clock_times_and_checkpoints_that_one_has_not_kept(text, tmp_path):
    whole, other = tmp_path / "whole", tmp_path / "other"
    for run in (whole, other):
        run_job(job_of(SENTENCES, text), run)
    files, differing = compare(whole, other)
    assert not differing
    (other / "checkpoints" / "step-00000003").mkdir()
    (other / "checkpoints" / "step-00000003" / "manifest.json").write_bytes(b"{}")
    (other / "checkpoints" / "new.part").write_bytes(b"half")
    assert compare(whole, other) == (files, [])
    kept = sorted(path.name for path in (other / "checkpoints").glob("step-*"))[1:]
    for step in kept:
        (other / "checkpoints" / step / "progress.json").write_bytes(b"{}")
    (other / "metrics.jsonl").unlink()
    changed = [f"checkpoints/{step}/progress.json" for step in kept]
    assert compare(whole, other) == (files, sorted([*changed, "metrics.jsonl"]))


def test_a_folder_that_is_there_is_not_written_to(text, tmp_path):
    job = tmp_path / "job.yaml"
    job.write_text(SENTENCES.replace("SOURCE", str(text)))
    result = CliRunner().invoke(app, ["drill", str(job), "--folder", str(tmp_path)])
    assert str(result.exception) == f"{tmp_path} exists already: name a new folder with --folder, or remove it."


@pytest.mark.cluster
@pytest.mark.timeout(400)
def test_faults_of_every_kind_change_no_bit(text, tmp_path, capsys):
    job, folder = tmp_path / "job.yaml", tmp_path / "drill"
    job.write_text(GAMES.replace("SOURCE", str(text)))
    sets = [word for setting in (*LONGER, *OFTEN) for word in ("--set", setting)]
    command = [sys.executable, "-m", "lstmgan_dist", "drill", job, *sets, "--folder", folder, "--minutes", "2"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    with capsys.disabled():
        print(f"\n{done.stdout}")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((folder / "drill.json").read_text())
    assert len({fault["kind"] for fault in found["faults"]}) >= 4, "as many as a slow machine has time for"
    assert re.search(r"\d+ faults in \d+ runs?, and every file came out", done.stdout)
    assert (folder / "drill.html").exists()
