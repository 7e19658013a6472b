"""Artifacts are found and read by whichever way leads to their root."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from engine.errors import AuthError, CommError, IntegrityError, NotFound, Transient, Unsupported
from engine.mlflow.artifacts import ArtifactRoots, open_artifact_roots
from engine.mlflow.artifacts_http import ProxyArtifacts, RunArtifacts
from engine.mlflow.artifacts_local import LocalArtifacts
from engine.mlflow.rest import RestStore, open_rest_store
from engine.mlflow.store import ArtifactRepository
from engine.protocols import SystemOptions
from engine.records import ArtifactEntry, Blob
from engine.transfer.context import Context
from tests.mlflow.conftest import ServedWorld
from tests.mlflow.local import serving
from tests.mlflow_server import running_mlflow
from tests.stores import Sql, artifact_directory, put, sqlite_store

pytestmark = pytest.mark.anyio


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(spool=tmp_path)


@pytest.fixture
async def store(served_world: ServedWorld, context: Context) -> AsyncIterator[RestStore]:
    store = open_rest_store(served_world.server.url, SystemOptions())
    assert isinstance(store, RestStore)
    async with store.open(context):
        yield store


@pytest.fixture
async def roots(context: Context) -> AsyncIterator[ArtifactRoots]:
    """As for a store that is no server."""
    async with open_artifact_roots(context, {}) as roots:
        yield roots


async def read(repository: ArtifactRepository, blob: Blob, offset: int = 0) -> bytes:
    pieces = [piece async for piece in repository.read(blob, offset)]
    assert all(0 < len(piece) <= 1024 * 1024 for piece in pieces)
    return b"".join(pieces)


async def everything(repository: ArtifactRepository) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    async for entry in repository.entries():
        assert entry.path not in found
        found[entry.path] = await read(repository, entry)
        assert entry.size == len(found[entry.path])
    return found


REFUSED = {"hash#question?.txt", "new\nline.txt", "percent%2Fencoded"}
"""Names that MLflow's own server lists but does not hand out (3.17)."""

REFUSED_BY_RUN = REFUSED | {"C:drive"}


async def check_tree(repository: ArtifactRepository, directory: Path, refused: set[str]) -> None:
    """All that the server hands out arrives, and what it does not is an error of that file."""
    expected = {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }
    listed = set()
    async for entry in repository.entries():
        listed.add(entry.path)
        assert entry.size == len(expected[entry.path])
        if entry.path in refused:
            with pytest.raises((CommError, NotFound), match="--artifact-root"):
                await read(repository, entry)
        else:
            assert await read(repository, entry) == expected[entry.path]
    assert listed == expected.keys()


async def test_a_proxied_tree_arrives_byte_for_byte_under_its_own_names(
    store: RestStore, served_world: ServedWorld
) -> None:
    run_id = served_world.store.runs["files-odd"]
    directory = artifact_directory(served_world.store, run_id)
    uri = f"mlflow-artifacts:/{directory.relative_to(served_world.store.served)}"
    repository = store.artifacts(run_id, uri)
    assert isinstance(repository, ProxyArtifacts)
    await check_tree(repository, directory, REFUSED)


async def test_the_same_tree_arrives_by_way_of_the_run(store: RestStore, served_world: ServedWorld) -> None:
    run_id = served_world.store.runs["files-odd"]
    directory = artifact_directory(served_world.store, run_id)
    await check_tree(RunArtifacts(store._api, run_id), directory, REFUSED_BY_RUN)


async def test_a_root_that_this_machine_sees_is_read_in_place(
    store: RestStore, served_world: ServedWorld
) -> None:
    run_id = served_world.store.runs["files-on-disk"]
    directory = artifact_directory(served_world.store, run_id)
    repository = store.artifacts(run_id, directory.as_uri())
    (entry,) = [entry async for entry in repository.entries()]
    assert entry.local_path == directory / "here.txt"
    assert await read(repository, entry) == b"here"


async def test_a_root_that_only_the_server_sees_is_read_through_it(
    store: RestStore, served_world: ServedWorld
) -> None:
    run_id = served_world.store.runs["files-on-disk"]
    repository = store.artifacts(run_id, "file:///on/the/servers/disk")
    assert await everything(repository) == {"here.txt": b"here"}


async def test_a_run_without_artifacts_has_none(store: RestStore, served_world: ServedWorld) -> None:
    run_id = served_world.store.runs["files-none"]
    assert await everything(store.artifacts(run_id, f"mlflow-artifacts:/none/{run_id}/artifacts")) == {}


async def test_a_file_can_be_read_from_the_middle(store: RestStore, served_world: ServedWorld) -> None:
    run_id = served_world.store.runs["files-odd"]
    repository = RunArtifacts(store._api, run_id)
    (big,) = [entry async for entry in repository.entries() if entry.path == "big.bin"]
    assert big.size is not None
    whole = bytes(range(256)) * 14_000
    assert await read(repository, big, 3_000_001) == whole[3_000_001:]
    assert await read(repository, big, big.size) == b""


async def test_a_file_that_is_gone_is_not_found(store: RestStore, served_world: ServedWorld) -> None:
    repository = RunArtifacts(store._api, served_world.store.runs["files-odd"])
    with pytest.raises(NotFound, match="nosuch"):
        await read(repository, Blob(path="nosuch", size=1, locator="nosuch"))


@pytest.mark.parametrize("ranges", [True, False])
async def test_a_broken_download_goes_on_where_it_broke(context: Context, ranges: bool) -> None:
    content = os.urandom(300_000)
    starts: list[str | None] = []

    async def fragile(request: web.Request) -> web.StreamResponse:
        wanted = request.headers.get("Range")
        starts.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and ranges else 0
        answer = web.StreamResponse(status=206 if start else 200, headers={"ETag": '"same"'})
        answer.content_length = len(content) - start
        await answer.prepare(request)
        end = len(content) if len(starts) == 3 else 100_000 * len(starts)
        await answer.write(content[start:end])
        if len(starts) < 3:
            assert request.transport is not None
            request.transport.close()
        return answer

    async with serving(fragile) as url, open_artifact_roots(context, {}) as roots:
        repository = roots.repository(f"{url}/api/2.0/mlflow-artifacts/artifacts/1", "r")
        assert await read(repository, Blob(path="f", size=len(content), locator="f")) == content
    assert len(starts) == 3
    assert starts[0] is None
    assert starts[1] is not None


async def test_a_download_without_a_length_that_ends_early_is_noticed(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from a server before 3.15 whose own source broke: a clean end, but too soon."""
    from engine import downloads
    from engine.transfer.throttling.retry import RetryPolicy

    monkeypatch.setattr(downloads, "DEFAULT_POLICY", RetryPolicy(attempts=2, base_s=0.0))

    async def short(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        answer.enable_chunked_encoding()
        await answer.prepare(request)
        await answer.write(b"only this")
        return answer

    async with serving(short) as url, open_artifact_roots(context, {}) as roots:
        repository = roots.repository(f"{url}/api/2.0/mlflow-artifacts/artifacts/1", "r")
        with pytest.raises(Transient, match="ended at byte 9 of 10"):
            await read(repository, Blob(path="f", size=10, locator="f"))
        with pytest.raises(IntegrityError, match="has 9 bytes and was listed with 8"):
            await read(repository, Blob(path="f", size=8, locator="f"))


async def test_a_host_that_a_run_names_never_sees_the_credentials(context: Context) -> None:
    seen: list[str | None] = []

    async def elsewhere(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        if request.path.endswith("/artifacts"):
            return web.json_response({"files": [{"path": "f", "is_dir": False, "file_size": 1}]})
        return web.Response(body=b"x")

    async def tracking(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer secret"
        return web.Response(text="3.17.2") if request.path == "/version" else web.json_response({})

    async with serving(elsewhere) as other, serving(tracking) as url:
        store = open_rest_store(url, SystemOptions(api_key="secret"))
        async with store.open(context):
            host = other.removeprefix("http:")
            for root in (f"mlflow-artifacts:{host}/1", f"{other}/api/2.0/mlflow-artifacts/artifacts/1"):
                assert await everything(store.artifacts("r", root)) == {"f": b"x"}
    assert seen == [None] * 4


async def test_a_cloud_store_without_a_server_is_refused_with_a_way_out(roots: ArtifactRoots) -> None:
    for uri in ("s3://bucket/1/artifacts", "gs://b/1", "wasbs://c@a.blob.core.windows.net/1", "dbfs:/x"):
        with pytest.raises(Unsupported, match=r"URI of the tracking server"):
            roots.repository(uri, "r")
    with pytest.raises(Unsupported, match="--artifact-root mlflow-artifacts:=DIRECTORY"):
        roots.repository("mlflow-artifacts:/1/r/artifacts", "r")


async def test_prefixes_of_moved_stores_are_rewritten_at_path_segments(tmp_path: Path) -> None:
    async with open_artifact_roots(
        Context(spool=tmp_path),
        {"s3://bucket/mlflow": str(tmp_path), "s3://bucket": "/other", "/old": str(tmp_path / "new")},
    ) as roots:
        assert roots.rewritten("s3://bucket/mlflow/1/a") == f"{tmp_path}/1/a"
        assert roots.rewritten("s3://bucket/mlflow2/1") == "/other/mlflow2/1"
        assert roots.rewritten("s3://bucket2/1") == "s3://bucket2/1"
        assert roots.rewritten("file:///old/1/a%20b") == f"{tmp_path}/new/1/a b"
        (tmp_path / "1").mkdir()
        (tmp_path / "1" / "f").write_bytes(b"moved")
        assert await everything(roots.repository("s3://bucket/mlflow/1", "r")) == {"f": b"moved"}


async def test_a_relative_root_is_relative_to_the_store(tmp_path: Path) -> None:
    (tmp_path / "mlruns" / "1").mkdir(parents=True)
    (tmp_path / "mlruns" / "1" / "f").write_bytes(b"x")
    async with open_artifact_roots(Context(spool=tmp_path), {}, base=tmp_path) as roots:
        assert await everything(roots.repository("./mlruns/1", "r")) == {"f": b"x"}


async def test_links_are_followed_inside_of_the_root_only(tmp_path: Path, context: Context) -> None:
    (tmp_path / "secret").write_bytes(b"not an artifact")
    root = tmp_path / "1" / "r" / "artifacts"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "file").write_bytes(b"1")
    (root / "inside").symlink_to(root / "sub" / "file")
    (root / "folder").symlink_to(root / "sub")
    (root / "outside").symlink_to(tmp_path / "secret")
    (root / "up").symlink_to(tmp_path)
    (root / "nowhere").symlink_to(root / "gone")
    (root / "sub" / "circle").symlink_to(root)
    os.mkfifo(root / "pipe")
    found = await everything(LocalArtifacts(root, context))
    assert {"inside", "folder/file", "sub/file"} <= found.keys()
    assert not any(content == b"not an artifact" for content in found.values())
    assert context.losses.counts["special_file_skipped"] >= 1
    explained = {loss.subject.split("'")[1] for loss in context.losses.examples["symlink_skipped"]}
    assert {"outside", "up", "nowhere"} <= explained


async def test_one_file_that_may_not_be_read_is_an_error_of_that_file(
    tmp_path: Path, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ok").write_bytes(b"1")
    (tmp_path / "locked").write_bytes(b"2")
    if os.geteuid() == 0:
        # Root reads everything, so that the refusal is raised where the system would raise it.
        import anyio

        original = anyio.open_file

        async def refusing(path: Path, *arguments: object, **options: object) -> object:
            if path.name == "locked":
                raise PermissionError(13, "Permission denied")
            return await original(path, *arguments, **options)  # type: ignore[call-overload]

        monkeypatch.setattr("anyio.open_file", refusing)
    else:
        (tmp_path / "locked").chmod(0)
    repository = LocalArtifacts(tmp_path, context)
    entries = {entry.path: entry async for entry in repository.entries()}
    assert await read(repository, entries["ok"]) == b"1"
    with pytest.raises(AuthError, match="locked"):
        await read(repository, entries["locked"])


async def test_a_file_that_grew_since_it_was_listed_is_noticed(tmp_path: Path, context: Context) -> None:
    (tmp_path / "log").write_bytes(b"1")
    repository = LocalArtifacts(tmp_path, context)
    (entry,) = [entry async for entry in repository.entries()]
    (tmp_path / "log").write_bytes(b"12")
    with pytest.raises(IntegrityError, match="has 2 bytes now and had 1"):
        await read(repository, entry)


async def test_names_that_are_no_text_are_written_out(tmp_path: Path, context: Context) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9")).write_bytes(b"latin")
    assert await everything(LocalArtifacts(tmp_path, context)) == {"caf\\xe9": b"latin"}
    assert context.losses.counts["name_not_utf8"] == 1


class TestMissingRoots:
    """MLflow makes directories when the first artifact is logged, so that a missing one may mean either."""

    @pytest.mark.parametrize("there", ["mlruns/1/run", "mlruns/1", "mlruns"])
    async def test_a_run_whose_store_is_there_has_no_artifacts(
        self, tmp_path: Path, context: Context, there: str
    ) -> None:
        (tmp_path / there).mkdir(parents=True)
        assert await everything(LocalArtifacts(tmp_path / "mlruns/1/run/artifacts", context)) == {}
        assert not context.losses.counts

    async def test_a_store_that_is_not_where_it_would_be_is_declared(
        self, tmp_path: Path, context: Context
    ) -> None:
        assert await everything(LocalArtifacts(tmp_path / "mlruns/1/run/artifacts", context)) == {}
        (loss,) = context.losses.examples["artifact_root_absent"]
        assert "--artifact-root" in loss.detail

    async def test_a_root_of_another_machine_is_not_found_and_the_way_out_is_named(
        self, roots: ArtifactRoots
    ) -> None:
        repository = roots.repository("file:///home/somebody/else/mlruns/1/run/artifacts", "run")
        with pytest.raises(NotFound, match="--artifact-root") as failure:
            await everything(repository)
        assert "/home/somebody/else/mlruns/1/run/artifacts" in str(failure.value)

    async def test_a_file_in_place_of_the_root_is_refused(self, tmp_path: Path, context: Context) -> None:
        (tmp_path / "f").write_bytes(b"")
        with pytest.raises(NotFound, match="no directory"):
            await everything(LocalArtifacts(tmp_path / "f", context))


async def test_a_tree_is_listed_without_holding_all_of_it(tmp_path: Path, context: Context) -> None:
    for directory in range(30):
        (tmp_path / f"d{directory}").mkdir()
        for file in range(40):
            (tmp_path / f"d{directory}" / f"{file}").write_bytes(b"")
    entries = LocalArtifacts(tmp_path, context).entries()
    first: ArtifactEntry = await anext(entries)
    assert first.path == "d0/0"
    await entries.aclose()


@pytest.mark.slow
async def test_a_server_with_a_path_prefix_hands_out_proxied_artifacts(
    tmp_path: Path, context: Context
) -> None:
    """From 3.15 on, `--static-prefix` does not apply to the proxy's own downloads."""
    made = sqlite_store(tmp_path)
    sql = Sql(made)
    run_id = sql.run(sql.experiment("e"), "r", artifact_uri="mlflow-artifacts:/1/r/artifacts")
    put(made, run_id, {"a/b.txt": b"12"})
    with running_mlflow(made.uri, made.served, prefix="/team/a", ready="/team/a/health") as server:
        store = open_rest_store(server.url, SystemOptions())
        async with store.open(context):
            repository = store.artifacts(run_id, "mlflow-artifacts:/1/r/artifacts")
            assert await everything(repository) == {"a/b.txt": b"12"}
