"""What nodes of real Ray clusters, and those who join them, need: environments, an answer."""

import os
import sys
import urllib.request
from pathlib import Path

# Of the virtual environment, also where nobody has activated it: jobs are started with `python`.
BIN = str(Path(sys.executable).parent)


def node_environment(token, **more):
    """The environment of a node that asks for a token; nothing of a developer's own Ray gets in."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AWS_"))}
    return {
        **kept,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "RAY_USAGE_STATS_ENABLED": "0",
        **more,
    }


def client_environment(token=None, **more):
    """The environment of somebody outside the cluster."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AWS_"))}
    tokens = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if token else {}
    return {**kept, "OMP_NUM_THREADS": "1", **tokens, **more}


def answers(url, token):
    """Whether a dashboard takes jobs."""
    request = urllib.request.Request(f"{url}/api/jobs/", headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=2) as reply:
            return reply.status == 200
    except OSError:
        return False
