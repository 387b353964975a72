"""How often and for how long a request to S3, such as an upload, is tried again.

A job's `storage.patience` says for how long in all; the waits in between, and what counts as a failure that passes, are
here. Google's driver has retries of its own.
"""

from __future__ import annotations

import errno
import logging
import math
import random
import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from lstmgan_dist.answers import NOT_S3, differs
from lstmgan_dist.storage_settings import Storage

# A server that this process never reached is sooner a wrong address than a busy server; and where patience has come to
# an end once, what a run still does to stop properly should not wait as long again.
_LITTLE_PATIENCE_SECONDS = 8.0
_ABORT_SECONDS = 2.0
_FIRST_WAIT_SECONDS = 0.2
_LONGEST_WAIT_SECONDS = 8.0
_WORTH_SAYING_SECONDS = 3.0

_log = logging.getLogger(__name__)


class UploadedBeforeError(Exception):
    """An upload was completed by a request whose answer got lost."""


# Errors of aiohttp, botocore and fsspec when an answer ends before its length, or is not what the storage has stored.
_BREAKS, _DIFFERS = "the connection breaks in the middle of an answer", "an answer does not match its checksum"
_NOT_WHOLE = {
    "FlexibleChecksumError": _DIFFERS,
    "AioReadTimeoutError": _BREAKS,
    "ClientConnectionError": _BREAKS,
    "ClientConnectionResetError": _BREAKS,
    "ClientOSError": _BREAKS,
    "ClientPayloadError": _BREAKS,
    "ConnectionResetError": _BREAKS,
    "FSTimeoutError": _BREAKS,
    "IncompleteRead": _BREAKS,
    "IncompleteReadError": _BREAKS,
    "ResponseStreamingError": _BREAKS,
    "ServerDisconnectedError": _BREAKS,
}

# Something else has arrived at the storage than what was sent.
_SPOILED_CODES = {"BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch"}

# Codes of what passes that come with a status of their own.
_PASSING_CODES = _SPOILED_CODES | {
    "OperationAborted",
    "RequestTimeout",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
}


def read_whole(read: Callable[[], list[bytes]], lengths: Sequence[int], address: str, settings: Storage) -> list[bytes]:
    """Parts of objects, read again while they break off or are not of these lengths.

    botocore's retries end when an answer begins, and what breaks comes after that.

    Raises:
        OSError: when patience is at an end, with the reason.
    """
    wanted, wait, began, attempts = list(lengths), _FIRST_WAIT_SECONDS, math.nan, 0
    while True:
        attempts += 1
        try:
            parts = read()
            if [len(part) for part in parts] == wanted:
                return parts
            reason = f"the storage gives {sum(map(len, parts)):,} bytes of {sum(wanted):,}"
        except Exception as error:
            if type(error).__name__ not in _NOT_WHOLE:
                raise
            reason = _NOT_WHOLE[type(error).__name__]
        now = time.monotonic()
        began = now if attempts == 1 else began
        if now - began >= settings.patience:
            raise OSError(errno.EIO, f"{reason} (tried {attempts} times in {now - began:.0f} s)", address)
        time.sleep(min(wait, began + settings.patience - now))
        wait = min(2 * wait, _LONGEST_WAIT_SECONDS)


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
        if reason is None and response is not None and differs(operation.name, request_dict["body"], response[1]):
            reason = "the storage has stored something else than what was sent"
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
        wait = min(_FIRST_WAIT_SECONDS * 2 ** (attempts - 1), _LONGEST_WAIT_SECONDS) * self._draw.uniform(0.5, 1.0)
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
            if code == NOT_S3:
                return error["Message"]
            if status == 507 or not (
                status in (429, 500) or 502 <= status <= 504 or status > 505 or code in _PASSING_CODES
            ):
                return None
            if code in _SPOILED_CODES:
                return f"what arrives at the storage does not match its checksum ({code})"
            named = f"{status} {code}" if code not in ("", str(status)) else str(status)
            return f"the storage answers {named}: {error.get('Message') or ''}".rstrip(".: ")
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


def _code(response: Any) -> str:
    return response[1].get("Error", {}).get("Code", "") if response is not None else ""
