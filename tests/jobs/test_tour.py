"""The notebook: its cells run from top to bottom, without Jupyter, and what is shown under them is from such a run."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "jobs" / "tour.ipynb"
CELLS = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]

# Runs cells in one namespace, as a kernel does: the value of a last expression is shown.
KERNEL = """
import ast, json, sys
scope = {"__name__": "__main__"}
for source in json.load(sys.stdin):
    *statements, last = ast.parse(source).body
    shown = isinstance(last, ast.Expr) and ast.unparse(last)[:6] != "print("
    exec(compile(ast.Module(statements + [last] * (not shown), []), "cell", "exec"), scope)
    value = eval(compile(ast.Expression(last.value), "cell", "eval"), scope) if shown else None
    print(json.dumps(repr(value)), file=sys.stderr)
"""


def shown_value(cell):
    """What is shipped as the value of a cell; None where it has none."""
    values = [output["data"]["text/plain"] for output in cell["outputs"] if output["output_type"] == "execute_result"]
    return "".join(values[0]) if values else None


def test_the_outputs_are_of_one_run_from_top_to_bottom():
    assert [cell["execution_count"] for cell in CELLS] == list(range(1, len(CELLS) + 1))
    kinds = {output["output_type"] for cell in CELLS for output in cell["outputs"]}
    assert kinds == {"execute_result", "stream"}
    assert sum(bool(cell["outputs"]) for cell in CELLS) >= len(CELLS) - 1


@pytest.mark.slow
def test_every_cell_runs_and_gives_a_value_like_the_one_shown(tmp_path):
    sources = json.dumps(["".join(cell["source"]) for cell in CELLS])
    environment = os.environ | {"PYTHONPATH": str(NOTEBOOK.parents[1]), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", KERNEL], input=sources, capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    values = [json.loads(line) for line in done.stderr.splitlines()]
    assert [value == "None" for value in values] == [shown_value(cell) is None for cell in CELLS]
    for value, cell in zip(values, CELLS, strict=True):
        if (shown := shown_value(cell)) is not None:
            # Figures differ a little from machine to machine, what they are figures of does not.
            ran, was = ast.literal_eval(value), ast.literal_eval(shown)
            assert (type(ran), len(ran)) == (type(was), len(was))
    assert done.stdout.count("nats") == sum("nats" in str(cell["outputs"]) for cell in CELLS) + 1
    assert not list(Path(tmp_path).glob("runs"))
