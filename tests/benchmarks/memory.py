"""How much memory a process has needed."""

import resource
import sys
from pathlib import Path


def peak_resident_bytes() -> int:
    """Most bytes this process has had in memory since it began to run this program."""
    if sys.platform == "linux":
        # What getrusage says includes the process that this one was forked from.
        status = Path("/proc/self/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
