"""What a person is told of judgements before they are made."""

import numpy as np
import pytest

from lstmgan_dist.corpus.prepare import prepare
from lstmgan_dist.corpus.settings import Corpus
from lstmgan_dist.evaluation.doubts import doubt_about_judges
from lstmgan_dist.storage import Folder


@pytest.mark.parametrize(
    ("training", "held_out", "most", "doubt"),
    [
        (1000, 250, 2000, "Of 250 held-out sentences 83 are left for each of two judges, which is too few to learn"),
        (1000, 400, 2000, "133 are left for each of two judges, which is few, so that verdicts may end in too little"),
        (1000, 400, 10, "195 are left for each"),
        (1000, 400, 2000, "evidence: give more text, or give"),  # 0.29 of the text is held out already
        (1000, 250, 2000, "set corpus.heldout_fraction to 0.3 and give more text, or give"),
        (30_000, 400, 2000, "set corpus.heldout_fraction to 0.20, or"),
    ],
)
def test_what_can_be_judged_later_is_told_before_training(corpus_of_numbers, training, held_out, most, doubt):
    made = corpus_of_numbers(range(1000, 1000 + training), range(50_000, 50_000 + held_out))
    assert doubt in (doubt_about_judges(made, most) or "")


def test_enough_held_out_text_gives_no_rise_to_doubt(corpus_of_numbers):
    assert doubt_about_judges(corpus_of_numbers([1000], range(2000, 8000)), 2000) is None


@pytest.mark.parametrize(
    ("words", "doubt"), [(20, "which is few, so"), (5000, "too few for words as different as these")]
)
def test_whether_a_judge_can_learn_goes_by_how_different_the_words_are(words, doubt, tmp_path):
    draw = np.random.default_rng(1)
    for name, rows in (("train", 3000), ("heldout", 1200)):
        # Each word tells the next one, but for its last digit.
        starts = draw.integers(words, size=rows)
        lines = [" ".join(str((start + 10 * step + draw.integers(9)) % words) for step in range(8)) for start in starts]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    settings = Corpus(source=str(tmp_path / "train"), heldout_source=str(tmp_path / "heldout"))
    made = prepare(settings, Folder(tmp_path / "corpus"), report=lambda progress: None)
    assert doubt in (doubt_about_judges(made, 400) or "")
