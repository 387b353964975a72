"""Checkpoints that are either whole or absent: writing the manifest last commits one.

A checkpoint is a folder `step-00000120` of safetensors files and one `progress.json`, with a manifest of their sizes
and SHA-256 digests that is written last. What has no manifest that fits does not exist. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import safetensors.torch
from torch import Tensor

from lstmgan_dist.errors import UserError
from lstmgan_dist.storage import Folder, sha256_of

MANIFEST = "manifest.json"
PROGRESS = "progress.json"
FORMAT = 1

Tensors = Mapping[str, Tensor]


class BadCheckpointError(Exception):
    """A folder that is no whole checkpoint; the text says why."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose manifest fitted when it was opened."""

    step: int
    folder: Folder

    def progress(self) -> dict[str, Any]:
        """The counts that say where the run stood."""
        return json.loads(self.folder.read(PROGRESS))

    def __contains__(self, section: str) -> bool:
        return self.folder.exists(f"{section}.safetensors")

    def load(self, section: str) -> dict[str, Tensor]:
        """The tensors of one section, on the CPU."""
        return safetensors.torch.load(self.folder.read(f"{section}.safetensors"))

    def digest(self, section: str) -> str:
        """SHA-256 of a section's file."""
        return json.loads(self.folder.read(MANIFEST))["files"][f"{section}.safetensors"]["sha256"]


class Checkpoints:
    """The checkpoints of one run.

    folder: where they are. keep: how many of the newest survive pruning.
    """

    def __init__(self, folder: Folder, *, keep: int) -> None:
        self.folder = folder
        self.keep = keep

    def save(self, step: int, sections: Mapping[str, Tensors], progress: Mapping[str, Any]) -> None:
        """Write a checkpoint; it exists from the moment its manifest is written.

        Raises:
            OSError: if the storage does not take it; every earlier checkpoint is untouched.
        """
        folder = self.folder / _name(step)
        # What an attempt that was killed left under this name must not be taken for this one while it is half-written.
        folder.delete(MANIFEST)
        contents = {f"{section}.safetensors": _serialise(tensors) for section, tensors in sections.items()}
        contents[PROGRESS] = json.dumps(progress, indent=1).encode()
        files = {}
        for name, content in contents.items():
            folder.write(name, content)
            files[name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        manifest = {"format": FORMAT, "step": step, "files": files}
        folder.write(MANIFEST, json.dumps(manifest, indent=1).encode())

    def prune(self, protected: Collection[int]) -> None:
        """Delete all but the newest `keep` committed checkpoints and the protected ones."""
        committed = [step for step in self.steps() if (self.folder / _name(step)).exists(MANIFEST)]
        for step in set(committed[: -self.keep]) - set(protected):
            self._delete(step)

    def delete_after(self, newest: int) -> None:
        """Delete what is beyond a step: it was left by a run that was shorter then, and has been extended."""
        for step in self.steps():
            if step > newest:
                self._delete(step)

    def _delete(self, step: int) -> None:
        folder = self.folder / _name(step)
        folder.delete(MANIFEST)
        folder.delete()

    def steps(self) -> list[int]:
        """Steps of all checkpoint folders, whole or not, ascending."""
        names = (name.removeprefix("step-") for name in self.folder.list() if name.startswith("step-"))
        return sorted(int(name) for name in names if name.isdigit())

    def open(self, step: int) -> Checkpoint:
        """The checkpoint of a step.

        Raises:
            UserError: if there is none, or it is not whole.
        """
        if step not in self.steps():
            known = ", ".join(map(str, self.steps())) or "none"
            raise UserError(f"{self.folder} has no checkpoint of step {step}: there are {known}.")
        try:
            return _verified_again(step, self.folder / _name(step))
        except BadCheckpointError as error:
            raise UserError(f"The checkpoint {self.folder.path(_name(step))} cannot be used: {error}.") from error

    def newest(self, *, warn: Callable[[str], None]) -> Checkpoint | None:
        """The newest whole checkpoint, or None; those passed over are named to `warn`, with the reason."""
        return next(self.newest_first(warn=warn), None)

    def newest_first(self, *, warn: Callable[[str], None]) -> Iterator[Checkpoint]:
        """The whole checkpoints, the newest first; see `newest`."""
        for step in reversed(self.steps()):
            try:
                yield _verified_again(step, self.folder / _name(step))
            except BadCheckpointError as error:
                warn(f"Passing over the checkpoint {self.folder.path(_name(step))}: {error}.")


def snapshot(sections: Mapping[str, Tensors]) -> dict[str, dict[str, Tensor]]:
    """Copies in host memory, which training no longer changes."""
    return {
        section: {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}
        for section, tensors in sections.items()
    }


def digest_of(tensors: Tensors) -> str:
    """What `Checkpoint.digest` says of a section with these tensors."""
    return hashlib.sha256(_serialise(tensors)).hexdigest()


def open_checkpoint(folder: Folder) -> Checkpoint:
    """The checkpoint in a folder.

    Raises:
        UserError: if it is not whole.
    """
    try:
        return _verified_again(int(folder.name.removeprefix("step-")), folder)
    except (BadCheckpointError, ValueError) as error:
        raise UserError(f"{folder} is not a whole checkpoint: {error}.") from error


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _serialise(tensors: Tensors) -> bytes:
    return safetensors.torch.save({name: tensor.contiguous() for name, tensor in tensors.items()})


def _verified_again(step: int, folder: Folder) -> Checkpoint:
    """The checkpoint in a folder; where it seems damaged it is read again, for it may be the reading that failed."""
    try:
        return _verified(step, folder)
    except BadCheckpointError:
        return _verified(step, folder)


def _verified(step: int, folder: Folder) -> Checkpoint:
    if not folder.exists(MANIFEST):
        raise BadCheckpointError("it has no manifest, so it was never finished")
    try:
        manifest = json.loads(folder.read(MANIFEST))
        version, files = manifest["format"], dict(manifest["files"])
        expected = {str(name): (int(entry["size"]), str(entry["sha256"])) for name, entry in files.items()}
    except (ValueError, KeyError, TypeError) as error:
        raise BadCheckpointError("its manifest is damaged") from error
    if version != FORMAT:
        raise BadCheckpointError(f"its format is {version}, and this program reads format {FORMAT}")
    # Only listed files are ever opened, but a stranger among them means that somebody else wrote here.
    sizes = folder.sizes()
    for name in {*expected, *sizes} - {MANIFEST}:
        if not name.endswith((".safetensors", ".json", ".part")):
            raise BadCheckpointError(f"it holds {name}, which is neither safetensors nor JSON and could be a pickle")
    if PROGRESS not in expected:
        raise BadCheckpointError(f"its manifest does not list {PROGRESS}")
    for name, (size, digest) in expected.items():
        if name not in sizes:
            raise BadCheckpointError(f"{name} is missing")
        if sizes[name] != size:
            raise BadCheckpointError(f"{name} has {sizes[name]} bytes instead of {size}")
        with folder.open(name) as file:
            if sha256_of(file) != digest:
                raise BadCheckpointError(f"{name} does not match its checksum")
    return Checkpoint(step, folder)
