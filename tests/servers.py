"""An S3 server on this machine, and a proxy in front of it that fails as often as a test wants.

    with s3_server() as server, faulty_proxy(server, share=0.05, seed=1) as proxy, proxy.as_environment():
        Folder(f"{server.url}/run").write("a.txt", b"text")
        assert proxy.injected.total()

Processes that the test starts get `environment` of the server or of the proxy in their own environment.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from unittest import mock
from urllib.parse import urlsplit

import boto3
import fsspec

BUCKET = "lstmgan"
ALL_ACCESS = (
    '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:*", "iam:*"], "Resource": "*"}]}'
)
READ_ONLY = (
    '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:Get*", "s3:List*"], "Resource": "*"}]}'
)

Fault = Literal[
    429,
    500,
    503,
    "timeout",
    "reset",
    "cut",
    "lost",
    "short",
    "flip",
    "page",
    "spoil",
    "drip",
    "moved",
    "expired",
    "skewed",
    "full",
    "late",
]


@dataclass(frozen=True)
class Place:
    """Where S3 is for a client: what a server and a proxy have in common."""

    endpoint: str
    environment: dict[str, str]
    bucket: str = BUCKET

    @property
    def url(self) -> str:
        """The bucket's address for fsspec; `f"{server.url}/run"` is a folder within it."""
        return f"s3://{self.bucket}"

    @contextlib.contextmanager
    def as_environment(self) -> Iterator[None]:
        """Meanwhile this process, and those it starts, find S3 here."""
        with mock.patch.dict(os.environ, self.environment):
            for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN"):
                os.environ.pop(name, None)
            _forget_connections()
            try:
                yield
            finally:
                _forget_connections()

    def client(self, service: str = "s3") -> Any:
        """A boto3 client, independent of the code under test."""
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
        )

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        """Every object whose key begins with the prefix, by key, as another client sees them."""
        client = self.client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        return {key: client.get_object(Bucket=self.bucket, Key=key)["Body"].read() for key in keys}

    def unfinished_uploads(self) -> list[str]:
        """Keys of multipart uploads that were neither completed nor aborted."""
        return [entry["Key"] for entry in self.client().list_multipart_uploads(Bucket=self.bucket).get("Uploads", ())]


@dataclass(frozen=True)
class S3Server(Place):
    """A server that runs; `pid` is its process. Ends with its context."""

    pid: int = 0

    def with_bucket(self, name: str) -> S3Server:
        """The same server, with a new bucket to work in."""
        self.client().create_bucket(Bucket=name)
        return replace(self, bucket=name)

    def add_user(self, name: str, policy: str) -> dict[str, str]:
        """The environment of a new user, on a server that checks credentials."""
        users = self.client("iam")
        users.create_user(UserName=name)
        users.put_user_policy(UserName=name, PolicyName="only", PolicyDocument=policy)
        key = users.create_access_key(UserName=name)["AccessKey"]
        return self.environment | {
            "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
        }


@contextlib.contextmanager
def s3_server(*, checks_credentials: bool = False) -> Iterator[S3Server]:
    """A moto server in a process of its own on a free loopback port, in memory, with an empty bucket.

    checks_credentials: whether it refuses wrong keys, signatures and users without rights, as a real one does.
    """
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    # This many requests are let in before the first key exists: bucket, user, policy, key.
    open_requests = {"INITIAL_NO_AUTH_ACTION_COUNT": "4"} if checks_credentials else {}
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)],
        env=os.environ | open_requests,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    server = S3Server(endpoint, client_environment(endpoint, "test-key", "test-secret"), pid=process.pid)
    try:
        wait_for(port, process)
        server.client().create_bucket(Bucket=server.bucket)
        if checks_credentials:
            server = S3Server(endpoint, server.add_user("owner", ALL_ACCESS), pid=process.pid)
        yield server
    finally:
        process.kill()
        process.wait()


def client_environment(endpoint: str, key: str, secret: str) -> dict[str, str]:
    """The environment of a client of a server on this machine."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        # Nobody's own profile, and no minute spent on asking the cloud for a machine's identity.
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@dataclass(frozen=True)
class FaultyProxy(Place):
    """A proxy that runs. `share` of the requests fail; write it (0 to 1) at any time."""

    faults: Faults = field(kw_only=True)

    @property
    def injected(self) -> Counter[Fault]:
        """Faults so far, by kind."""
        return self.faults.injected

    @property
    def requests(self) -> int:
        """Requests so far, those that failed included."""
        return self.faults.requests

    def fail(self, share: float, method: str = "") -> None:
        """From now on, this share of the requests, or of those of one method, fails: 0 is none, 1 is all."""
        self.faults.share, self.faults.method = share, method


class Faults:
    """Decides, from a seed, which request fails and how; the n-th request always meets the same fate."""

    def __init__(self, share: float, seed: int, kinds: Sequence[Fault], hold_s: float) -> None:
        self.share, self.method = share, ""
        self.kinds = tuple(kinds)
        self.hold_s = hold_s
        self.ended = threading.Event()
        self.injected: Counter[Fault] = Counter()
        self.requests = 0
        self.listings: dict[str, tuple[float, tuple[int, dict[str, str], bytes]]] = {}
        self._draw = random.Random(seed)
        self._lock = threading.Lock()

    def next(self, method: str) -> Fault | None:
        """What the next request meets."""
        with self._lock:
            self.requests += 1
            chance, kind = self._draw.random(), self._draw.choice(self.kinds)
            if chance >= self.share or self.method not in ("", method):
                return None
            self.injected[kind] += 1
            return kind


@contextlib.contextmanager
def faulty_proxy(
    target: Place,
    share: float = 0.05,
    *,
    seed: int = 1,
    kinds: Sequence[Fault] = (500, 503, "timeout", "reset"),
    hold_s: float = 5.0,
) -> Iterator[FaultyProxy]:
    """An HTTP proxy on a free loopback port in front of an S3 server.

    kinds: 429, 500 and 503 are answered by the proxy; "timeout" takes the request and stays silent for `hold_s`
    seconds; "reset" resets the connection before the request reaches the server, "lost" after it took effect there,
    and "cut" in the middle of the answer. What is asked for comes half, with a length that fits, by "short", and with
    its last bit turned by "flip". "page" answers as a login page would, "spoil" has another object stored than was
    sent, and "drip" sends an answer without an end, ten bytes a second. "moved" sends the client to the same address
    once more; "expired" and "skewed" refuse its credentials, and "full" has no room. "late" lists what was there up to
    `hold_s` seconds ago.
    """
    faults = Faults(share, seed, kinds, hold_s)
    address = urlsplit(target.endpoint)
    handler = type("Handler", (_Handler,), {"faults": faults, "target": (address.hostname, address.port)})
    listener = _Listener(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    endpoint = f"http://127.0.0.1:{listener.server_address[1]}"
    try:
        yield FaultyProxy(endpoint, target.environment | {"AWS_ENDPOINT_URL": endpoint}, target.bucket, faults=faults)
    finally:
        faults.ended.set()
        listener.shutdown()
        listener.server_close()
        thread.join()


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is nothing to print."""


class _Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    faults: Faults
    target: tuple[str, int]

    def _serve(self) -> None:
        body = self._body()
        fault = self.faults.next(self.command)
        if fault in _ERRORS:
            status, content = _ERRORS[fault]
            self._answer(status, {"Content-Type": "application/xml"}, content)
        elif fault == "timeout":
            self.faults.ended.wait(self.faults.hold_s)
            self._reset()
        elif fault == "reset":
            self._reset()
        elif fault == "page":
            self._answer(200, {"Content-Type": "text/html"}, b"<html><body>Please log in.</body></html>")
        elif fault == "drip":
            self._drip()
        elif fault == "moved":
            self._answer(307, {"Location": f"http://{self.headers['Host']}{self.path}"}, b"")
        else:
            if fault == "spoil" and self.command == "PUT" and body:
                body = body[:-1] + bytes([body[-1] ^ 1])
            is_late = fault == "late" and self.command == "GET" and "list-type=2" in self.path
            status, headers, content = self._late_listing() if is_late else self._forward(body)
            if fault == "lost":
                self._reset()
            else:
                if self.command == "GET" and fault == "short":
                    content = content[: len(content) // 2]
                if self.command == "GET" and fault == "flip" and content:
                    content = content[:-1] + bytes([content[-1] ^ 1])
                self._answer(status, headers, content, cut=fault == "cut")

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve

    def _body(self) -> bytes:
        """The request's body as it came over the wire, chunk marks included."""
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while True:
            mark = self.rfile.readline()
            parts += [mark, self.rfile.read(int(mark.split(b";")[0], 16) + 2)]
            if not int(mark.split(b";")[0], 16):
                return b"".join(parts)

    def _late_listing(self) -> tuple[int, dict[str, str], bytes]:
        now, listings = time.monotonic(), self.faults.listings
        if self.path not in listings or now - listings[self.path][0] > self.faults.hold_s:
            listings[self.path] = now, self._forward(b"")
        return listings[self.path][1]

    def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(*self.target, timeout=60)
        # The host goes on as the client signed it.
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in ("expect", "connection"):
                connection.putheader(name, value)
        connection.putheader("Connection", "close")
        connection.endheaders(body or None)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        passed = ("connection", "transfer-encoding", "date", "server")
        return (
            answer.status,
            {name: value for name, value in answer.getheaders() if name.lower() not in passed},
            content,
        )

    def _answer(self, status: int, headers: dict[str, str], content: bytes, *, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() != "content-length" or self.command == "HEAD":
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(content)))
        elif "Content-Length" not in headers:
            self.send_header("Content-Length", "0")
        if cut:
            self._headers_buffer = b"".join(self._headers_buffer)[:20] if not content else self._headers_buffer  # type: ignore[attr-defined]
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self.wfile.flush()
            time.sleep(0.01)
            self._reset()

    def _drip(self) -> None:
        """Never come to the end: of the content that is asked for, or else of the first header."""
        if self.command == "GET":
            self.send_response(200)
            self.send_header("Content-Length", "10000")
            self.send_header("ETag", '"drip"')
            self.end_headers()
        else:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
        with contextlib.suppress(OSError):
            while not self.faults.ended.wait(0.1):
                self.wfile.write(b".")
        self.close_connection = True

    def _reset(self) -> None:
        # Closing with a linger of 0 seconds sends a reset instead of a goodbye.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing to standard error."""


def _error(code: str, message: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()


_ERRORS: dict[Fault | None, tuple[int, bytes]] = {
    429: (429, _error("TooManyRequests", "Please reduce your request rate.")),
    500: (500, _error("InternalError", "We encountered an internal error. Please try again.")),
    503: (503, _error("SlowDown", "Please reduce your request rate.")),
    "expired": (400, _error("ExpiredToken", "The provided token has expired.")),
    "skewed": (403, _error("RequestTimeTooSkewed", "The difference between the request time and ours is too large.")),
    "full": (507, _error("XMinioStorageFull", "Storage backend has reached its minimum free drive threshold.")),
}


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a server that was started listens."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert process.poll() is None, f"the S3 server ended with {process.returncode}"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise TimeoutError(f"the S3 server does not listen on port {port}")


def _forget_connections() -> None:
    """fsspec keeps file systems, with the endpoint and the credentials they were made with."""
    for protocol in ("s3", "s3a"):
        with contextlib.suppress(ImportError):
            fsspec.get_filesystem_class(protocol).clear_instance_cache()
