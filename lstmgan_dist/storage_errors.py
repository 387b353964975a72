"""What the errors of a storage mean: each becomes an `OSError` that says in words where and why."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# What raises errors of its own below fsspec.
_PACKAGES = {"aiobotocore", "aiohttp", "botocore", "fsspec", "gcsfs", "google", "requests", "s3fs", "urllib3"}

_CHECK_KEYS = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile"
_FULL = "the storage is full, or our share of it: make room there, or have it extended"
_MEANINGS: dict[str, tuple[int, str]] = {
    "NoCredentialsError": (
        errno.EACCES,
        "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile with AWS_PROFILE "
        "or storage.profile, or set storage.anonymous for what is public",
    ),
    "PartialCredentialsError": (errno.EACCES, f"the credentials are incomplete: {_CHECK_KEYS}"),
    "ProfileNotFound": (errno.EACCES, "there is no such credentials profile: check AWS_PROFILE and storage.profile"),
    "InvalidAccessKeyId": (errno.EACCES, f"the storage does not know this access key: {_CHECK_KEYS}"),
    "SignatureDoesNotMatch": (errno.EACCES, f"the secret key does not belong to the access key: {_CHECK_KEYS}"),
    "InvalidToken": (errno.EACCES, "the session token is not valid: renew the credentials"),
    "ExpiredToken": (errno.EACCES, "the credentials have expired: renew them"),
    "RequestTimeTooSkewed": (errno.EACCES, "the clock of this machine is wrong: set it"),
    "AccessDenied": (errno.EACCES, "access is denied: these credentials lack the right to do this here"),
    "401": (errno.EACCES, "access is denied: the credentials are missing or wrong"),
    "403": (errno.EACCES, "access is denied: these credentials lack the right to do this here"),
    # Not ENOENT: an absent bucket is a mistake, where an absent file is an answer.
    "PreconditionFailed": (errno.EEXIST, "it exists already"),
    "ConditionalRequestConflict": (errno.EEXIST, "it is being written already"),
    "412": (errno.EEXIST, "it exists already"),
    "NoSuchBucket": (errno.ENXIO, "there is no such bucket, and none is made here: create it, or check the address"),
    "InvalidBucketName": (errno.ENXIO, "this is no valid name of a bucket: check the address"),
    "ParamValidationError": (errno.ENXIO, "this is no valid name of a bucket: check the address"),
    "PermanentRedirect": (errno.ENXIO, "the bucket is in another region: set AWS_REGION or storage.region"),
    "AuthorizationHeaderMalformed": (
        errno.ENXIO,
        "the bucket is in another region: set AWS_REGION or storage.region",
    ),
    "QuotaExceeded": (errno.ENOSPC, _FULL),
    "InsufficientStorage": (errno.ENOSPC, _FULL),
    "XMinioStorageFull": (errno.ENOSPC, _FULL),
    "507": (errno.ENOSPC, _FULL),
    "DefaultCredentialsError": (errno.EACCES, "there are no Google credentials: set GOOGLE_APPLICATION_CREDENTIALS"),
}


@contextmanager
def reporting(address: str, filesystem: Any = None) -> Iterator[None]:
    """Meanwhile, errors of drivers become the `OSError` that says where and why; all others pass.

    filesystem: asked again for the reason, where a refusal came without one.
    """
    try:
        yield
    except Exception as error:
        reported = _reported(error, address, filesystem)
        if reported is None:
            raise
        raise reported from error


def _reported(error: Exception, address: str, filesystem: Any) -> OSError | None:
    if isinstance(error, OSError) and error.filename:
        return None
    code, message = _reason(error)
    if code in ("400", "403") and hasattr(filesystem, "call_s3"):
        # An answer to HEAD has no room for the reason; the same refusal of a listing does.
        try:
            filesystem.call_s3("list_objects_v2", Bucket=filesystem.split_path(address)[0], MaxKeys=1)
        except Exception as again:
            code, message = _reason(again)
    if code in _MEANINGS:
        number, meaning = _MEANINGS[code]
        return OSError(number, meaning, address)
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), address)
    from_driver = type(error).__module__.split(".")[0] in _PACKAGES
    if not code and not from_driver and not isinstance(error, OSError):
        return None
    number = error.errno if isinstance(error, OSError) and error.errno else errno.EIO
    answer = f"the storage answers {code}: {message}" if code else message
    return OSError(number, answer.rstrip(".: "), address)


def _reason(error: BaseException) -> tuple[str, str]:
    """The storage's own code and message, or the kind of error where it gave none."""
    found: BaseException | None = error
    while found is not None:
        response = getattr(found, "response", None)
        if isinstance(response, dict):
            return str(response["Error"].get("Code", "")), str(response["Error"].get("Message") or "")
        if type(found).__name__ in _MEANINGS:
            return type(found).__name__, str(found)
        if type(found).__module__.startswith("gcsfs") and getattr(found, "code", None):
            return str(found.code), str(getattr(found, "message", ""))  # type: ignore[attr-defined]
        found = found.__cause__
    words = error.strerror if isinstance(error, OSError) else str(error)
    return "", words or str(error) or type(error).__name__
