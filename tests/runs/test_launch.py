"""Who prepares the text of a job: the cluster that trains it, where its nodes reach the text.

What a training does is in test_opened.py and test_cli.py.
"""

from contextlib import contextmanager

import pytest

from lstmgan_dist.runs import launch
from lstmgan_dist.runtime.tasks import LOCAL_THREADS
from tests.training.tiny_jobs import SENTENCES, job_of

pytestmark = pytest.mark.slow


@pytest.fixture
def asked(monkeypatch):
    """The addresses of the clusters that were asked to read, of which None is this process."""
    addresses = []

    @contextmanager
    def readers(address, *, say):
        addresses.append(address)
        yield LOCAL_THREADS

    monkeypatch.setattr(launch, "readers", readers)
    return addresses


def corpus_of(job, url):
    return launch.corpus_of(job, str(url), None, "auto", report=lambda progress: None, say=print)


def test_text_behind_a_url_is_prepared_by_the_cluster_and_once(server, text, asked):
    server.client().put_object(Bucket=server.bucket, Key="texts/toy.txt", Body=text.read_bytes())
    with server.as_environment():
        job = job_of(SENTENCES, f"{server.url}/texts/toy.txt")
        corpus = corpus_of(job, f"{server.url}/runs/one")
        assert asked == ["auto"]
        assert corpus_of(job, f"{server.url}/runs/two").folder.url == corpus.folder.url
        assert asked == ["auto"], "it is there already"


def test_a_file_is_read_where_it_is(server, text, tmp_path, asked):
    corpus_of(job_of(SENTENCES, text), tmp_path / "run")
    with server.as_environment():
        server.client().put_object(Bucket=server.bucket, Key="heldout.txt", Body=text.read_bytes())
        heldout = ("corpus.heldout_fraction=null", f"corpus.heldout_source={server.url}/heldout.txt")
        corpus_of(job_of(SENTENCES, text, *heldout), tmp_path / "run")
    assert asked == [None, None]
