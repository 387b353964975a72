"""Texts of a run's generator by the million: shared over workers, written in shards, resumed after a kill.

Text number n depends on the seed and n alone. So shards are fixed ranges of numbers, and whoever writes one writes the
same bytes, if on a like machine with as many threads; one that is there already, and they appear whole, is not written
again.

_request.json   what was asked for, written first       part-00000.parquet ...   the texts, so many in each
_SUCCESS        empty, written when all parts are there; names that begin with _ are none of the data, by convention
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain
from typing import Any

from lstmgan_dist.corpus.texts import SUFFIXES, Format, check_name, write_texts
from lstmgan_dist.corpus.tokenizer import OnUnknown
from lstmgan_dist.errors import UserError
from lstmgan_dist.evaluation.sampling import BLOCK, Sampling, blocks_of, rows, sample
from lstmgan_dist.runs.result import Result
from lstmgan_dist.runtime.local import two_threads_or_more
from lstmgan_dist.runtime.tasks import Watch, Workers
from lstmgan_dist.storage import Folder, write_file
from lstmgan_dist.training.brief import to_read

REQUEST, SUCCESS = "_request.json", "_SUCCESS"
TEXTS_PER_SHARD = 4 * BLOCK

_UNFINISHED = re.compile(r"\.part-\d+\.\w+\.\d+\.part")


@dataclass(frozen=True)
class Request:
    """Which texts are wanted.

    prompt: tokens that every text begins with, in front of those that are drawn.
    """

    result: Result
    count: int
    seed: int
    prompt: tuple[int, ...]
    sampling: Sampling

    def blocks(self, numbers: range) -> Iterator[list[str]]:
        """The texts of these numbers, which start where a block does, block by block."""
        result = self.result
        drawn = sample(
            result.generator,
            self.sampling,
            count=len(numbers),
            seed=self.seed,
            device=result.device,
            first=numbers.start,
        )
        while True:
            with two_threads_or_more():
                block = next(drawn, None)
            if block is None:
                return
            yield [result.tokenizer.decode([*self.prompt, *tokens]) for tokens in rows(block)]

    def described(self) -> dict[str, Any]:
        """As plain values: two requests with equal ones ask for the same texts."""
        return {
            "checkpoint": self.result.step,
            "weights": self.result.weights,
            "tokenizer": hashlib.sha256(self.result.tokenizer.to_json()).hexdigest(),
            "count": self.count,
            "seed": self.seed,
            "prompt": list(self.prompt),
            **{f"sampling_{name}": value for name, value in asdict(self.sampling).items()},
        }


def request_texts(
    result: Result,
    *,
    count: int,
    prompt: str,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    seed: int,
    max_length: int | None,
    on_unknown: OnUnknown,
    without_unknown: bool,
) -> Request:
    """A request for `count` texts.

    on_unknown: what becomes of parts of the prompt that the vocabulary lacks. without_unknown: `<unk>` is never drawn,
    unlike in the texts that are judged.

    Raises:
        UserError: if the prompt holds what the vocabulary lacks, or fills the sentence already.
    """
    job, tokenizer = result.run.job, result.tokenizer
    tokens = tokenizer.encode_prompt(prompt, on_unknown=on_unknown)
    sampling = replace(to_read(job, tokens, length=max_length), temperature=temperature, top_k=top_k, top_p=top_p)
    if job.corpus.layout == "sentences":
        left = sampling.length - len(tokens)
        if left < 1:
            raise UserError(
                f"The prompt has {len(tokens)} tokens, which leaves no room within {sampling.length}: "
                "shorten it, or raise --max-length."
            )
        sampling = replace(sampling, length=left)
    if without_unknown and tokenizer.unknown_id is not None:
        sampling = replace(sampling, suppress=(*sampling.suppress, tokenizer.unknown_id))
    return Request(result, count, seed, tuple(tokens), sampling)


def generate(request: Request, workers: Workers) -> Iterator[list[str]]:
    """The texts in order, block by block."""
    return workers.map_in_order(partial(_texts, request), blocks_of(request.count))


@dataclass(frozen=True)
class Written:
    """What has been written: so many texts.

    found: how many of them were there from before. broken: how many hold line breaks, in a file where each is a line.
    """

    count: int
    found: int = 0
    broken: int = 0


def write(request: Request, out: str, *, shards: Format, workers: Workers, watch: Watch) -> Written:
    """The texts in a file, or in a folder of shards if the name says no format: see `check_out`.

    Raises:
        UserError: if the folder holds something else.
    """
    if is_folder(out):
        folder = Folder(out, request.result.run.storage)
        return Written(request.count, found=write_shards(request, folder, shards, workers, watch))
    return Written(request.count, broken=write_one_file(request, out, workers, watch))


def is_folder(out: str) -> bool:
    """Whether texts go into a folder of this name, and not into a file."""
    return out.endswith("/") or not posixpath.splitext(out)[1]


def check_out(out: str) -> None:
    """See that texts can be written where this name says.

    Raises:
        UserError: if it names a format that there is not.
    """
    if not is_folder(out):
        check_name(out)


def write_one_file(request: Request, url: str, workers: Workers, watch: Watch) -> int:
    """The texts in a file of the format that its name says, which appears whole or not at all.

    Returns:
        How many texts hold line breaks, and are several lines where a text should be one.
    """
    broken = 0

    def counted() -> Iterator[list[str]]:
        nonlocal broken
        for texts in watch(generate(request, workers), len(blocks_of(request.count)), "generating"):
            broken += sum("\n" in text for text in texts)
            yield texts

    with write_file(url, request.result.run.storage) as file:
        write_texts(file, url, counted())
    return broken


def write_shards(request: Request, folder: Folder, format_: Format, workers: Workers, watch: Watch) -> int:
    """The texts in shards, written by the workers themselves; what an earlier call has finished is left alone.

    Returns:
        How many texts were found finished.

    Raises:
        UserError: if the folder holds something else than the beginning of just this.
    """
    wanted = {"format": format_, "texts_per_shard": TEXTS_PER_SHARD, **request.described()}
    wanted = json.loads(json.dumps(wanted))
    present = set(folder.list())
    if REQUEST in present:
        _refuse_other(folder, wanted)
    elif present:
        raise UserError(f"{folder} holds other files: choose another folder with --out.")
    shards = blocks_of(request.count, TEXTS_PER_SHARD)
    if SUCCESS in present:
        return request.count
    if REQUEST not in present:
        about = {"run": request.result.run.folder.url, **wanted}
        folder.write(REQUEST, (json.dumps(about, indent=1) + "\n").encode())
    missing = [(number, texts) for number, texts in enumerate(shards) if _name(number, format_) not in present]
    address = str(folder.local_path or folder)
    written = workers.map_in_order(partial(_write_shard, request, address, format_), missing)
    for _ in watch(written, len(missing), "generating"):
        pass
    for name in folder.list():
        if _UNFINISHED.fullmatch(name):
            folder.delete(name)
    folder.write(SUCCESS, b"")
    return request.count - sum(len(texts) for _, texts in missing)


def _refuse_other(folder: Folder, wanted: dict[str, Any]) -> None:
    found = json.loads(folder.read(REQUEST))
    different = [name for name, value in wanted.items() if found.get(name) != value]
    if different:
        raise UserError(
            f"{folder} holds the beginning of other texts ({_compared(different[0], found, wanted)}): repeat what was "
            f"asked for there (see {REQUEST}), or choose another folder with --out."
        )


def _compared(name: str, found: dict[str, Any], wanted: dict[str, Any]) -> str:
    return f"{name.replace('_', ' ')} {found.get(name)!s:.20} there, {wanted[name]!s:.20} here"


def _name(number: int, format_: Format) -> str:
    return f"part-{number:05d}{SUFFIXES[format_]}"


# --- what workers do -------------------------------------------------------------------------------------------------


def _texts(request: Request, numbers: range) -> list[str]:
    return list(chain.from_iterable(request.blocks(numbers)))


def _write_shard(request: Request, folder: str, format_: Format, shard: tuple[int, range]) -> None:
    number, texts = shard
    name = _name(number, format_)
    with Folder(folder, request.result.run.storage).create(name) as file:
        write_texts(file, name, request.blocks(texts))
