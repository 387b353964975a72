"""Several hosts on one machine: network namespaces on one bridge, each with an address, a name and a disk of its own.

Nothing outside the namespaces is touched, and what is in them is seen by no one else. Needs root and iproute2.
"""

import os
import secrets
import shutil
import subprocess
from pathlib import Path

NETWORK = "10.231.0"  # addresses inside the namespaces only


def cannot_make_hosts():
    """Why this machine cannot have hosts; empty if it can."""
    if not shutil.which("ip") or not shutil.which("unshare"):
        return "iproute2 or util-linux is not installed"
    probe = f"lstmgan-{secrets.token_hex(3)}"
    try:
        _ip("netns", "add", probe)
        _ip("-n", probe, "link", "add", "br0", "type", "bridge")
        _ip("netns", "exec", probe, "unshare", "--uts", "--mount", "true")
    except subprocess.CalledProcessError as error:
        return f"no network namespaces here: {error.stderr.decode().strip()}"
    finally:
        subprocess.run(["ip", "netns", "del", probe], capture_output=True, check=False)
    return ""


class Hosts:
    """Hosts that reach each other by name, until `down`.

    Args:
        names: of the hosts.
        folder: where the table of their names and their disks are kept.
        disk: a folder in whose place every host sees one of its own; all other folders are shared.
    """

    def __init__(self, names, folder, disk):
        self._prefix = f"lg{os.getpid()}{secrets.token_hex(2)}"
        self._switch = f"{self._prefix}-sw"
        self._made = []
        self.addresses = {name: f"{NETWORK}.{number}" for number, name in enumerate(names, 1)}
        self._disk = disk
        self._disks = {name: Path(folder) / f"disk-{name}" for name in names}
        for one in self._disks.values():
            one.mkdir()
        self._table = Path(folder) / "hosts"
        rows = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in self.addresses.items())]
        self._table.write_text("\n".join(rows) + "\n")
        try:
            self._up()
        except BaseException:
            self.down()
            raise

    def _up(self):
        self._add(self._switch)
        _ip("-n", self._switch, "link", "add", "br0", "type", "bridge")
        _ip("-n", self._switch, "link", "set", "br0", "up")
        for number, (name, address) in enumerate(self.addresses.items(), 1):
            host = self._space(name)
            self._add(host)
            _ip("-n", host, "link", "set", "lo", "up")
            ends = ("name", f"v{number}", "netns", self._switch, "type", "veth", "peer", "name", "eth0", "netns", host)
            _ip("link", "add", *ends)
            _ip("-n", self._switch, "link", "set", f"v{number}", "master", "br0", "up")
            _ip("-n", host, "addr", "add", f"{address}/24", "dev", "eth0")
            _ip("-n", host, "link", "set", "eth0", "up")

    def _add(self, space):
        _ip("netns", "add", space)
        self._made.append(space)

    def _space(self, name):
        return f"{self._prefix}-{name}"

    def within(self, name, *, boots=False):
        """The command that runs the rest on a host, which knows its own name and the others'.

        boots: the host has processes of its own, of which the rest is the first: when it is killed, all are gone.
        """
        mounts = f"mount --bind {self._table} /etc/hosts && mount --bind {self._disks[name]} {self._disk}"
        script = f'{mounts} && hostname {name} && exec "$@"'
        own = ["--pid", "--fork", "--mount-proc", "--kill-child"] if boots else []
        space = ["ip", "netns", "exec", self._space(name), "unshare", "--uts", "--mount", *own]
        return [*space, "bash", "-c", script, "host"]

    def cut(self, name):
        """Pull a host's cable: packets vanish, and nobody is told."""
        _ip("-n", self._switch, "link", "set", self._port(name), "down")

    def mend(self, name):
        """Plug it in again."""
        _ip("-n", self._switch, "link", "set", self._port(name), "up")

    def _port(self, name):
        return f"v{list(self.addresses).index(name) + 1}"

    def down(self):
        """Remove the hosts; what still runs on them loses its network."""
        for space in self._made:
            subprocess.run(["ip", "netns", "del", space], capture_output=True, check=False)


def _ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)
