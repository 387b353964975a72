"""Jobs submitted to a real cluster from outside, as a person submits them; so for commands/cluster.py.

What Prometheus reads of them is of runtime/ray_gauges.py.
"""

import http.server
import json
import re
import signal
import socket
import threading
import time
from pathlib import Path

import psutil
import pytest
import ray
from typer.testing import CliRunner

import lstmgan_dist
from lstmgan_dist.cli import app
from lstmgan_dist.errors import UserError
from lstmgan_dist.runtime import ray_jobs
from lstmgan_dist.runtime.job_submission import base_name
from lstmgan_dist.runtime.ray_nodes import free_ports
from lstmgan_dist.runtime.worker_size import WorkerSize
from lstmgan_dist.training.gauges import GAUGES
from tests.bare_workers import train_undisturbed
from tests.training.comparison import final_state
from tests.training.tiny_jobs import SENTENCES, job_of
from tests.waiting import wait_until

# Long enough to be killed on the way, with checkpoints and evaluations as rare as in a real run.
RARELY = ("evaluate.every=40 steps", "checkpoint.every=10 steps", "log.every=10 steps")
LONG = ("phases.0.steps=60", "phases.1.steps=20", "phases.2.steps=40", *RARELY)
ENDLESS = ("phases.0.steps=1000000", *RARELY)


@pytest.fixture(scope="module")
def run(site, text):
    """A run that two people submitted at the same moment, whose driver was killed, and that one submitted again."""
    run = site.folder / "disturbed"
    name = base_name(str(run))
    command = [*site.submission(run, LONG), "--follow"]
    both = [site.start(*command), site.start(*command)]
    driver = wait_until(lambda: driver_of(run), seconds=90, what="the driver")
    wait_until(lambda: checkpoints(run), seconds=120, what="a checkpoint")
    driver.kill()
    ends = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [2, 2]
    for _, error in ends:
        assert f"{name}-1 failed (its process was killed). Submit it again to resume it." in error
    first, second = sorted((printed for printed, _ in ends), key=lambda printed: "already" in printed)
    assert f"{name}-1 is submitted" in first
    assert f"is being trained already, by {name}-1" in second
    assert [job["submission_id"] for job in json.loads(site.jobs())] == [f"{name}-1"]
    started = time.monotonic()
    printed = site(*command)
    print(f"\nsubmitted again after kill -9: {time.monotonic() - started:.1f} s to the end")
    return run, name, printed


def checkpoints(run):
    return sorted(path.parent.name for path in run.glob("checkpoints/*/manifest.json"))


def gauge_of(line, run):
    """Which gauge of a run a line of Prometheus' text format is about; None if it is about none."""
    match = re.match(r"(\w+)\{(.*)\} ", line)
    return match[1] if match and f'run="{run}"' in match[2] else None


def driver_of(run):
    """The process that the cluster runs for a submission; None before there is one."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if {"lstmgan_dist", "train", str(run)} <= set(words):
            return process
    return None


@pytest.mark.cluster
def test_a_run_whose_driver_was_killed_resumes_and_equals_the_undisturbed_one(site, run, text):
    disturbed, name, printed = run
    assert f"{name}-2 is submitted: attempt 2, which resumes {disturbed}" in printed
    assert "step 120: heldout/nll" in printed
    assert "The best of the last phase is step" in printed
    assert f"{name}-2 has succeeded" in printed
    assert "job_manager.py" not in printed
    whole = site.folder / "undisturbed"
    train_undisturbed(job_of(SENTENCES, text, *LONG), whole, workers=2)
    assert final_state(disturbed) == final_state(whole)


@pytest.mark.cluster
def test_status_and_logs_tell_what_became_of_a_run(site, run):
    disturbed, name, printed = run
    assert f"{disturbed} is finished already, by {name}-2" in site.submit(disturbed, LONG, "--follow")
    heads, first, second = site("status").splitlines()[:3]
    assert heads.split() == ["ID", "status", "workers", "started", "duration", "run"]
    assert first.split()[:3] == [f"{name}-1", "failed", "2"]
    assert second.split()[:3] == [f"{name}-2", "succeeded", "2"]
    details = site("status", disturbed)
    assert f"train job.yaml --run {disturbed} --workers 2 --address auto" in details
    assert re.search(r"attempt +2", details)
    assert re.search(r"phases +likelihood", details)
    assert re.search(rf"curves +lstmgan monitor {disturbed}\n", details)
    assert re.search(rf"printed last +{re.escape(printed.splitlines()[-2].strip())}", details)
    assert re.search(r"reason +its process was killed", site("status", f"{name}-1"))
    assert site("logs", name).splitlines()[-3:] == printed.splitlines()[-4:-1]
    assert "is over already" in site("stop", name)
    assert "knows no submission called nonsense" in site("logs", "nonsense", code=2)


@pytest.mark.cluster
def test_a_run_that_goes_on_is_not_started_twice_and_stops_with_a_checkpoint(site):
    """Begun on a laptop, refused to the cluster, taken over by it, followed, seen by Prometheus, and stopped."""
    run = site.folder / "endless"
    name = f"{base_name(str(run))}-2"
    sets = [word for setting in ENDLESS for word in ("--set", setting)]
    laptop = site.start("train", site.job, "--run", run, *sets)
    wait_until(lambda: checkpoints(run), seconds=120, what="a checkpoint")
    refused = site.submit(run, ENDLESS, "--follow", code=2)
    assert f"{run} is being trained by process {laptop.pid} on" in refused
    assert f"{name} is submitted" in site.submit(run, ENDLESS, "--take-over")
    assert f"{run} was taken over by process" in site.ended(laptop, code=2)
    taken_over_at = checkpoints(run)[-1]
    follower = site.start("logs", name, "--follow")
    assert f"is being trained already, by {name}" in site.submit(run, ENDLESS)
    assert f"by {name} with different settings" in site.submit(run, (), code=2)
    assert follower.stdout.readline()
    follower.send_signal(signal.SIGINT)
    assert f"{name} goes on without you" in site.ended(follower, code=130)
    wait_until(lambda: checkpoints(run)[-1] > taken_over_at, seconds=120, what="a checkpoint")
    gauges = {f"ray_{name}" for name in GAUGES}
    wait_until(lambda: gauges <= {gauge_of(line, run) for line in site.metrics()}, what=lambda: str(site.metrics()))
    assert any('figure="heldout/nll"' in line for line in site.metrics())
    started = time.monotonic()
    said = site("stop")
    print(f"\nstop: {time.monotonic() - started:.1f} s")
    assert f"{name} is stopped" in said
    stopped = re.search(r"Stopped after step (\d+), and the checkpoint is written", said)
    assert stopped
    step = int(stopped[1])
    assert step >= 10
    assert checkpoints(run)[-1] == f"step-{step:08d}"
    assert "was stopped: submit it again" in site("logs", name, "--follow", code=2)


@pytest.mark.cluster
def test_no_secret_is_in_what_the_cluster_shows_or_logs(site, run):
    disturbed, _, printed = run
    places = {"the jobs": site.jobs(), "what is printed": printed}
    for file in [*site.ray_folder.rglob("*.log"), *site.ray_folder.rglob("*.out"), *site.ray_folder.rglob("*.err")]:
        places[str(file)] = file.read_text(errors="replace")
    for file in disturbed.rglob("*"):
        if file.is_file():
            places[str(file)] = file.read_bytes().decode(errors="replace")
    assert len(places) > 20
    assert [(place, secret) for place, shown in places.items() for secret in site.secrets if secret in shown] == []


@pytest.mark.cluster
def test_only_the_job_and_the_package_are_sent(site, run):
    folders = {path.parent for path in site.ray_folder.rglob("job.yaml")}
    assert folders
    for folder in folders:
        # The nodes compile what they are sent.
        sent = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        names = {str(path.relative_to(folder)) for path in sent}
        package = Path(lstmgan_dist.__file__).parent
        own = [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        assert names == {"job.yaml", *(str(path.relative_to(package.parent)) for path in own)}
        assert {path.suffix for path in sent} == {".py", ".typed", ".css", ".md", ".yaml"}
        assert sum(path.stat().st_size for path in sent) < 2**21


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"RAY_AUTH_TOKEN": "0" * 64}, "refuses this token"),
        ({"RAY_AUTH_MODE": "disabled"}, "asks for a token: set RAY_AUTH_MODE=token"),
        ({"RAY_AUTH_TOKEN": "", "RAY_AUTH_TOKEN_PATH": "/absent"}, "/absent, which cannot be read"),
        ({"RAY_AUTH_TOKEN": "", "HOME": "/absent"}, "RAY_AUTH_MODE is token, but there is none"),
    ],
)
def test_a_wrong_or_missing_token_is_one_line(site, variables, words):
    error = site("submit", site.job, "--run", site.folder / "refused", code=2, **variables)
    assert words in error
    assert len(error.splitlines()) == 1
    assert "0" * 64 not in error
    assert site.token not in error


# --- what needs no cluster -------------------------------------------------------------------------------------------


class ImpostorServer(http.server.ThreadingHTTPServer):
    """Answers like the dashboard of another Ray, or like no dashboard at all, and notes what it is asked."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), ImpostorHandler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.speaks_json = True
        self.ray_version = "2.9.3"
        self.asked = []


class ImpostorHandler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        assert isinstance(self.server, ImpostorServer)
        self.server.asked.append(self.command)
        version = {"version": "4", "ray_version": self.server.ray_version}
        reply = {"/api/version": version, "/api/jobs/": []}.get(self.path, {})
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(reply).encode() if self.server.speaks_json else b"<html>")

    def do_POST(self):
        """What Ray 2.60 answers whose agent could not have its port."""
        assert isinstance(self.server, ImpostorServer)
        self.server.asked.append(self.command)
        self.send_response(500)
        self.end_headers()
        self.wfile.write(b"No available agent to submit job, please try again later.")

    do_PUT = do_GET

    def log_message(self, format, *arguments):
        pass


@pytest.fixture
def dashboard(monkeypatch):
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")
    with ImpostorServer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_another_ray_on_the_cluster_is_named_before_anything_is_sent(dashboard, text):
    cluster = ray_jobs.Cluster(dashboard.url)
    assert cluster.submissions() == []
    with pytest.raises(UserError, match=r"runs Ray 2\.9\.3, but Ray 2\.\S+ is installed here"):
        cluster.submit(job_of(SENTENCES, text), "/shared/run", WorkerSize(1, 1), timeout=None)
    assert set(dashboard.asked) == {"GET"}


def test_something_else_that_answers_is_told_from_a_dashboard(dashboard):
    dashboard.speaks_json = False
    with pytest.raises(UserError, match="answers, but not as Ray's dashboard does"):
        ray_jobs.Cluster(dashboard.url)


def test_a_head_whose_agent_did_not_start_is_told_with_what_mends_it(dashboard, text):
    dashboard.ray_version = ray.__version__
    cluster = ray_jobs.Cluster(dashboard.url)
    with pytest.raises(UserError, match=r"has the agent's port there .* --dashboard-agent-listen-port and a free one"):
        cluster.submit(job_of(SENTENCES, text), "/shared/run", WorkerSize(1, 1), timeout=None)


def test_an_address_that_does_not_answer_is_one_line_after_the_time_for_a_first_answer(monkeypatch):
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")
    monkeypatch.setattr(ray_jobs, "_FIRST_ANSWER_SECONDS", 1)
    monkeypatch.setattr(ray_jobs, "_ANSWER_SECONDS", 1000)  # longer than a test may take
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (closed,) = free_ports(1)
        for port in (silent.getsockname()[1], closed):
            with pytest.raises(UserError, match=f"http://127.0.0.1:{port} does not answer"):
                ray_jobs.Cluster(f"http://127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "batch.size=9"], "must be divisible by 4 lanes"),
        (["--workers", "9"], "9 workers"),
        (["--workers", "4..2"], "write a number such as 4, or a range"),
        (["--set", "corpus.source=captions.txt"], "corpus.source captions.txt is a place on this machine"),
        (["--set", "device=cuda", "--gpus-per-worker", "0"], "device: cuda is asked for with --gpus-per-worker 0"),
    ],
)
def test_a_bad_job_is_refused_before_the_cluster_is_asked(arguments, words, dashboard, text, tmp_path):
    (tmp_path / "job.yaml").write_text(SENTENCES.replace("SOURCE", str(text)))
    command = ["submit", str(tmp_path / "job.yaml"), "--run", "/shared/run", "--address", dashboard.url, *arguments]
    error = CliRunner().invoke(app, command).exception
    assert isinstance(error, UserError)
    assert words in str(error)
    assert dashboard.asked == []
