"""Synthetic corpora: that they are ordinary ones, and that they know where their text is from."""

import json

import numpy as np
import pytest
import safetensors.torch

from lstmgan_dist.corpus.prepare import is_corpus_file, is_prepared, open_corpus, prepare
from lstmgan_dist.corpus.settings import Corpus
from lstmgan_dist.corpus.shards import SplitWriter
from lstmgan_dist.corpus.stream import Stream, heldout_batches
from lstmgan_dist.errors import UserError
from lstmgan_dist.evaluation.grammar import Grammar
from lstmgan_dist.evaluation.oracle import Oracle
from lstmgan_dist.evaluation.synthetic import LONGEST, is_synthetic, prepare_synthetic, read_oracle
from lstmgan_dist.evaluation.texts import Texts
from lstmgan_dist.storage import Folder

LSTM, ENGLISH = "oracle:length=6,seed=2,count=600,vocabulary=50,hidden=8", "grammar:seed=1,count=1500"


def made(source, folder):
    return prepare_synthetic(source, Folder(folder), report=lambda progress: None)


def heldout_rows(corpus):
    """The held-out texts, without end marks."""
    batches = heldout_batches(corpus, batch_size=100, most_sequences=10**6, share=0, shares=1)
    return [
        targets[: length - 1]
        for batch in batches
        for targets, length in zip(batch.targets_BT.tolist(), batch.lengths_B.tolist(), strict=True)
    ]


def training_rows(corpus):
    """The training texts of one epoch."""
    lanes = [range(1)]
    with Stream(corpus, "train", batch_size=10, lanes=lanes, total_lanes=1, seed=1, shuffle_window=10**6) as stream:
        batches = [unit for _ in range(stream.steps_per_epoch) for unit in next(stream)]
    return [
        targets[: length - 1]
        for batch in batches
        for targets, length in zip(batch.targets_BT.tolist(), batch.lengths_B.tolist(), strict=True)
    ]


def test_oracle_text_is_a_corpus_whose_nll_is_the_entropy_of_the_oracle(tmp_path):
    corpus = made(LSTM, tmp_path)
    assert corpus.max_length == 7
    rows = heldout_rows(open_corpus(corpus.folder))
    assert len(rows) == 600
    assert {len(row) for row in rows} == {6}
    oracle = read_oracle(corpus.folder)
    assert isinstance(oracle, Oracle)
    assert oracle.generator.hidden_size == 8
    nats_N = oracle.nll(Texts.of(rows)) / 6
    entropy = oracle.entropy(600, seed=7)
    error = np.hypot(nats_N.std() / 600**0.5, entropy.error)
    assert nats_N.mean() == pytest.approx(entropy.nats, abs=4 * error)


def test_grammar_text_is_a_corpus_whose_nll_is_the_grammars_own(tmp_path):
    corpus = made(ENGLISH, tmp_path)
    assert corpus.max_length == LONGEST + 1
    grammar = read_oracle(corpus.folder)
    assert isinstance(grammar, Grammar)
    words = corpus.tokenizer.tokens
    assert words[2:] == grammar.words
    nats_N = -grammar.log_likelihoods([[words[token] for token in row] for row in heldout_rows(corpus)])
    others_N = -grammar.log_likelihoods(grammar.sample(3000, seed=5))
    error = np.hypot(nats_N.std() / len(nats_N) ** 0.5, others_N.std() / 3000**0.5)
    assert nats_N.mean() == pytest.approx(others_N.mean(), abs=4 * error)


def test_sentences_that_are_too_long_are_drawn_again_and_counted(tmp_path):
    corpus = made("grammar:seed=1,count=6000", tmp_path)
    assert corpus.splits["train"].rows == corpus.splits["heldout"].rows == 6000
    assert max(map(len, training_rows(corpus))) <= LONGEST
    assert 2 <= corpus.made["long_text"]["drawn again"] <= 60


@pytest.mark.parametrize("source", [LSTM, ENGLISH])
def test_a_synthetic_corpus_is_an_ordinary_one(source, tmp_path):
    corpus = made(source, tmp_path)
    opened = open_corpus(corpus.folder)
    opened.verify()
    assert opened.made == corpus.made
    assert all(map(is_corpus_file, corpus.folder.list()))
    rows = {"train": training_rows(opened), "heldout": heldout_rows(opened)}
    common = set(map(tuple, rows["train"])) & set(map(tuple, rows["heldout"]))
    assert len(common) < 0.2 * len(rows["heldout"])
    for name, split in opened.splits.items():
        assert split.rows == len(rows[name])
        assert split.tokens == sum(len(row) + 1 for row in rows[name])
        lines = [" ".join(opened.tokenizer.tokens[token] for token in row) + "\n" for row in rows[name]]
        assert split.characters == sum(map(len, lines))
        # The tokenizer reads the words as they were written, also when they are put together as one writes them.
        assert [opened.tokenizer.encode(line.rstrip()) for line in lines[:100]] == rows[name][:100]
        written = [opened.tokenizer.decode(row) for row in rows[name][:100]]
        assert [opened.tokenizer.encode(text) for text in written] == rows[name][:100]


@pytest.mark.parametrize("source", [LSTM, ENGLISH])
def test_the_same_options_make_the_same_bytes(source, tmp_path):
    folders = [made(source, tmp_path / name).folder for name in "ab"]
    first, second = ({name: folder.read(name) for name in folder.list()} for folder in folders)
    assert first == second
    other = made(source.replace("seed=", "seed=1"), tmp_path / "c")
    assert other.fingerprint != open_corpus(folders[0]).fingerprint


def test_the_oracle_is_read_from_its_weights_and_the_grammar_from_its_rules(tmp_path):
    lstm, english = made(LSTM, tmp_path / "lstm").folder, made(ENGLISH, tmp_path / "english").folder
    weights = safetensors.torch.load(lstm.read("oracle.safetensors"))
    weights["output_bias"][:] = 0
    lstm.write("oracle.safetensors", safetensors.torch.save(weights))
    oracle = read_oracle(lstm)
    assert isinstance(oracle, Oracle)
    assert not oracle.generator.output_bias.any()
    record = json.loads(english.read("oracle.json"))
    record["rules"] = {"S": [[1.0, ["yes"]]]}
    english.write("oracle.json", json.dumps(record).encode())
    grammar = read_oracle(english)
    assert isinstance(grammar, Grammar)
    assert grammar.words == ("yes",)


def test_a_corpus_of_text_has_no_oracle_even_where_one_was(text, tmp_path):
    corpus = made(LSTM, tmp_path)
    corpus.folder.write("judges/one.safetensors", b"of the older text")
    prepare(Corpus(source=str(text)), corpus.folder, report=lambda progress: None)
    assert read_oracle(corpus.folder) is None
    assert not corpus.folder.exists("oracle.safetensors")
    assert not corpus.folder.exists("judges")


def test_a_corpus_that_could_not_be_finished_is_none(tmp_path, monkeypatch):
    def fail(self):
        raise OSError("the disk is full")

    monkeypatch.setattr(SplitWriter, "close", fail)
    with pytest.raises(OSError, match="full"):
        made(LSTM, tmp_path)
    assert not is_prepared(Folder(tmp_path))
    assert Folder(tmp_path).list() == []


def test_a_damaged_oracle_is_an_error_that_names_it(tmp_path):
    folder = made(LSTM, tmp_path).folder
    folder.write("oracle.safetensors", folder.read("oracle.safetensors")[:1000])
    with pytest.raises(UserError, match=r"oracle\.safetensors.* prepare the corpus again"):
        read_oracle(folder)


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("oracle:lenght=20", "lenght"),
        ("oracle:length=0", "length '0'"),
        ("oracle:length=twenty", "length 'twenty'"),
        ("oracle:count=-1", "count '-1'"),
        ("oracle:hidden=0", "hidden '0'"),
        ("oracle:vocabulary", "vocabulary ''"),
        ("grammar:length=20", "length"),
        ("grammar:seed=1.5", "seed '1.5'"),
    ],
)
def test_a_bad_option_is_an_error_that_names_it_and_leaves_the_folder_alone(source, named, tmp_path):
    before = made(ENGLISH, tmp_path)
    with pytest.raises(UserError, match=named):
        made(source, tmp_path)
    assert open_corpus(before.folder).fingerprint == before.fingerprint


def test_which_sources_are_synthetic():
    assert is_synthetic("oracle:length=20,seed=1")
    assert is_synthetic("grammar:")
    assert not any(map(is_synthetic, ["oracle", "oracle.txt", "s3://grammar/text", "builtin:python-docs", "grammars:"]))
