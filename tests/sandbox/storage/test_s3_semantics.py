"""What the client expects of S3 and what the sandbox answers, against an object store that others wrote.

``moto`` is that store; boto3 signs the URLs. Each request goes to both, through the engine's own client.
moto looks neither at Content-MD5 nor at the age of a signature; for these the sandbox is the only witness.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import AsyncGenerator, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import pytest
from yarl import URL

from engine.answers import Response
from engine.errors import AuthError, CommError, EngineError, NotFound, Side, Transient
from engine.http import HttpClient
from engine.sandbox import Sandbox
from engine.sandbox.storage.objects import Part
from engine.transfer.context import Context
from engine.transfer.throttling.retry import RetryPolicy
from engine.transfer.throttling.throttle import Endpoint
from tests.s3 import running_moto

pytestmark = pytest.mark.anyio

CONTENT = bytes(range(256)) * 100
BUCKET = "engine"
PART = 5 * 2**20
"""The smallest part that S3 takes, but for the last."""


def md5_b64(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data).digest()).decode()


class Store(Protocol):
    """Hands out URLs, as the server of W&B does."""

    def put_url(self, key: str, md5: str | None = None, expires_s: int = 600) -> str: ...
    def get_url(self, key: str, expires_s: int = 600) -> str: ...
    def start(self, key: str) -> str: ...
    def part_url(self, key: str, upload: str, number: int, md5: str) -> str: ...
    def complete(self, key: str, upload: str, tags: Mapping[int, str]) -> str:
        """Join the parts; the ETag of the whole."""
        ...


@dataclass
class Moto:
    s3: Any

    def put_url(self, key: str, md5: str | None = None, expires_s: int = 600) -> str:
        asked = {"Bucket": BUCKET, "Key": key} | ({"ContentMD5": md5} if md5 else {})
        return str(self.s3.generate_presigned_url("put_object", asked, ExpiresIn=expires_s))

    def get_url(self, key: str, expires_s: int = 600) -> str:
        asked = {"Bucket": BUCKET, "Key": key}
        return str(self.s3.generate_presigned_url("get_object", asked, ExpiresIn=expires_s))

    def start(self, key: str) -> str:
        return str(self.s3.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"])

    def part_url(self, key: str, upload: str, number: int, md5: str) -> str:
        asked = {"Bucket": BUCKET, "Key": key, "UploadId": upload, "PartNumber": number, "ContentMD5": md5}
        return str(self.s3.generate_presigned_url("upload_part", asked))

    def complete(self, key: str, upload: str, tags: Mapping[int, str]) -> str:
        parts = [{"PartNumber": number, "ETag": tag} for number, tag in tags.items()]
        done = self.s3.complete_multipart_upload(
            Bucket=BUCKET, Key=key, UploadId=upload, MultipartUpload={"Parts": parts}
        )
        return str(done["ETag"])


@dataclass
class Ours:
    sandbox: Sandbox

    def put_url(self, key: str, md5: str | None = None, expires_s: int = 600) -> str:
        return self.sandbox.objects.upload_url(key, md5_b64=md5, expires_s=expires_s)

    def get_url(self, key: str, expires_s: int = 600) -> str:
        return self.sandbox.objects.download_url(key, expires_s=expires_s)

    def start(self, key: str) -> str:
        return self.sandbox.objects.create_multipart(key)

    def part_url(self, key: str, upload: str, number: int, md5: str) -> str:
        return self.sandbox.objects.part_url(key, upload, number, md5_b64=md5)

    def complete(self, key: str, upload: str, tags: Mapping[int, str]) -> str:
        parts = [Part(number, tag) for number, tag in tags.items()]
        return f'"{self.sandbox.objects.complete_multipart(key, upload, parts).etag}"'


@pytest.fixture(scope="module")
def moto() -> Generator[Moto]:
    with running_moto(BUCKET) as s3:
        yield Moto(s3)


@pytest.fixture
async def ours(tmp_path: Path, anyio_backend: str) -> AsyncGenerator[Ours]:
    async with Sandbox(tmp_path) as sandbox:
        yield Ours(sandbox)


@pytest.fixture(params=["moto", "ours"])
def store(request: pytest.FixtureRequest) -> Store:
    found: Store = request.getfixturevalue(request.param)
    return found


@pytest.fixture
async def http(anyio_backend: str) -> AsyncGenerator[HttpClient]:
    context = Context(spool=Path(os.devnull))
    async with HttpClient(Side.DESTINATION, context, policy=RetryPolicy(attempts=1)) as client:
        yield client


async def put(http: HttpClient, url: str, data: bytes, **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await http.request("PUT", url, endpoint=Endpoint.OBJECTS, headers=named, body=data, anonymous=True)


async def get(http: HttpClient, url: str, **headers: str) -> Response:
    return await http.request("GET", url, endpoint=Endpoint.OBJECTS, headers=headers, anonymous=True)


async def refusal(call: Any, kind: type[EngineError], status: int) -> str:
    with pytest.raises(kind) as caught:
        await call
    assert caught.value.status == status
    return str(caught.value)


async def test_the_etag_of_an_upload_is_its_md5_in_quotes(store: Store, http: HttpClient) -> None:
    answer = await put(http, store.put_url("k", md5_b64(CONTENT)), CONTENT, Content_MD5=md5_b64(CONTENT))
    assert answer.status == 200
    assert answer.headers["ETag"] == f'"{hashlib.md5(CONTENT).hexdigest()}"'
    assert (await get(http, store.get_url("k"))).body == CONTENT


async def test_other_bytes_than_announced_are_a_bad_digest_that_may_pass(
    ours: Ours, http: HttpClient
) -> None:
    url = ours.put_url("bad", md5_b64(CONTENT))
    said = await refusal(put(http, url, CONTENT[1:], Content_MD5=md5_b64(CONTENT)), Transient, 400)
    assert "Content-MD5 you specified" in said
    await refusal(get(http, ours.get_url("bad")), NotFound, 404)


async def test_a_range_is_part_of_the_object(store: Store, http: HttpClient) -> None:
    await put(http, store.put_url("r"), CONTENT)
    for asked, span in (("0-9", slice(0, 10)), ("100-", slice(100, None)), ("-7", slice(-7, None))):
        answer = await get(http, store.get_url("r"), Range=f"bytes={asked}")
        assert (answer.status, answer.body) == (206, CONTENT[span])
        assert re.fullmatch(rf"bytes \d+-\d+/{len(CONTENT)}", answer.headers["Content-Range"])
    said = await refusal(get(http, store.get_url("r"), Range=f"bytes={len(CONTENT)}-"), CommError, 416)
    assert "range is not satisfiable" in said


async def test_what_is_not_there_is_not_found(store: Store, http: HttpClient) -> None:
    assert "does not exist" in await refusal(get(http, store.get_url("nothing")), NotFound, 404)


async def test_parts_join_to_an_object_whose_etag_counts_them(store: Store, http: HttpClient) -> None:
    parts = {1: os.urandom(PART), 2: b"the end"}
    upload = store.start("big")
    tags = {}
    for number, data in parts.items():
        digest = md5_b64(data)
        answer = await put(http, store.part_url("big", upload, number, digest), data, Content_MD5=digest)
        assert answer.headers["ETag"] == f'"{hashlib.md5(data).hexdigest()}"'
        tags[number] = answer.headers["ETag"]
    md5s = b"".join(hashlib.md5(data).digest() for data in parts.values())
    assert store.complete("big", upload, tags) == f'"{hashlib.md5(md5s).hexdigest()}-2"'
    assert (await get(http, store.get_url("big"))).body == b"".join(parts.values())


async def test_a_part_with_other_bytes_is_a_bad_digest(ours: Ours, http: HttpClient) -> None:
    upload = ours.start("parts")
    digest = md5_b64(CONTENT)
    url = ours.part_url("parts", upload, 1, digest)
    await refusal(put(http, url, CONTENT[1:], Content_MD5=digest), Transient, 400)


async def test_a_url_that_expired_is_refused(ours: Ours, http: HttpClient) -> None:
    url = ours.put_url("late", expires_s=-1)
    said = await refusal(put(http, url, CONTENT), AuthError, 403)
    assert "expired" in said


async def test_a_key_survives_its_url(store: Store, http: HttpClient) -> None:
    key = "media/ü 100%/x+y=z.png"
    await put(http, store.put_url(key), CONTENT)
    assert (await get(http, store.get_url(key))).body == CONTENT


async def test_both_stores_say_no_with_the_same_status_and_code(moto: Moto, ours: Ours) -> None:
    assert (
        await refusals(moto)
        == await refusals(ours)
        == [
            (404, "NoSuchKey"),
            (416, "InvalidRange"),
            (412, "PreconditionFailed"),
            (304, None),
        ]
    )


async def refusals(store: Store) -> list[tuple[int, str | None]]:
    async with aiohttp.ClientSession(skip_auto_headers=["Content-Type"]) as session:

        async def ask(
            method: str, url: str, data: bytes | None = None, **headers: str
        ) -> tuple[int, str | None]:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            async with session.request(method, URL(url, encoded=True), data=data, headers=named) as answer:
                code = re.search(r"<Code>(\w+)</Code>", await answer.text())
                return answer.status, code[1] if code else None

        await ask("PUT", store.put_url("there"), CONTENT)
        there, etag = store.get_url("there"), hashlib.md5(CONTENT).hexdigest()
        return [
            await ask("GET", store.get_url("not-there")),
            await ask("GET", there, Range="bytes=999999-"),
            await ask("GET", there, If_Match='"other"'),
            await ask("GET", there, If_None_Match=f'"{etag}"'),
        ]
