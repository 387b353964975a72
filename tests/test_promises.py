"""Every module has a test file of its own name, or is named in the one that promises for it."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lstmgan_dist"
MODULES = sorted(
    path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if not path.name.startswith("__")
)
TESTS = {path.relative_to(ROOT / "tests").as_posix(): path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}


def test_a_docstring_names_modules_that_are_there():
    for name, text in TESTS.items():
        for path in re.findall(r"[\w/]+/\w+\.py\b", ast.get_docstring(ast.parse(text)) or ""):
            assert (PACKAGE / path).exists() or (ROOT / path).exists(), f"{name} speaks of {path}"


@pytest.mark.parametrize("module", MODULES)
def test_somebody_promises_for_the_module(module):
    folder, _, name = module.rpartition("/")
    namesake = f"{folder}/test_{name}".lstrip("/")
    package, stem = ".".join(["lstmgan_dist", *folder.split("/")]).rstrip("."), name.removesuffix(".py")
    named = re.compile(
        rf"{re.escape(package)}\.{stem}\b|from {re.escape(package)} import .*\b{stem}\b|{re.escape(module)}"
    )
    assert namesake in TESTS or any(named.search(text) for text in TESTS.values()), (
        f"write tests/{namesake}, or say in the docstring of the test file that is for it: of {module}"
    )
