"""The fsspec driver behind a URL: which one, and how it is reached. See `retries` and `storage_errors` for the rest.

Endpoint, region and profile come from the job's `storage` block, and what that leaves open from the environment:
AWS_ENDPOINT_URL, AWS_REGION or AWS_DEFAULT_REGION, AWS_PROFILE, and credentials wherever AWS's own tools look for
them. Drivers run a thread of their own, so a process that has used one must spawn its children, not fork them.
"""

from __future__ import annotations

import functools
import os
from typing import Any

import fsspec

from lstmgan_dist.addresses import WITHOUT_FILE, scheme_of
from lstmgan_dist.answers import unmask
from lstmgan_dist.errors import UserError
from lstmgan_dist.retries import Patience
from lstmgan_dist.storage_errors import reporting
from lstmgan_dist.storage_settings import Storage

S3 = ("s3", "s3a")
GOOGLE = ("gs", "gcs")

# Which extra of this package brings the driver of a protocol.
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}

_CONNECT_SECONDS = 5.0


def resolve(url: str, settings: Storage) -> tuple[Any, str]:
    """The file system of a URL, reached as the settings say, and the path within it.

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
            filesystem = _s3(settings, environment, os.getpid())  # type: ignore[arg-type]  # frozen, so hashable
            return filesystem, filesystem._strip_protocol(url)
        if protocol in GOOGLE:
            anonymous = {"token": "anon"} if settings.anonymous else {}
            with reporting(url):
                return fsspec.core.url_to_fs(url, use_listings_cache=False, **anonymous)
        with reporting(url):
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

    from lstmgan_dist.pacing import PacedSession

    session = AioSession(profile=settings.profile)
    session.register("before-parse.s3", unmask)
    session.register("needs-retry.s3", Patience(settings))
    # botocore reads AWS_DEFAULT_REGION alone, every other SDK AWS_REGION.
    region = settings.region or os.environ.get("AWS_REGION")
    filesystem = s3fs.S3FileSystem(
        anon=settings.anonymous,
        endpoint_url=settings.endpoint,
        client_kwargs={"region_name": region} if region else {},
        config_kwargs={
            "connect_timeout": min(_CONNECT_SECONDS, settings.timeout),
            "read_timeout": settings.timeout,
            "http_session_cls": PacedSession,
            "retries": {"mode": "standard", "total_max_attempts": 1},  # `Patience` sends again, not botocore
        },
        session=session,
        # Others write there too.
        use_listings_cache=False,
        skip_instance_cache=True,
        # Else a file of 1 GB that is written at once is sent as one part, and sent again as one.
        fixed_upload_size=True,
    )
    filesystem.retries = 1  # nor s3fs
    return filesystem
