"""Bytes of files and artifacts, also when their URLs expire while they wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from contextlib import aclosing

import pytest
import wandb
from aiohttp import web
from aiohttp.typedefs import Handler

from engine.errors import AuthError
from engine.protocols import SystemOptions
from engine.records import Blob, Namespace
from engine.transfer.context import Context
from engine.wandb import WandbSource
from tests.servers import RunningSandbox, running_sandbox
from tests.wandb.conftest import ENTITY, run_sdk

pytestmark = pytest.mark.anyio


class Refusals:
    """A store that refuses the first so many GETs of each object, as for a URL that has expired."""

    def __init__(self) -> None:
        self.first = 0
        self.seen: Counter[str] = Counter()

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method == "GET" and "/storage/" in request.path and "manifests" not in request.path:
            self.seen[request.path] += 1
            if self.seen[request.path] <= self.first:
                return web.Response(status=403, text="<Error><Message>Request has expired</Message></Error>")
        return await handler(request)


@pytest.fixture(scope="module")
def refusals() -> Refusals:
    return Refusals()


@pytest.fixture(scope="module")
def expiring(refusals: Refusals, tmp_path_factory: pytest.TempPathFactory) -> Generator[RunningSandbox]:
    with running_sandbox(tmp_path_factory.mktemp("expiring"), intercept=refusals) as server:
        run_sdk("tests.wandb.sdk_source", server, tmp_path_factory.mktemp("expiring-sdk"))
        yield server


async def everything(server: RunningSandbox, context: Context) -> dict[str, bytes]:
    """All bytes of a run by where they are."""
    source = WandbSource(f"{server.url}/{ENTITY}", SystemOptions(api_key=server.api_key))
    found: dict[str, bytes] = {}

    async def read(blob: Blob) -> bytes:
        async with aclosing(source.read(blob)) as pieces:
            return b"".join([piece async for piece in pieces])

    async with source.open(context):
        run = await source.run(Namespace(ENTITY, "trained"), "everything")
        async for file in source.files(run):
            found[file.path] = await read(file)
        async for artifact in source.artifacts(run):
            async for entry in source.entries(artifact):
                if entry.ref is None:
                    found[f"{artifact.name}:v{artifact.version}/{entry.path}"] = await read(entry)
    return found


@pytest.mark.parametrize("times", [0, 1, 2])
async def test_a_url_that_expired_is_signed_again(
    expiring: RunningSandbox, refusals: Refusals, context: Context, times: int
) -> None:
    """The third way to an artifact file is the server itself, which asks for no signature."""
    refusals.first = times
    refusals.seen.clear()
    found = await everything(expiring, context)
    assert found["data/notes.txt"] == b"kept"
    assert found["data/nothing.bin"] == b""
    assert found["weights:v1/deep/w.bin"] == b"\1" * 5_000
    assert found["output.log"] == b"to stdout\nto stderr\n"


async def test_what_is_refused_again_and_again_is_an_error_of_the_source(
    expiring: RunningSandbox, refusals: Refusals, context: Context
) -> None:
    refusals.first = 1_000
    refusals.seen.clear()
    with pytest.raises(AuthError, match="source: HTTP 403: Request has expired"):
        await everything(expiring, context)


async def test_references_keep_their_uri_digest_and_extra(
    filled: RunningSandbox, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = WandbSource(f"{filled.url}/{ENTITY}", SystemOptions(api_key=filled.api_key))
    api = wandb.Api(overrides={"base_url": filled.url}, api_key=filled.api_key)
    async with source.open(context):
        run = await source.run(Namespace(ENTITY, "trained"), "everything")
        async for artifact in source.artifacts(run):
            told = api.artifact(f"{ENTITY}/trained/{artifact.name}:v{artifact.version}")
            assert artifact.digest == told.digest
            assert {*artifact.aliases} == {*told.aliases}
            assert artifact.metadata == told.metadata
            entries = told.manifest.entries
            seen = set()
            async for entry in source.entries(artifact):
                seen.add(entry.path)
                assert entry.digest == entries[entry.path].digest
                assert entry.ref == entries[entry.path].ref
                assert dict(entry.extra) == entries[entry.path].extra
            assert seen == entries.keys()
