"""Downloads of artifact files by digest, with credentials; the SDK's way out if it got no URL for a file.

Layout V1 is ``/artifacts/{entity}/{hex digest}``, V2 is
``/artifactsV2/{region}/{entity}/{project}/{collection}/{birth artifact id}/{hex digest}/{name}``, where the
artifact's own id may stand before that of its birth artifact.
"""

from __future__ import annotations

import base64

from aiohttp import web

from engine.sandbox.accounts import entity_access
from engine.sandbox.artifacts.access import readable_artifact
from engine.sandbox.artifacts.contents import blob_key
from engine.sandbox.context import CALL
from engine.sandbox.graph import ids
from engine.sandbox.refusals import Refusal, bad_request, not_found
from engine.sandbox.storage.s3_errors import S3Error


async def download_v1(request: web.Request) -> web.StreamResponse:
    call, md5 = request[CALL], _md5(request)
    entity = entity_access.readable_entity(call, request.match_info["entity"])
    if entity is None:
        raise not_found("no such artifact file")
    birth = call.db.value(
        "SELECT b.birth FROM artifact_blobs b JOIN projects p ON p.number = b.project "
        "JOIN artifacts a ON a.number = b.birth "
        "WHERE p.entity = ? AND b.md5 = ? AND a.state = 'COMMITTED'",
        (entity.number, md5),
    )
    if birth is None:
        raise not_found("no such artifact file")
    return await _serve(request, blob_key(birth, md5))


async def download_v2(request: web.Request) -> web.StreamResponse:
    call, md5 = request[CALL], _md5(request)
    birth = ids.decode("Artifact", request.match_info["birth"])
    # The bytes outlive the version that brought them, as long as another one has them.
    users = call.db.all(
        "SELECT DISTINCT artifact FROM artifact_entries WHERE birth = ? AND digest = ?", (birth, md5)
    )
    if not any(readable_artifact(call, ids.encode("Artifact", row["artifact"])) for row in users):
        raise not_found("no such artifact file")
    return await _serve(request, blob_key(birth, md5))


def _md5(request: web.Request) -> str:
    try:
        return base64.b64encode(bytes.fromhex(request.match_info["digest"])).decode()
    except ValueError as error:
        raise bad_request("the digest in the path is not hex") from error


async def _serve(request: web.Request, key: str) -> web.StreamResponse:
    try:
        return await request[CALL].objects.serve(request, key)
    except S3Error as error:
        raise Refusal(error.status, error.message) from error


_V2 = "/artifactsV2/{region}/{entity}/{project}/{collection}"

ROUTES = [
    web.get("/artifacts/{entity}/{digest}", download_v1),
    web.get(_V2 + "/{birth}/{digest}/{name}", download_v2),
    web.get(_V2 + "/{artifact}/{birth}/{digest}/{name}", download_v2),
]
