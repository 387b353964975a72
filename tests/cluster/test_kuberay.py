"""cluster/kuberay against KubeRay's own definitions and what Kubernetes takes, and against what we promise."""

import copy
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import ray
import yaml

import lstmgan_dist
from tests.cluster.commands import CLUSTER, local_path, parse
from tests.cluster.manifests import check

FOLDER = CLUSTER / "kuberay"


def manifests(name: str, *, shared_folder: bool = True) -> list[dict[str, Any]]:
    text = (FOLDER / name).read_text()
    if not shared_folder:
        text = "\n".join(line for line in text.split("\n") if "shared folder" not in line)
    return list(yaml.safe_load_all(text))


def pods(manifest: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every pod of a manifest: what it is, and its specification."""
    spec = manifest["spec"]
    if "template" in spec:
        yield manifest["metadata"]["name"], spec["template"]["spec"]
    if "submitterPodTemplate" in spec:
        yield "submitter", spec["submitterPodTemplate"]["spec"]
    cluster = spec.get("rayClusterSpec", spec)
    if "headGroupSpec" in cluster:
        yield "head", cluster["headGroupSpec"]["template"]["spec"]
    for group in cluster.get("workerGroupSpecs", []):
        yield group["groupName"], group["template"]["spec"]


FILES = sorted(path.name for path in FOLDER.glob("*.yaml"))
VARIANTS = [(name, shared) for name in FILES for shared in (True, False)]
CLUSTERS = {"rayjob.yaml": lambda manifest: manifest["spec"]["rayClusterSpec"], "raycluster.yaml": lambda m: m["spec"]}
PODS = [
    pytest.param(name, pod, shared, id=f"{name} {what}{'' if shared else ' without shared folder'}")
    for name, shared in VARIANTS
    for manifest in manifests(name, shared_folder=shared)
    for what, pod in pods(manifest)
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "shared_folder"), VARIANTS)
def test_manifests_fit_the_definitions(name, shared_folder):
    for manifest in manifests(name, shared_folder=shared_folder):
        check(manifest)


@pytest.mark.slow
def test_mistakes_do_not_fit_the_definitions():
    good = manifests("rayjob.yaml")[0]
    for change in (
        lambda job: job["spec"].update(backofLimit=3),
        lambda job: job["spec"]["rayClusterSpec"].update(authOption={"mode": "token"}),
        lambda job: job["spec"]["rayClusterSpec"]["authOptions"].update(mode="yes"),
        lambda job: job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0].pop("maxReplicas"),
        lambda job: job["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"].update({"num-cpus": 0}),
        lambda job: job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"].update(toleration=[]),
        lambda job: job.update(apiVersion="ray.io/v2"),
    ):
        bad = copy.deepcopy(good)
        change(bad)
        with pytest.raises(jsonschema.ValidationError):
            check(bad)


@pytest.mark.parametrize(("name", "pod", "shared_folder"), PODS)
def test_pods_are_not_root_and_can_gain_nothing(name, pod, shared_folder):
    security = pod["securityContext"]
    assert security["runAsNonRoot"]
    assert security["runAsUser"] == 1000, "the user of the image"
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize(("name", "pod", "shared_folder"), PODS)
def test_pods_are_whole(name, pod, shared_folder):
    """Every mount has its volume, every request its limit, and the image is of this version."""
    volumes = {volume["name"] for volume in pod.get("volumes", [])}
    assert ("shared" in volumes) == (shared_folder and pod["containers"][0]["name"] != "submitter")
    for container in pod["containers"]:
        assert {mount["name"] for mount in container.get("volumeMounts", [])} == volumes
        assert container["image"] == f"lstmgan-dist:{lstmgan_dist.__version__}"
        requests, limits = container["resources"]["requests"], container["resources"]["limits"]
        assert requests.keys() == limits.keys()
        assert requests["memory"][-2:] == "Gi" or requests["memory"] == "512Mi"
        for variable in container.get("env", []):
            assert not any(word in variable["name"] for word in ("KEY", "SECRET", "TOKEN"))
        for source in container.get("envFrom", []):
            assert source == {"secretRef": {"name": "lstmgan-s3", "optional": True}}


@pytest.mark.parametrize("name", CLUSTERS)
def test_clusters_ask_for_a_token_and_keep_workers_off_the_head(name):
    cluster = CLUSTERS[name](manifests(name)[0])
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["rayVersion"] == ray.__version__
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    ports = cluster["headGroupSpec"]["template"]["spec"]["containers"][0]["ports"]
    assert {port["name"]: port["containerPort"] for port in ports} == {"gcs": 6379, "dashboard": 8265, "metrics": 8080}


@pytest.mark.parametrize("name", CLUSTERS)
def test_worker_groups_are_bounded_find_gpus_and_may_be_spot(name):
    groups = {group["groupName"]: group for group in CLUSTERS[name](manifests(name)[0])["workerGroupSpecs"]}
    assert groups.keys() == {"lasting", "spot"}
    for group in groups.values():
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        pod = group["template"]["spec"]
        assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert "nvidia.com/gpu" in {toleration["key"] for toleration in pod["tolerations"]}
    assert groups["spot"]["minReplicas"] == 0
    spot = groups["spot"]["template"]["spec"]["affinity"]["nodeAffinity"]
    assert len(spot["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]) > 1, "any one of them"
    assert "affinity" not in groups["lasting"]["template"]["spec"]


def test_a_failed_job_is_final_and_one_applied_again_resumes_with_the_workers_that_its_pods_hold():
    """KubeRay gives every failed attempt a new cluster, also one that ended with exit code 2, a mistake in the job."""
    spec = manifests("rayjob.yaml")[0]["spec"]
    assert spec["backoffLimit"] == 0
    assert spec["shutdownAfterJobFinishes"]
    assert "$" not in spec["entrypoint"], "the same --run whenever it is applied"
    command, parameters = parse(spec["entrypoint"])
    assert command == "train"
    assert parameters["run"] == "/shared/runs/quickstart"
    assert parameters["address"] == "auto"
    assert local_path(str(parameters["job"])).exists()
    fewest, most = (int(number) for number in str(parameters["workers"]).split(".."))
    groups = spec["rayClusterSpec"]["workerGroupSpecs"]
    assert sum(group["minReplicas"] for group in groups) == fewest
    assert sum(group["maxReplicas"] for group in groups) == most
    for group in groups:
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        assert float(parameters["gpus_per_worker"]) <= int(limits["nvidia.com/gpu"])
        assert float(parameters["cpus_per_worker"]) < int(limits["cpu"]), "the raylet works too"


def desired(group: dict[str, Any]) -> int:
    """How many pods of a group have to be ready before KubeRay submits: the autoscaler's minimum is in it."""
    replicas = min(max(group.get("replicas", 0), group["minReplicas"]), group["maxReplicas"])
    return 0 if group.get("suspend") else replicas * group.get("numOfHosts", 1)


def test_one_lasting_gpu_node_and_no_spot_machine_are_enough_for_a_job_to_be_submitted_and_to_train():
    """KubeRay submits when the head and all desired workers of all groups are ready; the autoscaler adds others."""
    spec = manifests("rayjob.yaml")[0]["spec"]
    cluster = spec["rayClusterSpec"]
    free_gpus = 1
    for group in cluster["workerGroupSpecs"]:
        pod = group["template"]["spec"]
        gpus = desired(group) * int(pod["containers"][0]["resources"]["requests"]["nvidia.com/gpu"])
        assert gpus == 0 or "affinity" not in pod, "no node fits"
        free_gpus -= gpus
    assert free_gpus >= 0
    _, parameters = parse(spec["entrypoint"])
    fewest = int(str(parameters["workers"]).split("..")[0])
    assert sum(desired(group) for group in cluster["workerGroupSpecs"]) >= fewest
    assert cluster["enableInTreeAutoscaling"]


@pytest.mark.parametrize(("name", "pod", "shared_folder"), PODS)
def test_no_pod_can_fill_the_disk_of_its_node(name, pod, shared_folder):
    for container in pod["containers"]:
        resources = container["resources"]
        assert resources["requests"]["ephemeral-storage"] == resources["limits"]["ephemeral-storage"]
    sizes = [volume["emptyDir"]["sizeLimit"] for volume in pod.get("volumes", []) if "emptyDir" in volume]
    most = int(pod["containers"][0]["resources"]["limits"]["ephemeral-storage"].removesuffix("Gi"))
    assert sum(int(size.removesuffix("Gi")) for size in sizes) < most, "the container writes beside its volumes, too"


@pytest.mark.parametrize("name", CLUSTERS)
def test_pods_have_time_to_drain_and_are_replaced_not_restarted(name):
    for what, pod in pods(manifests(name)[0]):
        assert pod["restartPolicy"] == "Never", "the autoscaler replaces pods; a restarted one would be a new node"
        assert what == "submitter" or pod["terminationGracePeriodSeconds"] >= 60, "Ray drains a node for up to 30 s"


def test_the_long_lived_cluster_grows_and_shrinks():
    spec = manifests("raycluster.yaml")[0]["spec"]
    assert spec["enableInTreeAutoscaling"]
    assert spec["autoscalerOptions"]["idleTimeoutSeconds"] >= 120
    assert all(group["minReplicas"] == 0 for group in spec["workerGroupSpecs"])


def test_the_service_reaches_tensorboard():
    deployment, service = manifests("tensorboard.yaml")
    template = deployment["spec"]["template"]
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    assert deployment["spec"]["selector"]["matchLabels"] == template["metadata"]["labels"]
    container = template["spec"]["containers"][0]
    port = container["ports"][0]
    assert service["spec"]["ports"][0]["targetPort"] == port["name"]
    assert f"--port={port['containerPort']}" in container["command"]
    from tensorboard import program

    board = program.TensorBoard()
    board.configure(argv=container["command"])
    assert (board.flags.host, board.flags.port, board.flags.logdir) == ("0.0.0.0", 6006, "/shared/runs")


def test_the_shared_folder_is_the_one_that_pods_mount():
    (claim,) = manifests("shared-folder.yaml")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for name in ("rayjob.yaml", "raycluster.yaml", "tensorboard.yaml"):
        for what, pod in pods(manifests(name)[0]):
            if what != "submitter":
                volumes = {volume["name"]: volume for volume in pod["volumes"]}
                assert volumes["shared"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
