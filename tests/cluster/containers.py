"""What `docker` is on a host of the tests: containers that are namespaces of the host, with the machine's own files.

It takes the commands that Ray's autoscaler gives a Docker; everything else is refused. A container sees its own
processes, /home and /etc/profile.d, and gets the environment and the files that `run` names, as a real one does.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

# One folder a host, which it sees in this place.
STATE = Path("/tmp/ray_tmp_mount/containers.json")
HOME = "/home/ray"

# The container's /home has that of the user, beside whatever is there; $1 is what a login shell of the image sources.
BOOT = """
set -e
kept=$(mktemp --directory)
mount --rbind /home "$kept"
mount -t tmpfs none /home
for one in "$kept"/*/; do
    [ ! -d "$one" ] || { mkdir "/home/$(basename "$one")"; mount --rbind "$one" "/home/$(basename "$one")"; }
done
umount --lazy "$kept" && rmdir "$kept"
mkdir -p /home/ray && touch /home/ray/.bashrc
sed 's#^ray:.*#ray:*:0:0::/home/ray:/bin/bash#' /etc/passwd > /home/ray/.passwd
mount --bind /home/ray/.passwd /etc/passwd
mount -t tmpfs none /etc/profile.d
printf '%s\\n' "$1" > /etc/profile.d/lstmgan.sh
shift
for volume in "$@"; do
    from=${volume%%:*} to=${volume#*:}
    [ "$from" = "$to" ] || { mkdir -p "$(dirname "$to")"; touch "$to"; mount --bind "$from" "$to"; }
done
touch /home/ray/.booted
while true; do sleep 1; done
"""


def container(name):
    """What is known of a container that runs; None if none of this name does."""
    known = json.loads(STATE.read_text()).get(name) if STATE.exists() else None
    return known if known and Path(f"/proc/{known['pid']}").exists() else None


def run(image, words):
    """`docker run`: start a container in the background."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for flag in ("--rm", "-d", "-it"):
        parser.add_argument(flag, action="store_true", required=True)
    for option in ("--name", "--shm-size", "--net"):
        parser.add_argument(option, required=True)
    parser.add_argument("--ulimit")
    parser.add_argument("-e", "--env", action="append", default=[])
    parser.add_argument("-v", "--volume", action="append", default=[])
    parser.add_argument("image")
    parser.add_argument("command")
    asked = parser.parse_args(words)
    assert (asked.image, asked.net) == (image["name"], "host")
    spaces = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
    with open(f"{STATE}.log", "ab") as log:
        outside = subprocess.Popen(
            [*spaces, "bash", "-c", BOOT, "container", image["profile"], *asked.volume],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    children = Path(f"/proc/{outside.pid}/task/{outside.pid}/children")
    while not (pid := children.read_text().split()) or not Path(f"/proc/{pid[0]}/root{HOME}/.booted").exists():
        assert outside.poll() is None, Path(f"{STATE}.log").read_text()
        time.sleep(0.02)
    environment = dict(image["environment"], **dict(pair.split("=", 1) for pair in asked.env), HOME=HOME)
    STATE.write_text(json.dumps({asked.name: {"pid": int(pid[0]), "environment": environment, "image": asked.image}}))


def execute(words):
    """`docker exec`: a command in a container."""
    while words[0].startswith("-"):
        words = words[1:]
    found = container(words[0])
    assert found, f"no container {words[0]}"
    spaces = ["nsenter", f"--target={found['pid']}", "--mount", "--pid", f"--wdns={HOME}"]
    os.execvpe("nsenter", [*spaces, *words[1:]], found["environment"])


def stop(name):
    """`docker stop`: the first process of a container ends, and all others with it."""
    found = container(name)
    if not found:
        sys.exit(f"Error: No such container: {name}")
    os.kill(found["pid"], signal.SIGKILL)


def inspect(image, template, name):
    """`docker inspect`: of a container, or of the image."""
    found = container(name)
    known = {"{{json .Config.Env}}": json.dumps([f"{key}={value}" for key, value in image["environment"].items()])}
    if found:
        known = {"{{.State.Running}}": "true", "{{json .Mounts}}": "[]", "{{.Config.Image}}": found["image"]}
    elif name != image["name"]:
        sys.exit(f"Error: No such object: {name}")
    print(known[template])


def main(image, verb, *words):
    """A command of Docker's, as Ray gives it."""
    if verb == "run":
        run(image, words)
    elif verb == "exec":
        execute(words)
    elif verb == "stop":
        stop(*words)
    elif verb == "inspect":
        inspect(image, words[1], words[2])
    elif (verb, *words) == ("info", "-f", "{{.Runtimes}}"):
        print("map[runc:{runc}]")
    else:
        assert (verb, *words) == ("pull", image["name"]), f"not a command of Ray's: {verb}"


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()), *sys.argv[2:])
