"""How long Patience waits, asked as botocore asks it; test_storage_s3.py holds it against a server that fails."""

from types import SimpleNamespace

import pytest

from lstmgan_dist.retries import Patience, UploadedBeforeError
from lstmgan_dist.storage_settings import Storage


def ask(patience, status, code, *, attempts=1, operation="PutObject", context=None):
    """What it says to an answer with this status and code."""
    return patience(
        response=(SimpleNamespace(status_code=status), {"Error": {"Code": code, "Message": "busy"}}),
        caught_exception=None,
        attempts=attempts,
        operation=SimpleNamespace(name=operation),
        request_dict={"context": {} if context is None else context, "body": b"text"},
    )


def test_waits_double_up_to_eight_seconds():
    patience = Patience(Storage(patience=1000))
    for attempts, longest in ((1, 0.2), (2, 0.4), (5, 3.2), (9, 8.0)):
        wait = ask(patience, 503, "SlowDown", attempts=attempts)
        assert wait is not None
        assert longest / 2 <= wait <= longest


@pytest.mark.parametrize(("status", "code"), [(403, "AccessDenied"), (404, "NoSuchKey"), (501, "NotImplemented")])
def test_what_does_not_pass_is_not_sent_again(status, code):
    assert ask(Patience(Storage()), status, code) is None


def test_patience_ends_with_the_reason_and_the_address():
    patience, context = Patience(Storage(patience=0)), {"input_params": {"Bucket": "texts", "Key": "a.txt"}}
    with pytest.raises(OSError, match="the storage answers 503 SlowDown: busy") as raised:
        ask(patience, 503, "SlowDown", context=context)
    assert raised.value.filename == "s3://texts/a.txt"


def test_upload_that_an_earlier_request_completed_is_no_failure():
    with pytest.raises(UploadedBeforeError):
        ask(Patience(Storage()), 404, "NoSuchUpload", attempts=2, operation="CompleteMultipartUpload")
