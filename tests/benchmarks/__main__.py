"""`make bench`: every measurement as a ratio within this run, for machines are shared and noisy.

python -m tests.benchmarks                  all of them
python -m tests.benchmarks drawing updates  some of them
python -m tests.benchmarks --save           also write tests/benchmarks/results/<device>.md
"""

from __future__ import annotations

import argparse
import importlib
import platform
import re
from pathlib import Path

import torch

from tests.benchmarks.table import Row, markdown

MODULES = (
    "likelihood",
    "drawing",
    "export",
    "updates",
    "rollouts",
    "exactness",
    "gpu",
    "preparing",
    "streaming",
    "workers",
    "ngrams",
    "verdicts",
)
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure, and print a table of ratios.")
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"some of: {' '.join(MODULES)}")
    parser.add_argument("--save", action="store_true", help="write the table to tests/benchmarks/results/")
    arguments = parser.parse_args()
    unknown = set(arguments.modules) - set(MODULES)
    if unknown:
        parser.error(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(MODULES)}")
    found: list[Row] = []
    for name in arguments.modules or MODULES:
        print(f"measuring {name} ...", flush=True)
        for row in importlib.import_module(f"tests.benchmarks.{name}").rows():
            print(f"  {row.name}: {row.ratio:.2f} x {row.reference_name} (target {row.target:g})", flush=True)
            found.append(row)
    table = f"# {device_name()}\n\ntorch {torch.__version__}, Python {platform.python_version()}\n\n{markdown(found)}"
    print(f"\n{table}")
    if arguments.save:
        RESULTS.mkdir(exist_ok=True)
        name = re.sub(r"[^a-z0-9]+", "-", device_name().lower()).strip("-")
        (RESULTS / f"{name}.md").write_text(table, encoding="utf-8")


def device_name() -> str:
    """The GPU if there is one, else the CPU and its threads."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    facts = Path("/proc/cpuinfo")
    models = re.findall(r"model name\s*: (.*)", facts.read_text()) if facts.exists() else [platform.processor()]
    return f"{models[0]}, {torch.get_num_threads()} threads"


if __name__ == "__main__":
    main()
