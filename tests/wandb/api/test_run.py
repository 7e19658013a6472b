"""``api.run``: what is told of a run, by us and by the SDK."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import wandb

import engine
from engine.wandb.api import Api
from tests.servers import RunningSandbox
from tests.wandb.conftest import ENTITY

pytestmark = pytest.mark.anyio

RUN = f"{ENTITY}/trained/everything"


async def test_attributes_are_what_the_sdk_tells(api: Api, sdk: wandb.Api):
    run, witness = await api.run(RUN), sdk.run(RUN)
    for name in ("id", "name", "state", "group", "notes", "commit", "storage_id", "path", "heartbeat_at"):
        assert getattr(run, name) == getattr(witness, name), name
    assert run.job_type == witness.job_type == "train"
    assert (run.created_at, run.url) == (witness.created_at, witness.url)
    assert run.tags == list(witness.tags)
    assert run.user == witness.user.username
    assert run.config == witness.config
    assert run.rawconfig == witness.rawconfig
    assert run.config["optimizer"] == {"name": "adam", "value": {"value": 3, "desc": "kept"}}
    assert run.history_line_count == witness.historyLineCount
    assert await run.last_history_step() == witness.lastHistoryStep


async def test_a_summary_is_plain_json(api: Api, sdk: wandb.Api):
    run = await api.run(RUN)
    assert json.dumps(run.summary, sort_keys=True) == json.dumps(sdk.run(RUN).summary_metrics, sort_keys=True)
    assert run.summary["nested"] == {"x": 11, "deep": {"y": -11}}
    assert run.summary["loss"] == {"min": pytest.approx(1 / 12)}


async def test_listed_runs_have_config_and_summary_without_asking_again(
    api: Api, sdk: wandb.Api, filled: RunningSandbox
):
    """The SDK unwraps the configs of eager lists twice (E17) and asks once a run for lazy ones (E16)."""
    before = filled.counters()["POST /graphql"]
    listed = {run.id: (run.config, run.summary) async for run in api.runs(f"{ENTITY}/trained")}
    assert filled.counters()["POST /graphql"] - before == 1
    assert listed["everything"][0] == sdk.run(RUN).config
    assert listed["failed"][1]["x"] == 2


@pytest.mark.parametrize("page", ["", "/overview", "/files/media?nw=nwuser"])
async def test_addresses_from_a_browser_name_runs(api: Api, page: str):
    run = await api.run(f"{api.base_url}/{ENTITY}/trained/runs/everything{page}")
    assert run.path == [ENTITY, "trained", "everything"]


async def test_short_paths_use_the_defaults(filled: RunningSandbox, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WANDB_PROJECT", "trained")
    monkeypatch.setenv("WANDB_API_KEY", filled.api_key)
    monkeypatch.setenv("WANDB_BASE_URL", filled.url)
    async with Api() as api:
        assert (await api.run("everything")).path == [ENTITY, "trained", "everything"]
        assert (await api.run("other/long")).project == "other"


@pytest.mark.parametrize(
    "path", ["", "a/b/c/d", "a//c", "a/b/\ud800", None, "https://elsewhere.example/e/p/runs/x"]
)
async def test_a_path_that_names_no_run_is_an_error(api: Api, path: str):
    with pytest.raises(engine.ConfigError):
        await api.run(path)


@pytest.mark.parametrize("place", ["sweeps", "groups"])
async def test_the_page_of_something_else_names_no_run(api: Api, filled: RunningSandbox, place: str):
    with pytest.raises(engine.ConfigError, match="does not name a run"):
        await api.run(f"{filled.url}/{ENTITY}/trained/{place}/everything")


async def test_the_old_spelling_with_a_colon_names_a_run(api: Api, sdk: wandb.Api):
    path = f"{ENTITY}/trained:everything"
    assert (await api.run(path)).path == sdk.run(path).path


async def test_a_run_that_is_not_there_is_a_comm_error_and_says_so(api: Api):
    with pytest.raises(engine.CommError) as caught:
        await api.run(f"{ENTITY}/trained/nobody")
    error = caught.value
    assert isinstance(error, engine.NotFound)
    assert (error.kind, error.side, error.retryable) == ("NotFound", engine.Side.SOURCE, False)
    assert error.exc is not None


async def test_whatever_a_server_refuses_has_a_cause_and_speaks_of_no_transfer(api: Api):
    """``raise error.exc`` of the guide works for every ``CommError`` (E46)."""
    with pytest.raises(engine.CommError) as caught:
        await api.runs(f"{ENTITY}/trained", {"nonsense": 1}).first()
    error = caught.value
    assert (error.kind, error.status, error.retryable) == ("CommError", 400, False)
    assert isinstance(error.exc, engine.EngineError)
    assert "nonsense" in str(error)
    assert "transfer" not in str(error)


async def test_once_closed_it_says_so(filled: RunningSandbox):
    async with Api(base_url=filled.url, api_key=filled.api_key) as api:
        run = await api.run(RUN)
    with pytest.raises(engine.ConfigError, match="closed"):
        await run.history_table()


@pytest.mark.parametrize(
    "wrong",
    [
        {"base_url": "host"},
        {"base_url": "ftp://host"},
        {"base_url": "http://host:99999"},
        {"timeout": 0},
        {"timeout": float("nan")},
        {"timeout": "soon"},
    ],
)
async def test_what_cannot_be_connected_to_is_refused_at_once(wrong: dict):
    with pytest.raises(engine.ConfigError):
        Api(api_key="x" * 40, **wrong)


async def test_a_wrong_key_is_told_on_entering(filled: RunningSandbox):
    with pytest.raises(engine.CommError, match="key") as caught:
        async with Api(base_url=filled.url, api_key="x" * 40):
            pass
    assert isinstance(caught.value, engine.AuthError)
    assert caught.value.status == 401


async def test_metadata_and_command(api: Api, sdk: wandb.Api):
    run = await api.run(RUN)
    metadata = await run.metadata
    assert metadata == sdk.run(RUN).metadata
    assert metadata is not None
    assert await run.command() == ["python", metadata["program"], *metadata.get("args", [])]


async def test_what_has_to_be_asked_for_is_awaited(api: Api, sdk: wandb.Api):
    """The attribute alone sends nothing, and each ``await`` asks anew."""
    run = await api.run(RUN)
    counters = api._on.context.counters
    before = counters.requests
    latest = run.system_metrics
    assert "await" in repr(run.metadata)
    assert counters.requests == before
    assert await latest == await latest == sdk.run(RUN).system_metrics
    assert counters.requests == before + 2


async def test_console_lines_have_times(api: Api, sdk: wandb.Api):
    lines = [line async for line in (await api.run(RUN)).console_logs()]
    assert [line.text for line in lines] == [line.content for line in sdk.run(RUN).console_logs()]
    assert {"to stdout", "to stderr"} <= {line.text for line in lines}
    assert all(line.time for line in lines)


async def test_a_console_that_only_files_have_is_read_from_them(api: Api, tmp_path: Path):
    """As several writers of one run leave it, of servers that keep no lines (E40)."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "node-1_output.log").write_text("first\nsecond\n")
    run = await api.run(f"{ENTITY}/trained/empty")
    assert [line async for line in run.console_logs()] == []
    file = await run.upload_file(tmp_path / "logs" / "node-1_output.log", tmp_path)
    assert [line.text async for line in run.console_logs()] == ["first", "second"]
    assert [line.text async for line in run.console_logs(last=1)] == ["second"]
    await file.delete()


async def test_flush_has_nothing_to_forget(api: Api, sdk: wandb.Api):
    """The SDK answers from what it remembers; here every question is asked (E13, E14)."""
    first = await api.run(RUN)
    api.flush()
    assert await api.run(RUN) is not first
