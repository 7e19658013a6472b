"""Downloads by ranges from servers that others wrote: nginx, if it is installed, and the S3 of moto."""

from __future__ import annotations

import math
import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from engine import downloads, ranges
from engine.downloads import download
from engine.errors import IntegrityError, Side
from engine.http import HttpClient
from engine.transfer.context import Context
from engine.transfer.throttling.throttle import Endpoint
from tests.s3 import running_moto

pytestmark = pytest.mark.anyio

BUCKET = "bucket"
LARGE, PROBE, RANGE = 100_000, 50_000, 200_000
CONTENT = random.Random(11).randbytes(2_000_000)
OTHER = random.Random(12).randbytes(len(CONTENT))

_NGINX = """
daemon off;
user root;
pid {root}/nginx.pid;
error_log {root}/error.log;
events {{ worker_connections 128; }}
http {{
  log_format asked '$status "$http_range" $connection';
  access_log {root}/asked.log asked;
  client_body_temp_path {root}/client;
  proxy_temp_path {root}/proxy;
  fastcgi_temp_path {root}/fastcgi;
  uwsgi_temp_path {root}/uwsgi;
  scgi_temp_path {root}/scgi;
  gzip on;
  gzip_types *;
  server {{
    listen 127.0.0.1:{port};
    location / {{ root {root}/objects; }}
    location /slow/ {{ alias {root}/objects/; limit_rate 2m; }}
    location /whole/ {{ alias {root}/objects/; max_ranges 0; }}
  }}
}}
"""


class Store(Protocol):
    def put(self, content: bytes) -> None:
        """Replace the object."""
        ...

    @property
    def url(self) -> str: ...


@dataclass
class Nginx:
    root: Path
    address: str
    _puts: int = 0

    def put(self, content: bytes) -> None:
        new = self.root / "new"
        new.write_bytes(content)
        # Its ETags are made of size and time, which has whole seconds.
        self._puts += 1
        os.utime(new, (self._puts, self._puts))
        new.rename(self.root / "objects" / "object")

    @property
    def url(self) -> str:
        return f"{self.address}/object"

    def asked(self, count: int) -> list[list[str]]:
        """Status, range and connection of each request, when so many were written down."""
        until = time.monotonic() + 5
        while len(lines := (self.root / "asked.log").read_text().splitlines()) < count:
            assert time.monotonic() < until, lines
            time.sleep(0.01)
        return [line.split() for line in lines]

    def forget(self) -> None:
        os.truncate(self.root / "asked.log", 0)


@dataclass
class Moto:
    s3: Any

    def put(self, content: bytes) -> None:
        self.s3.put_object(Bucket=BUCKET, Key="object", Body=content)

    @property
    def url(self) -> str:
        return str(self.s3.generate_presigned_url("get_object", {"Bucket": BUCKET, "Key": "object"}))


@pytest.fixture(scope="module")
def nginx_server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Nginx]:
    if (program := shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")) is None:
        pytest.skip("nginx is not installed")
    root = tmp_path_factory.mktemp("nginx")
    (root / "objects").mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (root / "nginx.conf").write_text(_NGINX.format(root=root, port=port))
    errors = root / "error.log"
    with subprocess.Popen([program, "-e", str(errors), "-c", str(root / "nginx.conf")]) as process:
        try:
            while not _listens(port):
                assert process.poll() is None, errors.read_text()
                time.sleep(0.02)
            yield Nginx(root, f"http://127.0.0.1:{port}")
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.fixture(scope="module")
def moto_server() -> Generator[Moto]:
    with running_moto(BUCKET) as s3:
        yield Moto(s3)


@pytest.fixture
def nginx(nginx_server: Nginx) -> Nginx:
    nginx_server.put(CONTENT)
    nginx_server.forget()
    return nginx_server


@pytest.fixture(params=["nginx", "moto"])
def store(request: pytest.FixtureRequest) -> Store:
    found: Store = request.getfixturevalue(f"{request.param}_server")
    found.put(CONTENT)
    return found


@pytest.fixture
async def http(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[HttpClient]:
    """To which objects are large from 100,000 bytes on, and no connection is fast."""
    monkeypatch.setattr(downloads, "LARGE", LARGE)
    monkeypatch.setattr(downloads, "PROBE", PROBE)
    monkeypatch.setattr(ranges, "RANGE", RANGE)
    monkeypatch.setattr(ranges, "FAST", math.inf)
    async with HttpClient(Side.SOURCE, Context(spool=Path())) as http:
        yield http


def read(http: HttpClient, url: str, *, size: int = len(CONTENT), offset: int = 0) -> AsyncGenerator[bytes]:
    async def locate() -> tuple[str, Mapping[str, str]]:
        return url, {}

    return download(
        http, locate, Endpoint.OBJECTS, size=size, offset=offset, subject="weights", anonymous=True
    )


async def whole(http: HttpClient, url: str, *, size: int = len(CONTENT), offset: int = 0) -> bytes:
    async with aclosing(read(http, url, size=size, offset=offset)) as pieces:
        return b"".join([piece async for piece in pieces])


@pytest.mark.parametrize("size", [0, 1, LARGE - 1, LARGE, PROBE + RANGE, PROBE + RANGE + 1, len(CONTENT)])
async def test_an_object_of_any_size_is_read_whole(store: Store, http: HttpClient, size: int) -> None:
    store.put(CONTENT[:size])
    assert await whole(http, store.url, size=size) == CONTENT[:size]


@pytest.mark.parametrize("offset", [1, PROBE, 1_234_567, len(CONTENT) - 1, len(CONTENT)])
async def test_reading_goes_on_from_any_byte(store: Store, http: HttpClient, offset: int) -> None:
    assert await whole(http, store.url, offset=offset) == CONTENT[offset:]


@pytest.mark.parametrize("after", [OTHER, CONTENT[:60_000]], ids=["of the same size", "shorter"])
async def test_an_object_that_is_replaced_between_two_ranges_is_noticed(
    store: Store, http: HttpClient, after: bytes
) -> None:
    async with aclosing(read(http, store.url)) as pieces:
        await anext(pieces)
        store.put(after)
        with pytest.raises(IntegrityError, match="changed while it was read"):
            async for _ in pieces:
                pass
    assert http.read_ahead.in_flight == 0


async def test_an_object_that_was_replaced_before_is_read_as_it_is_now(
    store: Store, http: HttpClient
) -> None:
    assert await whole(http, store.url) == CONTENT
    store.put(OTHER)
    assert await whole(http, store.url) == OTHER


async def test_connections_that_are_slow_are_used_side_by_side(nginx: Nginx, http: HttpClient) -> None:
    assert await whole(http, f"{nginx.address}/slow/object") == CONTENT
    starts = [0, *range(PROBE, len(CONTENT), RANGE)]
    asked = nginx.asked(len(starts))
    assert {status for status, _, _ in asked} == {"206"}
    assert len({connection for _, _, connection in asked}) > 1
    assert (
        sorted(int(wanted.strip('"').removeprefix("bytes=").split("-")[0]) for _, wanted, _ in asked)
        == starts
    )


async def test_a_server_that_gives_no_ranges_is_asked_once(nginx: Nginx, http: HttpClient) -> None:
    assert await whole(http, f"{nginx.address}/whole/object") == CONTENT
    assert [status for status, _, _ in nginx.asked(1)] == ["200"]
