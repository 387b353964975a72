"""Every kind of tokenizer makes the ids that the library makes, of a vocabulary that is as promised.

Also for corpus/pieces.py, and for corpus/tokenizers/character.py, corpus/tokenizers/byte.py, corpus/tokenizers/word.py,
corpus/tokenizers/bpe.py; and for tokens.py.
"""

import itertools
import random

import numpy as np
import pyarrow as pa
import pytest
import tokenizers

from lstmgan_dist.corpus.bulk import piece_borders
from lstmgan_dist.corpus.settings import TokenizerSettings
from lstmgan_dist.corpus.tokenizer import Tokenizer
from lstmgan_dist.corpus.tokenizers import TOKENIZERS
from lstmgan_dist.corpus.tokenizers.byte import byte_alphabet
from lstmgan_dist.errors import UserError
from tests.corpus.numbered import tokenizer_settings

KINDS = list(TOKENIZERS)

TEXTS = [
    "A man rides a horse.",
    "it's a 'test' -- don't  panic...",
    "tabs\tand\nline ends\n\n and   several spaces",
    " leading and trailing ",
    "Ünïcödé, ΣΊΣΥΦΟΣ straße İstanbul",
    "秦川雄帝宅，函谷壮皇居。",
    "non-breaking\u00a0space and\u3000wide \u2003 spaces \u0085 here",
    "emoji 👩‍👩‍👧 e\u0301 ½ <end> <unk> \u001c \r\n x",
    "x",
    "1,000 10:30 a/b (c) [d] {e} \"f\" `` g ''",
]


def tokenizer_of(*chunks: list[str], **settings: object) -> Tokenizer:
    chosen = TokenizerSettings.model_validate(settings)
    kind = TOKENIZERS[chosen.kind]
    opened = kind.open()
    return opened.choose(
        chosen, [opened.count(pa.array(texts, pa.string())) for texts in chunks] if kind.is_counted else []
    )


def rows_of(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    encoded = tokenizer.encode_rows(tokenizer.views.seen(pa.array(texts, pa.string())))
    return [part.tolist() for part in np.split(encoded.tokens_T, np.cumsum(encoded.lengths_N))[:-1]]


def random_texts(seed: int, count: int) -> list[str]:
    chooser = random.Random(seed)
    letters = "ab. ,'\"-\n\t\r()0é中 \u00a0\u3000\u2003\u0085\u001c:/_👩" + " " * 6
    return ["".join(chooser.choices(letters, k=chooser.randrange(40))) for _ in range(count)]


@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_bulk_encoding_equals_the_library_reading_the_saved_file(kind: str, lower: bool):
    texts = TEXTS + random_texts(1, 2000)
    ours = tokenizer_of(TEXTS + random_texts(2, 500), lower=lower, **tokenizer_settings(kind, 600))
    theirs = tokenizers.Tokenizer.from_str(ours.to_json().decode())
    expected = [[*encoding.ids, 0] for encoding in theirs.encode_batch(texts)]
    assert rows_of(ours, texts) == expected
    assert rows_of(Tokenizer.from_json(ours.to_json()), texts) == expected
    assert [ours.encode(text, on_unknown="replace") for text in texts] == [ids[:-1] for ids in expected]


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_encodes_to_the_end_mark(kind: str):
    texts = ["<end>", "a <end> b", *["<end>"] * 50]
    ours = tokenizer_of(texts, **tokenizer_settings(kind, 400))
    assert all(0 not in row[:-1] and row[-1] == 0 for row in rows_of(ours, texts))
    assert ours.tokens[0] == "<end>"


@pytest.mark.parametrize("kind", ["character", "byte", "bpe"])
def test_text_survives_encoding_and_decoding(kind: str):
    ours = tokenizer_of(TEXTS, kind=kind)
    assert [ours.decode(ours.encode(text)) for text in TEXTS] == TEXTS


def test_decoding_stops_at_the_end_mark():
    ours = tokenizer_of(["a b"], kind="word")
    assert ours.decode([*ours.encode("b a"), 0, 2, 2]) == "b a"


def test_ids_are_laid_out_as_promised():
    characters = tokenizer_of(["abbccc"], kind="character")
    assert (characters.tokens, characters.unknown_id) == (("<end>", "<unk>", "c", "b", "a"), 1)
    words = tokenizer_of(["b a a c", "c"], kind="word")
    assert (words.tokens, words.unknown_id) == (("<end>", "<unk>", "a", "c", "b"), 1)
    for kind in ("byte", "bpe"):
        ours = tokenizer_of(["aa aa aa"], kind=kind)
        assert ours.tokens[:257] == ("<end>", *byte_alphabet())
        assert ours.unknown_id is None
    assert tokenizer_of([], kind="byte").encode("\n") == [11]


def test_rare_and_surplus_words_are_unknown():
    texts = ["a a a b b c"]
    assert tokenizer_of(texts, kind="word", min_count=2).tokens == ("<end>", "<unk>", "a", "b")
    assert tokenizer_of(texts, kind="word", vocabulary_size=3).tokens == ("<end>", "<unk>", "a")
    assert tokenizer_of(texts, kind="character", min_count=3).tokens == ("<end>", "<unk>", " ", "a")


def test_unknown_marks_in_a_text_are_the_unknown_token():
    ours = tokenizer_of(["the <unk> dog"], kind="word")
    assert ours.encode("the <unk> dog") == [ours.tokens.index("the"), 1, ours.tokens.index("dog")]


def test_an_unknown_character_is_an_error_that_names_it():
    ours = tokenizer_of(["abc"], kind="character")
    with pytest.raises(UserError, match="lacks the characters 'x', 'y' of 'axby'"):
        ours.encode("axby")
    assert ours.decode(ours.encode("axby", on_unknown="skip")) == "ab"
    assert ours.encode("axb", on_unknown="replace")[1] == 1


def test_a_row_that_goes_on_has_no_end_mark():
    ours = tokenizer_of(TEXTS, kind="word")
    rows = pa.array(TEXTS[:2], pa.string())
    whole, open_ended = ours.encode_rows(rows), ours.encode_rows(rows, last_ends=False)
    assert open_ended.tokens_T.tolist() == whole.tokens_T[:-1].tolist()
    assert open_ended.lengths_N.sum() == len(open_ended.tokens_T)


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows_and_empty_rows_encode(kind: str):
    ours = tokenizer_of(["a"], kind=kind)
    assert rows_of(ours, []) == []
    assert rows_of(ours, ["", "a", ""]) == [[0], [*ours.encode("a"), 0], [0]]


@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_text_may_be_cut_at_every_border_without_changing_its_tokens(kind: str):
    texts = TEXTS + random_texts(3, 300)
    ours = tokenizer_of(texts, kind=kind, vocabulary_size=600)
    for text in texts:
        data = text.encode()
        borders = [0, *np.flatnonzero(piece_borders(np.frombuffer(data, np.uint8))).tolist(), len(data)]
        parts = [data[start:stop].decode() for start, stop in itertools.pairwise(borders)]
        assert [token for part in parts for token in ours.encode(part)] == ours.encode(text)


@pytest.mark.slow
def test_a_vocabulary_of_more_than_65536_takes_32_bits():
    words = [f"w{index}" for index in range(70_000)]
    ours = tokenizer_of([" ".join(words)], kind="word")
    assert ours.token_type is np.uint32
    assert rows_of(ours, [words[-1]]) == [[ours.tokens.index(words[-1]), 0]]


def test_byte_pairs_are_those_the_library_learns_from_the_lines():
    texts = [f"the cat number {index % 13} sat on the mat and the hat" for index in range(300)]
    ours = tokenizer_of(texts, kind="bpe", vocabulary_size=400)
    learner = tokenizers.Tokenizer(tokenizers.models.BPE())
    learner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=399, min_frequency=2, initial_alphabet=byte_alphabet(), show_progress=False
    )
    learner.train_from_iterator(texts, trainer)
    assert [ours.library.encode(text).tokens for text in texts] == [learner.encode(text).tokens for text in texts]


def test_counting_in_little_memory_keeps_the_frequent_words(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lstmgan_dist.corpus.pieces.MOST_DISTINCT", 100)
    monkeypatch.setattr("lstmgan_dist.corpus.pieces.MOST_PENDING", 50)
    frequent = [f"often{index}" for index in range(10)]
    chunks = [[" ".join(frequent), *(f"rare{chunk}x{index}" for index in range(30))] for chunk in range(40)]
    assert set(tokenizer_of(*chunks, kind="word", vocabulary_size=12).tokens[2:]) == set(frequent)
    with pytest.raises(UserError, match=r"set corpus.tokenizer.vocabulary_size"):
        tokenizer_of(*chunks, kind="word")


def test_byte_pairs_are_learnt_from_text_without_spaces_in_little_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lstmgan_dist.corpus.pieces.MOST_DISTINCT_BYTES", 5000)
    chooser = random.Random(1)
    chunks = [["".join(chooser.choices(["秦川", "雄帝", "宅，", "函谷"], k=12)) for _ in range(30)] for _ in range(50)]
    tokenizer = tokenizer_of(*chunks, kind="bpe", vocabulary_size=400)
    assert tokenizer.vocabulary_size > 257 + 4
    assert len(tokenizer.encode("秦川雄帝")) <= 2


def test_byte_pairs_need_room_for_all_bytes():
    with pytest.raises(UserError, match="vocabulary_size 100 is too small for bpe"):
        tokenizer_of(kind="bpe", vocabulary_size=100)


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_tokenizer_is_of_the_kind_that_made_it(kind: str):
    ours = tokenizer_of(TEXTS, **tokenizer_settings(kind, 400))
    assert type(ours) is type(Tokenizer.from_json(ours.to_json())) is TOKENIZERS[kind].open()
    assert ours.kind == kind


def test_byte_pairs_of_which_none_comes_twice_are_bytes():
    assert tokenizer_of(["ab"], kind="bpe").to_json() == tokenizer_of(kind="byte").to_json()


def test_a_saved_tokenizer_of_no_kind_of_ours_is_refused():
    other = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="a"))
    with pytest.raises(UserError, match="of no known kind, character, byte, word or bpe"):
        Tokenizer.from_json(other.to_str().encode())


def test_a_prompt_may_be_written_as_texts_come_out():
    ours = tokenizer_of(["秦 川 雄 帝 宅 ， 函 谷 壮 皇 居 。", "a man"])
    spaced = ours.encode("函 谷 雄 帝")
    assert ours.encode_prompt("函谷雄帝") == spaced
    assert ours.encode_prompt(ours.decode(spaced)) == spaced
    assert ours.encode_prompt("a man") == ours.encode("a man")
    with pytest.raises(UserError, match="lacks the word '天'"):
        ours.encode_prompt("天谷")
