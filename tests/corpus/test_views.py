"""What text goes through before it becomes tokens: alike for columns, prompts and the library, and back again.

Texts are hypothesis's, the same ones each time.
"""

import itertools
import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import rjieba
import Stemmer
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmgan_dist.config import parse_job
from lstmgan_dist.corpus import libraries
from lstmgan_dist.corpus.prepare import PreparedCorpus, content_key, encode_sentences, open_corpus
from lstmgan_dist.corpus.settings import Corpus, TokenizerSettings
from lstmgan_dist.corpus.tokenizer import Tokenizer
from lstmgan_dist.corpus.tokenizers import TOKENIZERS
from lstmgan_dist.corpus.tokenizers.word import split_words
from lstmgan_dist.corpus.views import Views
from lstmgan_dist.errors import UserError

Write = Callable[..., str]
Prepare = Callable[..., PreparedCorpus]

FEW = settings(max_examples=20, deadline=None, derandomize=True, database=None)
SCRIPTS = [
    "秦川雄帝宅，函谷壮皇居。", "我用Python写程序", "ｆｕｌｌ　ｗｉｄｔｈ！２３", "👩‍👩‍👧🇩🇪👍🏽",
    "e\u0301a\u0323\u0307", "q\u0307\u0323",
    "שלום עולם", "مرحبا ١٢٣", "हिन्दी १२", "ﬁ²①㍻ﾊﾟ", "Ünïcödé ΣΊΣΥΦΟΣ İ", "mp3 1,000.5 3rd COVID-19 10:30", "a\nb",
    " \u2003 \u0085",
    "\U0001ccd6\u32ff\ua7f2", "한국어 각", "<unk> <number>", "don't -- stop...",
]  # fmt: skip
TEXTS = st.lists(
    st.sampled_from(SCRIPTS) | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
    max_size=5,
).map("".join)
HAN = st.text("我们喜欢北京清华大学来到了程序用写，。！？《》、", min_size=1, max_size=12)
CHINESE = st.tuples(HAN, st.lists(st.tuples(st.sampled_from(["Python", "GPT", "2023", "T"]), HAN), max_size=3)).map(
    lambda parts: parts[0] + "".join(word + han for word, han in parts[1])
)

# Views that a text can come back from, as it was seen; those that the library can do; and marks, which are words.
LIBRARYS: list[dict[str, Any]] = [{}, {"lower": True}, {"unicode": "nfc"}, {"unicode": "nfd", "lower": True}]
LIBRARYS += [{"unicode": "nfkc", "lower": True}, {"unicode": "nfkd"}]
KEPT = [*LIBRARYS, {"fold_width": True, "unicode": "nfc", "lower": True}]
MARKS = [("word", {"mark_numbers": True}), ("word", {"unicode": "nfkc", "lower": True, "mark_numbers": True})]
OF_LIBRARY = [*((kind, chosen) for chosen in LIBRARYS for kind in ("word", "bpe", "character")), *MARKS]


def column(texts: list[str]) -> pa.StringArray:
    return pa.array(texts, pa.string())


def seen(views: Views, *texts: str) -> list[str]:
    return views.seen(column(list(texts))).to_pylist()


def tokenizer_of(texts: list[str], **chosen: Any) -> Tokenizer:
    wanted = TokenizerSettings.model_validate(chosen)
    kind = TOKENIZERS[wanted.kind]
    rows = Views.of(wanted).seen(column(texts))
    return kind.open().choose(wanted, [kind.open().count(rows)] if kind.is_counted else [])


def rows_of(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    encoded = tokenizer.encode_rows(tokenizer.views.seen(column(texts)))
    return [part.tolist() for part in np.split(encoded.tokens_T, np.cumsum(encoded.lengths_N))[:-1]]


# --- there and back --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", KEPT, ids=str)
@pytest.mark.parametrize("kind", ["character", "byte", "bpe"])
def test_every_text_comes_back_as_it_is_seen(kind: str, chosen: dict[str, Any]):
    learnt = tokenizer_of(SCRIPTS * 3, kind=kind, **chosen)

    @FEW
    @given(TEXTS)
    def comes_back(text: str):
        ours = tokenizer_of([text], kind=kind, **chosen) if kind == "character" else learnt
        expected = ours.views.seen_text(text)
        assert ours.decode(ours.encode(text)) == expected
        assert [ours.decode(row) for row in rows_of(ours, [text, "", text])] == [expected, "", expected]

    comes_back()


@FEW
@given(CHINESE)
def test_chinese_comes_back_without_spaces(text: str):
    ours = tokenizer_of([text], segmenter="chinese")
    assert ours.decode(ours.encode(text)) == text
    assert ours.decode(ours.encode_prompt(text)) == text
    assert ours.decode(rows_of(ours, [text])[0]) == text
    assert ours.views.character_counts(ours.views.seen(column([text]))).tolist() == [len(text)]


# --- columns, single texts and the library ---------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "chosen"), OF_LIBRARY, ids=str)
def test_columns_have_the_ids_that_the_library_makes_of_the_saved_file(kind: str, chosen: dict[str, Any]):
    ours = tokenizer_of(SCRIPTS * 3, kind=kind, **chosen)
    library = tokenizers.Tokenizer.from_str(ours.to_json().decode())

    @FEW
    @given(st.lists(TEXTS, max_size=4))
    def are_equal(texts: list[str]):
        expected = [[*encoding.ids, 0] for encoding in library.encode_batch(texts, add_special_tokens=False)]
        assert rows_of(ours, texts) == expected
        assert [[*ours.encode(text, on_unknown="replace"), 0] for text in texts] == expected

    are_equal()


@pytest.mark.parametrize(
    "chosen",
    [{"segmenter": "chinese"}, {"stem": "english", "lower": True}, {"fold_width": True, "mark_numbers": True}],
    ids=str,
)
def test_columns_have_the_ids_of_single_texts(chosen: dict[str, Any]):
    ours = tokenizer_of(SCRIPTS, **chosen)

    @FEW
    @given(st.lists(TEXTS, max_size=4))
    def are_equal(texts: list[str]):
        assert rows_of(ours, texts) == [[*ours.encode(text, on_unknown="replace"), 0] for text in texts]

    are_equal()


@pytest.mark.parametrize("form", ["nfc", "nfd", "nfkc", "nfkd"])
def test_every_character_is_normalised_as_the_library_does_it(form: Any):
    # Not all ideographs and syllables, and nothing of private use.
    blocks = itertools.chain(range(1, 0x3500), range(0xA000, 0xAD00), range(0xF900, 0x1F000), range(0x2F800, 0x2FB00))
    characters = [*map(chr, blocks)]
    normalizer = Views(unicode=form).normalizer()
    assert normalizer
    assert seen(Views(unicode=form), *characters) == normalizer.normalize_str("\0".join(characters)).split("\0")


# --- what each one does ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("7 cats, 1,000.5 dogs", "<number> cats, <number> dogs"),
        ("mp3 B2B x86_64", "mp3 B2B x86_64"),
        ("3rd COVID-19 10:30 1..2", "<number>rd COVID-<number> <number>:<number> <number>..<number>"),
        ("第３章 ١٢٣ १२", "第<number>章 <number> <number>"),
        ("no number", "no number"),
    ],
)
def test_a_number_becomes_one_word(text: str, marked: str):
    views = Views(mark_numbers=True)
    assert seen(views, text, text) == [marked, marked]
    ours = tokenizer_of([text], mark_numbers=True)
    assert [ours.tokens[token] for token in ours.encode(text)].count("<number>") == marked.count("<number>")


def test_full_width_becomes_half_width():
    assert seen(Views(fold_width=True), "１Ａ！　中，ｦ", "plain") == ["1A! 中,ｦ", "plain"]


def test_words_of_chinese_are_jiebas():
    text = "我来到北京清华大学，他用Python写程序。"
    assert seen(Views(segmenter="chinese"), text)[0].split() == rjieba.cut(text)
    assert seen(Views(segmenter="chinese"), "我来到北京清华大学") == ["我 来到 北京 清华大学"]
    # Whatever spaces there were; what is not Chinese is left as it is.
    assert seen(Views(segmenter="chinese"), "我 来 到 北 京 ， I don't  know 3.14.") == [
        "我 来到 北京 ， I don't  know 3.14."
    ]


@pytest.mark.parametrize(("language", "text"), [("english", "running dogs happily"), ("german", "die häuser liefen")])
def test_stems_are_snowballs(language: str, text: str):
    stem = Stemmer.Stemmer(language).stemWord
    assert seen(Views(stem=language), f"{text}, <unk> ({text})\n", "", text) == [
        f"{(stemmed := ' '.join(map(stem, text.split())))}, <unk> ({stemmed})\n", "", stemmed,
    ]  # fmt: skip
    assert seen(Views(stem="english"), "running") == ["run"]


def test_every_language_is_one_of_snowballs():
    annotation: Any = TokenizerSettings.model_fields["stem"].annotation
    assert {language for language in annotation.__args__[0].__args__} <= {*Stemmer.algorithms()}


def test_views_have_one_order():
    chosen = {"stem": "english", "mark_numbers": True, "lower": True, "unicode": "nfkc"}
    assert seen(Views.of(TokenizerSettings.model_validate(chosen)), "ﬁSHES № ２３ RUNNING") == ["fish no <number> run"]


# --- where they are kept ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "chosen",
    [
        *KEPT,
        {"mark_numbers": True},
        {"segmenter": "chinese", "unicode": "nfc"},
        {"stem": "english", "mark_numbers": True},
    ],
    ids=str,
)
def test_views_travel_with_the_tokenizer(chosen: dict[str, Any]):
    ours = tokenizer_of(SCRIPTS, **chosen)
    opened = Tokenizer.from_json(ours.to_json())
    assert opened.views == ours.views == Views.of(TokenizerSettings.model_validate(chosen))
    assert opened.to_json() == ours.to_json()
    assert opened.encode(SCRIPTS[1]) == ours.encode(SCRIPTS[1])


def test_the_library_refuses_a_file_whose_views_it_would_pass_over():
    ours = tokenizer_of(["我们"], segmenter="chinese")
    with pytest.raises(Exception, match="expected"):
        tokenizers.Tokenizer.from_str(ours.to_json().decode())
    assert json.loads(ours.to_json())["views"] == {"segmenter": "chinese", "made_with": ours.views.made_with}


def test_what_nobody_has_asked_for_is_not_written():
    assert TokenizerSettings().model_dump() == {"kind": "word", "lower": False, "vocabulary_size": None, "min_count": 1}
    assert Views().state() == {}


def test_a_segmented_corpus_is_read_as_it_was_made(text_file: Write, prepared: Prepare):
    made = prepared(source=text_file("我来到北京清华大学。\n他们喜欢程序。\n"), tokenizer={"segmenter": "chinese"})
    opened = open_corpus(made.folder)
    opened.verify()
    assert opened.tokenizer.views == made.tokenizer.views
    (block,) = opened.read_blocks("train", [0])
    texts = [opened.tokenizer.decode(row) for row in np.split(block.tokens_T, block.stops_N[:-1])]
    assert texts == ["我来到北京清华大学。", "他们喜欢程序。"]
    assert opened.splits["train"].characters == len("我来到北京清华大学。他们喜欢程序。") + 2
    # The texts of judges, and prompts.
    more = encode_sentences((text_file("他们来到北京。\n", "more.txt"),), opened)
    assert more.tokens_T.tolist() == [*opened.tokenizer.encode_prompt("他们来到北京。"), 0]


def test_sentences_that_are_seen_alike_share_a_split(text_file: Write, prepared: Prepare):
    lines = [line for n in range(200) for line in (f"caf\u00e9 {n} {'x ' * n}", f"cafe\u0301 {n + 1000} {'x ' * n}")]
    made = prepared(
        source=text_file("\n".join(lines)), heldout_fraction=0.3, max_length=300,
        tokenizer={"kind": "word", "unicode": "nfc", "mark_numbers": True},
    )  # fmt: skip
    seen_in = {}
    for name in ("train", "heldout"):
        for block in made.read_blocks(name, range(len(made.splits[name].blocks))):
            for row in np.split(block.tokens_T, block.stops_N[:-1]):
                seen_in.setdefault(row.tobytes(), []).append(name)
    assert len(seen_in) == 200
    assert all(len(names) == 2 and len({*names}) == 1 for names in seen_in.values())
    assert made.splits["heldout"].rows > 20


def test_a_continuous_text_is_cut_between_words_of_what_is_seen(text_file: Write, prepared: Prepare):
    made = prepared(
        source=text_file("我来到北京清华大学。他们喜欢程序。\n" * 40), layout="continuous", max_length=10,
        heldout_fraction=0.2, tokenizer={"segmenter": "chinese"},
    )  # fmt: skip
    heldout, train = (made.splits[name].characters for name in ("heldout", "train"))
    assert heldout / (heldout + train) == pytest.approx(0.2, abs=0.02)
    assert "清华大学" in made.tokenizer.tokens


def test_another_version_of_a_library_makes_another_corpus(text_file: Write, monkeypatch: pytest.MonkeyPatch):
    wanted = Corpus.model_validate({"source": text_file("我们\n"), "tokenizer": {"segmenter": "chinese"}})
    before, views = content_key(wanted), Views.of(wanted.tokenizer)
    monkeypatch.setattr(libraries, "_with_version", lambda name: f"{name} 99")
    assert content_key(wanted) != before
    assert views.notes() == [
        f"This text was prepared with {views.made_with}, and here is rjieba 99, which may see some words otherwise."
    ]


# --- what cannot be --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "chosen", "extra"),
    [("rjieba", {"segmenter": "chinese"}, "chinese"), ("Stemmer", {"stem": "english"}, "stemming")],
)
def test_a_library_that_is_not_there_is_named(
    text_file: Write, prepared: Prepare, tmp_path, monkeypatch: pytest.MonkeyPatch, module: str, chosen: Any, extra: str
):
    path, ours = text_file("我们\n"), tokenizer_of(["我们"], **chosen)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        UserError, match=rf"corpus\.tokenizer\.\w+ needs \w+, .* not installed on .*lstmgan-dist\[{extra}\]"
    ):
        prepared(source=path, tokenizer=chosen)
    assert not (tmp_path / "corpus").exists()
    # What was prepared can be read, and written, without it.
    opened = Tokenizer.from_json(ours.to_json())
    assert opened.decode([2]) == "我们"
    with pytest.raises(UserError, match="is not installed on"):
        opened.encode_prompt("我们")


@pytest.mark.parametrize(
    ("chosen", "line"),
    [
        ("kind: character, segmenter: chinese", "segmenter: kind character has no use for it: leave it out"),
        ("kind: bpe, stem: english", "stem: kind bpe has no use for it"),
        ("kind: byte, mark_numbers: true", "mark_numbers: kind byte has no use for it"),
        ("unicode: nfkc, fold_width: true", "fold_width: unicode nfkc has no use for it"),
        ("segmenter: chinese, stem: english", "stem: segmenter chinese has no use for it: leave it out, or leave"),
        ("stem: klingon", "stem: 'klingon' will not do: choose arabic, armenian"),
        ("segmenter: thai", "segmenter: 'thai' will not do: choose chinese"),
        ("unicode: utf-8", "unicode: 'utf-8' will not do: choose nfc, nfd, nfkc or nfkd"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(chosen: str, line: str):
    job = (
        f"corpus: {{source: a.txt, tokenizer: {{{chosen}}}}}\ngenerator: {{}}\nphases: [{{kind: likelihood, steps: 1}}]"
    )
    with pytest.raises(UserError) as told:
        parse_job(job, name="a.yaml")
    assert f"a.yaml: corpus.tokenizer.{line}" in str(told.value)


def test_marks_are_words_to_whom_they_are_words():
    assert split_words("<number>") == ["<", "number", ">"]
    ours = tokenizer_of(["the 7 cats"], mark_numbers=True)
    assert ours.decode(ours.encode("the 12 cats")) == "the <number> cats"
