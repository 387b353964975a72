"""What preparing makes of text: the same bytes however many read, and a mistake in one line.

Also for corpus/manifest.py and corpus/splits.py, which say what there is and which part of it is held out.
"""

import json
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tokenizers

from lstmgan_dist.corpus import chunks, shards
from lstmgan_dist.corpus.passes import numbered_chunks
from lstmgan_dist.corpus.prepare import (
    PreparationProgress,
    PreparedCorpus,
    content_key,
    encode_sentences,
    is_prepared,
    open_corpus,
    prepare,
)
from lstmgan_dist.corpus.settings import Corpus, TokenizerSettings
from lstmgan_dist.corpus.sources import find_sources
from lstmgan_dist.corpus.splits import heldout_fraction
from lstmgan_dist.errors import UserError
from lstmgan_dist.runtime.tasks import Threads
from lstmgan_dist.storage import Folder
from tests.corpus.numbered import numbered_sentences, tokenizer_settings

Write = Callable[..., str]
Prepare = Callable[..., PreparedCorpus]


def rows_of(corpus: PreparedCorpus, split: str) -> list[list[int]]:
    """The token lists of a split, as any Arrow reader sees them."""
    rows: list[list[int]] = []
    for shard in corpus.splits[split].shards:
        with corpus.folder.open(shard.name) as file:
            rows += pa.ipc.open_file(file).read_all()["tokens"].to_pylist()
    return rows


def texts_of(corpus: PreparedCorpus, split: str) -> list[str]:
    return [corpus.tokenizer.decode(row) for row in rows_of(corpus, split)]


def text_of(corpus: PreparedCorpus, split: str) -> str:
    """A continuous text of characters, bytes or byte pairs, with | for its end marks."""
    tokens = [token for row in rows_of(corpus, split) for token in row]
    parts, start = [], 0
    for index, token in enumerate([*tokens, 0]):
        if token == 0:
            parts.append(corpus.tokenizer.decode(tokens[start:index]))
            start = index + 1
    return "|".join(parts)


# --- what comes out --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["character", "byte", "word", "bpe"])
def test_every_sentence_is_encoded_once_in_order(text_file: Write, prepared: Prepare, kind: str):
    content = numbered_sentences(700)
    corpus = prepared(source=text_file(content), max_length=100, tokenizer=tokenizer_settings(kind, 1000))
    library = tokenizers.Tokenizer.from_file(f"{corpus.folder}/tokenizer.json")
    expected = [[*encoding.ids, 0] for encoding in library.encode_batch(content.splitlines())]
    assert rows_of(corpus, "train") == expected
    split = corpus.splits["train"]
    assert (split.rows, split.tokens, split.characters) == (700, sum(map(len, expected)), len(content))
    assert corpus.splits["heldout"].rows == 0


def test_what_prepare_returns_is_what_open_corpus_reads(text_file: Write, prepared: Prepare):
    made = prepared(source=text_file(numbered_sentences(50)), heldout_fraction=0.3)
    opened = open_corpus(made.folder)
    for name in ("layout", "max_length", "token_type", "splits", "fingerprint", "made"):
        assert getattr(opened, name) == getattr(made, name)
    assert opened.tokenizer.to_json() == made.tokenizer.to_json()
    opened.verify()


@pytest.mark.slow
def test_tokens_take_16_bits_where_the_vocabulary_allows(text_file: Write, prepared: Prepare):
    corpus = prepared(source=text_file("a b\n"))
    with corpus.folder.open("train-00000.arrow") as file:
        assert pa.ipc.open_file(file).schema.field("tokens").type == pa.list_(pa.uint16())
    wide = "".join(f"w{index}\n" for index in range(70_000))
    corpus = prepared(source=text_file(wide))
    assert corpus.token_type == "uint32"
    assert rows_of(corpus, "train")[-1] == [corpus.tokenizer.tokens.index("w69999"), 0]


def test_the_same_text_makes_the_same_bytes_however_many_cores_there_are(
    text_file: Write, prepared: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 500)
    settings: dict[str, Any] = {"source": text_file(numbered_sentences(2000)), "heldout_fraction": 0.1}
    folders = []
    for threads in (1, 7):
        folders.append(prepared(f"{tmp_path}/{threads}", workers=Threads(threads), **settings).folder)
    first, second = ({name: folder.read(name) for name in folder.list()} for folder in folders)
    assert sorted(first) == ["heldout-00000.arrow", "manifest.json", "tokenizer.json", "train-00000.arrow"]
    assert first == second


def test_blocks_and_shards_are_bounded(text_file: Write, prepared: Prepare, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shards, "SHARD_BYTES", 50_000)
    monkeypatch.setattr(shards, "FIRST_BLOCK_ROWS", 4)
    monkeypatch.setattr(shards, "MOST_BLOCK_TOKENS", 100)
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 1000)
    content = numbered_sentences(5000)
    corpus = prepared(source=text_file(content))
    split = corpus.splits["train"]
    assert len(split.shards) > 1
    assert split.block_rows[:64].tolist() == [4] * 64
    assert all(block.tokens <= 100 for _, block in split.blocks)
    assert max(split.block_rows) > 8
    assert len(rows_of(corpus, "train")) == split.rows == 5000
    for shard in split.shards:
        with corpus.folder.open(shard.name) as file:
            batches = pa.ipc.open_file(file)
            assert [batches.get_batch(i).num_rows for i in range(batches.num_record_batches)] == [
                block.rows for block in shard.blocks
            ]
    for number in (0, 70, len(split.blocks) - 1):
        block = corpus.read_blocks("train", [number])[0]
        assert (len(block.lengths_N), len(block.tokens_T)) == (split.block_rows[number], split.block_tokens[number])


def test_a_row_longer_than_a_block_is_a_block(text_file: Write, prepared: Prepare, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shards, "MOST_BLOCK_TOKENS", 10)
    corpus = prepared(source=text_file("a " * 30 + "\nb\n" + "c " * 30 + "\n"))
    assert corpus.splits["train"].block_rows.tolist() == [1, 1, 1]


# --- splits ----------------------------------------------------------------------------------------------------------


def test_the_heldout_split_depends_on_nothing_but_the_sentence(text_file: Write, prepared: Prepare):
    lines = [f"sentence number {index % 900} of many" for index in range(1000)]
    bytewise: dict[str, Any] = {"heldout_fraction": 0.2, "tokenizer": {"kind": "byte"}}
    corpus = prepared(source=text_file("\n".join(lines)), **bytewise)
    train, heldout = Counter(texts_of(corpus, "train")), Counter(texts_of(corpus, "heldout"))
    assert 130 < len(heldout) < 230
    assert not train.keys() & heldout.keys()
    assert train + heldout == Counter(lines)
    random.Random(1).shuffle(lines)
    again = prepared(source=text_file("\n".join(["one more line", *lines])), **bytewise)
    assert Counter(texts_of(again, "heldout")) - Counter(["one more line"]) == heldout


def test_sentences_that_differ_in_case_only_share_a_split_when_lowered(text_file: Write, prepared: Prepare):
    lines = [f"{word} number {index}" for index in range(200) for word in ("Word", "WORD")]
    corpus = prepared(source=text_file("\n".join(lines)), heldout_fraction=0.3, tokenizer={"lower": True})
    assert not set(texts_of(corpus, "train")) & set(texts_of(corpus, "heldout"))


def test_the_heldout_split_may_come_from_its_own_files(text_file: Write, prepared: Prepare):
    corpus = prepared(
        source=text_file("a b\na b\n", "train.txt"),
        heldout_source=text_file("a c\n", "other.txt"),
        heldout_fraction=0.5,
    )
    assert (texts_of(corpus, "train"), texts_of(corpus, "heldout")) == (["a b", "a b"], ["a <unk>"])
    assert corpus.made["unknown_tokens"] == {"train": 0, "heldout": 1}


@pytest.mark.parametrize("kind", ["character", "byte", "word", "bpe"])
def test_the_end_of_a_continuous_text_is_held_out(text_file: Write, prepared: Prepare, kind: str):
    content = "".join(f"Line {index}, é.\n" for index in range(400))
    corpus = prepared(
        source=text_file(content),
        layout="continuous",
        heldout_fraction=0.1,
        tokenizer=tokenizer_settings(kind, 500),
    )
    at = int(len(content) * 0.9)
    train, heldout = text_of(corpus, "train"), text_of(corpus, "heldout")
    if kind in ("character", "byte"):
        assert (train, heldout) == (content[:at], content[at:] + "|")
    elif kind == "bpe":
        assert train + heldout == content + "|"
        assert 0 <= len(train) - at < 10
    assert corpus.splits["train"].characters + corpus.splits["heldout"].characters == len(content) + 1


def test_a_word_vocabulary_knows_the_training_text_only(text_file: Write, prepared: Prepare):
    corpus = prepared(source=text_file("a b c d e f g h i j"), layout="continuous", heldout_fraction=0.3)
    assert "j" not in corpus.tokenizer.tokens
    assert "a" in corpus.tokenizer.tokens


def test_the_cut_falls_where_it_should_in_every_chunk(
    text_file: Write, prepared: Prepare, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 40)
    first, second = "One text é.\n" * 20, "Another one.\n" * 20
    paths = [text_file(first, "a.txt"), text_file(second, "b.txt")]
    for fraction in (0.05, 0.25, 0.5, 0.51, 0.75, 0.99):
        corpus = prepared(source=paths, layout="continuous", heldout_fraction=fraction, tokenizer={"kind": "byte"})
        at = int((len(first) + len(second)) * (1 - fraction))
        whole = first + "|" + second + "|"
        train = text_of(corpus, "train")
        assert train + text_of(corpus, "heldout") == whole
        assert len(train.replace("|", "")) == at


# --- text that does not fit ------------------------------------------------------------------------------------------


def test_a_long_sentence_is_an_error_with_file_and_line(text_file: Write, prepared: Prepare, tmp_path: Path):
    path = text_file("short\n\na b c d e\n")
    with pytest.raises(UserError, match=r"text\.txt, line 3: this sentence has 6 tokens .* max_length 5.*on_long_text"):
        prepared(source=path, max_length=5)
    assert not (tmp_path / "corpus").exists()


def test_long_sentences_are_skipped_or_truncated_and_counted(text_file: Write, prepared: Prepare):
    path = text_file("short\na b c d e f g h i j\nk l m n\n")
    corpus = prepared(source=path, max_length=5, on_long_text="skip")
    assert texts_of(corpus, "train") == ["short", "k l m n"]
    assert (corpus.made["long_text"]["skipped"], corpus.made["long_text"]["cases"][0]["place"]) == (1, "line 2")
    assert corpus.splits["train"].characters == len("short\nk l m n\n")
    corpus = prepared(source=path, max_length=5, on_long_text="truncate")
    assert texts_of(corpus, "train") == ["short", "a b c d", "k l m n"]
    assert corpus.made["long_text"]["truncated"] == 1
    assert all(len(row) <= 5 and row[-1] == 0 for row in rows_of(corpus, "train"))
    assert corpus.splits["train"].characters == len("short\na b c\nk l m n\n") + 2


def test_an_endless_sentence_is_counted_once(text_file: Write, prepared: Prepare):
    corpus = prepared(source=text_file("short\n" + "word " * 300_000), max_length=5, on_long_text="truncate")
    assert texts_of(corpus, "train") == ["short", "word word word word"]
    assert (corpus.made["long_text"]["truncated"], len(corpus.made["long_text"]["cases"])) == (1, 1)


def test_bad_text_is_counted_with_its_first_cases(text_file: Write, prepared: Prepare):
    path = text_file(b"good line\nb\xffd line\n\n")
    made = prepared(source=path, on_bad_text="skip").made
    case = {"file": path, "place": "line 2", "reason": "this is not valid UTF-8 (byte 0xff)"}
    assert made["bad_text"] == {"skipped": 1, "replaced": 0, "cases": [case]}
    assert made["empty_lines"] == 1


BAD_SOURCES = {
    "missing": (None, {}, "matches no file"),
    "empty": (b"", {}, "gives no text to train on: it is empty"),
    "only line ends": (b"\n\n \n", {}, "gives no text to train on: it is empty"),
    "all bad": (b"b\xff and some good letters\n", {"on_bad_text": "skip"}, "all its 1 texts were left out"),
    "binary": (bytes(range(256)) * 10, {}, "binary file"),
    "invalid UTF-8": (b"good one\ncaf\xe9 in here\n", {}, "line 2: this is not valid UTF-8"),
    "NUL": (b"good one\nsome \0 in here\n", {}, "line 2: this line holds a NUL"),
    "endless line": (b"good one\n" + b"a" * 2_000_000, {}, "line 2: a sentence of more than 1 MiB"),
    "nothing held out": (b"one line\n", {"heldout_fraction": 1e-9}, "gives no held-out text"),
}


@pytest.mark.parametrize("case", BAD_SOURCES)
@pytest.mark.parametrize("kind", ["byte", "word"])
def test_bad_sources_leave_nothing_that_looks_finished(
    text_file: Write, prepared: Prepare, tmp_path: Path, case: str, kind: str
):
    content, settings, message = BAD_SOURCES[case]
    path = "nowhere.txt" if content is None else text_file(content)
    with pytest.raises(UserError, match=message) as raised:
        prepared(source=path, tokenizer={"kind": kind}, **settings)
    assert "\n" not in str(raised.value)
    folder = tmp_path / "corpus"
    assert not folder.exists()


def test_a_mistake_late_in_the_text_leaves_nothing_half_made(
    text_file: Write, prepared: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shards, "SHARD_BYTES", 1000)
    monkeypatch.setattr(shards, "FIRST_BLOCK_ROWS", 16)
    with pytest.raises(UserError, match="line 3001: this sentence"):
        prepared(source=text_file(numbered_sentences(3000) + "long " * 70 + "\n"), max_length=64)
    assert not (tmp_path / "corpus").exists()


# --- where it lies ---------------------------------------------------------------------------------------------------


def test_a_corpus_may_lie_on_any_fsspec_file_system(text_file: Write, prepared: Prepare):
    settings: dict[str, Any] = {"source": text_file(numbered_sentences(600)), "heldout_fraction": 0.1}
    here, there = prepared(**settings), prepared("memory://corpora/mine", **settings)
    try:
        assert is_prepared(there.folder)
        assert there.fingerprint == here.fingerprint == open_corpus(Folder("memory://corpora/mine")).fingerprint
        assert rows_of(there, "train") == rows_of(here, "train")
        for mine, other in zip(there.read_blocks("train", [0, 1]), here.read_blocks("train", [0, 1]), strict=True):
            assert np.array_equal(mine.tokens_T, other.tokens_T)
    finally:
        fsspec.filesystem("memory").rm("/corpora", recursive=True)


def test_a_folder_that_cannot_be_written_to_is_found_out_before_any_text_is_read(text_file: Write, tmp_path: Path):
    (tmp_path / "corpus").write_text("a file where the folder should be")
    reports: list[PreparationProgress] = []
    with pytest.raises(OSError, match="corpus"):
        prepare(Corpus(source=text_file("a\nb\n")), Folder(tmp_path / "corpus"), report=reports.append)
    assert reports == []


def test_preparing_again_replaces_what_was_there_and_nothing_else(text_file: Write, prepared: Prepare, tmp_path: Path):
    folder = tmp_path / "corpus"
    prepared(source=text_file(numbered_sentences(50)))
    (folder / "notes.txt").write_text("mine")
    (folder / "train-00007.arrow").write_text("from a larger corpus")
    (folder / ".train-00001.arrow.123.part").write_text("from an interrupted one")
    corpus = prepared(source=text_file("something else\n"))
    assert corpus.folder.list() == ["manifest.json", "notes.txt", "tokenizer.json", "train-00000.arrow"]


def test_progress_counts_all_passes_up_to_the_end(text_file: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 1000)
    monkeypatch.setattr(chunks, "SAMPLE_BYTES", 1000)
    path = text_file(numbered_sentences(1000))
    size = Path(path).stat().st_size
    for layout, passes in (("sentences", 2), ("continuous", 3)):
        reports: list[PreparationProgress] = []
        prepare(
            Corpus.model_validate({"source": path, "layout": layout}),
            Folder(tmp_path / "corpus"),
            report=reports.append,
        )
        done = [report.bytes_done for report in reports]
        assert done == sorted(done)
        assert len(set(done)) > 20
        assert (done[-1], reports[-1].bytes_total) == (passes * size, passes * size)


def _prepare_slowly(source: str, out: str) -> None:
    shards.SHARD_BYTES = 1000
    shards.FIRST_BLOCK_ROWS = 16
    chunks.CHUNK_BYTES = 1000
    settings = Corpus(source=source, max_length=100, tokenizer=TokenizerSettings(kind="byte"))
    prepare(settings, Folder(out), report=lambda progress: time.sleep(0.003))


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_an_interrupted_preparation_leaves_nothing_that_looks_finished(
    text_file: Write, prepared: Prepare, tmp_path: Path, sign: signal.Signals
):
    source, folder = text_file(numbered_sentences(20_000)), tmp_path / "corpus"
    worker = multiprocessing.get_context("spawn").Process(target=_prepare_slowly, args=(source, str(folder)))
    worker.start()
    deadline = time.monotonic() + 60
    while not (folder / "train-00003.arrow").exists():
        assert time.monotonic() < deadline
        assert worker.is_alive()
        time.sleep(0.005)
    assert worker.pid
    os.kill(worker.pid, sign)
    worker.join(60)
    assert not is_prepared(Folder(folder))
    assert not (folder / "manifest.json").exists()
    if sign == signal.SIGINT:
        assert not folder.exists()
    corpus = prepared(source=source)
    assert corpus.folder.list() == ["manifest.json", "tokenizer.json", "train-00000.arrow"]
    assert corpus.splits["train"].rows == 20_000


# --- the key of the cache --------------------------------------------------------------------------------------------


def test_the_content_key_follows_the_text_and_the_settings_that_shape_it(text_file: Write):
    def key(path: str, **settings: Any) -> str:
        return content_key(Corpus(source=path, **settings))

    one, copy, other = text_file("a b\n", "1.txt"), text_file("a b\n", "2.txt"), text_file("a c\n", "3.txt")
    assert key(one) == key(copy) == key(one, shuffle_window=7)
    different = [
        key(one),
        key(other),
        key(one, max_length=9),
        key(one, heldout_source=other),
        key(one, layout="continuous"),
    ]
    different += [key(one, tokenizer={"kind": "byte"}), key(one, heldout_fraction=0.1), key("builtin:python-docs")]
    assert len(set(different)) == len(different)
    with pytest.raises(UserError, match="matches no file"):
        key("nowhere.txt")


# --- opening ---------------------------------------------------------------------------------------------------------


def test_the_fingerprint_follows_the_tokens(text_file: Write, prepared: Prepare):
    def fingerprint(content: str, **settings: Any) -> str:
        return prepared(source=text_file(content), **settings).fingerprint

    assert fingerprint("a b\nb a\n") == fingerprint("a b\nb a\n", shuffle_window=9)
    different = {fingerprint("a b\nb a\n"), fingerprint("b a\na b\n"), fingerprint("a b\n"), fingerprint("a c\nc a\n")}
    assert len(different) == 4


def test_a_folder_without_a_corpus_is_an_error(tmp_path: Path):
    with pytest.raises(UserError, match=r"holds no prepared corpus \(there is no manifest.json\): run lstmgan prepare"):
        open_corpus(Folder(tmp_path))


DAMAGE: dict[str, tuple[str, Callable[[bytes], bytes | None], str]] = {
    "shard cut off": ("train-00000.arrow", lambda content: content[:-1], "train-00000.arrow has .* bytes instead of"),
    "shard missing": ("train-00000.arrow", lambda content: None, "train-00000.arrow is missing"),
    "tokenizer changed": ("tokenizer.json", lambda content: content + b" ", "tokenizer.json does not fit the manifest"),
    "tokenizer missing": ("tokenizer.json", lambda content: None, "lacks tokenizer.json"),
    "manifest cut off": ("manifest.json", lambda content: content[:-9], "manifest.json is damaged"),
    "manifest empty": ("manifest.json", lambda content: b"", "manifest.json is damaged"),
    "manifest a list": ("manifest.json", lambda content: b"[]", "manifest.json is damaged"),
    "manifest changed": (
        "manifest.json",
        lambda content: content.replace(b'"max_length": 64', b'"max_length": 65'),
        "manifest.json does not fit its own fingerprint",
    ),
    "other format": (
        "manifest.json",
        lambda content: content.replace(b"lstmgan corpus 1", b"lstmgan corpus 9"),
        "manifest.json is of format 'lstmgan corpus 9'",
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_corpus_is_an_error_that_names_the_file(text_file: Write, prepared: Prepare, case: str):
    name, damage, message = DAMAGE[case]
    corpus = prepared(source=text_file(numbered_sentences(50)))
    content = damage(corpus.folder.read(name))
    corpus.folder.delete(name)
    if content is not None:
        corpus.folder.write(name, content)
    with pytest.raises(UserError, match=message):
        open_corpus(corpus.folder)


def test_a_flipped_byte_is_found_when_its_block_is_read(text_file: Write, prepared: Prepare):
    corpus = prepared(source=text_file(numbered_sentences(600)))
    content = bytearray(corpus.folder.read("train-00000.arrow"))
    block = corpus.splits["train"].blocks[1][1]
    for place in (block.start + 9, (block.start + block.stop) // 2, block.stop - 9):
        flipped = content.copy()
        flipped[place] ^= 4
        corpus.folder.write("train-00000.arrow", bytes(flipped))
        opened = open_corpus(corpus.folder)
        opened.read_blocks("train", [0])
        with pytest.raises(UserError, match=r"train-00000\.arrow is damaged .*prepare the corpus again"):
            opened.read_blocks("train", [1])
        with pytest.raises(UserError, match=r"train-00000\.arrow is damaged .*SHA-256"):
            opened.verify()


def test_a_shard_of_another_shape_is_found(text_file: Write, prepared: Prepare):
    corpus = prepared(source=text_file(numbered_sentences(600)))
    manifest = json.loads(corpus.folder.read("manifest.json"))
    manifest["splits"]["train"]["shards"][0]["blocks"][0][0] += 1
    corpus.folder.write("manifest.json", json.dumps(manifest).encode())
    with pytest.raises(UserError, match=r"train-00000\.arrow is damaged \(a block has 256 rows"):
        open_corpus(corpus.folder).read_blocks("train", [0])


def test_parquet_and_text_of_the_same_sentences_make_the_same_tokens(
    text_file: Write, prepared: Prepare, tmp_path: Path
):
    content = numbered_sentences(300)
    pq.write_table(pa.table({"caption": content.splitlines()}), tmp_path / "t.parquet")
    from_table = prepared(source=str(tmp_path / "t.parquet"), column="caption", heldout_fraction=0.1)
    from_text = prepared(source=text_file(content), heldout_fraction=0.1)
    assert from_table.fingerprint == from_text.fingerprint


def test_a_file_that_is_another_one_where_it_is_read_is_an_error(text_file: Write):
    path = text_file("a b\n")
    (found,) = find_sources([path]).files
    settings = Corpus(source=path)
    assert len(list(numbered_chunks(settings, found))) == 1
    text_file("a b c\n")
    with pytest.raises(UserError, match=r"text\.txt has 6 bytes instead of 4 on .* has to lie where each of them"):
        list(numbered_chunks(settings, found))
    Path(path).unlink()
    with pytest.raises(UserError, match=r"text\.txt is not there on "):
        list(numbered_chunks(settings, found))


@pytest.mark.parametrize(
    ("layout", "sentences", "share"),
    [("sentences", 100, 0.2), ("sentences", 60_000, 0.12), ("continuous", 100, 0.05), ("sentences", 200_000, 0.05)],
)
def test_more_is_held_out_of_a_small_text(layout: str, sentences: int, share: float):
    settings = Corpus.model_validate({"source": "s", "layout": layout})
    assert heldout_fraction(settings, 50 * sentences) == pytest.approx(share)
    assert heldout_fraction(settings.model_copy(update={"heldout_fraction": 0.01}), 50 * sentences) == 0.01


def test_what_is_held_out_by_default_is_as_if_it_had_been_named(text_file: Write, prepared: Prepare, tmp_path: Path):
    path = text_file(numbered_sentences(300))
    by_default, named = (
        prepared(str(tmp_path / str(share)), source=path, heldout_fraction=share) for share in (None, 0.2)
    )
    assert by_default.fingerprint == named.fingerprint
    assert by_default.made["settings"]["heldout_fraction"] == 0.2


def test_other_sentences_are_encoded_as_those_of_the_corpus(text_file: Write, prepared: Prepare):
    first = text_file("The cat sat\nA dog ran\n", "a.txt")
    corpus = prepared(source=first, tokenizer={"lower": True}, max_length=4, on_long_text="truncate")
    more = text_file("the DOG\n\nthe new cat sat here\n", "b.txt")
    encoded = encode_sentences((more,), corpus)
    ends = np.cumsum(encoded.lengths_N)
    rows = [encoded.tokens_T[end - length : end].tolist() for end, length in zip(ends, encoded.lengths_N, strict=True)]
    assert [corpus.tokenizer.decode(row) for row in rows] == ["the dog", "the <unk> cat"]
    with pytest.raises(UserError, match="matches no file"):
        encode_sentences(("nowhere.txt",), corpus)
