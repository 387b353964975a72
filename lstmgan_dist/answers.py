"""Whether what answers is S3, and has stored what was sent.

A proxy's login page is an answer of 200, too, and botocore reads nothing but headers that are absent and lists that are
empty from it. What S3 says of an object that was stored is its ETag: the MD5 of what was sent or, of an upload in
parts, the MD5 of the parts' MD5s and their number. It is another thing where the storage encrypts with keys of a key
service or of the client, and says so; nothing is compared there.
"""

from __future__ import annotations

import hashlib
import io
import re
from typing import Any

NOT_S3 = "NotS3"

# What answers that succeed have, where that is known; of others, nothing is asked.
_ROOTS = {
    "CompleteMultipartUpload": b"CompleteMultipartUploadResult",
    "CreateMultipartUpload": b"InitiateMultipartUploadResult",
    "DeleteObjects": b"DeleteResult",
    "ListObjectsV2": b"ListBucketResult",
}
_WITH_ETAG = {"GetObject", "HeadObject", "PutObject", "UploadPart"}
_WITHOUT_CONTENT = {"DeleteObject"}

_MD5 = re.compile(r"[0-9a-f]{32}")
_MD5_OF_PARTS = re.compile(r"[0-9a-f]{32}-\d+")


def unmask(*, operation_model: Any, response_dict: dict[str, Any], **_: Any) -> None:
    """Make an error of an answer that succeeds and is not S3's; botocore calls this before it reads an answer."""
    if response_dict["status_code"] >= 300 or _is_of_s3(operation_model.name, response_dict):
        return
    kind = response_dict["headers"].get("content-type", "nothing that is known")
    message = f"what answers is not S3 but sends {kind.partition(';')[0]}, as a login page would be"
    response_dict["status_code"] = 502
    response_dict["body"] = f"<Error><Code>{NOT_S3}</Code><Message>{message}</Message></Error>".encode()


def _is_of_s3(operation: str, response: dict[str, Any]) -> bool:
    if operation in _ROOTS:
        return re.search(rb"<(\w+:)?" + _ROOTS[operation] + rb"[\s>/]", response["body"]) is not None
    if operation in _WITH_ETAG:
        return "etag" in response["headers"]
    return operation not in _WITHOUT_CONTENT or response["status_code"] == 204


def differs(operation: str, body: Any, answer: dict[str, Any]) -> bool:
    """Whether an answer that succeeded tells of another object than the one that was sent.

    body: of the request; a stream has a checksum behind it, which the storage has compared.
    answer: as botocore read it.
    """
    sent = body.getvalue() if isinstance(body, io.BytesIO) else body
    if not isinstance(sent, bytes) or _has_other_keys(answer):
        return False
    etag = str(answer.get("ETag", "")).strip('"')
    if operation in ("PutObject", "UploadPart"):
        return _MD5.fullmatch(etag) is not None and etag != hashlib.md5(sent, usedforsecurity=False).hexdigest()
    if operation == "CompleteMultipartUpload":
        parts = [bytes.fromhex(part) for part in re.findall(r"[\">;]([0-9a-f]{32})[\"<&]", sent.decode())]
        whole = f"{hashlib.md5(b''.join(parts), usedforsecurity=False).hexdigest()}-{len(parts)}"
        return _MD5_OF_PARTS.fullmatch(etag) is not None and etag != whole
    return False


def _has_other_keys(answer: dict[str, Any]) -> bool:
    return "kms" in answer.get("ServerSideEncryption", "") or "SSECustomerAlgorithm" in answer
