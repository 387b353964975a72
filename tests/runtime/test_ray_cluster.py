"""What goes wrong before a worker starts is one line."""

import socket

import pytest

from lstmgan_dist.errors import UserError
from lstmgan_dist.runtime.ray_cluster import connected, explain

pytestmark = pytest.mark.cluster  # it joins a Ray, and a process can be with one at a time


@pytest.fixture
def closed_port():
    """A port of this machine where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:PORT", "No Ray cluster can be reached at .*check the address"),
        ("http://127.0.0.1:8265", "jobs address, for lstmgan submit"),
        ("nonsense", "no address of a cluster: write auto, or host:port"),
    ],
)
def test_an_address_that_will_not_do(closed_port, address, said):
    with pytest.raises(UserError, match=said), connected(address.replace("PORT", str(closed_port))):
        pass


def test_another_version_of_ray_is_named():
    from ray._private.utils import check_version_info

    metadata = {"ray_version": "1.2.3", "python_version": "3.11.7"}
    with pytest.raises(RuntimeError) as mismatch:
        check_version_info(metadata, "here")
    assert "1.2.3 there, 2." in explain("head:6379", mismatch.value)
