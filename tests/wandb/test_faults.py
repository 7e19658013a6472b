"""What goes wrong on the way to W&B, and what becomes of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

import pytest
from aiohttp import web

from engine.errors import AuthError, CommError, IntegrityError, NotFound, Transient
from engine.protocols import SystemOptions
from engine.records import Artifact, ArtifactEntry, Blob, Namespace, Project, Run
from engine.transfer.context import Context
from engine.transfer.throttling.retry import DEFAULT_POLICY
from engine.wandb import WandbDestination
from engine.wandb.uploads import sending
from tests.servers import RunningSandbox
from tests.wandb.conftest import ENTITY
from tests.wandb.faults import FaultyServer, faulty
from tests.wandb.making import START, chunks, contents, entries

pytestmark = pytest.mark.anyio

RUN = Run(id="run1", namespace=Namespace("", "e"), started_at=START)
ARTIFACT = Artifact(namespace=Namespace("", "e"), name="model", type="model")
BLOBS = {f"file{n}": bytes([n]) * 10 for n in range(20)}


@pytest.fixture
async def server(sandbox: RunningSandbox) -> AsyncGenerator[FaultyServer]:
    async with faulty(sandbox.url) as running:
        yield running


@pytest.fixture
async def destination(
    server: FaultyServer, sandbox: RunningSandbox, context: Context, request: pytest.FixtureRequest
) -> AsyncGenerator[WandbDestination]:
    destination = WandbDestination(
        f"{server.url}/{ENTITY}/{request.node.name}", SystemOptions(api_key=sandbox.api_key)
    )
    async with destination.open(context):
        yield destination


@pytest.fixture
async def namespace(destination: WandbDestination) -> Namespace:
    project = Project(namespace=RUN.namespace, id="1")
    return (await destination.prepare([project]))[project.namespace]


async def test_a_passing_conflict_on_a_run_is_tried_again(
    server: FaultyServer, destination: WandbDestination, namespace: Namespace
):
    server.once(
        path="/graphql",
        containing=b"upsertBucket",
        answer=web.json_response({"errors": [{"message": "conflict"}]}, status=409),
    )
    await destination.open_run(RUN, namespace)
    assert not server.faults


async def test_a_server_that_stays_busy_is_not_asked_for_ever(
    server: FaultyServer, destination: WandbDestination, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("engine.transfer.throttling.retry.random.uniform", lambda low, _: low)
    monkeypatch.setattr("tenacity.wait_random_exponential.__call__", lambda *_: 0.0)
    for _ in range(100):
        server.once(containing=b"upsertBucket", answer=web.json_response({"error": "busy"}, status=500))
    with pytest.raises(Transient, match="busy"):
        await destination.open_run(RUN, namespace)
    assert 100 - len(server.faults) == DEFAULT_POLICY.attempts


async def test_an_upload_url_that_expired_is_asked_for_anew(
    server: FaultyServer, destination: WandbDestination, namespace: Namespace, context: Context
):
    server.once(
        method="PUT", answer=web.Response(status=403, text="<Error><Code>AccessDenied</Code></Error>")
    )
    writer = await destination.open_run(RUN, namespace)
    receipt = await writer.write_artifact(ARTIFACT, entries(BLOBS), contents(BLOBS))
    assert receipt.files == len(BLOBS)
    assert context.counters.files == len(BLOBS)
    # Every file once, the refused one again, and the manifest.
    assert len([seen for seen in server.seen if seen.startswith("PUT")]) == len(BLOBS) + 2


async def test_an_upload_that_is_always_refused_fails_the_artifact_alone(
    server: FaultyServer, destination: WandbDestination, namespace: Namespace
):
    for _ in range(sending.SIGNINGS):
        server.once(method="PUT", answer=web.Response(status=403, text="<Error><Code>Denied</Code></Error>"))
    writer = await destination.open_run(RUN, namespace)
    one = {"file": b"x"}
    with pytest.raises(AuthError, match="file of artifact model"):
        await writer.write_artifact(ARTIFACT, entries(one), contents(one))
    await writer.write_artifact(ARTIFACT, entries(one), contents(one))
    await writer.finish()


async def test_a_history_that_was_answered_with_503_arrives_once(
    server: FaultyServer, destination: WandbDestination, namespace: Namespace, sandbox: RunningSandbox
):
    server.once(path="file_stream", answer=web.Response(status=503, text="busy"))
    writer = await destination.open_run(RUN, namespace)
    await writer.write_history(chunks([("loss", n, START, 1.0) for n in range(10)]))
    await writer.finish()
    read = sandbox.graphql(
        'query($e:String!,$p:String!){project(name:$p,entityName:$e){run(name:"run1"){historyLineCount}}}',
        e=namespace.entity,
        p=namespace.project,
    )
    assert read["project"]["run"]["historyLineCount"] == 10


async def test_a_server_without_feature_flags_is_used_without_the_features(
    server: FaultyServer, sandbox: RunningSandbox, context: Context
):
    refusal = {"errors": [{"message": 'Cannot query field "features" on type "ServerInfo".'}]}
    server.once(containing=b"features", answer=web.json_response(refusal, status=400))
    destination = WandbDestination(f"{server.url}/{ENTITY}", SystemOptions(api_key=sandbox.api_key))
    async with destination.open(context) as info:
        assert "artifact tags are not kept" in info.notes[0]
        project = Project(namespace=Namespace("", "old"), id="1")
        namespace = (await destination.prepare([project]))[project.namespace]
        writer = await destination.open_run(RUN, namespace)
        tagged = Artifact(namespace=RUN.namespace, name="model", type="model", tags=("t",))
        await writer.write_artifact(tagged, entries(BLOBS), contents(BLOBS))
    assert context.losses.counts["tag_dropped"] == 1


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("permission denied", AuthError),
        ("could not find run", NotFound),
        ("something else", CommError),
    ],
)
async def test_an_error_inside_of_an_answer_is_an_error(
    server: FaultyServer,
    destination: WandbDestination,
    namespace: Namespace,
    message: str,
    kind: type[Exception],
):
    answer = {"data": {"upsertBucket": None}, "errors": [{"message": message, "path": ["upsertBucket"]}]}
    server.once(containing=b"upsertBucket", answer=web.json_response(answer))
    with pytest.raises(kind, match=message):
        await destination.open_run(RUN, namespace)


@pytest.mark.parametrize(
    "answer",
    [
        {"text": "<html><title>Log in</title></html>", "content_type": "text/html"},
        {"text": '{"data": {"upsertBucket": {"buck', "content_type": "application/json"},
    ],
    ids=["page", "half"],
)
async def test_what_is_no_whole_answer_is_asked_for_again(
    server: FaultyServer, destination: WandbDestination, namespace: Namespace, answer: dict[str, str]
):
    server.once(containing=b"upsertBucket", answer=web.Response(**answer))  # type: ignore[arg-type]
    await destination.open_run(RUN, namespace)
    assert not server.faults


async def test_a_project_that_may_only_be_read_is_refused_before_anything_is_sent(
    server: FaultyServer, destination: WandbDestination
):
    answer = {"data": {"project": {"id": "x", "readOnly": True}}}
    server.once(containing=b"query Project", answer=web.json_response(answer))
    with pytest.raises(AuthError, match="not write"):
        await destination.prepare([Project(namespace=RUN.namespace, id="1")])


@pytest.mark.parametrize("announced", [3, 300])
async def test_a_source_that_sends_other_bytes_than_it_announced_is_found_out(
    destination: WandbDestination, namespace: Namespace, announced: int, context: Context
):
    async def lying() -> AsyncIterator[ArtifactEntry]:
        yield ArtifactEntry(path="file", size=announced)

    writer = await destination.open_run(RUN, namespace)
    with pytest.raises(IntegrityError, match=f"announced {announced} bytes"):
        await writer.write_artifact(ARTIFACT, lying(), contents({"file": bytes(30)}))
    assert context.budget.in_flight == 0


async def test_an_error_of_the_source_is_told_as_its_own(
    destination: WandbDestination, namespace: Namespace, context: Context
):
    async def read(blob: Blob, offset: int = 0) -> AsyncGenerator[bytes]:
        yield b"some"
        raise NotFound("the object is gone", subject=blob.path)

    async def known() -> AsyncIterator[ArtifactEntry]:
        yield ArtifactEntry(path="file", size=5, md5="XUFAKrxLKna5cZ2REBfFkg==")

    writer = await destination.open_run(RUN, namespace)
    with pytest.raises(NotFound, match="the object is gone"):
        await writer.write_artifact(ARTIFACT, known(), read)
    assert not list(context.spool.iterdir())
