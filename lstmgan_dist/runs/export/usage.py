"""What the code of every card begins with: a prompt and a label in words, and how these become tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lstmgan_dist.runs.export.model import CLOSE, QUOTED

_LABELS_SHOWN = 8


def begun(config: Mapping[str, Any], imports: Sequence[str], *, writes: bool = False) -> str:
    """Python up to where texts are drawn.

    It leaves `config`, the `tokenizer`, `first` (tokens that are read before a text), `kept` (those of them that the
    text begins with) and `length` (tokens to draw).

    imports: what the rest of the code needs beside the tokenizer. writes: whether that uses `text_of`.
    """
    is_of_words = writes and config["tokenizer"]["kind"] == "word"
    imports = ["import json", *(["import re"] if is_of_words else []), *imports, "import tokenizers"]
    return "\n".join(
        [
            *_asked(config),
            "",
            *sorted(imports, key=lambda line: (line.startswith("from"), line)),
            "",
            'with open("config.json", encoding="utf-8") as file:',
            "    config = json.load(file)",
            'tokenizer = tokenizers.Tokenizer.from_file("tokenizer.json")',
            *_read(config),
            *_placed(config),
            *_joining(is_of_words),
            "",
        ]
    )


def text_of(config: Mapping[str, Any], tokens: str) -> str:
    """The Python expression for the text of some tokens."""
    kind = config["tokenizer"]["kind"]
    decoded = f"{'joined' if kind == 'word' else 'tokenizer.decode'}({tokens})"
    return f'{decoded}.replace("<unk>", "\ufffd")' if kind == "character" else decoded


def _asked(config: Mapping[str, Any]) -> Iterator[str]:
    labels = config.get("labels")
    yield f"prompt = {_in_quotes(config['drawing']['prompt'])}  # what the texts " + (
        "answer" if "answers" in config else "begin with"
    )
    if labels:
        known = " or ".join(labels) if len(labels) <= _LABELS_SHOWN else 'one of "labels" in config.json'
        yield f"label = {_in_quotes(config['drawing']['label'])}  # {known}"


def _read(config: Mapping[str, Any]) -> Iterator[str]:
    yield "read = tokenizer.encode(prompt, add_special_tokens=False)"
    if config["unknown_id"] is not None:
        yield 'unknown = [place for token, place in zip(read.ids, read.offsets) if token == config["unknown_id"]]'
        yield "if unknown:"
        yield '    raise SystemExit(f"The vocabulary lacks {[prompt[start:stop] for start, stop in unknown]}.")'
    if "labels" in config:
        yield 'if label not in config["labels"]:'
        yield "    raise SystemExit(f\"There is no label {label!r}, but {list(config['labels'])}.\")"


def _placed(config: Mapping[str, Any]) -> Iterator[str]:
    labels, is_of_sentences = "labels" in config, config["layout"] == "sentences"
    yield f'kept, end = {"[]" if "answers" in config else "read.ids"}, [config["end_id"]]'
    parts = ["end"]
    if labels:
        parts.append('[config["labels"][label]]')
    if "answers" in config:
        parts.append("read.ids")
    if len(parts) > 1:
        parts.append("end")
    yield f"first = {' + '.join(parts)} + kept" if is_of_sentences else "first = kept or end"
    yield f'length = config["drawing"]["length"]{" - len(kept)" if is_of_sentences else ""}'


def _joining(is_of_words: bool) -> Iterator[str]:
    if is_of_words:
        yield ""
        yield ""
        yield "def joined(tokens):"
        yield f"    text = re.sub(r'''{QUOTED}''', r'\"\\1\"', tokenizer.decode(tokens))"
        yield f"    return re.sub(r'''{CLOSE}''', '', text)"
        yield ""


def _in_quotes(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
