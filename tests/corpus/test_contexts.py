"""Labels, and what texts answer: read before them, and not learnt."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from lstmgan_dist.corpus.manifest import LABELS, open_corpus
from lstmgan_dist.corpus.prepare import PreparedCorpus, encode_sentences
from lstmgan_dist.corpus.stream import Stream, heldout_batches, read_sentences
from lstmgan_dist.corpus.tokenizer import Tokenizer
from lstmgan_dist.errors import UserError
from tests.cases import cases

Write = Callable[..., str]
Prepare = Callable[..., PreparedCorpus]

TALK = [("hello you", "hi there", "calm"), ("who is it", "it is me", "calm"), ("go away", "never", "angry")] * 8
BYTES = {"kind": "byte"}
PAIRS = {"column": "answer", "source_column": "said"}


def csv_of(rows: list[tuple[str, ...]], names: str = "said,answer,mood") -> str:
    return "\n".join([names, *map(",".join, rows)]) + "\n"


def as_csv(path: Path) -> str:
    path.with_suffix(".csv").write_text(csv_of(TALK))
    return str(path.with_suffix(".csv"))


def as_json(path: Path) -> str:
    lines = [json.dumps(dict(zip(("said", "answer", "mood"), row, strict=True))) for row in TALK]
    path.with_suffix(".jsonl").write_text("\n".join(lines))
    return str(path.with_suffix(".jsonl"))


def as_parquet(path: Path) -> str:
    said, answer, mood = zip(*TALK, strict=True)
    pq.write_table(pa.table({"mood": mood, "answer": answer, "said": said}), path.with_suffix(".parquet"))
    return str(path.with_suffix(".parquet"))


def rows_of(corpus: PreparedCorpus, split: str = "train") -> list[tuple[str, str]]:
    """Contexts and texts as people read them."""
    rows = read_sentences(corpus, split, range(corpus.splits[split].rows))
    assert rows.starts_N is not None
    found = []
    for row in range(len(rows.lengths_N)):
        tokens = rows.take(slice(row, row + 1)).tokens_T.tolist()
        start = int(rows.starts_N[row])
        assert (tokens[start - 1], tokens[-1]) == (0, 0)
        found.append(
            (corpus.tokenizer.in_context(tokens[:start], "").rstrip(), corpus.tokenizer.decode(tokens[start:]))
        )
    return found


@pytest.mark.parametrize("kind", ["word", "character", "byte", "bpe"])
@pytest.mark.parametrize("write", [as_csv, as_json, as_parquet])
def test_a_pair_with_a_label_is_one_row(prepared: Prepare, tmp_path: Path, write: Callable[[Path], str], kind: str):
    tokenizer = {"kind": kind} | ({"vocabulary_size": 270} if kind == "bpe" else {})
    corpus = prepared(source=write(tmp_path / "talk"), **PAIRS, label_column="mood", tokenizer=tokenizer)
    assert rows_of(corpus) == [(f"[{mood}] {said} →", answer) for said, answer, mood in TALK]
    assert corpus.tokenizer.labels == ("angry", "calm")
    first = corpus.tokenizer.vocabulary_size
    assert json.loads(corpus.folder.read(LABELS)) == {
        "angry": {"token": first, "train": 8, "heldout": 0},
        "calm": {"token": first + 1, "train": 16, "heldout": 0},
    }
    assert corpus.max_context == 1 + 64
    split = corpus.splits["train"]
    assert split.characters == sum(len(answer) + 1 for _, answer, _ in TALK)
    assert split.tokens == sum(1 + len(corpus.tokenizer.encode(answer)) for _, answer, _ in TALK)
    again = open_corpus(corpus.folder)
    assert (again.fingerprint, again.max_context) == (corpus.fingerprint, corpus.max_context)
    assert rows_of(again) == rows_of(corpus)


@pytest.mark.parametrize("kind", ["word", "character", "byte", "bpe"])
def test_no_text_encodes_to_a_label(prepared: Prepare, tmp_path: Path, kind: str):
    tokenizer = {"kind": kind} | ({"vocabulary_size": 300} if kind == "bpe" else {})
    spelt = ["<label:angry> <label:calm>", "a <label:calm>b"] * 20
    rows = [(text, "calm" if number % 3 else "angry") for number, text in enumerate(spelt)]
    (tmp_path / "t.csv").write_text(csv_of(rows, "text,mood"))
    corpus = prepared(source=str(tmp_path / "t.csv"), label_column="mood", tokenizer=tokenizer)
    assert corpus.tokenizer.labels == ("angry", "calm")
    assert max(corpus.tokenizer.encode(" ".join(spelt))) < corpus.tokenizer.vocabulary_size
    assert [text.replace(" ", "") for _, text in rows_of(corpus)] == [text.replace(" ", "") for text in spelt]
    loaded = Tokenizer.from_json(corpus.tokenizer.to_json())
    assert (loaded.labels, loaded.vocabulary_size) == (corpus.tokenizer.labels, corpus.tokenizer.vocabulary_size)


@pytest.mark.parametrize(("by", "labels"), [("file", ("a", "b")), ("folder", ("new", "old"))])
def test_texts_are_labelled_by_their_file_or_its_folder(
    text_file: Write, prepared: Prepare, tmp_path: Path, by, labels
):
    text_file("One. Two.\nthree\n", "texts/new/a.x.txt")
    text_file("four\n", "texts/old/b.txt")
    text_file("five\n", "texts/old/a.txt.gz.txt")
    corpus = prepared(source=str(tmp_path / "texts"), label_by=by, split_sentences=True)
    assert corpus.tokenizer.labels == labels
    found = {text: context for context, text in rows_of(corpus)}
    expected = {"One.": ("a", "new"), "three": ("a", "new"), "four": ("b", "old"), "five": ("a", "old")}
    for text, (file, folder) in expected.items():
        assert found[text] == f"[{file if by == 'file' else folder}]"


@pytest.mark.parametrize("name", ["t.parquet", "t.jsonl"])
def test_a_number_may_be_a_label(prepared: Prepare, tmp_path: Path, name: str):
    rows = {"text": ["good", "bad", "fine"], "stars": [5, 1, 5]}
    if name == "t.parquet":
        pq.write_table(pa.table(rows), tmp_path / name)
    else:
        lines = [json.dumps({"text": text, "stars": stars}) for text, stars in zip(*rows.values(), strict=True)]
        (tmp_path / name).write_text("\n".join(lines))
    corpus = prepared(source=str(tmp_path / name), label_column="stars")
    assert rows_of(corpus) == [("[5]", "good"), ("[1]", "bad"), ("[5]", "fine")]


def test_equal_pairs_share_a_split_and_equal_texts_do_whatever_their_labels(prepared: Prepare, tmp_path: Path):
    pairs = [(f"say {number % 50}", f"number {number % 4}", "odd" if number % 3 else "even") for number in range(400)]
    (tmp_path / "t.csv").write_text(csv_of(pairs))
    settings: dict[str, Any] = {"source": str(tmp_path / "t.csv"), "heldout_fraction": 0.3, "tokenizer": BYTES}
    corpus = prepared(**settings, **PAIRS, label_column="mood")
    train, heldout = rows_of(corpus, "train"), rows_of(corpus, "heldout")
    assert sorted(train + heldout) == sorted((f"[{mood}] {said} →", answer) for said, answer, mood in pairs)
    parts = [{(context.partition("] ")[2], text) for context, text in rows} for rows in (train, heldout)]
    assert all(parts)
    assert not parts[0] & parts[1]
    labelled = prepared(**settings, column="said", label_column="mood", out=str(tmp_path / "labelled"))
    parts = [{text for _, text in rows_of(labelled, split)} for split in ("train", "heldout")]
    assert all(parts)
    assert not parts[0] & parts[1]
    (tmp_path / "more.csv").write_text(csv_of([("x", "number 3")], "said,answer"))
    more = encode_sentences((str(tmp_path / "more.csv"),), corpus)  # for judges, who read texts alone
    assert more.starts_N is None
    assert corpus.tokenizer.decode(more.tokens_T.tolist()) == "number 3"


def test_batches_say_where_texts_begin(prepared: Prepare, tmp_path: Path):
    corpus = prepared(
        source=as_csv(tmp_path / "talk"), **PAIRS, max_source_length=12, heldout_fraction=0.3, tokenizer=BYTES
    )
    settings: dict[str, Any] = {"total_lanes": 4, "seed": 1, "shuffle_window": 16}
    with Stream(corpus, "train", batch_size=8, lanes=[range(4)], **settings) as stream:
        (batch,) = next(stream)
    (heldout,) = heldout_batches(corpus, batch_size=64, most_sequences=64, share=0, shares=1)
    known = {said: answer for said, answer, _ in TALK}
    for found in (batch, heldout):
        assert found.starts_B is not None
        assert found.contexts_BP is not None
        assert found.contexts_BP.shape[1] == corpus.max_context == 12
        assert torch.equal(found.inputs_BT[:, 1:], found.targets_BT[:, :-1])
        total = 0
        for row, (start, length) in enumerate(zip(found.starts_B.tolist(), found.lengths_B.tolist(), strict=True)):
            tokens = found.targets_BT[row, :length].tolist()
            assert found.contexts_BP[row].tolist() == tokens[:start] + [0] * (12 - start)
            said, answer = (corpus.tokenizer.decode(part) for part in (tokens[:start], tokens[start:]))
            assert known[said] == answer
            total += length - start
        assert found.texts_length == total


BAD = {
    "no such column": ("a,b\n1,2\n", PAIRS, r"has no column 'answer': set corpus.column \(--column\)"),
    "no such source": ("answer,b\n1,2\n", PAIRS, r"has no column 'said': set corpus.source_column \(--source-column\)"),
    "no such label": ("text,b\n1,2\n", {"label_column": "mood"}, r"set corpus.label_column \(--label-column\)"),
    "empty answer": ("said,answer\nhi,you\nwho,\n", PAIRS, r"row 3: the answer of this row is empty: mend it"),
    "empty source": ("said,answer\nhi,you\n ,me\n", PAIRS, r"row 3: the said of this row is empty"),
    "empty label": ("text,mood\na,x\nb,\n", {"label_column": "mood"}, r"row 3: the mood of this row is empty"),
    "long source": (
        "said,answer\na b c d,you\n",
        {**PAIRS, "max_source_length": 4},
        r"row 2: the said of this row has 5 tokens .* more than max_source_length 4: .*--max-source-length\) higher",
    ),
    "long answer": (
        "said,answer\na,b c d e\n",
        {**PAIRS, "max_length": 4},
        r"row 2: this sentence has 5 tokens .* more than max_length 4: .*--max-length\) higher\.",
    ),
    "too many labels": (
        "text,mood\n" + "".join(f"t,{n}\n" for n in range(1001)),
        {"label_column": "mood"},
        r"more than 1,000 different labels, such as '0'",
    ),
    "as many labels as texts": (
        "text,id,mood\n" + "".join(f"t {n},{n},x\n" for n in range(200)),
        {"label_column": "id", "heldout_fraction": 0.2},
        r"^1\d\d of 1\d\d labels occur once, such as '\d+': is 'id' the right column .* is a class of many texts\.$",
    ),
    "invalid UTF-8": (b"said,answer\nb\xff,you\n", PAIRS, r"row 2: this is not valid UTF-8"),
}


@pytest.mark.parametrize("case", cases(BAD, quick=["no such source", "empty answer"]))
def test_a_context_that_is_lacking_or_too_long_is_one_line(text_file: Write, prepared: Prepare, tmp_path, case: str):
    content, settings, message = BAD[case]
    with pytest.raises(UserError, match=message) as raised:
        prepared(source=text_file(content, "t.csv"), **settings)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "corpus").exists()


def test_rows_that_are_not_whole_can_be_left_out_and_long_contexts_cut(text_file: Write, prepared: Prepare):
    content = csv_of([("a b c d", "long", "x"), ("", "lost", "x"), ("c", "", "x"), ("d", "kept", "y"), ("", "", "")])
    settings: dict[str, Any] = {**PAIRS, "label_column": "mood", "max_source_length": 4, "on_bad_text": "skip"}
    corpus = prepared(source=text_file(content, "t.csv"), **settings, on_long_text="truncate")
    assert rows_of(corpus) == [("[x] a b c →", "long"), ("[y] d →", "kept")]
    assert corpus.made["bad_text"]["skipped"] == 2
    assert (corpus.made["empty_lines"], corpus.made["long_text"]["truncated"]) == (1, 1)
    corpus = prepared(source=text_file(content, "t.csv"), **settings, on_long_text="skip")
    assert rows_of(corpus) == [("[y] d →", "kept")]


def test_a_column_that_json_lacks_from_the_start_is_told_without_what_would_leave_it_out(text_file, prepared):
    lines = "".join(f'{{"said": "a {n}", "answered": "b"}}\n' for n in range(9))
    with pytest.raises(
        UserError, match=r"line 1: there is no 'answer' .* set corpus.column \(--column\) to .*answered\.$"
    ):
        prepared(source=text_file(lines, "t.jsonl"), **PAIRS)
    whole = '{"said": "a", "answer": "b"}\n'
    with pytest.raises(UserError, match=r"line 2: there is no 'answer' .*on_bad_text"):
        prepared(source=text_file(whole + lines, "u.jsonl"), **PAIRS)


def test_a_held_out_label_must_be_one_of_training(text_file: Write, prepared: Prepare):
    train = text_file(csv_of([("one", "x"), ("two", "y")], "text,mood"), "train.csv")
    heldout = text_file(csv_of([("three", "y"), ("four", "z")], "text,mood"), "heldout.csv")
    settings: dict[str, Any] = {"source": train, "heldout_source": heldout, "label_column": "mood", "tokenizer": BYTES}
    with pytest.raises(UserError, match=r"heldout\.csv, row 3: no training text has the label 'z'"):
        prepared(**settings)
    corpus = prepared(**settings, on_bad_text="skip")
    assert rows_of(corpus, "heldout") == [("[y]", "three")]


def test_plain_text_has_no_columns_for_a_context(text_file: Write, prepared: Prepare):
    with pytest.raises(UserError, match=r"is plain text and has no column 'mood': leave out corpus.label_column"):
        prepared(source=(text_file("text,mood\na,b\n", "t.csv"), text_file("a\n")), label_column="mood")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label_column": "a", "label_by": "file"}, "leave out one of them"),
        ({"source_column": "a", "split_sentences": True}, "would tear texts from their source_column"),
        ({"source_column": "text"}, "cannot be one column for two purposes"),
        ({"source_column": "a", "layout": "continuous"}, "layout continuous has no use for it"),
        ({"label_by": "file", "layout": "continuous"}, "layout continuous has no use for it"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(prepared: Prepare, settings: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        prepared(source="unread.csv", **settings)


def test_a_label_that_is_not_there_is_told_with_those_that_are(prepared: Prepare, tmp_path: Path):
    tokenizer = prepared(source=as_csv(tmp_path / "talk"), column="answer", label_column="mood").tokenizer
    with pytest.raises(UserError, match=r"no label 'sad' in this text; there is angry or calm\."):
        tokenizer.label_id("sad")
