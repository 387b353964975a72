"""Whole runs on a real S3 server, and through a proxy that fails; watching them, so for commands/monitor.py."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from urllib.parse import quote

import pytest
from typer.testing import CliRunner

from lstmgan_dist.cli import app, main
from lstmgan_dist.corpus.prepare import prepare
from lstmgan_dist.storage import Folder
from lstmgan_dist.storage_settings import Storage
from lstmgan_dist.training.checkpoint import Checkpoints
from tests.servers import READ_ONLY, faulty_proxy, free_port
from tests.training.comparison import everything_in
from tests.training.tiny_jobs import GUMBEL, SENTENCES, job_of, run_job

pytestmark = pytest.mark.slow

ALL_PHASES = SENTENCES.replace("evaluate:", GUMBEL.replace("relativistic", "hinge").lstrip("\n") + "evaluate:")
COMMAND = [sys.executable, "-m", "lstmgan_dist"]
# What does not name the place of the run or of the text.
SAME_EVERYWHERE = ("checkpoints/", "samples/", "metrics.jsonl", "tokenizer.json", "environment.json")


@pytest.fixture(scope="module")
def local(text, tmp_path_factory):
    """What a run in a local folder leaves."""
    folder = tmp_path_factory.mktemp("local") / "run"
    run_job(job_of(ALL_PHASES, text), folder)
    return results(everything_in(folder))


@pytest.fixture(scope="module")
def remote(server, text):
    """The address of the same run on S3, whose text and corpus are there as well."""
    server.client().put_object(Bucket=server.bucket, Key="texts/toy.txt", Body=text.read_bytes())
    with server.as_environment():
        run_job(job_of(ALL_PHASES, f"{server.url}/texts/toy.txt"), f"{server.url}/runs/whole")
    return f"{server.url}/runs/whole"


def results(files):
    return {name: content for name, content in files.items() if name.startswith(SAME_EVERYWHERE)}


def results_on(server, run):
    """The results of a run, as another client of the server sees them."""
    prefix = f"runs/{run}/"
    return results({key.removeprefix(prefix): content for key, content in server.objects(prefix).items()})


def lstmgan(*arguments, code=0):
    """Run a command in this process, and give what it printed."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == code, done.output
    return done.stdout


def test_a_run_on_s3_equals_the_one_in_a_local_folder(server, local, remote):
    on_s3 = results_on(server, "whole")
    assert {name.split("/")[0] for name in on_s3} == {name.rstrip("/") for name in SAME_EVERYWHERE}
    assert on_s3 == local
    assert server.unfinished_uploads() == []


def test_a_run_loses_nothing_when_one_request_in_twenty_fails(server, local, text):
    kinds = (500, 503, "timeout", "reset", "cut", "lost")
    with faulty_proxy(server, share=0.05, seed=1, kinds=kinds) as proxy, proxy.as_environment():
        run_job(job_of(ALL_PHASES, text, "storage.timeout=0.5"), f"{server.url}/runs/faulty")
        assert proxy.injected.total() > 5
        assert len(proxy.injected) > 3
    assert results_on(server, "faulty") == local


def test_what_acts_on_a_run_takes_its_address(server, remote, tmp_path, text):
    with server.as_environment():
        texts = lstmgan("generate", remote, "--count", 5, "--seed", 4).splitlines()
        assert len(texts) == 5
        lstmgan("generate", remote, "--count", 5, "--seed", 4, "--out", f"{server.url}/out/texts.txt")
        assert server.objects("out")["out/texts.txt"].decode().splitlines() == texts
        figures = json.loads(lstmgan("evaluate", remote, "--brief", "--samples", 64, "--json"))
        assert figures["run"] == remote
        assert figures["nll_per_token"] > 0
        facts = lstmgan("inspect", remote)
        assert re.search(r"phase +finished", facts)
        assert re.search(rf"corpus +{server.url}/runs/.corpora/", facts)
        newest = max(name.split("/")[1] for name in results_on(server, "whole") if name.startswith("checkpoints/"))
        assert re.search(r"verified +yes", lstmgan("inspect", f"{remote}/checkpoints/{newest}"))


def test_a_corpus_is_prepared_on_s3_and_from_it(server, text, tmp_path):
    key = "texts/parts/a.txt"
    server.client().put_object(Bucket=server.bucket, Key=key, Body=text.read_bytes())
    with server.as_environment():
        lstmgan("prepare", f"{server.url}/{key}", "--out", f"{server.url}/corpora/toy")
        lstmgan("prepare", f"{server.url}/texts/parts/*.txt", "--out", tmp_path / "toy")
        assert re.search(r"train +\d+ rows", lstmgan("inspect", f"{server.url}/corpora/toy"))
    lstmgan("prepare", text, "--out", tmp_path / "from-file")
    local = {path.name: path.read_bytes() for path in (tmp_path / "from-file").iterdir()}
    on_s3 = {key.split("/")[-1]: content for key, content in server.objects("corpora/toy/").items()}
    assert on_s3.keys() == local.keys()
    for name in local.keys() - {"manifest.json"}:  # which names its sources
        assert on_s3[name] == local[name] == (tmp_path / "toy" / name).read_bytes()


def ends_equal(local, server, name):
    """A run on S3 has what a local one has, of whose checkpoints only the last counts."""
    whole, other = results(everything_in(local)), results_on(server, name)
    last = max(name.split("/")[1] for name in whole if name.startswith("checkpoints/"))
    compared = [name for name in whole if last in name or not name.startswith("checkpoints/")]
    assert len(compared) > 5
    assert {name: other[name] for name in compared} == {name: whole[name] for name in compared}


def test_listings_that_come_late_cost_nothing_but_checkpoints_that_stay(server, text, tmp_path):
    job = job_of(ALL_PHASES, text)
    run_job(job, tmp_path / "whole")
    with faulty_proxy(server, share=1, kinds=["late"], hold_s=20) as proxy, proxy.as_environment():
        _, outcome = run_job(job, f"{server.url}/runs/late")
        assert outcome.finished
        assert proxy.faults.listings
    ends_equal(tmp_path / "whole", server, "late")


def test_a_storage_that_fails_for_good_stops_the_run_and_a_later_command_resumes_it(server, text, tmp_path):
    (tmp_path / "job.yaml").write_text(ALL_PHASES.replace("SOURCE", str(text)))
    longer = ["--set", "phases.0.steps=100", "--set", "checkpoint.every=20 steps"]
    job = [*COMMAND, "train", str(tmp_path / "job.yaml"), *longer]
    impatient = ["--set", "storage.timeout=1", "--set", "storage.patience=2"]
    manifests = re.compile(r"runs/stopped/checkpoints/step-\d+/manifest\.json")
    with faulty_proxy(server, share=0) as proxy:
        command = [*job, *impatient, "--run", f"{server.url}/runs/stopped"]
        run = subprocess.Popen(
            command, env=os.environ | proxy.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        end = time.monotonic() + 60
        client, prefix = server.client(), "runs/stopped/checkpoints/"
        while not any(
            manifests.fullmatch(entry["Key"])
            for entry in client.list_objects_v2(Bucket=server.bucket, Prefix=prefix).get("Contents", ())
        ):
            assert time.monotonic() < end
            assert run.poll() is None, run.communicate()
            time.sleep(0.1)
        proxy.fail(1)
        _, errors = run.communicate(timeout=60)
        assert run.returncode == 2, errors
        (line,) = [line for line in errors.splitlines() if line.startswith("Error: ")]
        assert f"{server.url}/runs/stopped/" in line
        assert "Traceback" not in errors
    with server.as_environment():
        warnings = []
        newest = Checkpoints(Folder(f"{server.url}/runs/stopped/checkpoints"), keep=3).newest(warn=warnings.append)
        assert newest is not None
        assert 0 < newest.step < 100 + 5 + 12
        resumed = job_of(ALL_PHASES, text, *longer[1::2])
        _, outcome = run_job(resumed, f"{server.url}/runs/stopped")
        assert outcome.finished
    run_job(resumed, tmp_path / "whole")
    ends_equal(tmp_path / "whole", server, "stopped")


def test_how_the_storage_is_reached_makes_no_different_job(server, text):
    url = f"{server.url}/runs/moved"
    job = job_of(ALL_PHASES, text)
    with server.as_environment():
        run_job(job, url)
    moved = job_of(ALL_PHASES, text, f"storage.endpoint={server.endpoint}", "storage.timeout=5")
    with faulty_proxy(server, share=1) as proxy, proxy.as_environment():
        run, outcome = run_job(moved, url)
        assert outcome.finished
        assert run.job == moved
        assert proxy.requests == 0


def test_a_local_run_reaches_its_text_as_its_job_says(server, text, tmp_path):
    """The endpoint stands in the job alone; the keys in the environment, where they belong."""
    storage_of_job = f"storage.endpoint={server.endpoint}"
    with server.as_environment():
        os.environ.pop("AWS_ENDPOINT_URL")
        job = job_of(SENTENCES, f"{server.url}/texts/toy.txt", storage_of_job, "phases=[{kind: likelihood, steps: 1}]")
        corpus_url = f"{server.url}/corpora/toy"
        server.client().put_object(Bucket=server.bucket, Key="texts/toy.txt", Body=text.read_bytes())
        prepare(job.corpus, Folder(corpus_url, job.storage), report=lambda progress: None)
        job = job_of(SENTENCES, corpus_url, storage_of_job, "phases=[{kind: likelihood, steps: 1}]")
        run, _ = run_job(job, tmp_path / "run")
        assert run.corpus().folder.storage == job.storage
        with pytest.raises(OSError, match="no such credentials profile"):
            Folder(corpus_url, Storage(profile="absent")).list()
        for command in (["generate", "--count", "2"], ["evaluate", "--brief", "--samples", "4"]):
            done = CliRunner().invoke(app, [command[0], str(tmp_path / "run"), *command[1:]], catch_exceptions=False)
            assert done.exit_code == 0


def test_monitor_shows_the_curves_of_a_run_on_s3(server, remote):
    port = free_port()
    environment = {name: value for name, value in server.environment.items() if name != "AWS_DEFAULT_REGION"}
    monitor = subprocess.Popen(
        [*COMMAND, "monitor", remote, "--port", str(port)],
        env={name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def ask(path):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/data/{path}", timeout=5) as answer:
            return json.load(answer)

    try:
        end = time.monotonic() + 60
        tags, name = {}, remote.rpartition("/")[2]
        while len(tags) < 3 or "5 likelihood/nll" not in tags.get(name, ()):
            assert time.monotonic() < end, tags
            assert monitor.poll() is None
            time.sleep(0.2)
            try:
                tags = ask("plugin/scalars/tags")
            except OSError:
                continue  # it is not up yet
        assert tags.keys() == {name, f"{name}/generator", f"{name}/discriminator"}
        assert {"5 likelihood/nll", "1 held-out text/nll"} <= tags[name].keys()
        assert "4 game/losses of both players" in tags[f"{name}/generator"]
        points = ask(f"plugin/scalars/scalars?run={quote(name)}&tag={quote('5 likelihood/nll', safe='')}")
        logged = [json.loads(line) for line in results_on(server, "whole")["metrics.jsonl"].splitlines()]
        expected = [(line["step"], line["likelihood/nll"]) for line in logged if "likelihood/nll" in line]
        assert [step for _, step, _ in points] == [step for step, _ in expected]
        assert [value for _, _, value in points] == pytest.approx([value for _, value in expected], rel=1e-6)
    finally:
        monitor.send_signal(signal.SIGTERM)
        monitor.wait(timeout=20)


@pytest.fixture(scope="module")
def reader(strict_server):
    """The environment of a user who may only read."""
    return strict_server.add_user("guest", READ_ONLY)


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("wrong key", "does not know this access key"),
        ("wrong secret", "secret key does not belong to the access key"),
        ("no credentials", "there are no credentials: set AWS_ACCESS_KEY_ID"),
        ("reader", "access is denied"),
        ("no bucket", "there is no such bucket"),
        ("nobody there", "cannot be reached"),
    ],
)
def test_a_mistake_about_the_storage_is_one_line_before_anything_starts(
    strict_server, reader, text, tmp_path, monkeypatch, capfd, mistake, said
):
    url = f"{strict_server.url}/runs/refused"
    for name, value in (reader if mistake == "reader" else strict_server.environment).items():
        monkeypatch.setenv(name, value)
    if mistake == "wrong key":
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA-WRONG")
    elif mistake == "wrong secret":
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    elif mistake == "no credentials":
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    elif mistake == "no bucket":
        url = "s3://no-such-bucket/runs/refused"
    elif mistake == "nobody there":
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    (tmp_path / "job.yaml").write_text(SENTENCES.replace("SOURCE", str(text)))
    monkeypatch.setattr(sys, "argv", ["lstmgan", "train", str(tmp_path / "job.yaml"), "--run", url])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith(f"Error: {url} cannot be written to: ")
    assert said in line
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"):
        assert name not in os.environ or os.environ[name] not in line
