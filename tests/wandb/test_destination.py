"""What is written to W&B, as W&B's own client reads it back."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import wandb

from engine.errors import AuthError, ConfigError, Conflict
from engine.protocols import SystemOptions
from engine.records import (
    Artifact,
    ArtifactEntry,
    Blob,
    Code,
    DatasetInput,
    HistoryChunk,
    HistoryRows,
    Namespace,
    Project,
    Run,
    RunFile,
    RunState,
)
from engine.transfer.context import Context
from engine.wandb import WandbDestination
from engine.wandb.digests import Multipart
from tests.memory import Point, points
from tests.servers import RunningSandbox
from tests.wandb.conftest import ENTITY, Opened

pytestmark = pytest.mark.anyio

START = 1_700_000_000_000


def a_run(**changes: Any) -> Run:
    fields: dict[str, Any] = {
        "id": "0123456789abcdef0123456789abcdef",
        "namespace": Namespace("", "experiment"),
        "started_at": START,
        "ended_at": START + 90_500,
    }
    return Run(**{**fields, **changes})


async def chunks(history: list[Point], size: int = 1_000) -> AsyncIterator[HistoryChunk]:
    for start in range(0, len(history), size):
        yield points(history[start : start + size])


async def wide(rows: list[dict[str, Any]]) -> AsyncIterator[HistoryChunk]:
    yield HistoryRows(first=0, rows=rows)


async def write(
    destination: WandbDestination, namespace: Namespace, run: Run, history: list[Point] | None = None
) -> None:
    writer = await destination.open_run(run, namespace)
    await writer.write_history(chunks(history or []))
    await writer.finish()


def contents(blobs: Mapping[str, bytes]) -> Any:
    async def read(blob: Blob, offset: int = 0) -> AsyncGenerator[bytes]:
        for start in range(offset, len(blobs[blob.path]), 1024 * 1024):
            yield blobs[blob.path][start : start + 1024 * 1024]

    return read


async def entries(blobs: Mapping[str, bytes], **more: Any) -> AsyncIterator[ArtifactEntry]:
    for path, content in blobs.items():
        yield ArtifactEntry(path=path, size=len(content), **more)


# -- runs -------------------------------------------------------------------------------------


async def test_a_run_arrives_with_all_its_fields(opened: Opened, api: wandb.Api):
    run = a_run(
        name="Déjà vu, 1/2: ünï\n",
        notes="# Notes\r\nwith *markdown*",
        config={"lr": "0.1", "layers.0/size": "64", "nested": {"a": [1, 2.5, None]}},
        labels={"team": "vision", "long": "x" * 300},
        tags=("good", "y" * 65, "good", ""),
        group="sweep 7",
        job_type="train",
        user="ada",
        host="gpu-1",
        parent_id="parent",
        code=Code(program="train.py", commit="c0ffee", remote="git@host:repo.git"),
        inputs=(DatasetInput(name="mnist", digest="d", source_type="http", source="http://h/x"),),
        extra={"mlflow_tags": {"mlflow.user": "ada"}},
    )
    async with opened() as (destination, namespace):
        await write(destination, namespace, run)

    read = api.run(f"{namespace.path}/{run.id}")
    assert read.name == run.name
    assert read.state == "finished"
    assert read.notes == run.notes
    assert read.group == "sweep 7"
    assert read.job_type == "train"
    assert read.tags == ["good"]
    assert read.commit == "c0ffee"
    config = dict(read.config)
    provenance = config.pop("_import")
    assert config.pop("imported_mlflow_tags") == run.labels
    assert config == run.config
    assert provenance["source"] == "mlflow:http://tracking:5000"
    assert provenance["run_id"] == run.id
    assert provenance["project"] == "experiment"
    assert provenance["user"] == "ada"
    assert provenance["parent_id"] == "parent"
    assert (provenance["started_at"], provenance["ended_at"]) == (START, START + 90_500)
    assert provenance["started_at_iso"] == "2023-11-14T22:13:20.000000Z"
    assert provenance["inputs"][0]["name"] == "mnist"
    assert provenance["extra"] == run.extra
    assert provenance["tags"] == list(run.tags)
    assert [loss["kind"] for loss in provenance["losses"]] == ["tag_dropped"]
    assert provenance["losses"][0]["count"] == 3
    metadata = read.metadata
    assert metadata["startedAt"] == "2023-11-14T22:13:20.000000Z"
    assert metadata["host"] == "gpu-1"
    assert metadata["git"] == {"remote": "git@host:repo.git", "commit": "c0ffee"}
    assert read.summary["_runtime"] == 90.5


async def test_a_small_run_costs_four_requests(opened: Opened, context: Context):
    history = [("loss", n, START + n, float(n)) for n in range(100)]
    async with opened() as (destination, namespace):
        before = context.counters.requests
        await write(destination, namespace, a_run(), history)
    assert context.counters.requests - before == 4


async def test_a_run_without_a_name_is_called_by_its_id(opened: Opened, api: wandb.Api):
    async with opened() as (destination, namespace):
        await write(destination, namespace, a_run(name=""))
    assert api.run(f"{namespace.path}/{a_run().id}").name == a_run().id


async def test_an_illegal_id_becomes_a_legal_one_that_stays_the_same(
    opened: Opened, api: wandb.Api, context: Context
):
    async with opened() as (destination, namespace):
        for _ in range(2):
            await write(destination, namespace, a_run(id="a/b?#c"))
    (read,) = api.runs(namespace.path, lazy=False)
    assert read.config["_import"]["run_id"] == "a/b?#c"
    assert context.losses.counts["run_id_changed"] == 2


async def test_parameters_that_shadow_internals_are_renamed_and_kept(opened: Opened, api: wandb.Api):
    config = {"_wandb": "1", "wandb_version": "2", "_import": "3", "imported_mlflow_tags": "4", "ok": "5"}
    async with opened() as (destination, namespace):
        await write(destination, namespace, a_run(config=config))
    read = dict(api.run(f"{namespace.path}/{a_run().id}").config)
    assert len(read.pop("_import")["losses"]) == 4
    assert read == {"ok": "5", **{f"mlflow/{key}": config[key] for key in config if key != "ok"}}


async def test_values_that_json_has_no_word_for_become_text(opened: Opened, api: wandb.Api, context: Context):
    config = {"nan": math.nan, "deep": [{"inf": -math.inf}], "surrogate": "a\ud800b", "big": 2**70}
    async with opened() as (destination, namespace):
        await write(destination, namespace, a_run(config=config))
    read = api.run(f"{namespace.path}/{a_run().id}").config
    assert read["nan"] == "NaN"
    assert read["deep"] == [{"inf": "-Infinity"}]
    assert read["surrogate"] == "a�b"
    assert context.losses.counts["value_coerced"] == 3


@pytest.mark.parametrize(
    ("state", "read_back"),
    [
        (RunState.FINISHED, {"finished"}),
        (RunState.FAILED, {"failed"}),
        (RunState.KILLED, {"killed", "failed"}),
        (RunState.CRASHED, {"crashed", "running"}),
        (RunState.RUNNING, {"running"}),
        (RunState.PENDING, {"pending"}),
        (RunState.PREEMPTED, {"preempting", "preempted"}),
    ],
)
async def test_the_state_is_the_nearest_that_a_server_takes(
    opened: Opened, api: wandb.Api, state: RunState, read_back: set[str]
):
    async with opened() as (destination, namespace):
        await write(destination, namespace, a_run(state=state, source_state="WORD", ended_at=None))
    read = api.run(f"{namespace.path}/{a_run().id}")
    assert read.state in read_back
    assert read.config["_import"]["state"] == "WORD"


async def test_a_run_that_is_only_scheduled_stays_so_even_if_it_has_a_history(opened: Opened, api: wandb.Api):
    async with opened() as (destination, namespace):
        await write(destination, namespace, a_run(state=RunState.PENDING), [("loss", 0, START, 1.0)])
    read = api.run(f"{namespace.path}/{a_run().id}")
    assert read.state == "pending"
    assert len(list(read.scan_history())) == 1


async def test_a_deleted_id_is_refused_at_once_with_a_way_out(
    opened: Opened, sandbox: RunningSandbox, context: Context
):
    async with opened() as (destination, namespace):
        await write(destination, namespace, a_run())
        found = sandbox.graphql(
            "query($e:String!,$p:String!,$r:String!){project(name:$p,entityName:$e){run(name:$r){id}}}",
            e=namespace.entity,
            p=namespace.project,
            r=a_run().id,
        )
        sandbox.graphql(
            "mutation($id:ID!){deleteRun(input:{id:$id}){clientMutationId}}", id=found["project"]["run"]["id"]
        )
        before = context.counters.requests
        with pytest.raises(Conflict, match=a_run().id) as refused:
            await destination.open_run(a_run(), namespace)
    assert "restore" in str(refused.value)
    assert context.counters.requests - before == 1


# -- histories --------------------------------------------------------------------------------


async def test_every_point_of_a_history_is_read_back(opened: Opened, api: wandb.Api):
    history = [
        (key, step * 3, START + step * 1_000, step / 7) for key in ("loss", "val/acc") for step in range(500)
    ]
    history += [("loss", 1501, START + 5, math.nan), ("odd", 1501, START + 6, math.inf)]
    async with opened() as (destination, namespace):
        await write(destination, namespace, a_run(), history)
    read = api.run(f"{namespace.path}/{a_run().id}")
    came = [
        (key, row["_step"], float(row[key]))
        for row in read.scan_history()
        for key in ("loss", "val/acc", "odd")
        if key in row
    ]
    assert sorted(map(repr, came)) == sorted(repr((key, step, value)) for key, step, _, value in history)
    assert math.isnan(read.summary["loss"])
    assert read.summary["val/acc"] == 499 / 7
    assert read.summary["_step"] == 1501
    rows = {row["_step"]: row for row in read.scan_history()}
    assert rows[3]["_timestamp"] == (START + 1_000) / 1000
    assert rows[3]["_runtime"] == 1.0


async def test_values_that_share_a_step_are_all_kept_and_the_step_is_the_axis(
    opened: Opened, api: wandb.Api, context: Context
):
    history = [("loss", -2, START, 0.5), ("loss", 5, START + 2, 2.0), ("loss", 5, START + 1, 1.0)]
    async with opened() as (destination, namespace):
        await write(destination, namespace, a_run(), history)
    read = api.run(f"{namespace.path}/{a_run().id}")
    rows = [(row["_step"], row["mlflow/step"], row["loss"]) for row in read.scan_history()]
    assert rows == [(0, -2, 0.5), (1, 5, 1.0), (2, 5, 2.0)]
    assert read.config["_import"]["history"]["mode"] == "sequence"
    assert read.config["_import"]["history"]["reasons"] == [
        "negative steps",
        "several values of a key on one step",
    ]
    definitions = read.rawconfig["_wandb"]["value"]["m"] if "value" in read.rawconfig["_wandb"] else None
    definitions = definitions or read.rawconfig["_wandb"]["m"]
    assert [definition.get("2") for definition in definitions] == [None, "*"]
    assert context.losses.counts["steps_resequenced"] == 3


async def test_metrics_that_shadow_internals_are_renamed_and_kept(opened: Opened, api: wandb.Api):
    history = [("_step", 0, START, 7.0), ("_timestamp", 0, START, 8.0), ("loss", 0, START, 9.0)]
    async with opened() as (destination, namespace):
        await write(destination, namespace, a_run(summary={"_step": 7.0, "loss": 9.0}), history)
    read = api.run(f"{namespace.path}/{a_run().id}")
    (row,) = read.scan_history()
    assert (row["_step"], row["mlflow/_step"], row["mlflow/_timestamp"], row["loss"]) == (0, 7, 8, 9)
    assert (read.summary["_step"], read.summary["mlflow/_step"]) == (0, 7)


async def test_wide_rows_pass_unchanged(opened: Opened, api: wandb.Api):
    rows = [
        {"_step": 2, "_timestamp": 1.7e9, "_runtime": 0.5, "nested": {"a": 1}, "text": "x"},
        {"_step": 4, "_timestamp": 1.7e9 + 1, "_runtime": 1.5, "h": {"_type": "histogram", "values": [1]}},
    ]
    async with opened() as (destination, namespace):
        writer = await destination.open_run(a_run(), namespace)
        receipt = await writer.write_history(wide(rows))
        await writer.finish()
    assert receipt.rows == 2
    assert list(api.run(f"{namespace.path}/{a_run().id}").scan_history()) == rows


async def test_a_long_history_goes_in_several_requests(
    opened: Opened, api: wandb.Api, context: Context, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("engine.wandb.filestream.REQUEST_LIMIT", 20_000)
    monkeypatch.setattr("engine.wandb.filestream.KEEP_BACK", 5_000)
    monkeypatch.setattr("engine.wandb.run_writer.INLINE_POINTS", 10)
    history = [(f"key{k}", step, START + step, float(step)) for step in range(600) for k in range(5)]
    async with opened() as (destination, namespace):
        before = context.counters.requests
        for _ in range(2):
            await write(destination, namespace, a_run(), history)
        assert context.counters.requests - before > 10
    rows = list(api.run(f"{namespace.path}/{a_run().id}").scan_history())
    assert [row["_step"] for row in rows] == list(range(600))
    assert context.counters.points == 2 * len(history)
    assert context.counters.rows == 2 * 600


async def test_a_row_that_no_server_takes_is_left_out_and_told(
    opened: Opened, api: wandb.Api, context: Context
):
    rows: list[dict[str, Any]] = [
        {"_step": 0, "x": 1},
        {"_step": 1, "x": "y" * 10_400_000},
        {"_step": 2, "x": 3},
    ]
    async with opened() as (destination, namespace):
        writer = await destination.open_run(a_run(), namespace)
        await writer.write_history(wide(rows))
        await writer.finish()
    assert [row["_step"] for row in api.run(f"{namespace.path}/{a_run().id}").scan_history()] == [0, 2]
    assert context.losses.counts["row_too_long"] == 1


async def test_an_incomplete_run_stays_open(opened: Opened, api: wandb.Api):
    async with opened() as (destination, namespace):
        writer = await destination.open_run(a_run(), namespace)
        await writer.write_history(chunks([("loss", 0, START, 1.0)]))
        await writer.finish(complete=False)
    read = api.run(f"{namespace.path}/{a_run().id}")
    assert read.state == "running"
    assert len(list(read.scan_history())) == 1


# -- files and artifacts ----------------------------------------------------------------------

BLOBS = {
    "a.txt": b"hello",
    "empty": b"",
    "deep/ünïcode name.bin": bytes(range(256)) * 5_000,
    "Deep/UPPER": b"1",
}


async def test_run_files_arrive_byte_for_byte(
    opened: Opened, api: wandb.Api, context: Context, tmp_path: Path
):
    async def files() -> AsyncIterator[RunFile]:
        for path, content in BLOBS.items():
            yield RunFile(path=path, size=len(content))
        yield RunFile(path="../evil", size=1)

    async with opened() as (destination, namespace):
        writer = await destination.open_run(a_run(), namespace)
        receipt = await writer.write_files(files(), contents(BLOBS))
        await writer.finish()
    assert (receipt.files, receipt.bytes) == (len(BLOBS), sum(map(len, BLOBS.values())))
    assert context.counters.files == len(BLOBS)
    read = {file.name: file for file in api.run(f"{namespace.path}/{a_run().id}").files()}
    assert set(read) == {*BLOBS, "wandb-metadata.json"}
    for path, content in BLOBS.items():
        with read[path].download(root=str(tmp_path / "files"), replace=True) as file:
            assert Path(file.name).read_bytes() == content
    assert context.losses.counts["path_refused"] == 1


async def test_a_source_may_bring_its_own_metadata_file(opened: Opened, api: wandb.Api):
    async def files() -> AsyncIterator[RunFile]:
        yield RunFile(path="wandb-metadata.json", size=11)

    async with opened() as (destination, namespace):
        writer = await destination.open_run(a_run(), namespace)
        await writer.write_files(files(), contents({"wandb-metadata.json": b'{"os":"me"}'}))
        await writer.finish()
    assert api.run(f"{namespace.path}/{a_run().id}").metadata == {"os": "me"}


@pytest.mark.parametrize("where", ["remote", "local", "remote-with-digest", "spooled"])
async def test_an_artifact_arrives_byte_for_byte_wherever_it_came_from(
    opened: Opened,
    api: wandb.Api,
    tmp_path: Path,
    context: Context,
    where: str,
    monkeypatch: pytest.MonkeyPatch,
):
    if where == "spooled":
        monkeypatch.setattr("engine.wandb.staging.SMALL", 3)

    async def sourced() -> AsyncIterator[ArtifactEntry]:
        for number, (path, content) in enumerate(BLOBS.items()):
            from engine.wandb.digests import md5_b64

            local = tmp_path / f"local{number}"
            local.write_bytes(content)
            yield ArtifactEntry(
                path=path,
                size=len(content) if where != "spooled" or content else None,
                local_path=local if where == "local" else None,
                md5=md5_b64(content) if where == "remote-with-digest" else None,
            )

    artifact = Artifact(
        namespace=Namespace("", "experiment"),
        name="weights",
        type="imported-artifacts",
        aliases=("best", "v7"),
        tags=("a b", "no/slash"),
        description="what it is",
        metadata={"accuracy": math.nan, "k": 1},
        created_at=START,
    )
    async with opened() as (destination, namespace):
        writer = await destination.open_run(a_run(), namespace)
        receipt = await writer.write_artifact(artifact, sourced(), contents(BLOBS))
        again = await writer.write_artifact(artifact, sourced(), contents(BLOBS))
        await writer.finish()
    assert (receipt.files, receipt.bytes, receipt.skipped) == (4, sum(map(len, BLOBS.values())), False)
    assert again.skipped
    assert not list(context.spool.iterdir())
    (read,) = api.run(f"{namespace.path}/{a_run().id}").logged_artifacts()
    assert read.type == "imported-artifacts"
    assert read.name == "weights:v0"
    assert set(read.aliases) == {"latest", "best"}
    assert read.tags == ["a b"]
    assert read.description == "what it is"
    assert read.metadata == {"accuracy": "NaN", "k": 1, "_import": {"created_at": START}}
    root = Path(read.download(root=str(tmp_path / "download")))
    read.verify(root=str(root))
    assert {str(f.relative_to(root)): f.read_bytes() for f in root.rglob("*") if f.is_file()} == BLOBS
    assert context.losses.counts["alias_dropped"] == 2


async def test_references_stay_references_and_an_empty_artifact_is_made(opened: Opened, api: wandb.Api):
    async def references() -> AsyncIterator[ArtifactEntry]:
        yield ArtifactEntry(
            path="data", ref="s3://bucket/key", digest="etag1", size=9, extra={"etag": "etag1"}
        )

    async with opened() as (destination, namespace):
        writer = await destination.open_run(a_run(), namespace)
        for name, content in (("refs", references()), ("empty", entries({}))):
            artifact = Artifact(namespace=Namespace("", "experiment"), name=name, type="dataset")
            await writer.write_artifact(artifact, content, contents({}))
        await writer.finish()
    entry = api.artifact(f"{namespace.path}/refs:v0").manifest.entries["data"]
    assert (entry.ref, entry.digest, entry.size) == ("s3://bucket/key", "etag1", 9)
    assert not api.artifact(f"{namespace.path}/empty:v0").manifest.entries


async def test_versions_follow_the_order_in_which_they_come(opened: Opened, api: wandb.Api):
    artifact = Artifact(namespace=Namespace("", "experiment"), name="model", type="model")
    async with opened() as (destination, namespace):
        writer = await destination.open_run(a_run(), namespace)
        for number in range(3):
            blobs = {"file": str(number).encode(), "same": b"same"}
            await writer.write_artifact(artifact, entries(blobs), contents(blobs))
        await writer.finish()
    versions = api.artifact_collection("model", f"{namespace.path}/model").artifacts()
    assert {v.version: v.manifest.entries["file"].size for v in versions} == {"v0": 1, "v1": 1, "v2": 1}
    assert api.artifact(f"{namespace.path}/model:latest").version == "v2"


async def test_metadata_beyond_what_wandb_takes_is_nested(opened: Opened, api: wandb.Api):
    metadata = {f"k{n}": n for n in range(150)}
    artifact = Artifact(namespace=Namespace("", "x"), name="model", type="model", metadata=metadata)
    async with opened() as (destination, namespace):
        writer = await destination.open_run(a_run(), namespace)
        await writer.write_artifact(artifact, entries({}), contents({}))
        await writer.finish()
    read = dict(api.artifact(f"{namespace.path}/model:v0").metadata)
    assert len(read) == 100
    more = read.pop("_import")["more_metadata"]
    assert {**read, **more} == metadata


async def test_paths_that_cannot_live_together_are_refused_and_told(
    opened: Opened, api: wandb.Api, context: Context
):
    blobs = {"a": b"1", "a/b": b"2", "../up": b"3", "ok": b"4"}
    artifact = Artifact(namespace=Namespace("", "x"), name="model", type="model")
    async with opened() as (destination, namespace):
        writer = await destination.open_run(a_run(), namespace)
        await writer.write_artifact(artifact, entries(blobs), contents(blobs))
        await writer.finish()
    assert set(api.artifact(f"{namespace.path}/model:v0").manifest.entries) == {"a", "ok"}
    assert context.losses.counts["path_refused"] == 2


async def test_many_files_and_large_ones_in_parts(opened: Opened, api: wandb.Api, tmp_path: Path):
    blobs = {f"dir{n % 7}/file{n}": f"{n}".encode() for n in range(250)}
    blobs["large"] = bytes(range(256)) * 12_000
    artifact = Artifact(namespace=Namespace("", "x"), name="model", type="model")
    async with opened(multipart=Multipart(threshold=2_000_000, part=1_000_000)) as (destination, namespace):
        writer = await destination.open_run(a_run(), namespace)
        await writer.write_artifact(artifact, entries(blobs), contents(blobs))
        await writer.finish()
    read = api.artifact(f"{namespace.path}/model:v0")
    root = Path(read.download(root=str(tmp_path / "download")))
    assert {str(f.relative_to(root)): f.read_bytes() for f in root.rglob("*") if f.is_file()} == blobs


# -- projects ---------------------------------------------------------------------------------


def project(name: str, **more: Any) -> Project:
    return Project(namespace=Namespace("", name), id=name, **more)


async def test_each_experiment_becomes_a_project_if_only_an_entity_is_named(
    sandbox: RunningSandbox, context: Context, api: wandb.Api
):
    destination = WandbDestination(f"{sandbox.url}/{ENTITY}", SystemOptions(api_key=sandbox.api_key))
    sources = [project("plain exp"), project("/Users/ada/exp", description="About it"), project("moved")]
    context.remap = {"moved": "elsewhere"}
    async with destination.open(context):
        targets = await destination.prepare(sources)
        again = await destination.prepare(sources)
    assert again == targets
    assert targets[Namespace("", "plain exp")] == Namespace(ENTITY, "plain exp")
    assert targets[Namespace("", "moved")] == Namespace(ENTITY, "elsewhere")
    slug = targets[Namespace("", "/Users/ada/exp")].project
    assert slug.startswith("Users-ada-exp-")
    assert context.losses.counts["project_renamed"] == 2
    assert {"plain exp", "elsewhere", slug} <= {found.name for found in api.projects(ENTITY)}
    described = sandbox.graphql(
        "query($e:String!,$p:String!){project(name:$p,entityName:$e){description}}", e=ENTITY, p=slug
    )
    assert described["project"]["description"] == "About it\n\nImported from '/Users/ada/exp'"


async def test_experiments_that_meet_in_one_project_become_groups(opened: Opened, api: wandb.Api):
    async with opened(source="Experiment A") as (destination, namespace):
        await write(destination, namespace, a_run(namespace=Namespace("", "Experiment A")))
        await write(destination, namespace, a_run(id="other", group="own"))
    assert api.run(f"{namespace.path}/{a_run().id}").group == "Experiment A"
    assert api.run(f"{namespace.path}/other").group == "own"


async def test_experiments_can_be_groups_without_a_project_in_the_uri(
    sandbox: RunningSandbox, context: Context
):
    options = SystemOptions(api_key=sandbox.api_key, experiments_as="group")
    destination = WandbDestination(f"{sandbox.url}/{ENTITY}", options)
    async with destination.open(context):
        targets = await destination.prepare([project("a"), project("b")])
    assert set(targets.values()) == {Namespace(ENTITY, "imported-from-mlflow")}


async def test_experiments_that_differ_by_case_are_not_merged(
    sandbox: RunningSandbox, context: Context, api: wandb.Api
):
    destination = WandbDestination(f"{sandbox.url}/{ENTITY}", SystemOptions(api_key=sandbox.api_key))
    async with destination.open(context):
        targets = await destination.prepare([project("Case"), project("case")])
    assert len({target.project.casefold() for target in targets.values()}) == 2
    assert context.losses.counts["project_renamed"] == 2


@pytest.mark.parametrize("wish", ["a/b/c", "/project", "team/", "bad#name"])
async def test_a_remapping_to_no_project_is_refused(sandbox: RunningSandbox, context: Context, wish: str):
    destination = WandbDestination(f"{sandbox.url}/{ENTITY}", SystemOptions(api_key=sandbox.api_key))
    context.remap = {"x": wish}
    async with destination.open(context):
        with pytest.raises(ConfigError, match="cannot remap"):
            await destination.prepare([project("x")])


def test_one_project_and_a_project_each_contradict(sandbox: RunningSandbox):
    with pytest.raises(ConfigError, match="names one project"):
        WandbDestination(f"{sandbox.url}/team/one", SystemOptions(experiments_as="project"))


async def test_an_unknown_entity_is_told_with_those_that_work(sandbox: RunningSandbox, context: Context):
    destination = WandbDestination(f"{sandbox.url}/nobody/x", SystemOptions(api_key=sandbox.api_key))
    with pytest.raises(ConfigError, match=f"nobody.*{ENTITY}"):
        async with destination.open(context):
            pass


async def test_a_wrong_key_is_refused(sandbox: RunningSandbox, context: Context):
    destination = WandbDestination(f"{sandbox.url}/{ENTITY}/x", SystemOptions(api_key="0" * 40))
    with pytest.raises(AuthError):
        async with destination.open(context):
            pass
