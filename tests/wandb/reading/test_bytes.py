"""Bytes of files and artifacts, also when their URLs expire while they wait."""

from __future__ import annotations

from contextlib import aclosing

import pytest
import wandb

from engine.errors import AuthError
from engine.protocols import SystemOptions
from engine.records import Blob, Namespace
from engine.transfer.context import Context
from engine.wandb import WandbSource
from tests.servers import RunningSandbox
from tests.wandb.conftest import ENTITY, Refusals

pytestmark = pytest.mark.anyio


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
    filled: RunningSandbox, refusals: Refusals, context: Context, times: int
) -> None:
    """The third way to an artifact file is the server itself, which asks for no signature."""
    with refusals.of_first(times):
        found = await everything(filled, context)
    assert found["data/notes.txt"] == b"kept"
    assert found["data/nothing.bin"] == b""
    assert found["weights:v1/deep/w.bin"] == b"\1" * 5_000
    assert found["output.log"] == b"to stdout\nto stderr\n"


async def test_what_is_refused_again_and_again_is_an_error_of_the_source(
    filled: RunningSandbox, refusals: Refusals, context: Context
) -> None:
    with refusals.of_first(1_000), pytest.raises(AuthError, match="source: HTTP 403: Request has expired"):
        await everything(filled, context)


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
