"""What is believed of an answer of S3, by hand; test_storage_s3.py holds it against a server."""

import hashlib
import io

import pytest

from lstmgan_dist.answers import differs

TEXT, MD5 = b"text", hashlib.md5(b"text").hexdigest()
PARTS = [hashlib.md5(part).digest() for part in (b"one", b"two")]
WHOLE = hashlib.md5(b"".join(PARTS)).hexdigest() + "-2"
ENDS = "".join(
    f"<Part><ETag>{quote}{part.hex()}{quote}</ETag><ChecksumCRC32>q83vEg==</ChecksumCRC32></Part>"
    for part, quote in zip(PARTS, ('"', "&quot;"), strict=True)
).encode()


@pytest.mark.parametrize(
    ("operation", "body", "answer", "expected"),
    [
        ("PutObject", TEXT, {"ETag": f'"{MD5}"'}, False),
        ("PutObject", TEXT, {"ETag": MD5}, False),
        ("PutObject", TEXT, {"ETag": f'"{WHOLE[:32]}"'}, True),
        ("UploadPart", io.BytesIO(TEXT), {"ETag": f'"{MD5}"'}, False),
        ("UploadPart", io.BytesIO(TEXT), {"ETag": f'"{WHOLE[:32]}"'}, True),
        ("PutObject", TEXT, {"ETag": '"0x8DD5"'}, False),
        ("PutObject", TEXT, {"ETag": f'"{WHOLE[:32]}"', "ServerSideEncryption": "aws:kms:dsse"}, False),
        ("PutObject", TEXT, {"ETag": f'"{WHOLE[:32]}"', "ServerSideEncryption": "AES256"}, True),
        ("UploadPart", TEXT, {"ETag": f'"{WHOLE[:32]}"', "SSECustomerAlgorithm": "AES256"}, False),
        ("PutObject", object(), {"ETag": f'"{WHOLE[:32]}"'}, False),
        ("PutObject", TEXT, {"Error": {"Code": "SlowDown"}}, False),
        ("CompleteMultipartUpload", ENDS, {"ETag": f'"{WHOLE}"'}, False),
        ("CompleteMultipartUpload", ENDS, {"ETag": f'"{MD5}-2"'}, True),
        ("CompleteMultipartUpload", ENDS, {"ETag": f'"{WHOLE[:-1]}3"'}, True),
        ("CompleteMultipartUpload", ENDS, {"ETag": "composed"}, False),
        ("GetObject", b"", {"ETag": f'"{MD5}"'}, False),
    ],
)
def test_an_etag_tells_what_was_stored_where_it_is_a_digest(operation, body, answer, expected):
    assert differs(operation, body, answer) is expected
