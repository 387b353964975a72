"""What tests of evaluation share."""

import pytest

from lstmgan_dist.corpus.prepare import prepare
from lstmgan_dist.corpus.settings import Corpus
from lstmgan_dist.storage import Folder
from tests.evaluation.toy import DIGITS


@pytest.fixture
def corpus_of_numbers(tmp_path):
    """Prepares a corpus of numbers, each said digit by digit."""

    def make(training, heldout):
        for name, numbers in (("train", [DIGITS, *training]), ("heldout", heldout)):
            (tmp_path / name).write_text("".join(" ".join(str(number)) + "\n" for number in numbers))
        settings = Corpus(source=str(tmp_path / "train"), heldout_source=str(tmp_path / "heldout"))
        return prepare(settings, Folder(tmp_path / "corpus"), report=lambda progress: None)

    return make
