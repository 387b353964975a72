"""Saying how probable and how real given texts are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from lstmgan_dist.commands.options import CheckpointName, Device, RunUrl, defaults_of
from lstmgan_dist.commands.terminal import table_lines, warn, watch
from lstmgan_dist.errors import UserError
from lstmgan_dist.runs.opened import OpenedRun, open

if TYPE_CHECKING:
    from lstmgan_dist.runs.scoring import Score, TokenScore

_DEFAULT, _OPENED, _READ = map(defaults_of, (OpenedRun.score, open, OpenedRun.read_texts))

Files = Annotated[
    list[str] | None,
    typer.Argument(metavar="[FILE...]", help="Texts, one a line or a row: files of the kinds that prepare reads."),
]
Given = Annotated[list[str] | None, typer.Option("--text", help="A text itself; repeatable.")]
Out = Annotated[
    str | None,
    typer.Option(help="File or URL: .txt as it is printed, or .jsonl, .parquet, .arrow; .txt and .jsonl also .gz."),
]


def score(
    run: RunUrl,
    files: Files = None,
    text: Given = None,
    prompt: Annotated[
        str, typer.Option(help="Text that each of them continues, or answers, given and not scored.")
    ] = _DEFAULT.prompt,
    label: Annotated[str | None, typer.Option(help="Label of the texts, where a run has labels.")] = _DEFAULT.label,
    tokens: Annotated[bool, typer.Option("--tokens", help="Say it of every token, too.")] = _DEFAULT.tokens,
    checkpoint: CheckpointName = _OPENED.checkpoint,
    column: Annotated[
        str | None, typer.Option(help="The column of texts, where a file has columns.  (default: text)")
    ] = _READ.column,
    encoding: Annotated[str, typer.Option(help="Of files of text: utf-8, gbk, ..., or auto.")] = _READ.encoding,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a text.")] = False,
    out: Out = None,
    device: Device = _OPENED.device,
) -> None:
    """Say how probable each of some texts is, in nats, and how real it looks to the discriminator.

    A log-probability is of all tokens of a text together, and of a sentence its end mark is one. Words that the
    vocabulary lacks are <unk>, and counted. The discriminator's score is higher for text that looks more real; where
    the loss that it has learnt by tells, it comes as the probability that a text is real and not drawn.

    [dim]
    lstmgan score runs/quickstart texts.txt\n
    lstmgan score runs/quickstart --text 'the function returns a list' --text 'list a returns function the' --tokens\n
    lstmgan score runs/char-lm --prompt 'ROMEO:' --text 'Farewell.'\n
    lstmgan score runs/captions s3://bucket/texts.parquet --out scores.parquet\n
    lstmgan score runs/captions captions.jsonl --column caption --json
    [/dim]
    """
    if not files and not text:
        raise UserError("There is nothing to score: name a file of texts, or give one with --text.")
    if text and not all(one.strip() for one in text):
        raise UserError("--text '': an empty text is nothing to score: leave it out.")
    if out is not None:
        from lstmgan_dist.corpus.texts import check_name

        check_name(out)
    opened = open(run, checkpoint, device, say=warn)
    read = opened.read_texts(files, column=column, encoding=encoding) if files else []
    scores = opened.score([*read, *(text or ())], prompt=prompt, label=label, tokens=tokens, watch=watch)
    if out is None:
        for line in _json_lines(scores) if as_json else _lines(scores):
            typer.echo(line)
    else:
        _write(scores, out)
        typer.echo(f"{len(scores)} scores are in {out}.")
    unknown, counted = sum(one.unknown for one in scores), sum(one.tokens for one in scores)
    if unknown:
        warn(f"Note: {unknown / counted:.1%} of the tokens are <unk>, and have the probability of any unknown one.")


def _write(scores: Sequence[Score], out: str) -> None:
    from lstmgan_dist.corpus.records import write_records
    from lstmgan_dist.corpus.texts import format_of, write_texts
    from lstmgan_dist.storage import write_file

    with write_file(out) as file:
        if format_of(out) == "text":
            write_texts(file, out, [list(_lines(scores))])
        else:
            write_records(file, out, [one.to_json() for one in scores])


def _json_lines(scores: Sequence[Score]) -> Iterator[str]:
    return (json.dumps(one.to_json(), ensure_ascii=False) for one in scores)


def _lines(scores: Sequence[Score]) -> Iterator[str]:
    """A table of the texts, or of each text and its tokens."""
    if scores[0].by_token is None:
        rows = [(*_figures(one).values(), _in_one_line(one.text)) for one in scores]
        yield from table_lines((*_figures(scores[0]), "text"), rows)
        return
    for one in scores:
        yield f"{_in_one_line(one.text)}: {', '.join(f'{name} {figure}' for name, figure in _figures(one).items())}"
        of_tokens = [_token_figures(token) for token in one.by_token or ()]
        for line in table_lines((*of_tokens[0],), [(*figures.values(),) for figures in of_tokens]):
            yield f"  {line}"


def _figures(one: Score) -> dict[str, str]:
    figures = {
        "log-probability": one.log_likelihood,
        "nats/token": -one.log_likelihood / one.tokens,
        "discriminator": one.discriminator,
        "P(real)": one.probability_real,
    }
    return {"tokens": str(one.tokens), **_shown(figures)}


def _token_figures(one: TokenScore) -> dict[str, str]:
    figures = {"log-probability": one.log_likelihood, "discriminator": one.discriminator}
    return {"token": _in_one_line(one.token), **_shown(figures)}


def _shown(figures: Mapping[str, float | None]) -> dict[str, str]:
    """Those that there are."""
    return {name: f"{figure:.4f}" for name, figure in figures.items() if figure is not None}


def _in_one_line(text: str) -> str:
    return text.replace("\n", "\\n")
