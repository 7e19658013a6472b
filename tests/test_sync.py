"""``engine.sync``: the same answers without ``await``, in the SDK's spelling, wherever it is called."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import engine
import engine.sync
import engine.wandb.api
from engine.sandbox import Account
from tests.servers import RunningSandbox, running_sandbox
from tests.wandb.conftest import ENTITY, run_sdk

RUN = f"{ENTITY}/trained/everything"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    with running_sandbox(tmp_path_factory.mktemp("server"), accounts=[Account(ENTITY)]) as running:
        run_sdk("tests.wandb.sdk_source", running, tmp_path_factory.mktemp("sdk"))
        yield running


@pytest.fixture
def api(server: RunningSandbox) -> Iterator[engine.sync.Api]:
    with engine.sync.Api({"base_url": server.url}, api_key=server.api_key) as opened:
        yield opened


def test_runs_are_a_sequence(api: engine.sync.Api):
    runs = api.runs(f"{ENTITY}/trained", per_page=2)
    assert [run.id for run in runs] == ["everything", "failed", "empty"]
    assert (len(runs), runs.given) == (3, 3)
    assert (runs[1].id, runs[-1].id, [run.id for run in runs[1:]]) == ("failed", "empty", ["failed", "empty"])
    assert [run.id for run in runs[-2:]] == [run.id for run in runs[1:3]] == ["failed", "empty"]
    assert [run.id for run in runs[::-1]] == ["empty", "failed", "everything"]
    assert runs.unreadable == []
    with pytest.raises(IndexError):
        runs[3]


def test_everything_that_awaits_has_a_twin():
    """Under the same name, or the SDK's."""
    theirs = {"Run": {"find_file", "last_history_step", "sample", "scan_chunks"}}
    theirs["Runs"] = {"first", "pages", "samples", "total"}  # runs[0], a loop, histories, len(runs)
    for name in ("Api", "Run", "Runs"):
        ours = {each for each in dir(getattr(engine.sync, name)) if not each.startswith("_")}
        asynchronous = {each for each in dir(getattr(engine.wandb.api, name)) if not each.startswith("_")}
        assert asynchronous - ours == theirs.get(name, set())


def test_arguments_of_the_sdk_that_have_no_use_here_are_taken(api: engine.sync.Api):
    """As ``lazy``: config and summary come with the list at once (E16)."""
    runs = api.runs(f"{ENTITY}/trained", include_sweeps=True, lazy=False)
    assert len(list(runs[0].scan_history(page_size=3, use_cache=False))) == 15
    assert [project.namespace.project for project in api.projects(ENTITY, per_page=1)] == ["trained", "other"]


def test_whole_histories_of_many_runs(api: engine.sync.Api):
    tables = api.runs(f"{ENTITY}/trained").history_tables(["loss"])
    assert [(run.id, len(table)) for run, table in tables] == [
        ("everything", 12),
        ("failed", 0),
        ("empty", 0),
    ]


def test_the_last_lines_of_a_console(api: engine.sync.Api):
    lines = list(api.run(RUN).console_logs())
    assert list(api.run(RUN).console_logs(last=1)) == lines[-1:]
    assert all(line.time and line.time.endswith("Z") for line in lines)


def test_it_answers_as_the_asynchronous_one_does(api: engine.sync.Api, server: RunningSandbox):
    async def answers() -> tuple:
        async with engine.Api(base_url=server.url, api_key=server.api_key) as other:
            run = await other.run(RUN)
            return (
                run.config,
                await run.metadata,
                await run.command(),
                [row async for row in run.scan_history(["loss"])],
                [file.name async for file in run.files()],
                [artifact.name async for artifact in run.logged_artifacts()],
                await run.last_history_step(),
            )

    run = api.run(RUN)
    assert asyncio.run(answers()) == (
        run.config,
        run.metadata,
        run.command(),
        list(run.scan_history(keys=["loss"])),
        [file.name for file in run.files()],
        [artifact.name for artifact in run.logged_artifacts()],
        run.lastHistoryStep,
    )


def test_config_is_changed_as_with_the_sdk(api: engine.sync.Api):
    run = api.run(f"{ENTITY}/trained/failed")
    run.config["reviewed"] = True
    run.tags.append("seen")
    run.update()
    again = api.run(f"{ENTITY}/trained/failed")
    assert again.config["reviewed"] is True
    assert again.tags == ["seen"]


def test_a_summary_is_changed_as_with_the_sdk(api: engine.sync.Api):
    run = api.run(f"{ENTITY}/trained/failed")
    run.config["waits"] = 1
    run.summary["renamed"] = run.summary["x"]
    del run.summary["x"]
    run.summary.update()
    again = api.run(f"{ENTITY}/trained/failed")
    assert again.summary["renamed"] == 2
    assert "x" not in again.summary
    assert "waits" not in again.config
    run.update()
    assert api.run(f"{ENTITY}/trained/failed").config["waits"] == 1


def test_a_summary_update_does_not_hide_what_others_did(api: engine.sync.Api):
    """What others change between the two updates is neither undone nor taken for ours."""
    mine, theirs = api.run(f"{ENTITY}/other/long"), api.run(f"{ENTITY}/other/long")
    theirs.config["theirs"] = 1
    theirs.update(summary={"theirs": 1})
    mine.summary.update({"mine": 2})
    mine.config["mine"] = 2
    mine.update()
    again = api.run(f"{ENTITY}/other/long")
    assert (again.config, again.summary["theirs"], again.summary["mine"]) == ({"theirs": 1, "mine": 2}, 1, 2)


def test_it_works_where_a_loop_is_running(api: engine.sync.Api):
    """As in a notebook."""

    async def cell() -> str:
        return api.run(RUN).id

    assert asyncio.run(cell()) == "everything"


def test_threads_may_share_it(api: engine.sync.Api):
    found: list[int] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(len(list(api.run(f"{ENTITY}/other/long").scan_history())))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1_300] * 4


def test_a_scan_may_be_left(api: engine.sync.Api):
    for row in api.run(f"{ENTITY}/other/long").scan_history():
        assert row["_step"] == 0
        break
    assert api.run(RUN).id == "everything"


def test_histories_of_many_runs_are_one_frame(api: engine.sync.Api):
    """Runs with other columns go together (E30)."""
    frame = api.runs(f"{ENTITY}/trained").histories(samples=5, format="pandas")
    assert set(frame["run_id"]) == {"everything", "failed"}
    assert {"loss", "x"} <= set(frame.columns)
    rows = api.runs(f"{ENTITY}/trained").histories(samples=5)
    assert len(rows) == len(frame)
    with pytest.raises(engine.ConfigError, match="csv"):
        api.runs(f"{ENTITY}/trained").histories(format="csv")


def test_download(api: engine.sync.Api, tmp_path: Path):
    path = api.run(RUN).file("data/notes.txt").download(root=str(tmp_path), replace=True)
    assert path.read_text() == "kept"
    root = api.artifact(f"{ENTITY}/trained/weights:best").download(tmp_path / "w")
    assert (root / "deep" / "w.bin").read_bytes() == b"\x01" * 5_000


def test_errors_are_the_same(api: engine.sync.Api):
    with pytest.raises(engine.CommError):
        api.run(f"{ENTITY}/trained/nobody")
    with pytest.raises(engine.ConfigError):
        api.run("a/b/c/d")
    with pytest.raises(engine.ConfigError, match="elsewhere"):
        engine.sync.Api({"elsewhere": "x"})


def test_once_closed_it_says_so(server: RunningSandbox):
    api = engine.sync.Api(base_url=server.url, api_key=server.api_key)
    api.close()
    api.close()
    with pytest.raises(engine.ConfigError, match="closed"):
        api.run(RUN)


def test_what_came_of_an_api_goes_on_without_it(server: RunningSandbox):
    """Scripts for the SDK write ``wandb.Api().run(path)`` and keep the run alone."""

    def once() -> engine.sync.Api:
        return engine.sync.Api(base_url=server.url, api_key=server.api_key)

    run, runs = once().run(RUN), once().runs(f"{ENTITY}/trained")
    file = once().run(RUN).file("data/notes.txt")
    gc.collect()
    assert len(list(run.scan_history())) == 15
    assert (len(runs), [each.id for each in runs]) == (3, ["everything", "failed", "empty"])
    assert file.read() == b"kept"
    threads = threading.active_count()
    del run, runs, file
    gc.collect()
    assert threading.active_count() <= threads - 3


def test_a_program_that_does_not_close_it_ends(server: RunningSandbox):
    script = f"""
import engine.sync
api = engine.sync.Api(base_url={server.url!r}, api_key={server.api_key!r})
print(api.run({RUN!r}).name)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", script], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "first try\n"), done.stderr
    assert "Error" not in done.stderr
    assert "Warning" not in done.stderr
