"""Job files: read, changed on the command line, checked, written, and compared."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from lstmgan_dist.config.explain import explain
from lstmgan_dist.config.job import Job
from lstmgan_dist.config.training import Frontier
from lstmgan_dist.errors import UserError
from lstmgan_dist.nested import leaves
from lstmgan_dist.settings import RESOLVED, Settings

Block = TypeVar("Block", bound=Settings)


def from_options(block: type[Block], given: Mapping[str, Any], options: Mapping[str, str]) -> Block:
    """Settings that a command line gives. options: what each of them is called there, by its dotted key.

    Raises:
        UserError: in one line that names the option which will not do.
    """
    try:
        return block.model_validate(given)
    except ValidationError as error:
        raise UserError(explain(error, block, options)) from error


def check_frontier(*, temperatures: tuple[float, ...], seeds: int, samples: int) -> Frontier:
    """How thoroughly to judge, as a command line gives it.

    Raises:
        UserError: naming the option that is out of range.
    """
    given = {"temperatures": temperatures, "seeds": seeds, "samples": samples}
    return from_options(Frontier, given, {name: f"--{name}" for name in given})


def read_job(
    job: str | os.PathLike[str] | Mapping[str, Any] | Job, changed: Mapping[str, Any] | Sequence[str] = ()
) -> Job:
    """A job that is given as a file, as what such a file holds, or as a job; with some settings changed.

    changed: values by their dotted keys, or `KEY=VALUE` in YAML, as on a command line.

    Raises:
        UserError: with the key, the value and what would do.
    """
    if isinstance(job, Job):
        return parse_job(dump_job(job), name=job.name, overrides=changed)
    if isinstance(job, Mapping):
        return _checked(_plain(job), "the job", changed)
    return load_job(job, changed)


def load_job(path: str | os.PathLike[str], overrides: Mapping[str, Any] | Sequence[str] = ()) -> Job:
    """Read a job file, apply overrides in order, as in `read_job`, and check everything.

    Raises:
        UserError: with the file, the key, the value and what would do.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UserError(f"The job file {path} cannot be read: {reason}.") from error
    return parse_job(text, name=str(path), overrides=overrides)


def parse_job(text: str, *, name: str, overrides: Mapping[str, Any] | Sequence[str] = ()) -> Job:
    """Like `load_job`, from the YAML itself; `name` stands for the file in messages."""
    try:
        tree = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{name}{where}: {_of_yaml(error)}.") from error
    if not isinstance(tree, dict):
        raise UserError(
            f"{name}: a job file is a mapping of settings, such as name: my-run, but this is something else."
        )
    return _checked(tree, name, overrides)


def _checked(tree: dict[str, Any], name: str, overrides: Mapping[str, Any] | Sequence[str]) -> Job:
    """The job that a tree of settings is, which the overrides change."""
    changed: Iterable[tuple[str, str, Any]]
    if isinstance(overrides, Mapping):
        changed = [(f"set {path}", path, _plain(value)) for path, value in overrides.items()]
    else:
        changed = map(_parsed, overrides)
    for said, path, value in changed:
        _set(tree, said, path, value)
    # Older versions wrote what a kind has no use for, with its default, among all the others.
    context = RESOLVED if tree.keys() >= _ALWAYS_WRITTEN else None
    if context:
        tree["batch"].pop("accumulate", None)  # which has become `units`
    try:
        return Job.model_validate(tree, context=context)
    except ValidationError as error:
        mistakes = explain(error, Job).splitlines()
        raise UserError("\n".join(f"{name}: {mistake}" for mistake in mistakes)) from error


def _of_yaml(error: yaml.YAMLError) -> str:
    problem = getattr(error, "problem", error)
    return (
        str(problem) if isinstance(error, yaml.constructor.ConstructorError) else f"this is not valid YAML: {problem}"
    )


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping, of which YAML would take the last and say nothing."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key.value} stands twice in one block: leave one of them out",
                    problem_mark=key.start_mark,
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


# Keys that every version of `dump_job` has written and nobody writes by hand, all of them.
_ALWAYS_WRITTEN = {"name", "seed", "corpus", "batch", "generator", "discriminator", "phases", "evaluate", "guard"}
_ALWAYS_WRITTEN |= {"checkpoint", "log", "device", "precision"}


def _plain(value: Any) -> Any:
    """Settings that a program gives, as a file has them."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _parsed(override: str) -> tuple[str, str, Any]:
    """What one `a.b=VALUE` is called in messages, its path and its value."""
    path, equals, value = override.partition("=")
    if not equals or not path:
        raise UserError(f"--set {override}: write it as key=value, for example --set batch.size=32.")
    try:
        return f"--set {override}", path, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UserError(f"--set {override}: {value!r} is not valid YAML.") from error


def _set(tree: dict[str, Any], said: str, path: str, value: Any) -> None:
    """Give a setting another value; numbers name list entries: phases.0.epochs."""
    *parents, last = path.split(".")
    node: Any = tree
    try:
        for key in parents:
            node = node[int(key)] if isinstance(node, list) else node.setdefault(key, {})
        if isinstance(node, list):
            node[int(last)] = value
        else:
            node[last] = value
    except (ValueError, IndexError, TypeError, AttributeError) as error:
        raise UserError(f"{said}: the job has no place called {path}.") from error


def dump_job(job: Job) -> str:
    """The job as resolved, in YAML that `parse_job` reads back to an equal job; without settings that have no use."""
    return yaml.safe_dump(job.model_dump(), sort_keys=False, allow_unicode=True, width=120)


def chosen(settings: Settings) -> dict[str, Any]:
    """What settings are unlike their defaults, as a file has them: a file with these alone gives equal settings."""
    written = settings.model_dump(mode="json")
    fields, values = type(settings).model_fields, dict(settings)
    return {
        name: _chosen(values[name], plain)
        for name, plain in sorted(written.items(), key=lambda item: item[0] != "kind")
        if name == "kind" or values[name] != fields[name].get_default(call_default_factory=True, validated_data=values)
    }


def _chosen(value: Any, written: Any) -> Any:
    if isinstance(value, Settings) and isinstance(written, dict):
        return chosen(value)
    if isinstance(value, tuple):
        return [_chosen(*pair) for pair in zip(value, written, strict=True)]
    return written


def differences(old: Job, new: Job) -> list[str]:
    """What differs between the results of two jobs, one line a key: `batch.size: 64 -> 32`.

    How a storage is reached changes no result, nor what is computed twice.
    """
    without = {"storage": True, "guard": {"repeat_every"}}
    before, after = (leaves(job.model_dump(exclude=without)) for job in (old, new))
    return [
        f"{key}: {before.get(key, 'absent')} -> {after.get(key, 'absent')}"
        for key in (*before, *(key for key in after if key not in before))
        if before.get(key, "absent") != after.get(key, "absent")
    ]
