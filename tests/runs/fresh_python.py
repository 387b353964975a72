"""A Python that has some libraries and none else, without a network: a folder of links to what is installed here."""

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path


class FreshPython:
    """An interpreter, isolated from this project and this environment, that imports these distributions alone.

    What they say they require comes along, as an installer would bring it.
    """

    def __init__(self, folder: Path, *distributions: str) -> None:
        self._folder = folder
        folder.mkdir()
        for name in _with_requirements(distributions):
            record = distribution(name).read_text("RECORD") or ""
            for top in {re.split("[/,]", line, maxsplit=1)[0] for line in record.splitlines()} - {"..", "__pycache__"}:
                source = Path(str(distribution(name).locate_file(top)))
                if not (folder / top).exists():
                    (folder / top).symlink_to(source.resolve())

    def run(self, code: str, cwd: Path) -> str:
        """What code prints that is started in a folder, whose modules it may import."""
        begin = f"import sys\nsys.path[:0] = {['.', str(self._folder)]}\n"
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", begin + code],
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def _with_requirements(names: tuple[str, ...]) -> set[str]:
    found: set[str] = set()

    def add(name: str) -> None:
        if name in found:
            return
        try:
            required = list(_required_by(name))
        except PackageNotFoundError:
            return  # only on other systems, or not at all
        found.add(name)
        for other in required:
            add(other)

    for name in names:
        add(name)
    return found


def _required_by(name: str) -> Iterator[str]:
    for requirement in distribution(name).requires or []:
        if "extra ==" not in requirement:
            yield re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower().replace("_", "-")
