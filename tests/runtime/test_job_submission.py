"""What is sent to a cluster, and what is refused before one is asked."""

import re
from pathlib import Path

import pytest

from lstmgan_dist.config import load_job
from lstmgan_dist.errors import UserError
from lstmgan_dist.runtime import job_submission
from lstmgan_dist.runtime.worker_size import WorkerSize
from tests.training.tiny_jobs import SENTENCES, job_of

RECIPES = Path(__file__).parents[2] / "jobs"


@pytest.mark.parametrize(
    ("run", "address"),
    [
        ("s3://bucket/runs/tiny/", "s3://bucket/runs/tiny"),
        ("/mnt/runs//tiny/", "/mnt/runs/tiny"),
        ("file:///mnt/runs/tiny", "/mnt/runs/tiny"),
        ("runs/tiny", "is a place on this machine"),
        ("file://runs/tiny", "is a place on this machine"),
        ("memory://tiny", "is a place on this machine"),
        ("s3x://bucket/tiny", "there is no storage called s3x://"),
        ("s3://key:secret@bucket/tiny", "holds a password"),
        (None, "--run s3://bucket/runs/tiny"),
    ],
)
def test_a_run_has_an_address_that_every_node_reaches(run, address, text):
    job = job_of(SENTENCES, text)
    if "://" in address[:6] or address.startswith("/"):
        assert job_submission.shared_run_url(run, job) == address
    else:
        with pytest.raises(UserError, match=re.escape(address)) as caught:
            job_submission.shared_run_url(run, job)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "override",
    ["corpus.source=a.txt", "corpus.heldout_source=b.txt", "generator.pretrained_vectors=~/glove.txt"],
)
def test_a_file_of_this_machine_is_named_before_the_job_is_sent(override, text):
    key, value = override.split("=")
    with pytest.raises(UserError, match=f"{key} {value} is a place on this machine"):
        job_submission.check(job_of(SENTENCES, text, override), WorkerSize(1, 1))
    job_submission.check(job_of(SENTENCES, text, f"{key}=/mnt/shared/{value}"), WorkerSize(1, 1))


def test_a_run_has_one_name_and_other_runs_have_others():
    assert job_submission.base_name("s3://bucket/runs/coco") == job_submission.base_name("s3://bucket/runs/coco")
    assert job_submission.base_name("s3://bucket/runs/coco") != job_submission.base_name("s3://other/runs/coco")
    assert re.fullmatch(r"my-run-[0-9a-f]{6}", job_submission.base_name("/mnt/shared/my run"))


def test_the_command_says_what_was_asked_for_and_no_more():
    assert job_submission.entrypoint("s3://bucket/my run", WorkerSize(2, 8, cpus=1.5), timeout=None) == (
        "python -m lstmgan_dist train job.yaml --run 's3://bucket/my run' --workers 2..8 --address auto "
        "--cpus-per-worker 1.5"
    )
    assert job_submission.entrypoint("/run", WorkerSize(0, 0), timeout=None).endswith("train job.yaml --run /run")
    taking = job_submission.entrypoint("/run", WorkerSize(0, 0), timeout=None, take_over=True)
    assert taking.endswith("train job.yaml --run /run --take-over")


@pytest.mark.parametrize("source", ["oracle:length=20,seed=1", "grammar:seed=1", "builtin:python-docs"])
def test_text_that_every_node_makes_is_no_place_on_this_machine(source, text):
    job_submission.check(job_of(SENTENCES, text, f"corpus.source='{source}'"), WorkerSize(1, 1))
    with pytest.raises(UserError, match="there is no storage called"):
        job_submission.shared_run_url(source, job_of(SENTENCES, text))


def test_the_recipe_of_synthetic_text_can_be_submitted():
    job_submission.check(load_job(RECIPES / "oracle.yaml"), WorkerSize(1, 1))


@pytest.mark.parametrize(
    ("address", "variables", "found"),
    [
        ("http://head:8265/", {}, "http://head:8265"),
        (None, {"RAY_API_SERVER_ADDRESS": "https://head"}, "https://head"),
        (None, {"RAY_ADDRESS": "http://head:8265"}, "http://head:8265"),
        ("head:6379", {}, "try --address http://head:8265"),
        ("ray://head:10001", {}, "try --address http://head:8265"),
        ("auto", {}, "try --address http://127.0.0.1:8265"),
        (None, {"RAY_ADDRESS": "head:6379"}, "Which cluster?"),
    ],
)
def test_the_address_is_that_of_the_dashboard_or_the_right_one_is_named(address, variables, found, monkeypatch):
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
        monkeypatch.setenv(name, variables.get(name, ""))
    if found.startswith("http"):
        assert job_submission.find_address(address) == found
    else:
        with pytest.raises(UserError, match=re.escape(found)):
            job_submission.find_address(address)
