import errno

import pytest

from lstmgan_dist.storage_errors import reporting


class StorageAnswerError(Exception):
    """As botocore raises it: with what the storage said in `response`."""

    def __init__(self, code, message):
        super().__init__(message)
        self.response = {"Error": {"Code": code, "Message": message}}


def test_known_code_becomes_a_sentence_that_says_what_would_do():
    with pytest.raises(OSError, match="credentials have expired: renew them") as raised, reporting("s3://bucket/a.txt"):
        raise StorageAnswerError("ExpiredToken", "The provided token has expired.")
    assert (raised.value.errno, raised.value.filename) == (errno.EACCES, "s3://bucket/a.txt")


def test_unknown_code_is_told_with_the_storages_own_words():
    with pytest.raises(OSError, match="the storage answers Teapot: I am one") as raised, reporting("s3://bucket/a.txt"):
        raise StorageAnswerError("Teapot", "I am one.")
    assert raised.value.errno == errno.EIO


@pytest.mark.parametrize("error", [ValueError("a defect"), FileExistsError(errno.EEXIST, "exists", "/there")])
def test_what_no_driver_raised_or_names_its_file_already_passes(error):
    with pytest.raises(type(error)) as raised, reporting("s3://bucket/a.txt"):
        raise error
    assert raised.value is error


class Expired:
    """A storage whose listings say why its answers to HEAD refuse."""

    def split_path(self, address):
        return "bucket", "a.txt", None

    def call_s3(self, operation, **arguments):
        raise StorageAnswerError("ExpiredToken", "The provided token has expired.")


@pytest.mark.parametrize("code", ["400", "403"])
def test_a_refusal_without_a_reason_is_asked_for_it(code):
    with (
        pytest.raises(OSError, match="credentials have expired: renew them"),
        reporting("s3://bucket/a.txt", Expired()),
    ):
        raise StorageAnswerError(code, "Bad Request")
