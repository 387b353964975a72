"""Mistakes in settings, as pydantic finds them, in a sentence each that says where and what would do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from pydantic import ValidationError

from lstmgan_dist.settings import OneOf, Settings, choices, either

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


def explain(error: ValidationError, model: type[Settings], options: Mapping[str, str] | None = None) -> str:
    """Every mistake of a validation error in a sentence with what would do at its place; a line each.

    options: what keys are called where they do not come from a file.
    """
    mistakes: dict[tuple[str, ...], tuple[_Place, ErrorDetails]] = {}
    for mistake in error.errors():
        if mistake["type"] == "default_factory_not_called":  # it follows from another one
            continue
        place = _place(model, _path(mistake))
        mistakes.setdefault(tuple(place.keys), (place, mistake))
    # A union says of each of its members why that does not fit, and the one that fits furthest was meant; what is wrong
    # inside a list makes the list itself one mistake more.
    meant = [
        found
        for keys, found in mistakes.items()
        if not any(other[: len(keys)] == keys and other != keys for other in mistakes)
    ]
    return "\n".join(_sentence(place, mistake, options or {}) for place, mistake in meant)


def _sentence(place: _Place, mistake: ErrorDetails, options: Mapping[str, str]) -> str:
    where = ".".join(place.keys)
    where = options.get(where.rstrip(".0123456789"), where)
    sentence = f"{where}: {_what_is_wrong(place, mistake)}" if where else mistake["msg"].removeprefix("Value error, ")
    return sentence if sentence.endswith((".", "?")) else f"{sentence}."


@dataclass(frozen=True)
class _Place:
    """Where in a tree of settings a mistake is.

    keys: as the file has them. block: where the last of them was looked for. instead: the blocks that may stand in the
    place of that one. inside: what may stand at the place itself. root: the block that the tree begins with.
    """

    root: type[Settings]
    keys: list[str]
    block: type[Settings] | None
    instead: tuple[type[Settings], ...]
    inside: tuple[Any, ...]


def _path(mistake: ErrorDetails) -> tuple[int | str, ...]:
    """Where pydantic finds a mistake; of a setting without use it knows only the block."""
    return (*mistake["loc"], mistake.get("ctx", {})["name"]) if mistake["type"] == "without_use" else mistake["loc"]


def _place(model: type[Settings], path: tuple[int | str, ...]) -> _Place:
    """The place at pydantic's path, in which members of unions stand beside keys."""
    keys: list[str] = []
    block: type[Settings] | None = None
    instead: tuple[type[Settings], ...] = ()
    inside = chosen = (model,)
    for part in path:
        if len(chosen) > 1:
            chosen = _tried(chosen, str(part))
        elif part != "[key]":
            keys.append(str(part))
            only = chosen[0] if chosen else None
            block, instead = (only, tuple(filter(_is_block, inside))) if _is_block(only) else (None, ())
            inside = chosen = _within(only, part)
    return _Place(model, keys, block, instead, inside)


def _within(annotation: Any, key: int | str) -> tuple[Any, ...]:
    """What may stand under a key of a block, a tuple or a dictionary."""
    if _is_block(annotation):
        field = annotation.model_fields.get(str(key))
        return (_blocks_of(field.metadata) or _members(field.annotation)) if field else ()
    arguments = get_args(annotation)
    return _members(arguments[-1 if get_origin(annotation) is dict else 0]) if arguments else ()


def _members(annotation: Any) -> tuple[Any, ...]:
    """What an annotation allows, None left out."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _blocks_of(arguments[1:]) or _members(arguments[0])
    if origin in (Union, UnionType):
        return tuple(inner for member in arguments if member is not NoneType for inner in _members(member))
    return (annotation,)


def _blocks_of(metadata: Sequence[Any]) -> tuple[Any, ...]:
    """The blocks of a table of kinds, where an annotation names one."""
    return next((tuple(one.kinds.values()) for one in metadata if isinstance(one, OneOf)), ())


def _is_block(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Settings)


def _kind(block: type[Settings]) -> str | None:
    """What `kind` has to be for this block of several; None where there is no choice of blocks."""
    values = get_args(block.model_fields["kind"].annotation) if "kind" in block.model_fields else ()
    return values[0] if len(values) == 1 else None


def _tried(members: tuple[Any, ...], label: str) -> tuple[Any, ...]:
    """The member of a union that pydantic's label names: `lstm`, `tuple[str, ...]`, `function-after[f(), Schedule]`."""

    def at(member: Any) -> int:
        name = (_kind(member) if _is_block(member) else None) or (get_origin(member) or member).__name__
        found = re.search(rf"(?<!\w){name}(?!\w)", label)
        return found.start() if found else len(label)

    return (min(members, key=at),)


def _what_is_wrong(place: _Place, mistake: ErrorDetails) -> str:
    message, given = mistake["msg"].removeprefix("Value error, "), mistake["input"]
    match mistake["type"]:
        case "extra_forbidden" if place.block:
            return _no_such_key(place, place.block)
        case "missing":
            return "this key is required"
        case "union_tag_invalid":
            return f"kind {given['kind']} is not known: {_choose(given['kind'], _kinds(place.inside))}"
        case "union_tag_not_found":
            return f"kind is missing: choose {either(_kinds(place.inside))}"
        case "literal_error":
            assert place.block
            return f"{given!r} will not do: {_choose(given, choices(place.block.model_fields[place.keys[-1]]))}"
        case "value_error" | "without_use":
            return message
    wanted = _wanted(place, mistake)
    wrong = f"it must be {wanted}" if wanted else f"{message[0].lower()}{message[1:]}"
    return wrong if isinstance(given, dict | list) else f"{given!r} will not do: {wrong}"


def _wanted(place: _Place, mistake: ErrorDetails) -> str | None:
    """What would do, of pydantic's kinds of mistake that a job can have."""
    limits = mistake.get("ctx", {})
    match mistake["type"]:
        case "int_type" | "int_parsing" | "int_from_float" | "int_parsing_size":
            return "a whole number"
        case "float_type" | "float_parsing":
            return "a number"
        case "finite_number":
            return "a finite number"
        case "bool_type" | "bool_parsing":
            return "true or false"
        case "string_type":
            return "text"
        case "string_too_short":
            return f"text of {limits['min_length']} or more characters"
        case "greater_than":
            return f"above {limits['gt']:g}"
        case "greater_than_equal":
            return f"{limits['ge']:g} or more"
        case "less_than":
            return f"below {limits['lt']:g}"
        case "less_than_equal":
            return f"{limits['le']:g} or less"
        case "tuple_type" | "list_type":
            return "a list, in square brackets"
        case "too_short":
            return f"a list of at least {limits['min_length']}"
        case "too_long":
            return f"a list of at most {limits['max_length']}"
        case "dict_type":
            return "a mapping, such as {2: 100}"
        case "model_type" | "model_attributes_type" | "dict_attributes_type":
            blocks = [block for block in place.inside if _is_block(block)]
            return (
                f"a block of settings: {either(blocks[0].model_fields)}" if len(blocks) == 1 else "a block of settings"
            )
    return None


# How alike two words are, 0 to 1, if one is meant by the other; and how many places of a key are worth telling.
_ALIKE, _HOMES_TOLD = 0.75, 3

# What the literature and other programs call things, and what they are called here.
_SYNONYMS = {
    "bce": "cross_entropy",
    "minimax": "cross_entropy",
    "vanilla": "cross_entropy",
    "lsgan": "least_squares",
    "rsgan": "relativistic",
    "ragan": "relativistic_average",
    "rasgan": "relativistic_average",
    "wgan": "wasserstein",
    "wgan_gp": "wasserstein with regulariser: {kind: token_gradient_penalty, weight: 10}",
    "reinforce": "score_function",
    "policy_gradient": "score_function",
    "seqgan": "score_function with credit: rollouts",
    "maligan": "normalised_weights",
    "gumbel": "gumbel_softmax",
    "cnn": "convolutional",
    "conv": "convolutional",
    "rnn": "lstm",
    "gru": "lstm",
    "relational": "relational_memory",
    "rmc": "relational_memory",
    "mle": "likelihood",
    "ml": "likelihood",
    "pretrain": "likelihood",
    "pretraining": "likelihood",
    "gan": "adversarial",
    "char": "character",
    "words": "word",
    "bytes": "byte",
    "sentencepiece": "bpe",
    "subword": "bpe",
    "r1": "real_gradient",
    "gp": "gradient_penalty",
    "ema": "moving_average",
    "gpu": "cuda",
    "lr": "learning_rate",
    "batch_size": "size",
    "vocab_size": "vocabulary_size",
    "embedding_dim": "embedding",
    "embedding_size": "embedding",
    "hidden_size": "hidden",
    "num_layers": "layers",
    "grad_clip": "clip",
    "num_epochs": "epochs",
    "max_len": "max_length",
    "text_column": "column",
    "float32": "fp32",
    "bfloat16": "bf16",
    "fp16": "bf16",
}


def _choose(given: Any, words: Sequence[str]) -> str:
    """What to write instead of a word that is none of these."""
    word = str(given).lower().replace("-", "_").replace(" ", "_")
    known = _SYNONYMS.get(word, "")
    if known.partition(" ")[0] in words:
        return f"write {known}"
    near = difflib.get_close_matches(word, words, n=1, cutoff=_ALIKE)
    return f"did you mean {near[0]}?" if near else f"choose {either(words)}"


def _no_such_key(place: _Place, block: type[Settings]) -> str:
    key = place.keys[-1]
    having = [_kind(other) for other in place.instead if other is not block and key in other.model_fields]
    if having:
        named = next(name for name in reversed(place.keys[:-1]) if not name.isdecimal())
        others = " or ".join(f"{_article(kind)} {kind}" for kind in having if kind)
        kind = _kind(block) or ""
        return f"{_article(kind)} {kind} {named.removesuffix('s')} has no {key} ({others} one has)"
    key = _SYNONYMS.get(key, key)
    if near := difflib.get_close_matches(key, block.model_fields, n=1, cutoff=_ALIKE):
        return f"there is no such key: did you mean {near[0]}?"
    if homes := list(dict.fromkeys(_homes(place.root, key, ""))):
        return f"there is no such key here: write it as {either(homes[:_HOMES_TOLD])}"
    return f"there is no such key: choose {either(block.model_fields)}"


def _homes(annotation: Any, key: str, path: str) -> Iterator[str]:
    """Where in a tree of settings a key stands."""
    for member in _members(annotation):
        if not _is_block(member):
            # A tuple of blocks is written with the number of the first.
            arguments = get_args(member) if get_origin(member) is tuple else ()
            if arguments:
                yield from _homes(arguments[0], key, f"{path}0.")
            continue
        if key in member.model_fields:
            yield f"{path}{key}"
        for name in member.model_fields:
            for inner in _within(member, name):
                yield from _homes(inner, key, f"{path}{name}.")


def _kinds(blocks: tuple[Any, ...]) -> list[str]:
    return [kind for block in blocks if _is_block(block) and (kind := _kind(block))]


def _article(word: str) -> str:
    """A word without vowels is spelt out: an LSTM."""
    return "an" if word[0] in ("aeiou" if set(word) & set("aeiou") else "fhlmnrsx") else "a"
