"""cluster/monitoring: what it asks for is what a run exports, and where Ray exports it."""

import json
import re

import yaml

from lstmgan_dist.training.gauges import GAUGES
from tests.cluster.commands import CLUSTER
from tests.cluster.manifests import check

FOLDER = CLUSTER / "monitoring"
PAGE = json.loads((FOLDER / "grafana.json").read_text())
QUERIES = [target["expr"] for panel in PAGE["panels"] for target in panel["targets"]]


def test_grafanas_page_shows_every_gauge_and_no_other():
    assert {name for query in QUERIES for name in re.findall(r"\bray_(\w+)", query)} == set(GAUGES)


def test_every_panel_is_of_the_chosen_runs_says_which_and_has_a_place_of_its_own():
    taken = set()
    for panel in PAGE["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
        for target in panel["targets"]:
            assert 'run=~"$run"' in target["expr"]
            assert "{{run}}" in target["legendFormat"]
            assert target["datasource"]["uid"] == "${datasource}", "whatever its Prometheus is called"
    assert {variable["name"] for variable in PAGE["templating"]["list"]} == {"datasource", "run"}


def test_the_pod_monitor_fits_its_definition_and_finds_the_port_of_every_pod():
    (monitor,) = yaml.safe_load_all((FOLDER / "podmonitor.yaml").read_text())
    check(monitor)
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    # KubeRay puts this label on every pod of a cluster.
    assert monitor["spec"]["selector"]["matchLabels"] == {"ray.io/is-ray-node": "yes"}
    for name in ("rayjob.yaml", "raycluster.yaml"):
        spec = yaml.safe_load((CLUSTER / "kuberay" / name).read_text())["spec"]
        spec = spec.get("rayClusterSpec", spec)
        for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
            ports = {
                port["name"]: port["containerPort"] for port in group["template"]["spec"]["containers"][0]["ports"]
            }
            assert ports[endpoint["port"]] == 8080, "as KubeRay starts Ray"
            assert "metrics-export-port" not in group["rayStartParams"]
