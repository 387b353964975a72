"""The program `lstmgan`: its commands, in the order of its help, and what becomes of a mistake."""

from __future__ import annotations

import re
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lstmgan_dist import __version__
from lstmgan_dist.commands.cluster import logs, status, stop, submit
from lstmgan_dist.commands.drill import drill
from lstmgan_dist.commands.evaluate import evaluate
from lstmgan_dist.commands.export import export
from lstmgan_dist.commands.generate import generate
from lstmgan_dist.commands.inspect import inspect
from lstmgan_dist.commands.monitor import monitor
from lstmgan_dist.commands.prepare import prepare
from lstmgan_dist.commands.schema import schema
from lstmgan_dist.commands.score import score
from lstmgan_dist.commands.train import train
from lstmgan_dist.errors import UserError, sentence_of
from lstmgan_dist.settings import either

_WRONG_CHOICE = re.compile(r"Invalid value for '(?P<option>[^']+)'.*: (?P<given>'.*') is not one of (?P<words>.+?)\.?")


class _OneLine(TyperGroup):
    """Commands whose mistakes on the command line are told in one line, as all others are."""

    def main(self, *args: Any, standalone_mode: bool = True, **named: Any) -> Any:
        if not standalone_mode:
            return super().main(*args, standalone_mode=False, **named)
        try:
            code = super().main(*args, standalone_mode=False, **named)
        except typer.Abort:
            print("Aborted.", file=sys.stderr)
            sys.exit(1)
        except Exception as error:
            told = getattr(error, "format_message", None)  # of what is typed wrongly; Typer has its own class of it
            if told is None:
                raise
            if type(error).__name__ != "NoArgsIsHelpError":  # whose help is shown already
                print(f"Error: {_one_line(told())}", file=sys.stderr)
            sys.exit(getattr(error, "exit_code", 2))
        sys.exit(code if isinstance(code, int) else 0)


def _one_line(message: str) -> str:
    """What is wrong with the words of a command line, as it is said of settings."""
    message = " ".join(message.split()).replace("Value error, ", "")
    if wrong := _WRONG_CHOICE.fullmatch(message):
        words = [word.strip("'") for word in wrong["words"].split(", ")]
        return f"{wrong['option']}: {wrong['given']} will not do: choose {either(words)}."
    return message


app = typer.Typer(
    name="lstmgan",
    cls=_OneLine,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Train an LSTM that writes text like yours: by maximum likelihood, then against a discriminator.",
)

for command in (
    *(train, submit, status, logs, stop),
    *(prepare, generate, score, evaluate, export, inspect, monitor),
    *(drill, schema),
):
    app.command()(command)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lstmgan {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of mistakes.")] = False,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version, and end.")
    ] = False,
) -> None:
    _DEBUG.append(debug)


# What --debug said, for `main`, which typer does not tell.
_DEBUG: list[bool] = []


def main() -> None:
    """Run a command; what the user can mend ends in one line and exit code 2."""
    try:
        app()
    except (UserError, OSError) as error:
        if _DEBUG and _DEBUG[-1]:
            raise
        print(f"Error: {sentence_of(error)}", file=sys.stderr)
        sys.exit(2)
