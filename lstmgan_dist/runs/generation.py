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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain
from typing import Any

from lstmgan_dist.corpus.texts import SUFFIXES, Format, check_name, write_texts
from lstmgan_dist.corpus.tokenizer import OnUnknown, Tokenizer
from lstmgan_dist.errors import UserError
from lstmgan_dist.evaluation.sampling import BLOCK, Sampling, blocks_of, rows, sample
from lstmgan_dist.models.drawing import END, Drawn, Given
from lstmgan_dist.runs.result import Result
from lstmgan_dist.runtime.local import two_threads_or_more
from lstmgan_dist.runtime.tasks import Watch, Workers
from lstmgan_dist.storage import Folder, open_file, write_file
from lstmgan_dist.training.brief import to_read

REQUEST, SUCCESS = "_request.json", "_SUCCESS"
TEXTS_PER_SHARD = 4 * BLOCK

# Files of these are for programs, and none of their lines is a prompt.
_WITH_COLUMNS = {".json", ".jsonl", ".csv", ".tsv", ".parquet", ".arrow"}
_UNFINISHED = re.compile(r"\.part-\d+\.\w+\.\d+\.part")


@dataclass(frozen=True)
class Request:
    """Which texts are wanted.

    count: texts of each prompt. prompts: tokens that texts begin with, or answer where the run answers; at least one.
    labels: tokens of the labels that texts have by turns. sampling: but for what is read first; its length is that of a
    whole text.
    """

    result: Result
    count: int
    seed: int
    prompts: tuple[tuple[int, ...], ...]
    labels: tuple[int, ...]
    sampling: Sampling

    @property
    def texts(self) -> int:
        """How many texts there will be."""
        return self.count * len(self.prompts)

    @property
    def label_names(self) -> list[str]:
        """The labels that texts have by turns, in words."""
        tokenizer = self.result.tokenizer
        return [tokenizer.labels[label - tokenizer.vocabulary_size] for label in self.labels]

    def blocks(self, numbers: range) -> Iterator[list[str]]:
        """The texts of these numbers, which start where a block does, block by block."""
        for part in self._parts(numbers):
            number = part.start
            drawn = self._drawn(part)
            while True:
                with two_threads_or_more():
                    block = next(drawn, None)
                if block is None:
                    break
                yield [self._text(number + place, tokens) for place, tokens in enumerate(rows(block))]
                number += len(block.lengths_B)

    def _parts(self, numbers: range) -> Iterator[range]:
        """Texts that are drawn together: one long text starts with its prompt, and not with an end mark before that."""
        if self._has_sentences or len(self.prompts) == 1:
            yield numbers
            return
        for start in range(numbers.start // self.count * self.count, numbers.stop, self.count):
            yield range(max(start, numbers.start), min(start + self.count, numbers.stop))

    def _drawn(self, numbers: range) -> Iterator[Drawn]:
        openings = [self._context(number) + self._begun(number) for number in self._different(numbers)]
        given, first = (None, openings[0]) if len(openings) == 1 else (Given.of(openings), ())
        length = self.sampling.length
        if self._has_sentences:
            length -= min(len(self._begun(number)) for number in self._different(numbers))
        return sample(
            self.result.generator,
            replace(self.sampling, length=length, prompt=((END,) if self._has_sentences else ()) + first or (END,)),
            count=len(numbers),
            seed=self.seed,
            device=self.result.device,
            first=numbers.start,
            given=given,
        )

    def _different(self, numbers: range) -> Iterable[int]:
        """Those of these numbers that show what all begin with: one where all begin alike, else all."""
        is_one = self._prompt(numbers.start) == self._prompt(numbers[-1]) and len(self.labels) < 2
        return numbers[:1] if is_one else numbers

    @property
    def _has_sentences(self) -> bool:
        return self.result.run.job.corpus.layout == "sentences"

    def _prompt(self, number: int) -> tuple[int, ...]:
        return self.prompts[number // self.count]

    def _begun(self, number: int) -> tuple[int, ...]:
        """What the text of a number begins with."""
        return () if self.result.run.answers else self._prompt(number)

    def _context(self, number: int) -> tuple[int, ...]:
        """What is read before it."""
        label = (self.labels[number % len(self.labels)],) if self.labels else ()
        if self.result.run.answers:
            return (*label, *self._prompt(number), END)
        return (*label, END) if label else ()

    def _text(self, number: int, tokens: list[int]) -> str:
        begun = self._begun(number)
        if self._has_sentences:  # texts of long prompts were drawn as long as those of short ones
            tokens = tokens[: self.sampling.length - len(begun)]
        return self.result.tokenizer.decode([*begun, *tokens])

    def described(self) -> dict[str, Any]:
        """As plain values: two requests with equal ones ask for the same texts."""
        prompts: Any = list(self.prompts[0])
        if len(self.prompts) > 1:
            prompts = hashlib.sha256(repr(self.prompts).encode()).hexdigest()
        return {
            "checkpoint": self.result.step,
            "weights": self.result.weights,
            "tokenizer": hashlib.sha256(self.result.tokenizer.to_json()).hexdigest(),
            "count": self.texts,
            "seed": self.seed,
            "prompt": prompts,
            **({"labels": list(self.labels)} if self.labels else {}),
            **{f"sampling_{name}": value for name, value in asdict(self.sampling).items()},
        }


def request_texts(
    result: Result,
    *,
    count: int,
    prompt: str | Sequence[str] = "",
    label: str | Sequence[str] | None = None,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    seed: int,
    max_length: int | None,
    on_unknown: OnUnknown,
    without_unknown: bool,
) -> Request:
    """A request for `count` texts of each prompt.

    prompt: one, or several. label: of texts that have one, or several by turns; None: all labels by turns.
    on_unknown: what becomes of parts of a prompt that the vocabulary lacks. without_unknown: `<unk>` is never drawn,
    unlike in the texts that are judged.

    Raises:
        UserError: if a prompt holds what the vocabulary lacks, is missing where the run answers, or is too long; or if
            there is no such label.
    """
    job, tokenizer = result.run.job, result.tokenizer
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    if not prompts:
        raise UserError("The list of prompts is empty: give one at least.")
    sampling = replace(to_read(job, (), length=max_length), temperature=temperature, top_k=top_k, top_p=top_p)
    if without_unknown and tokenizer.unknown_id is not None:
        sampling = replace(sampling, suppress=(*sampling.suppress, tokenizer.unknown_id))
    chosen = tokenizer.labels if label is None else [label] if isinstance(label, str) else label
    request = Request(
        result,
        count,
        seed,
        tuple(_encoded(tokenizer, prompt, on_unknown) for prompt in prompts),
        tuple(map(tokenizer.label_id, chosen)),
        sampling,
    )
    for number, (prompt, tokens) in enumerate(zip(prompts, request.prompts, strict=True), start=1):
        which = f"prompt {number} of {len(prompts):,}" if len(prompts) > 1 else "prompt"
        _check_prompt(request, tokens, f"{which} ({prompt.place})" if isinstance(prompt, PromptOfFile) else which)
    return request


class PromptOfFile(str):
    """A prompt that stands in a file. place: where, in words."""

    place: str

    def __new__(cls, text: str, place: str) -> PromptOfFile:
        prompt = super().__new__(cls, text)
        prompt.place = place
        return prompt


def _encoded(tokenizer: Tokenizer, prompt: str, on_unknown: OnUnknown) -> tuple[int, ...]:
    try:
        return tuple(tokenizer.encode_prompt(prompt, on_unknown=on_unknown))
    except UserError as error:
        if isinstance(prompt, PromptOfFile):
            raise UserError(f"{prompt.place}: {error}") from error
        raise


def read_prompts(prompt: str, url: str | None) -> Sequence[str]:
    """A prompt, or those in a file instead, one a line.

    Raises:
        UserError: if both are given, or the file is of no plain text, cannot be read or is empty.
    """
    if url is None:
        return [prompt]
    if prompt:
        raise UserError("--prompt and --prompts both say what texts begin with: leave out one of them.")
    if posixpath.splitext(url.lower())[1] in _WITH_COLUMNS:
        raise UserError(f"{url} is no plain text by its name: write prompts one a line, in a file such as prompts.txt.")
    try:
        with open_file(url) as file:
            lines = file.read().decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{url} is not valid UTF-8: save it as such.") from error
    except FileNotFoundError as error:
        raise UserError(f"There is no file of prompts {url}: check the path.") from error
    if not lines:
        raise UserError(f"{url} holds no prompts: write one a line.")
    return [PromptOfFile(line, f"{url}, line {number}") for number, line in enumerate(lines, start=1)]


def _check_prompt(request: Request, tokens: tuple[int, ...], which: str) -> None:
    run, length = request.result.run, request.sampling.length
    if run.answers:
        room = run.max_context - len(request.labels[:1]) - 1
        if not tokens:
            raise UserError(
                f"The {which} is empty, and {run.folder} answers: say what with --prompt, or --prompts FILE."
            )
        if len(tokens) > room:
            raise UserError(
                f"The {which} has {len(tokens)} tokens, and {run.folder} was trained on at most {room} "
                "(corpus.max_source_length): shorten it."
            )
    elif run.job.corpus.layout == "sentences" and len(tokens) >= length:
        raise UserError(
            f"The {which} has {len(tokens)} tokens, which leaves no room within {length}: "
            "shorten it, or raise --max-length."
        )


def generate(request: Request, workers: Workers) -> Iterator[list[str]]:
    """The texts in order, block by block."""
    return workers.map_in_order(partial(_texts, request), blocks_of(request.texts))


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
        return Written(request.texts, found=write_shards(request, folder, shards, workers, watch))
    return Written(request.texts, broken=write_one_file(request, out, workers, watch))


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
        for texts in watch(generate(request, workers), len(blocks_of(request.texts)), "generating"):
            broken += sum("\n" in text for text in texts)
            yield texts

    with write_file(url, request.result.run.storage) as file:
        write_texts(file, url, counted(), labels=request.label_names)
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
    shards = blocks_of(request.texts, TEXTS_PER_SHARD)
    if SUCCESS in present:
        return request.texts
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
    return request.texts - sum(len(texts) for _, texts in missing)


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
        write_texts(file, name, request.blocks(texts), labels=request.label_names, first=texts.start)
