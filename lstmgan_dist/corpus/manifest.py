"""A prepared corpus as it lies in its folder: token shards, tokenizer.json, and manifest.json, which is written last.

A shard is an Arrow IPC file with one column, `tokens`, of lists of 16-bit (or 32-bit) ids. Its record batches are the
corpus's *blocks*. In the layout `sentences` a list is one sentence with its end mark; in `continuous` every block holds
one list, a stretch of the one long text.

A sentence may have a context, which is read and not learnt: its label, or what it answers, or both. It stands before
the sentence in the same list, with an end mark of its own, and a second column, `starts`, says how many tokens it has.
labels.json then says what labels there are, with their tokens and how many texts have each.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from lstmgan_dist.corpus.tokenizer import Encoded, Tokenizer
from lstmgan_dist.errors import UserError
from lstmgan_dist.storage import Folder, sha256_of

MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"
LABELS = "labels.json"
FORMAT = "lstmgan corpus 1"
SPLITS = ("train", "heldout")

Layout = Literal["sentences", "continuous"]


@dataclass(frozen=True)
class Block:
    """One record batch: what it holds, contexts too, and its bytes [start, stop) in the shard with their CRC-32."""

    rows: int
    tokens: int
    start: int
    stop: int
    crc32: int


@dataclass(frozen=True)
class Shard:
    """One file of blocks."""

    name: str
    size: int
    sha256: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Split:
    """Text for one purpose.

    rows: sentences, or stretches of the continuous text. tokens: end marks included, contexts not.
    characters: of the text, and one for every end mark (a line end).
    """

    rows: int
    tokens: int
    characters: int
    shards: tuple[Shard, ...]

    @cached_property
    def blocks(self) -> tuple[tuple[Shard, Block], ...]:
        """All blocks in order, with the shard that each is in."""
        return tuple((shard, block) for shard in self.shards for block in shard.blocks)

    @cached_property
    def block_rows(self) -> np.ndarray:
        """Rows of each block, int64."""
        return np.array([block.rows for _, block in self.blocks], np.int64)

    @cached_property
    def block_tokens(self) -> np.ndarray:
        """Tokens of each block, int64."""
        return np.array([block.tokens for _, block in self.blocks], np.int64)


@dataclass(frozen=True)
class PreparedCorpus:
    """A corpus ready to be read.

    max_length: tokens of the longest sentence, or of one stretch of backpropagation (continuous). max_context: tokens
    of the longest context, its end mark included; 0 where there are none.
    fingerprint: equal for equal tokens in equal order under an equal tokenizer, and only then.
    made: how it was made, what was left out and the first cases: for people.
    """

    folder: Folder
    layout: Layout
    max_length: int
    token_type: Literal["uint16", "uint32"]
    tokenizer: Tokenizer
    splits: dict[str, Split]
    fingerprint: str
    made: dict[str, Any]
    max_context: int = 0

    @property
    def schema(self) -> pa.Schema:
        """The schema of every shard."""
        return schema_of(self.token_type, has_contexts=self.max_context > 0)

    @property
    def longest_row(self) -> int:
        """Tokens of the longest sentence with its context, or of one stretch of backpropagation."""
        return self.max_context + self.max_length

    def read_blocks(self, split: str, numbers: Sequence[int]) -> list[Encoded]:
        """Blocks by their number.

        Local shards are mapped into memory only while the blocks are in use; remote ones are read in ranges.

        Raises:
            UserError: naming the shard, if a block is not what the manifest says.
        """
        wanted = [self.splits[split].blocks[number] for number in numbers]
        return [
            self._parse(shard, block, content)
            for (shard, block), content in zip(wanted, self._fetch(wanted), strict=True)
        ]

    def verify(self) -> None:
        """Check every byte of every shard.

        Raises:
            UserError: naming the first shard that does not fit.
        """
        for split in self.splits.values():
            for shard in split.shards:
                with self.folder.open(shard.name) as file:
                    if sha256_of(file) != shard.sha256:
                        raise self._damaged(shard, "its SHA-256 is not that of the manifest")

    def _fetch(self, wanted: Sequence[tuple[Shard, Block]]) -> list[pa.Buffer]:
        local = self.folder.local_path
        try:
            if local is None:
                parts = self.folder.read_ranges([(shard.name, block.start, block.stop) for shard, block in wanted])
                return [pa.py_buffer(part) for part in parts]
            maps = {
                name: pa.memory_map(str(local / name)).read_buffer() for name in {shard.name for shard, _ in wanted}
            }
            return [maps[shard.name].slice(block.start, block.stop - block.start) for shard, block in wanted]
        except FileNotFoundError as error:
            raise UserError(f"{self.folder}: a shard is missing: {error}; prepare the corpus again.") from error

    def _parse(self, shard: Shard, block: Block, content: pa.Buffer) -> Encoded:
        if zlib.crc32(content) != block.crc32:
            raise self._damaged(shard, f"bytes {block.start} to {block.stop} do not fit their checksum")
        lists, *starts = pa.ipc.read_record_batch(pa.ipc.read_message(content), self.schema).columns
        lengths_N, tokens_T = np.diff(lists.offsets.to_numpy()).astype(np.int64), lists.values.to_numpy()
        if (len(lengths_N), len(tokens_T)) != (block.rows, block.tokens):
            raise self._damaged(shard, f"a block has {len(lengths_N)} rows and {len(tokens_T)} tokens")
        return Encoded(tokens_T, lengths_N, starts[0].to_numpy().astype(np.int64) if starts else None)

    def _damaged(self, shard: Shard, what: str) -> UserError:
        return UserError(f"{self.folder.path(shard.name)} is damaged ({what}): prepare the corpus again.")


def schema_of(token_type: str, *, has_contexts: bool) -> pa.Schema:
    """A column of token lists, and one of the lengths of their contexts where they have any."""
    tokens = pa.field("tokens", pa.list_(pa.type_for_alias(token_type)), nullable=False)
    return pa.schema([tokens, pa.field("starts", pa.int32(), nullable=False)] if has_contexts else [tokens])


def is_prepared(folder: Folder) -> bool:
    """Whether a finished corpus lies in the folder."""
    return folder.exists(MANIFEST) and folder.exists(TOKENIZER)


def open_corpus(folder: Folder) -> PreparedCorpus:
    """A prepared corpus, checked as far as that is cheap: the manifest, the tokenizer, and every shard's size.

    Raises:
        UserError: if there is no finished corpus in the folder, or a file does not fit the manifest.
    """
    if not folder.exists(MANIFEST):
        raise UserError(f"{folder} holds no prepared corpus (there is no {MANIFEST}): run lstmgan prepare.")
    try:
        manifest = json.loads(folder.read(MANIFEST))
        if manifest["format"] != FORMAT:
            raise UserError(
                f"{folder.path(MANIFEST)} is of format {manifest['format']!r}, this program reads {FORMAT!r}."
            )
        splits = {name: _split(value) for name, value in manifest["splits"].items()}
        tokenizer_json = folder.read(TOKENIZER)
        if hashlib.sha256(tokenizer_json).hexdigest() != manifest["tokenizer"]["sha256"]:
            raise UserError(f"{folder.path(TOKENIZER)} does not fit the manifest beside it: prepare the corpus again.")
        corpus = PreparedCorpus(
            folder=folder,
            layout=manifest["layout"],
            max_length=manifest["max_length"],
            token_type=manifest["token_type"],
            tokenizer=Tokenizer.from_json(tokenizer_json),
            splits=splits,
            fingerprint=manifest["fingerprint"],
            made=manifest["made"],
            max_context=manifest.get("max_context", 0),
        )
    except FileNotFoundError as error:
        raise UserError(f"{folder} lacks {TOKENIZER}: prepare the corpus again.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{folder.path(MANIFEST)} is damaged: prepare the corpus again.") from error
    if fingerprint_of(corpus) != corpus.fingerprint:
        raise UserError(f"{folder.path(MANIFEST)} does not fit its own fingerprint: prepare the corpus again.")
    sizes = folder.sizes()
    for split in splits.values():
        for shard in split.shards:
            size = sizes.get(shard.name)
            if size != shard.size:
                state = "is missing" if size is None else f"has {size} bytes instead of {shard.size}"
                raise UserError(f"{folder.path(shard.name)} {state}: prepare the corpus again.")
    return corpus


def write_manifest(corpus: PreparedCorpus) -> None:
    """Declare a corpus finished."""
    manifest = {
        "format": FORMAT,
        "fingerprint": corpus.fingerprint,
        "layout": corpus.layout,
        "max_length": corpus.max_length,
        **({"max_context": corpus.max_context} if corpus.max_context else {}),
        "token_type": corpus.token_type,
        "tokenizer": {
            "file": TOKENIZER,
            "sha256": hashlib.sha256(corpus.tokenizer.to_json()).hexdigest(),
            "kind": corpus.tokenizer.kind,
            "vocabulary_size": corpus.tokenizer.vocabulary_size,
        },
        "splits": {name: _plain(split) for name, split in corpus.splits.items()},
        "made": corpus.made,
    }
    corpus.folder.write(MANIFEST, (json.dumps(manifest, ensure_ascii=False) + "\n").encode())


def fingerprint_of(corpus: PreparedCorpus) -> str:
    """A hash of everything that determines which tokens are read in which order, but for the job's own settings."""
    parts = [FORMAT, corpus.layout, corpus.max_length, corpus.token_type]
    parts.append(hashlib.sha256(corpus.tokenizer.to_json()).hexdigest())
    parts += [(name, shard.sha256) for name in SPLITS for shard in corpus.splits[name].shards]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _plain(split: Split) -> dict[str, Any]:
    """A split as JSON, one list of five numbers a block."""
    plain = asdict(split)
    for shard in plain["shards"]:
        shard["blocks"] = [list(block.values()) for block in shard["blocks"]]
    return plain


def _split(plain: dict[str, Any]) -> Split:
    shards = tuple(
        Shard(shard["name"], shard["size"], shard["sha256"], tuple(Block(*block) for block in shard["blocks"]))
        for shard in plain["shards"]
    )
    return Split(plain["rows"], plain["tokens"], plain["characters"], shards)
