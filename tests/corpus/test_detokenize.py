import pytest

from lstmgan_dist.corpus.detokenize import join_words, part_words
from lstmgan_dist.corpus.tokenizers.word import split_words


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("a man , his dog and a close-up .", "a man, his dog and a close-up."),
        ("Stop ! Why ? Well ... yes ; no : 50 %", "Stop! Why? Well... yes; no: 50%"),
        ('he said " come here " and left .', 'he said "come here" and left.'),
        ("he said `` come here '' and left .", 'he said "come here" and left.'),
        ("a ' quoted ' word", "a 'quoted' word"),
        ("the dogs ' bowl", "the dogs' bowl"),
        ("it 's what we do n't do", "it's what we don't do"),
        ("see ( for example ) [ this ] .", "see (for example) [this]."),
        ("call close () twice", "call close() twice"),
        ("it costs $ 5 , or $ more", "it costs $5, or $ more"),
        ("“ curly ” and « angled »", "“curly” and «angled»"),
        ("秦 川 雄 帝 宅 ， 函 谷 。", "秦川雄帝宅，函谷。"),
        ("", ""),
    ],
)
def test_words_and_signs_are_put_together_as_one_writes_them(words: str, text: str):
    assert join_words(words.split()) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("秦川雄帝宅，函谷。", "秦 川 雄 帝 宅 ， 函 谷 。"),
        ("我们喜欢北京 and more", "我们 喜欢 北京 and more"),
        ("喜欢我们吗", "喜欢 我们 吗"),
        ("秦川", "秦 川"),
        ("no such script.", "no such script ."),
        ("东京", "东京"),
    ],
)
def test_what_is_written_without_spaces_is_parted_into_known_words(text: str, words: str):
    known = {*"秦川雄帝宅，函谷。我们喜欢", "我们", "喜欢", "北京", "东京"}
    assert split_words(part_words(text, known)) == words.split()


def test_line_ends_have_no_spaces_around_them():
    assert join_words(["All", ":", "\n", "Speak", ",", "speak", ".", "\n", "\n", "Go"]) == "All:\nSpeak, speak.\n\nGo"


@pytest.mark.parametrize(
    "prose",
    [
        "It's a well-known fact (e.g. in the U.S.): 1,000 people left at 10:30, and/or later.",
        "She said \"no, I don't\" -- and 'never' again... Why? See os.path.join() for $5.",
        "Über die Straße, l’été; «oui» 50%!",
    ],
)
def test_well_written_prose_survives_being_cut_into_words(prose: str):
    assert join_words(split_words(prose)) == prose
