"""Requests to S3 that end in time however slowly an answer comes: a byte each second is no answer."""

from __future__ import annotations

import asyncio
from typing import Any

from aiobotocore.httpsession import AIOHTTPSession
from botocore.exceptions import ReadTimeoutError

# What is slower is sooner a broken server than a busy line.
_SLOWEST_BYTES_PER_SECOND = 50_000


class PacedSession(AIOHTTPSession):
    """A session in which a request and its answer have `timeout` seconds and what their bytes take.

    aiohttp's own limits begin anew with each byte.
    """

    def __init__(self, *, timeout: tuple[float, float], **settings: Any) -> None:
        super().__init__(timeout=timeout, **settings)  # type: ignore[arg-type]
        _, self._seconds = timeout

    async def send(self, request: Any) -> Any:
        """The answer; its body too, unless it is to be read piece by piece.

        Raises:
            ReadTimeoutError: if it did not come in time. A body that comes too slowly breaks off while it is read.
        """
        size = int(request.headers.get("Content-Length", 0))
        try:
            answer = await asyncio.wait_for(super().send(request), self._limit(size))
        except TimeoutError as error:
            raise ReadTimeoutError(endpoint_url=request.url, error=error) from error
        if request.stream_output:
            length = int(answer.headers.get("content-length", 0))
            asyncio.get_running_loop().call_later(self._limit(length), answer.raw.close)
        return answer

    def _limit(self, size: int) -> float:
        return self._seconds + size / _SLOWEST_BYTES_PER_SECOND
