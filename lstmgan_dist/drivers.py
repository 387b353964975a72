"""The fsspec driver behind a URL: which one, how it is reached, how patient it is, and what its errors mean.

Endpoint, region and profile come from the job's `storage` block, and what that leaves open from the environment:
AWS_ENDPOINT_URL, AWS_REGION or AWS_DEFAULT_REGION, AWS_PROFILE, and credentials wherever AWS's own tools look for
them. Drivers run a thread of their own, so a process that has used one must spawn its children, not fork them.
"""

from __future__ import annotations

import errno
import functools
import logging
import math
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import fsspec

from lstmgan_dist.addresses import WITHOUT_FILE, scheme_of
from lstmgan_dist.errors import UserError
from lstmgan_dist.storage_settings import Storage

S3 = ("s3", "s3a")
GOOGLE = ("gs", "gcs")

# Which extra of this package brings the driver of a protocol.
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
# What raises errors of its own below fsspec.
_PACKAGES = {"aiobotocore", "aiohttp", "botocore", "fsspec", "gcsfs", "google", "requests", "s3fs", "urllib3"}

_CONNECT_SECONDS = 5.0
# A server that this process never reached is sooner a wrong address than a busy server; and where patience has come to
# an end once, what a run still does to stop properly should not wait as long again.
_LITTLE_PATIENCE_SECONDS = 8.0
_ABORT_SECONDS = 2.0
_LONGEST_WAIT_SECONDS = 8.0
_WORTH_SAYING_SECONDS = 3.0

_log = logging.getLogger(__name__)
_settings = Storage()


def configure(settings: Storage) -> None:
    """From now on, this process reaches its storage as a job says; call it before the first `Folder`."""
    global _settings
    _settings = settings


def resolve(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path within it.

    Raises:
        UserError: if no driver of this protocol is installed, or it is the address of text that has no file.
    """
    protocol = scheme_of(url)
    if protocol in WITHOUT_FILE:
        raise UserError(f"{url} is text that is made, not a place: give a path or a URL (./{url} is a path).")
    try:
        if protocol == "file":
            # Not fsspec's own choice, which takes data:1.txt for a URL.
            filesystem = fsspec.filesystem("file")
            return filesystem, filesystem._strip_protocol(url)
        if protocol in S3:
            # Credentials are looked up when a client is made, so another environment needs another one.
            environment = hash(tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_"))))
            filesystem = _s3(_settings, environment, os.getpid())  # type: ignore[arg-type]  # frozen, so hashable
            return filesystem, filesystem._strip_protocol(url)
        if protocol in GOOGLE:
            anonymous = {"token": "anon"} if _settings.anonymous else {}
            with reporting(url):
                return fsspec.core.url_to_fs(url, use_listings_cache=False, **anonymous)
        return fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        extra = _EXTRAS.get(protocol)
        remedy = (
            f"install it with pip install 'lstmgan-dist[{extra}]'"
            if extra
            else "use a local path, s3:// or gs://, or install the fsspec driver of that protocol"
        )
        raise UserError(f"{url}: no driver for {protocol}:// is installed: {remedy}.") from error


def is_object_store(filesystem: Any) -> bool:
    """Whether files there appear whole when their upload completes, and have no folders but in their names."""
    return bool(_EXTRAS.keys() & _protocols(filesystem))


def _protocols(filesystem: Any) -> set[str]:
    protocols = filesystem.protocol
    return {protocols} if isinstance(protocols, str) else set(protocols)


@functools.lru_cache(maxsize=16)
def _s3(settings: Storage, environment: int, process: int) -> Any:
    import s3fs
    from aiobotocore.session import AioSession

    session = AioSession(profile=settings.profile)
    session.register("needs-retry.s3", Patience(settings))
    # botocore reads AWS_DEFAULT_REGION alone, every other SDK AWS_REGION.
    region = settings.region or os.environ.get("AWS_REGION")
    return s3fs.S3FileSystem(
        anon=settings.anonymous,
        endpoint_url=settings.endpoint,
        client_kwargs={"region_name": region} if region else {},
        config_kwargs={
            "connect_timeout": min(_CONNECT_SECONDS, settings.timeout),
            "read_timeout": settings.timeout,
            "retries": {"mode": "standard", "total_max_attempts": 1},  # `Patience` sends again, not botocore
        },
        session=session,
        # Others write there too.
        use_listings_cache=False,
        skip_instance_cache=True,
        # Else a file of 1 GB that is written at once is sent as one part, and sent again as one.
        fixed_upload_size=True,
    )


# --- sending again ---------------------------------------------------------------------------------------------------


class UploadedBeforeError(Exception):
    """An upload was completed by a request whose answer got lost."""


# Codes of what passes that come with a status of their own.
_PASSING_CODES = {
    "BadDigest",
    "IncompleteBody",
    "OperationAborted",
    "RequestTimeout",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
    "XAmzContentSHA256Mismatch",
}


class Patience:
    """Decides whether a request to S3 that failed is sent again, and after how many seconds.

    botocore asks this after every answer and every broken connection. What passes (5xx, throttling, timeouts, resets)
    is tried again, with waits that double from about 0.2 s to 8 s, for `settings.patience` seconds in all.
    """

    def __init__(self, settings: Storage) -> None:
        self._settings = settings
        self._reached = self._gave_up = False
        self._draw = random.Random()

    def __call__(
        self, *, response: Any, caught_exception: Any, attempts: int, operation: Any, request_dict: Any, **_: Any
    ) -> float | None:
        """Seconds to wait before the request is sent again; None leaves things as they are.

        Raises:
            OSError: when patience is at an end, with the reason.
            UploadedBeforeError: if this request needs no repetition.
        """
        self._reached |= response is not None
        if attempts > 1 and operation.name == "CompleteMultipartUpload" and _code(response) == "NoSuchUpload":
            raise UploadedBeforeError
        reason = self._passing(response, caught_exception)
        if reason is None:
            self._gave_up &= response is None
            return None
        now, context = time.monotonic(), request_dict["context"]
        began = context.setdefault("lstmgan_first_failure", now)
        ends = began + self._seconds(operation.name, caught_exception)
        named = context.get("input_params", {})
        address = "/".join(["s3:/", *(named[part] for part in ("Bucket", "Key", "Prefix") if named.get(part))])
        if now >= ends:
            self._gave_up = True
            tried = f"{attempts} times in {now - began:.0f} s"
            raise OSError(errno.EIO, f"{reason} (tried {tried})", address)
        wait = min(0.2 * 2 ** (attempts - 1), _LONGEST_WAIT_SECONDS) * self._draw.uniform(0.5, 1.0)
        if wait > _WORTH_SAYING_SECONDS and self._reached:
            _log.warning("%s: %s; trying again for another %.0f s.", address, reason, ends - now)
        return min(wait, ends - now)

    def _seconds(self, operation: str, exception: Any) -> float:
        if operation == "AbortMultipartUpload":
            return _ABORT_SECONDS
        unreachable = type(exception).__name__ in ("EndpointConnectionError", "ConnectTimeoutError")
        hopeless = self._gave_up or (unreachable and not self._reached)
        return min(self._settings.patience, _LITTLE_PATIENCE_SECONDS if hopeless else math.inf)

    def _passing(self, response: Any, exception: Any) -> str | None:
        """Why the request failed, if that may pass."""
        if response is not None:
            status, error = response[0].status_code, response[1].get("Error", {})
            code = str(error.get("Code", ""))
            if not (status in (429, 500) or 502 <= status <= 504 or status > 505 or code in _PASSING_CODES):
                return None
            named = f"{status} {code}" if code not in ("", str(status)) else str(status)
            return f"the storage answers {named}: {error.get('Message', '')}".rstrip(".: ")
        from botocore import exceptions

        server = _host(self._settings.endpoint or getattr(exception, "kwargs", {}).get("endpoint_url", ""))
        match exception:
            case exceptions.SSLError() | exceptions.ProxyConnectionError():
                return None
            case exceptions.ReadTimeoutError():
                return f"{server} gives no answer within {self._settings.timeout:g} s"
            case exceptions.EndpointConnectionError() | exceptions.ConnectTimeoutError():
                return f"{server} cannot be reached"
            case exceptions.HTTPClientError() | exceptions.ConnectionError():
                return f"the connection to {server} broke"
            case _:
                return None


def _host(url: str) -> str:
    return urlsplit(url).netloc or "the storage"


# --- what errors mean ------------------------------------------------------------------------------------------------

_CHECK_KEYS = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile"
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
    "NoSuchBucket": (errno.ENXIO, "there is no such bucket, and none is made here: create it, or check the address"),
    "InvalidBucketName": (errno.ENXIO, "this is no valid name of a bucket: check the address"),
    "ParamValidationError": (errno.ENXIO, "this is no valid name of a bucket: check the address"),
    "PermanentRedirect": (errno.ENXIO, "the bucket is in another region: set AWS_REGION or storage.region"),
    "AuthorizationHeaderMalformed": (
        errno.ENXIO,
        "the bucket is in another region: set AWS_REGION or storage.region",
    ),
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
    if code == "403" and filesystem is not None and _protocols(filesystem) & set(S3):
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
    if not code and not from_driver and not isinstance(error, TimeoutError):
        return None
    number = error.errno if isinstance(error, OSError) and error.errno else errno.EIO
    answer = f"the storage answers {code}: {message}" if code else message
    return OSError(number, answer.strip().rstrip("."), address)


def _reason(error: BaseException) -> tuple[str, str]:
    """The storage's own code and message, or the kind of error where it gave none."""
    found: BaseException | None = error
    while found is not None:
        response = getattr(found, "response", None)
        if isinstance(response, dict):
            return str(response["Error"].get("Code", "")), str(response["Error"].get("Message", ""))
        if type(found).__name__ in _MEANINGS:
            return type(found).__name__, str(found)
        if type(found).__module__.startswith("gcsfs") and getattr(found, "code", None):
            return str(found.code), str(getattr(found, "message", ""))  # type: ignore[attr-defined]
        found = found.__cause__
    words = error.strerror if isinstance(error, OSError) else str(error)
    return "", words or str(error) or type(error).__name__


def _code(response: Any) -> str:
    return response[1].get("Error", {}).get("Code", "") if response is not None else ""
