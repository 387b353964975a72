"""Corpora of synthetic text, which keep with them where it is from, so that its likelihood stays known.

`oracle:length=20,seed=1,count=10000,vocabulary=5000,hidden=32` is text of a random LSTM, `grammar:seed=1,count=10000`
text of a little English grammar; `count` is the number of training texts, and that of held-out texts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import safetensors.torch
from safetensors import SafetensorError

from lstmgan_dist import __version__
from lstmgan_dist.addresses import SYNTHETIC, scheme_of
from lstmgan_dist.corpus.manifest import SPLITS, TOKENIZER, PreparedCorpus, Split, fingerprint_of, write_manifest
from lstmgan_dist.corpus.prepare import ORACLE, ORACLE_WEIGHTS, PreparationProgress, replacing
from lstmgan_dist.corpus.shards import SplitWriter
from lstmgan_dist.corpus.tokenizer import Encoded, Tokenizer
from lstmgan_dist.corpus.tokenizers.word import word_tokenizer
from lstmgan_dist.corpus.views import Views
from lstmgan_dist.errors import UserError
from lstmgan_dist.evaluation.grammar import ENGLISH, Grammar
from lstmgan_dist.evaluation.oracle import HIDDEN, Oracle
from lstmgan_dist.evaluation.texts import Texts
from lstmgan_dist.runtime.randomness import derive
from lstmgan_dist.storage import Folder
from lstmgan_dist.tokens import END_ID

LONGEST = 39  # words of a grammar's sentence; longer ones, some two in a thousand, are drawn again

_DEFAULTS = {
    "oracle": {"length": 20, "seed": 1, "count": 10_000, "vocabulary": 5000, "hidden": HIDDEN},
    "grammar": {"seed": 1, "count": 10_000},
}


def is_synthetic(source: str) -> bool:
    """Whether the source of a corpus is one of those here."""
    return scheme_of(source) in SYNTHETIC


def prepare_synthetic(source: str, folder: Folder, *, report: Callable[[PreparationProgress], None]) -> PreparedCorpus:
    """Draw the text of a source into a corpus, its manifest last; an older corpus there is replaced.

    Raises:
        UserError: naming the option that is unknown or out of range.
    """
    kind, options = _parsed(source)
    writer = _WRITERS[kind](options)
    tokenizer = word_tokenizer(writer.words, Views())
    splits: dict[str, Split] = {}
    drawn_again = bytes_done = 0
    with replacing(folder):
        for name, content in {TOKENIZER: tokenizer.to_json(), **writer.files}.items():
            folder.write(name, content)
        for name in SPLITS:
            texts, too_long = writer.draw(derive(options["seed"], name))
            splits[name] = _write_split(texts, name, tokenizer, folder)
            drawn_again += too_long
            bytes_done += sum(shard.size for shard in splits[name].shards)
            report(PreparationProgress("drawing", bytes_done, bytes_done * len(SPLITS) // len(splits)))
        corpus = PreparedCorpus(
            folder=folder,
            layout="sentences",
            max_length=writer.longest + 1,
            token_type="uint16" if tokenizer.token_type == np.uint16 else "uint32",
            tokenizer=tokenizer,
            splits=splits,
            fingerprint="",
            made={
                "by": f"lstmgan-dist {__version__}",
                "source": f"{kind}:{','.join(f'{name}={value}' for name, value in options.items())}",
                "bad_text": {"cases": []},
                "long_text": {"drawn again": drawn_again, "cases": []},
                "unknown_tokens": dict.fromkeys(SPLITS, 0),
            },
        )
        corpus = replace(corpus, fingerprint=fingerprint_of(corpus))
        write_manifest(corpus)
    return corpus


def synthetic_key(source: str) -> str:
    """A key for a cache of corpora: equal for sources that write equal text.

    Raises:
        UserError: naming the option that is unknown or out of range.
    """
    kind, options = _parsed(source)
    return hashlib.sha256(repr((__version__, kind, sorted(options.items()))).encode()).hexdigest()[:32]


def read_oracle(corpus_folder: Folder) -> Oracle | Grammar | None:
    """What wrote the text of a prepared corpus; None where it is not synthetic.

    Raises:
        UserError: if what the corpus keeps of it is damaged.
    """
    if not corpus_folder.exists(ORACLE):
        return None
    try:
        record = json.loads(corpus_folder.read(ORACLE))
        if record["kind"] == "grammar":
            return Grammar(record["rules"])
        options = {name: record[name] for name in ("length", "seed", "vocabulary", "hidden") if name in record}
        oracle = Oracle(**options)
        oracle.generator.load_state_dict(safetensors.torch.load(corpus_folder.read(ORACLE_WEIGHTS)))
    except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError, FileNotFoundError) as error:
        raise UserError(
            f"{corpus_folder.path(ORACLE)} or {ORACLE_WEIGHTS} beside it is damaged: prepare the corpus again."
        ) from error
    return oracle


@dataclass(frozen=True)
class _Writer:
    """What writes the text.

    longest: words of a text. files: what the corpus keeps of it, by name. draw: from a seed, as many texts as the
    options say, and the number of those that were too long to be among them.
    """

    words: tuple[str, ...]
    longest: int
    files: Mapping[str, bytes]
    draw: Callable[[int], tuple[Texts, int]]


def _lstm(options: Mapping[str, int]) -> _Writer:
    sizes = {name: options[name] for name in ("length", "seed", "vocabulary", "hidden")}
    oracle = Oracle(**sizes)
    files = {
        ORACLE: _json({"kind": "oracle", **options}),
        ORACLE_WEIGHTS: safetensors.torch.save(oracle.generator.state_dict()),
    }
    return _Writer(oracle.words, oracle.length, files, lambda seed: (oracle.draw(options["count"], seed), 0))


def _grammar(options: Mapping[str, int]) -> _Writer:
    number = {word: index for index, word in enumerate(ENGLISH.words, start=2)}

    def draw(seed: int) -> tuple[Texts, int]:
        sentences = ENGLISH.sentences(seed)
        rows: list[list[int]] = []
        too_long = 0
        while len(rows) < options["count"]:
            sentence = next(sentences)
            if len(sentence) <= LONGEST:
                rows.append([number[word] for word in sentence])
            else:
                too_long += 1
        return Texts.of(rows), too_long

    about = {"length": LONGEST, "vocabulary": len(number), **options, "rules": ENGLISH.rules}
    return _Writer(ENGLISH.words, LONGEST, {ORACLE: _json({"kind": "grammar", **about})}, draw)


_WRITERS = {"oracle": _lstm, "grammar": _grammar}


def _json(record: dict[str, Any]) -> bytes:
    return (json.dumps(record, ensure_ascii=False) + "\n").encode()


def _write_split(texts: Texts, name: str, tokenizer: Tokenizer, folder: Folder) -> Split:
    """Shards of the texts as they read with a space between words."""
    lengths_N = texts.lengths_N + 1
    tokens_T = np.full(lengths_N.sum(), END_ID, tokenizer.token_type)
    inside_T = np.ones(len(tokens_T), bool)
    inside_T[np.cumsum(lengths_N) - 1] = False
    tokens_T[inside_T] = texts.tokens_T
    # A space or the line end follows every word.
    characters_V = np.array([len(word) + 1 for word in tokenizer.tokens])
    out = SplitWriter(folder, name, "sentences", tokenizer.token_type)
    out.add(Encoded(tokens_T, lengths_N), int(characters_V[texts.tokens_T].sum()))
    return out.close()


def _parsed(source: str) -> tuple[str, dict[str, int]]:
    """The kind of a source, and all its options."""
    kind = scheme_of(source)
    _, _, text = source.partition(":")
    options = dict(_DEFAULTS[kind])
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        if name not in options:
            raise UserError(f"{source} has the option {name!r}, which is none of {', '.join(options)}: leave it out.")
        least = 0 if name == "seed" else 1
        if not value.isdecimal() or int(value) < least:
            raise UserError(
                f"{source} has the {name} {value!r}, which is no whole number from {least} on: "
                f"write {name}={_DEFAULTS[kind][name]}, for example."
            )
        options[name] = int(value)
    return kind, options
