"""The object store of the sandbox: presigned URLs in front of ``blobs``.

W&B clients never send credentials to the object store; each URL carries its own right to do one thing
(method, key, headers, until when), signed with a secret of the server. Whatever is wrong with a request is
answered the way S3 answers it, in XML.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, TypeAlias
from urllib.parse import quote, urlencode

from aiohttp import web

from engine.sandbox.storage.blobs import PIECE, Blobs, ObjectInfo, Part, no_such_key
from engine.sandbox.storage.byte_ranges import matches, parse_range
from engine.sandbox.storage.incoming import Incoming
from engine.sandbox.storage.s3_errors import S3Error

__all__ = ["Handler", "Intercept", "ObjectInfo", "ObjectStore", "Part"]

PREFIX = "/storage/"
DAY_S = 24 * 3600

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
Intercept: TypeAlias = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]
"""Stands between the network and the store, like a middleware; may answer in the handler's stead."""


class ObjectStore:
    """Objects behind presigned URLs.

    Args:
        root: directory that holds them.
        secret: signs the URLs; keep it over restarts, or URLs handed out before become void.
        base_url: where the server can be reached; asked late, as the port may not be known early.
        min_part_size: smallest size in bytes of every part but the last. W&B's clients choose the size
            of parts themselves, so nothing is demanded by default.
        intercept: for fault injection; may be set at any time.
    """

    def __init__(
        self,
        root: Path,
        secret: bytes,
        base_url: Callable[[], str],
        *,
        min_part_size: int = 0,
        intercept: Intercept | None = None,
    ) -> None:
        self.blobs = Blobs(root, min_part_size=min_part_size)
        self.intercept = intercept
        self.lifetime_s: Callable[[str, str, float], float] = lambda _method, _key, expires_s: expires_s
        """May shorten the life of a URL for (method, key); may be set at any time."""
        self._secret = secret
        self._base_url = base_url

    def close(self) -> None:
        """Release the files; no request may be under way."""
        self.blobs.close()

    # -- what the rest of the server uses

    def upload_url(
        self,
        key: str,
        *,
        content_type: str | None = None,
        md5_b64: str | None = None,
        expires_s: float = 3600,
    ) -> str:
        """A URL to PUT the object to; headers that are given here must be sent exactly so.

        Raises:
            ValueError: the key cannot be put into a URL.
        """
        signed = {"content-md5": md5_b64, "content-type": content_type}
        return self._url(
            "PUT", key, {}, {name: value for name, value in signed.items() if value is not None}, expires_s
        )

    def download_url(self, key: str, *, expires_s: float = 3600, filename: str | None = None) -> str:
        """A URL to GET or HEAD the object from; ``filename`` is what a browser saves it as."""
        query = {}
        if filename is not None:
            disposition = f"attachment; filename*=UTF-8''{quote(filename, safe='')}"
            query["response-content-disposition"] = disposition
        return self._url("GET", key, query, {}, expires_s)

    def part_url(
        self, key: str, upload: str, number: int, *, md5_b64: str | None = None, expires_s: float = DAY_S
    ) -> str:
        """A URL to PUT one part of a multipart upload to."""
        headers = {} if md5_b64 is None else {"content-md5": md5_b64}
        return self._url("PUT", key, {"partNumber": str(number), "uploadId": upload}, headers, expires_s)

    def stat(self, key: str) -> ObjectInfo | None:
        """What is known about an object, None if there is none."""
        return self.blobs.stat(key)

    def stats(self, keys: Iterable[str]) -> dict[str, ObjectInfo]:
        """The same for many keys at once; missing ones are left out."""
        return self.blobs.stats(keys)

    def stored_bytes(self, prefixes: Iterable[str]) -> int:
        """Bytes of all objects whose keys begin so; blocks."""
        return self.blobs.stored_bytes(prefixes)

    def put(self, key: str, data: bytes, content_type: str = "application/octet-stream") -> ObjectInfo:
        """Store what the server itself made; blocks."""
        return self.blobs.put(key, data, content_type)

    def open(self, key: str) -> IO[bytes]:
        """An object's bytes as an open file; blocks. Raises ``S3Error`` if there is none."""
        return self.blobs.open(key)

    def read(self, key: str) -> bytes:
        """A small object whole; blocks. Raises ``S3Error`` if there is none."""
        return self.blobs.read(key)

    def delete(self, keys: Iterable[str]) -> None:
        """Forget objects; bytes stay while another key has the same content.

        This cannot be undone: what goes together with records goes by ``doomed.doom``.
        """
        self.blobs.delete(keys)

    def drop_abandoned(self, before_s: float) -> None:
        """Discard multipart uploads that nothing came for since this Unix time; blocks."""
        self.blobs.drop_abandoned(before_s)

    def create_multipart(self, key: str, content_type: str = "application/octet-stream") -> str:
        """Start a multipart upload and return its id."""
        return self.blobs.create_upload(key, content_type)

    def complete_multipart(self, key: str, upload: str, parts: Sequence[Part]) -> ObjectInfo:
        """Join the parts of an upload; blocks while it copies. Raises ``S3Error``."""
        return self.blobs.complete_upload(key, upload, parts)

    def abort_multipart(self, key: str, upload: str) -> None:
        """Discard an upload. Raises ``S3Error``."""
        self.blobs.abort_upload(key, upload)

    def routes(self) -> list[web.RouteDef]:
        """The HTTP side."""
        path = PREFIX + "{key:.+}"
        return [
            web.put(path, self._handle(self._put)),
            web.get(path, self._handle(self.serve), allow_head=True),
        ]

    # -- signatures

    def _url(
        self, method: str, key: str, query: Mapping[str, str], headers: Mapping[str, str], expires_s: float
    ) -> str:
        if any(segment in (".", "..") for segment in key.split("/")):
            raise ValueError(f"{key!r} has a segment that URLs resolve away")
        lives_s = self.lifetime_s(method, key, expires_s)
        full = {**query, "Expires": str(int(time.time() + lives_s))}
        if headers:
            full["SignedHeaders"] = ";".join(sorted(headers))
        full["Signature"] = self._signature(method, key, full, headers)
        return f"{self._base_url()}{PREFIX}{quote(key, safe='/~')}?{urlencode(full, quote_via=quote)}"

    def _signature(self, method: str, key: str, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
        lines = [method, key]
        lines += [f"{name}={value}" for name, value in sorted(query.items()) if name != "Signature"]
        lines += [f"{name}:{value}" for name, value in sorted(headers.items())]
        mac = hmac.digest(self._secret, "\n".join(lines).encode(), "sha256")
        return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()

    def _authorise(self, request: web.Request) -> None:
        query = dict(request.query)
        method = "GET" if request.method == "HEAD" else request.method
        names = [name for name in query.get("SignedHeaders", "").split(";") if name]
        headers = {name: request.headers.get(name, "") for name in names}
        expected = self._signature(method, request.match_info["key"], query, headers)
        if "Signature" not in query or "Expires" not in query:
            raise S3Error("AccessDenied", "Access Denied")
        if not hmac.compare_digest(expected.encode(), query["Signature"].encode()):
            raise S3Error(
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided. "
                "Check your key and signing method.",
            )
        if time.time() > int(query["Expires"]):
            raise S3Error("AccessDenied", "Request has expired", Expires=query["Expires"])

    # -- HTTP

    def _handle(self, method: Handler) -> Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            request_id = secrets.token_hex(8).upper()
            try:
                self._authorise(request)
                return await method(request)
            except S3Error as error:
                return error.response(f"/{request.match_info['key']}", request_id)

        async def handler(request: web.Request) -> web.StreamResponse:
            return await (self.intercept(request, answer) if self.intercept else answer(request))

        return handler

    async def _put(self, request: web.Request) -> web.StreamResponse:
        key, upload = request.match_info["key"], request.query.get("uploadId")
        announced = _content_md5(request)
        if request.content_length is None:
            raise S3Error("MissingContentLength", "You must provide the Content-Length HTTP header.")
        with self.blobs.receive() as body:
            await _receive(request, body)
            if announced is not None and announced.hex() != body.md5:
                raise S3Error(
                    "BadDigest",
                    "The Content-MD5 you specified did not match what we received.",
                    ExpectedDigest=announced.hex(),
                    CalculatedDigest=body.md5,
                )
            if upload is None:
                content_type = request.headers.get("Content-Type", "application/octet-stream")
                await asyncio.to_thread(self.blobs.keep, key, body, content_type)
            else:
                number = int(request.query.get("partNumber", "0"))
                await asyncio.to_thread(self.blobs.keep_part, key, upload, number, body)
        return web.Response(headers={"ETag": f'"{body.md5}"'})

    async def serve(self, request: web.Request, key: str | None = None) -> web.StreamResponse:
        """Answer a GET or HEAD with the object at ``key`` (default: the key in the path).

        For other routes that have checked the caller's rights themselves. Raises ``S3Error``.
        """
        key = request.match_info["key"] if key is None else key
        info = await asyncio.to_thread(self.blobs.stat, key)
        if info is None:
            raise no_such_key(key)
        headers = {
            "ETag": f'"{info.etag}"',
            "Accept-Ranges": "bytes",
            "Content-Type": info.content_type,
        }
        if disposition := request.query.get("response-content-disposition"):
            headers["Content-Disposition"] = disposition
        if (wanted := request.headers.get("If-Match")) is not None and not matches(wanted, info.etag):
            raise S3Error(
                "PreconditionFailed",
                "At least one of the pre-conditions you specified did not hold",
                Condition="If-Match",
            )
        if (known := request.headers.get("If-None-Match")) is not None and matches(known, info.etag):
            return web.Response(status=304, headers=headers)
        asked = None
        if matches(request.headers.get("If-Range", "*"), info.etag):
            asked = parse_range(request.headers.get("Range"), info.size)
        if asked is not None:
            headers["Content-Range"] = f"bytes {asked.start}-{asked.stop - 1}/{info.size}"
        span = range(info.size) if asked is None else asked
        response = web.StreamResponse(status=200 if asked is None else 206, headers=headers)
        response.content_length = len(span)
        if request.method == "HEAD":
            await response.prepare(request)
            return response
        # Opened here, not in a thread: a cancelled hop would lose the open file.
        with self.blobs.open(key) as file:
            await _send(request, response, file, span)
        return response


def _content_md5(request: web.Request) -> bytes | None:
    text = request.headers.get("Content-MD5")
    if text is None:
        return None
    try:
        digest = base64.b64decode(text, validate=True)
    except binascii.Error:
        digest = b""
    if len(digest) != 16:
        raise S3Error("InvalidDigest", "The Content-MD5 you specified was invalid.", **{"Content-MD5": text})
    return digest


async def _receive(request: web.Request, body: Incoming) -> None:
    # Pieces are gathered to PIECE bytes: one hop into a thread per read of a socket would cost more
    # than the writing itself.
    gathered = bytearray()
    async for chunk in request.content.iter_any():
        gathered += chunk
        if len(gathered) >= PIECE:
            await asyncio.to_thread(body.write, bytes(gathered))
            gathered.clear()
    if gathered:
        await asyncio.to_thread(body.write, bytes(gathered))
    if body.size != request.content_length:
        raise S3Error(
            "IncompleteBody",
            "You did not provide the number of bytes specified by the Content-Length HTTP header",
        )


async def _send(request: web.Request, response: web.StreamResponse, file: IO[bytes], span: range) -> None:
    await asyncio.to_thread(file.seek, span.start)
    await response.prepare(request)
    left = len(span)
    while left:
        piece = await asyncio.to_thread(file.read, min(PIECE, left))
        await response.write(piece)
        left -= len(piece)
    await response.write_eof()
