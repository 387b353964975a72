"""The commands as a person runs them, each in a process of its own that need not import torch first.

Processes are forked from one that has imported what training needs and done nothing else. What Python itself adds, as
in `python -m lstmgan_dist`, is tested by the few that start it so (`REAL`).
"""

import multiprocessing
import os
import sys
import tempfile
from pathlib import Path

REAL = [sys.executable, "-m", "lstmgan_dist"]

PROCESSES = multiprocessing.get_context("forkserver")
_PRELOADED = ["pytest", "torch._dynamo", "lstmgan_dist.runs.train", "lstmgan_dist.runs.contest", "tests.command_line"]
PROCESSES.set_forkserver_preload(["lstmgan_dist.cli", *_PRELOADED])


class Command:
    """`lstmgan` with some arguments, begun.

    Args:
        arguments: as on a command line.
        cwd: the folder that it is in; without it, this process's.
        before: a function to call first in the new process, to change what the command finds there.
    """

    def __init__(self, *arguments, cwd=None, before=None):
        self._printed = [Path(tempfile.mkstemp(prefix="lstmgan-")[1]) for _ in ("output", "errors")]
        words = ["lstmgan", *map(str, arguments)]
        where = str(cwd or Path.cwd()), dict(os.environ), self._printed
        self._process = PROCESSES.Process(target=_run, args=(words, *where, before), daemon=True)
        self._process.start()

    @property
    def runs(self):
        """Whether it still does."""
        return self._process.is_alive()

    def send_signal(self, number):
        """Send a signal, if it still runs."""
        if self.runs and self._process.pid:
            os.kill(self._process.pid, number)

    def end(self, seconds=240):
        """Wait for its end: its exit code, or less than 0 if a signal killed it, and what is on its two outputs."""
        self._process.join(seconds)
        assert not self.runs, f"still runs after {seconds} s"
        output, errors = (path.read_text() for path in self._printed)
        for path in self._printed:
            path.unlink()
        return self._process.exitcode, output, errors


def lstmgan(*arguments, code=0, cwd=None, before=None):
    """Run a command to its end, and give what it printed, or its complaint if it is to fail."""
    ended, output, errors = Command(*arguments, cwd=cwd, before=before).end()
    assert ended == code, output + errors
    return output if code == 0 else errors


def in_process(*arguments):
    """A command in this process: its exit code, and what it printed on both outputs; see `cli.main`."""
    from typer.testing import CliRunner

    from lstmgan_dist.cli import app
    from lstmgan_dist.errors import UserError, sentence_of

    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, UserError | OSError):
        return 2, f"{result.output}Error: {sentence_of(result.exception)}\n"
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def _run(words, cwd, environment, printed, before):
    for descriptor, path in enumerate(printed, start=1):
        with path.open("wb") as file:
            os.dup2(file.fileno(), descriptor)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = words
    if before is not None:
        before()
    from lstmgan_dist.cli import main

    main()
