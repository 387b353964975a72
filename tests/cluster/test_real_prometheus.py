"""cluster/monitoring with a real Prometheus, which reads a run on a real Ray and answers what Grafana asks for."""

import json
import shutil
import subprocess
import urllib.parse
import urllib.request

import pytest

from tests.cluster.commands import CLUSTER, from_readme
from tests.servers import free_port
from tests.waiting import wait_until

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

MONITORING = CLUSTER / "monitoring"
ENDLESS = ("phases.0.steps=1000000", "evaluate.every=40 steps", "checkpoint.every=40 steps", "log.every=10 steps")


@pytest.fixture(scope="module")
def prometheus(site, tmp_path_factory):
    """The address of one that was told what the header of the file says to change."""
    if not shutil.which("prometheus"):
        pytest.skip("prometheus is not installed: apt-get install prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "auth_token").write_text(site.token)
    config = folder / "prometheus.yml"
    config.write_text((MONITORING / "prometheus.yml").read_text().replace("http://localhost:8265", site.address))
    subprocess.run(["promtool", "check", "config", config], check=True, capture_output=True)
    address = f"127.0.0.1:{free_port()}"
    _, command = from_readme("prometheus --config", file=config)
    places = [f"--storage.tsdb.path={folder}/data", f"--web.listen-address={address}"]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen([*command, *places], stdout=log, stderr=log)
    try:
        yield f"http://{address}"
    finally:
        process.kill()
        process.wait()


def answer(prometheus, query):
    """The runs that a query finds figures of, as Grafana asks it."""
    with urllib.request.urlopen(f"{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': query})}") as reply:
        return {series["metric"].get("run") for series in json.load(reply)["data"]["result"]}


def test_every_question_of_grafanas_page_is_answered_while_a_run_trains(site, prometheus):
    run = site.folder / "watched"
    site.submit(run, ENDLESS)
    page = json.loads((MONITORING / "grafana.json").read_text())
    for panel in page["panels"]:
        for target in panel["targets"]:
            query = target["expr"].replace("$run", ".*")
            wait_until(lambda query=query: answer(prometheus, query) == {str(run)}, seconds=120, what=query)
    site("stop")
