"""Who prepares the text of a job: the cluster that trains it, where its nodes reach the text; more in test_cli.py."""

from contextlib import contextmanager

import pytest

from lstmgan_dist.commands import train
from lstmgan_dist.runtime.tasks import LOCAL_THREADS
from tests.training.tiny_jobs import SENTENCES, job_of

pytestmark = pytest.mark.slow


@pytest.fixture
def asked(monkeypatch):
    """The addresses of the clusters that were asked to read, of which None is this process."""
    addresses = []

    @contextmanager
    def readers(address):
        addresses.append(address)
        yield LOCAL_THREADS

    monkeypatch.setattr(train, "readers", readers)
    return addresses


def test_text_behind_a_url_is_prepared_by_the_cluster_and_once(server, text, asked):
    server.client().put_object(Bucket=server.bucket, Key="texts/toy.txt", Body=text.read_bytes())
    with server.as_environment():
        job = job_of(SENTENCES, f"{server.url}/texts/toy.txt")
        corpus = train._corpus(job, f"{server.url}/runs/one", None, "auto")
        assert asked == ["auto"]
        assert train._corpus(job, f"{server.url}/runs/two", None, "auto").folder.url == corpus.folder.url
        assert asked == ["auto"], "it is there already"


def test_a_file_is_read_where_it_is(server, text, tmp_path, asked):
    train._corpus(job_of(SENTENCES, text), str(tmp_path / "run"), None, "auto")
    with server.as_environment():
        server.client().put_object(Bucket=server.bucket, Key="heldout.txt", Body=text.read_bytes())
        heldout = ("corpus.heldout_fraction=null", f"corpus.heldout_source={server.url}/heldout.txt")
        train._corpus(job_of(SENTENCES, text, *heldout), str(tmp_path / "run"), None, "auto")
    assert asked == [None, None]
