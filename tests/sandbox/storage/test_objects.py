"""The object store behaves towards any HTTP client as S3 does behind presigned URLs."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from engine.sandbox.storage.objects import Handler, ObjectStore, Part
from engine.sandbox.storage.s3_errors import S3Error

pytestmark = pytest.mark.anyio

CONTENT = bytes(range(256)) * 40


def md5_b64(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data).digest()).decode()


@pytest.fixture
async def store(tmp_path: Path, anyio_backend: str) -> AsyncGenerator[ObjectStore]:
    base: list[str] = []
    store = ObjectStore(tmp_path, b"secret", lambda: base[0])
    app = web.Application()
    app.add_routes(store.routes())
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    base.append(str(server.make_url("")).rstrip("/"))
    yield store
    await server.close()
    store.close()


@pytest.fixture
async def http(anyio_backend: str) -> AsyncGenerator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(requote_redirect_url=False) as session:
        yield session


async def error_of(answer: aiohttp.ClientResponse) -> tuple[int, str, str]:
    text = await answer.text()
    assert answer.content_type == "application/xml"
    assert "<Resource>" in text
    assert "<RequestId>" in text
    code, message = (re.search(f"<{tag}>(.*?)</{tag}>", text) for tag in ("Code", "Message"))
    assert code
    assert message
    return answer.status, code[1], message[1]


async def test_what_was_put_can_be_got_with_its_etag(store: ObjectStore, http: aiohttp.ClientSession) -> None:
    async with http.put(store.upload_url("a/b.bin"), data=CONTENT) as answer:
        assert answer.status == 200
        etag = answer.headers["ETag"]
        assert etag == f'"{hashlib.md5(CONTENT).hexdigest()}"'
    async with http.get(store.download_url("a/b.bin", filename="naïve name.bin")) as answer:
        assert await answer.read() == CONTENT
        assert answer.headers["ETag"] == etag
        assert "na%C3%AFve%20name.bin" in answer.headers["Content-Disposition"]
    async with http.head(store.download_url("a/b.bin")) as answer:
        assert (answer.status, answer.content_length) == (200, len(CONTENT))
    info = store.stat("a/b.bin")
    assert info
    assert (info.size, info.md5_b64) == (len(CONTENT), md5_b64(CONTENT))


@pytest.mark.parametrize("key", ["media/ü 100%/x+y.png", "a%2Fb", "q?x=1&y#z", "semi;colon=,'\"", "日本/語"])
async def test_any_key_survives_its_url(store: ObjectStore, http: aiohttp.ClientSession, key: str) -> None:
    from yarl import URL

    async with http.put(URL(store.upload_url(key), encoded=True), data=b"x") as answer:
        assert answer.status == 200
    assert store.read(key) == b"x"


async def test_keys_that_clients_would_resolve_away_are_refused(store: ObjectStore) -> None:
    with pytest.raises(ValueError, match="resolve away"):
        store.upload_url("runs/../secret")


async def test_an_expired_url_is_refused(store: ObjectStore, http: aiohttp.ClientSession) -> None:
    async with http.put(store.upload_url("k", expires_s=-1), data=b"x") as answer:
        assert await error_of(answer) == (403, "AccessDenied", "Request has expired")
    assert store.stat("k") is None


@pytest.mark.parametrize(
    "forge",
    [
        lambda url: url[:-2] + ("AA" if url[-2:] != "AA" else "BB"),
        lambda url: url.replace("/storage/k", "/storage/other"),
        lambda url: re.sub(r"Expires=\d+", "Expires=99999999999", url),
        lambda url: url + "&partNumber=1&uploadId=x",
    ],
    ids=["signature", "key", "expiry", "query"],
)
async def test_a_changed_url_is_refused(
    store: ObjectStore, http: aiohttp.ClientSession, forge: Callable[[str], str]
) -> None:
    async with http.put(forge(store.upload_url("k")), data=b"x") as answer:
        assert (await error_of(answer))[:2] == (403, "SignatureDoesNotMatch")


async def test_a_url_allows_one_method_only(store: ObjectStore, http: aiohttp.ClientSession) -> None:
    store.put("k", b"x")
    async with http.put(store.download_url("k"), data=b"y") as answer:
        assert (await error_of(answer))[:2] == (403, "SignatureDoesNotMatch")
    async with http.get(store.upload_url("k")) as answer:
        assert (await error_of(answer))[:2] == (403, "SignatureDoesNotMatch")
    async with http.get(store.download_url("k").partition("?")[0]) as answer:
        assert (await error_of(answer))[:2] == (403, "AccessDenied")


async def test_a_url_made_for_a_digest_takes_no_other_content(
    store: ObjectStore, http: aiohttp.ClientSession
) -> None:
    url = store.upload_url("k", md5_b64=md5_b64(CONTENT))
    async with http.put(url, data=CONTENT) as answer:
        assert (await error_of(answer))[1] == "SignatureDoesNotMatch"
    async with http.put(url, data=b"other", headers={"Content-MD5": md5_b64(CONTENT)}) as answer:
        assert (await error_of(answer))[:2] == (400, "BadDigest")
    assert store.stat("k") is None
    async with http.put(url, data=CONTENT, headers={"Content-MD5": md5_b64(CONTENT)}) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("digest", ["", "not base64!", base64.b64encode(b"short").decode()])
async def test_a_digest_that_is_none_is_refused(
    store: ObjectStore, http: aiohttp.ClientSession, digest: str
) -> None:
    async with http.put(store.upload_url("k"), data=b"x", headers={"Content-MD5": digest}) as answer:
        assert (await error_of(answer))[:2] == (400, "InvalidDigest")


async def test_the_length_must_be_announced(store: ObjectStore, http: aiohttp.ClientSession) -> None:
    async def body() -> AsyncGenerator[bytes]:
        yield b"x"

    async with http.put(store.upload_url("k"), data=body()) as answer:
        assert (await error_of(answer))[:2] == (411, "MissingContentLength")


async def test_a_missing_object_is_no_such_key(store: ObjectStore, http: aiohttp.ClientSession) -> None:
    async with http.get(store.download_url("k<&>")) as answer:
        assert (await error_of(answer))[:2] == (404, "NoSuchKey")


@pytest.mark.parametrize(
    ("asked", "span"),
    [("bytes=0-0", slice(0, 1)), ("bytes=5-", slice(5, None)), ("bytes=-7", slice(-7, None)),
     ("bytes=100-99999999", slice(100, None))],
)  # fmt: skip
async def test_a_range_is_answered_with_206(
    store: ObjectStore, http: aiohttp.ClientSession, asked: str, span: slice
) -> None:
    store.put("k", CONTENT)
    async with http.get(store.download_url("k"), headers={"Range": asked}) as answer:
        assert answer.status == 206
        part = CONTENT[span]
        assert await answer.read() == part
        start = CONTENT[span.start :].__len__()
        first = len(CONTENT) - start if span.start >= 0 else len(CONTENT) + span.start
        assert answer.headers["Content-Range"] == f"bytes {first}-{first + len(part) - 1}/{len(CONTENT)}"


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "lines=0-1", "bytes=9-2", "bytes=-"])
async def test_ranges_that_s3_does_not_know_give_the_whole_object(
    store: ObjectStore, http: aiohttp.ClientSession, asked: str
) -> None:
    store.put("k", CONTENT)
    async with http.get(store.download_url("k"), headers={"Range": asked}) as answer:
        assert (answer.status, await answer.read()) == (200, CONTENT)


async def test_a_range_beyond_the_end_is_invalid(store: ObjectStore, http: aiohttp.ClientSession) -> None:
    store.put("k", b"abc")
    async with http.get(store.download_url("k"), headers={"Range": "bytes=3-"}) as answer:
        assert (await error_of(answer))[:2] == (416, "InvalidRange")


async def test_conditions_compare_the_etag(store: ObjectStore, http: aiohttp.ClientSession) -> None:
    etag = f'"{store.put("k", b"abc").etag}"'
    url = store.download_url("k")
    async with http.get(url, headers={"If-None-Match": etag}) as answer:
        assert (answer.status, await answer.read()) == (304, b"")
    async with http.get(url, headers={"If-Match": '"other"'}) as answer:
        assert (await error_of(answer))[:2] == (412, "PreconditionFailed")
    async with http.get(url, headers={"If-Range": '"other"', "Range": "bytes=0-0"}) as answer:
        assert (answer.status, await answer.read()) == (200, b"abc")


async def test_an_upload_that_breaks_off_leaves_nothing(
    store: ObjectStore, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async def breaks() -> AsyncGenerator[bytes]:
        yield b"some"
        raise OSError("the cable is out")

    with pytest.raises((aiohttp.ClientError, OSError)):
        async with http.put(store.upload_url("k"), data=breaks(), headers={"Content-Length": "1000"}):
            pass
    assert store.stat("k") is None


def test_equal_content_is_stored_once_until_its_last_key_goes(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path, b"s", lambda: "http://h")
    store.put("a", CONTENT)
    store.put("b", CONTENT)
    blobs = [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]
    assert len(blobs) == 1
    store.delete(["a"])
    assert store.read("b") == CONTENT
    store.put("b", b"other")
    assert not blobs[0].exists()
    store.delete(["b", "b"])
    store.delete(["b"])
    store.close()


def test_objects_survive_a_restart(tmp_path: Path) -> None:
    first = ObjectStore(tmp_path, b"s", lambda: "http://h")
    first.put("k", CONTENT)
    upload = first.create_multipart("parts")
    with first.blobs.receive() as body:
        body.write(b"one")
        first.blobs.keep_part("parts", upload, 1, body)
    first.close()
    second = ObjectStore(tmp_path, b"s", lambda: "http://h")
    assert second.read("k") == CONTENT
    second.complete_multipart("parts", upload, [Part(1, hashlib.md5(b"one").hexdigest())])
    assert second.read("parts") == b"one"
    second.close()


async def test_parts_join_to_one_object(store: ObjectStore, http: aiohttp.ClientSession) -> None:
    pieces = [CONTENT, CONTENT[::-1], b"end"]
    upload = store.create_multipart("big")
    parts: list[Part] = []
    for number, piece in reversed(list(enumerate(pieces, 1))):
        url = store.part_url("big", upload, number, md5_b64=md5_b64(piece))
        async with http.put(url, data=piece, headers={"Content-MD5": md5_b64(piece)}) as answer:
            assert answer.status == 200
            parts.insert(0, Part(number, answer.headers["ETag"]))
    assert store.stat("big") is None
    info = store.complete_multipart("big", upload, parts)
    whole = b"".join(pieces)
    assert store.read("big") == whole
    assert info.md5_b64 == md5_b64(whole)
    md5s = b"".join(hashlib.md5(piece).digest() for piece in pieces)
    assert info.etag == f"{hashlib.md5(md5s).hexdigest()}-3"
    async with http.put(store.part_url("big", upload, 1), data=b"late") as answer:
        assert (await error_of(answer))[:2] == (404, "NoSuchUpload")


def test_parts_must_be_those_that_were_sent(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path, b"s", lambda: "http://h", min_part_size=4)
    upload = store.create_multipart("k")
    etags = {}
    for number, data in ((1, b"abc"), (2, b"defgh")):
        with store.blobs.receive() as body:
            body.write(data)
            store.blobs.keep_part("k", upload, number, body)
            etags[number] = body.md5

    def code_of(*parts: Part) -> str:
        with pytest.raises(S3Error) as caught:
            store.complete_multipart("k", upload, parts)
        return caught.value.code

    assert code_of(Part(2, etags[2]), Part(1, etags[1])) == "InvalidPartOrder"
    assert code_of(Part(1, etags[2])) == "InvalidPart"
    assert code_of(Part(3, etags[2])) == "InvalidPart"
    assert code_of(Part(1, etags[1]), Part(2, etags[2])) == "EntityTooSmall"
    assert code_of() == "InvalidArgument"
    store.complete_multipart("k", upload, [Part(2, etags[2])])
    assert store.read("k") == b"defgh"
    with pytest.raises(S3Error, match="NoSuchUpload"):
        store.abort_multipart("k", upload)
    store.close()


async def test_an_intercept_may_answer_instead(store: ObjectStore, http: aiohttp.ClientSession) -> None:
    async def slow_down(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method == "PUT":
            return S3Error("SlowDown", "Please reduce your request rate.").response(request.path, "1")
        return await handler(request)

    store.put("k", b"x")
    store.intercept = slow_down
    async with http.put(store.upload_url("k"), data=b"y") as answer:
        assert (await error_of(answer))[:2] == (503, "SlowDown")
    async with http.get(store.download_url("k")) as answer:
        assert await answer.read() == b"x"


def test_urls_are_absolute_and_carry_no_secret(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path, b"very-secret", lambda: "http://h:1")
    url = store.upload_url("a b")
    assert url.startswith("http://h:1/storage/" + quote("a b") + "?")
    assert "very-secret" not in url
    store.close()
