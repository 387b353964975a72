"""cluster/ray-up against Ray's own checks, and against what we promise."""

import re

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

import lstmgan_dist
from tests.cluster.commands import CLUSTER

FILES = sorted((CLUSTER / "ray-up").glob("*.yaml"))


def load(path):
    return yaml.safe_load(path.read_text())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_ray_accepts_the_file(path):
    validate_config(prepare_config(load(path)))


def test_ray_refuses_a_misspelt_key():
    bad = load(FILES[0]) | {"max_worker": 3}
    with pytest.raises(Exception, match="max_worker"):
        validate_config(prepare_config(bad))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_clusters_ask_for_a_token_and_keep_workers_off_the_head(path):
    config = prepare_config(load(path))
    options = " ".join(config["docker"]["run_options"])
    assert "--env RAY_AUTH_MODE=token" in options
    assert config["file_mounts"] == {"/home/ray/.ray/auth_token": "~/.ray/auth_token"}
    head, worker = " ".join(config["head_start_ray_commands"]), " ".join(config["worker_start_ray_commands"])
    assert "--num-cpus=0" in head
    assert "--dashboard-host=127.0.0.1" in head
    assert "--autoscaling-config=" in head
    assert "$RAY_HEAD_IP:6379" in worker
    assert "--port=6379" in head


def test_machines_of_ones_own_are_started_by_the_autoscaler_that_starts_them():
    """The second version ends in "Adding 1 nodes to satisfy min count" every 5 s, without a connection."""
    _, start = load(CLUSTER / "ray-up/on-premises.yaml")["head_start_ray_commands"]
    assert start.startswith("RAY_enable_autoscaler_v2=0 ray start --head ")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_gloo_and_nccl_are_told_one_interface(path):
    options = " ".join(load(path)["docker"]["run_options"])
    interfaces = re.findall(r"(?:GLOO|NCCL)_SOCKET_IFNAME=(\w+)", options)
    assert len(interfaces) == 2
    assert len(set(interfaces)) == 1


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_everything_is_in_the_image(path):
    config = load(path)
    assert config["docker"]["image"] == f"lstmgan-dist:{lstmgan_dist.__version__}"
    prepared = prepare_config(config)
    for name in ("setup_commands", "head_setup_commands", "worker_setup_commands"):
        assert prepared[name] == []


@pytest.mark.parametrize("name", ["aws", "gcp"])
def test_cloud_workers_are_spot_and_the_head_is_not(name):
    types = load(CLUSTER / "ray-up" / f"{name}.yaml")["available_node_types"]
    worker, head = types["gpu"]["node_config"], types["head"]["node_config"]
    assert types["gpu"]["min_workers"] == 0
    assert types["gpu"]["resources"]["GPU"] == 1
    if name == "aws":
        assert worker["InstanceMarketOptions"] == {"MarketType": "spot"}
        assert "InstanceMarketOptions" not in head
        assert worker["IamInstanceProfile"] == head["IamInstanceProfile"]
    else:
        assert worker["scheduling"]["provisioningModel"] == "SPOT"
        assert "scheduling" not in head
        assert worker["serviceAccounts"] == head["serviceAccounts"]


def test_machines_on_premises_share_a_folder():
    config = load(CLUSTER / "ray-up" / "on-premises.yaml")
    assert "--volume /shared:/shared" in config["docker"]["run_options"]
    assert prepare_config(config)["max_workers"] == len(config["provider"]["worker_ips"])
