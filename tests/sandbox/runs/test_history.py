"""Histories are sampled by rows, by steps and by keys."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.sandbox import Sandbox, areas  # noqa: F401 - registers the tables
from engine.sandbox.database import Database
from engine.sandbox.runs import history
from engine.sandbox.runs.history import Decimation, Steps, read, thinned
from tests.sandbox.conftest import upsert
from tests.servers import RunningSandbox


@pytest.fixture(scope="module")
def filled(sandbox: RunningSandbox) -> str:
    """A project with run ``r``: rows at even steps to 1998, ``rare`` in every tenth."""
    upsert(sandbox, modelName="history", name="r")
    rows = [
        {"_step": 2 * i, "x": i, "a": {"b": -i}, "c.d": i, **({"rare": float("nan")} if i % 10 == 0 else {})}
        for i in range(1000)
    ]
    body = {"files": {"wandb-history.jsonl": {"offset": 0, "content": [json.dumps(row) for row in rows]}}}
    assert sandbox.call("POST", "/files/ann/history/r/file_stream", body)[0] == 200
    return "history"


def ask(sandbox: RunningSandbox, project: str, field: str, **variables: Any) -> Any:
    specs = ", $s: [JSONString!]!" if "$s" in field else ""
    query = f'query($p: String{specs}) {{ project(name: $p) {{ run(name: "r") {{ found: {field} }} }} }}'
    return sandbox.graphql(query, p=project, **variables)["project"]["run"]["found"]


def steps(rows: list[str]) -> list[int]:
    return [json.loads(row)["_step"] for row in rows]


def test_a_window_includes_its_start_and_not_its_end(sandbox: RunningSandbox, filled: str) -> None:
    rows = ask(sandbox, filled, "history(samples: 8, minStep: 10, maxStep: 18)")
    assert steps(rows) == [10, 12, 14, 16]


def test_samples_are_spread_over_the_run(sandbox: RunningSandbox, filled: str) -> None:
    rows = ask(sandbox, filled, "history(samples: 5)")
    assert steps(rows) == [0, 498, 998, 1498, 1998]
    assert len(ask(sandbox, filled, "history")) == 500
    assert steps(ask(sandbox, filled, "history(samples: 3, minStep: 1000)")) == [1000, 1498, 1998]


def test_a_page_of_steps_is_complete_even_where_rows_share_a_step(sandbox: RunningSandbox) -> None:
    upsert(sandbox, modelName="shared-steps", name="r")
    lines = [json.dumps({"_step": i // 3, "x": i}) for i in range(30)]
    body = {"files": {"wandb-history.jsonl": {"offset": 0, "content": lines}}}
    sandbox.call("POST", "/files/ann/shared-steps/r/file_stream", body)
    assert ask(sandbox, "shared-steps", "history(samples: 10, minStep: 0, maxStep: 10)") == lines


def test_sampled_history_answers_each_spec_with_flat_rows_that_have_all_keys(
    sandbox: RunningSandbox, filled: str
) -> None:
    specs = [
        {"keys": ["_step", "a.b", "c.d", "_step"], "minStep": 4, "maxStep": 6, "samples": 10},
        {"keys": ["x", "absent"]},
        {"keys": ["rare", "x"], "samples": 2},
    ]
    found = ask(sandbox, filled, "sampledHistory(specs: $s)", s=[json.dumps(spec) for spec in specs])
    assert found[0] == [{"_step": 4, "a.b": -2, "c.d": 2}, {"_step": 6, "a.b": -3, "c.d": 3}]
    assert found[1] == []
    assert found[2] == [{"rare": "NaN", "x": 0}, {"rare": "NaN", "x": 990}]


@pytest.mark.parametrize("spec", ["{}", "[]", '{"keys": []}', '{"keys": [1]}', '"x"'])
def test_a_spec_without_keys_is_refused(sandbox: RunningSandbox, filled: str, spec: str) -> None:
    query = """query($p: String, $s: [JSONString!]!) {
        project(name: $p) { run(name: "r") { sampledHistory(specs: $s) } } }"""
    assert sandbox.ask(query, p=filled, s=[spec])[0] == 400


def test_every_row_is_live_because_nothing_is_exported(sandbox: RunningSandbox, filled: str) -> None:
    found = ask(sandbox, filled, 'parquetHistory(liveKeys: ["_step"]) { parquetUrls liveData }')
    assert found["parquetUrls"] == []
    assert (found["liveData"][0], found["liveData"][-1]) == ({"_step": 0}, {"_step": 1998})


def test_a_run_without_rows_has_no_keys(sandbox: RunningSandbox) -> None:
    upsert(sandbox, modelName="empty", name="r")
    assert ask(sandbox, "empty", "historyKeys") is None
    assert ask(sandbox, "empty", "history") == []
    assert ask(sandbox, "empty", 'parquetHistory(liveKeys: ["_step"]) { liveData }') == {"liveData": []}


@given(count=st.integers(0, 500), samples=st.integers(1, 60))
def test_thinning_keeps_ends_order_and_number(count: int, samples: int) -> None:
    for rows in (range(count), iter(range(count))):
        kept = list(thinned(rows, count, samples))
        assert kept == sorted(set(kept))
        assert len(kept) == min(count, samples)
        if kept:
            assert kept[0] == 0
            assert samples == 1 or kept[-1] == count - 1


@given(count=st.integers(0, 500), samples=st.integers(1, 60))
def test_a_stream_is_decimated_to_what_was_asked(count: int, samples: int) -> None:
    decimation = Decimation[int](samples)
    for i in range(count):
        decimation.add(i)
    kept = decimation.rows()
    assert kept == sorted(set(kept))
    assert len(kept) == min(count, samples)
    assert not kept or samples == 1 or (kept[0], kept[-1]) == (0, count - 1)


def test_only_rows_asked_for_are_read(tmp_path: Path) -> None:
    """A window of a long run is found through the index."""
    db = Database(tmp_path / "records.sqlite")
    plans = [
        " ".join(row["detail"] for row in db.all("EXPLAIN QUERY PLAN " + sql))
        for sql in (
            "SELECT row FROM history WHERE run = 1 AND step >= 5 AND step < 9 ORDER BY step, line",
            "SELECT max(step) FROM history WHERE run = 1",
            "SELECT max(line) FROM history WHERE run = 1",
        )
    ]
    db.close()
    assert all("SEARCH history USING" in plan and "TEMP B-TREE" not in plan for plan in plans), plans


@pytest.mark.anyio
async def test_slices_neither_lose_nor_repeat_nor_reorder_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "SLICE_S", 0.0)
    async with Sandbox(tmp_path) as sandbox:
        lines = [json.dumps({"_step": i * 7 % 20 // 2, "x": i}) for i in range(60)]
        running = RunningSandbox(sandbox.url, sandbox.api_key, sandbox.keys, tmp_path)
        await asyncio.to_thread(upsert, running, modelName="p", name="r")
        history.write(sandbox.db, 1, 0, lines)
        in_order = [row["x"] async for row in read(sandbox.db, 1, Steps())]
        by_step = [(row["_step"], row["x"]) async for row in read(sandbox.db, 1, Steps(2, 9))]
    assert in_order == list(range(60))
    assert by_step == sorted((i * 7 % 20 // 2, i) for i in range(60) if 2 <= i * 7 % 20 // 2 < 9)


@pytest.mark.anyio
async def test_others_are_answered_while_a_long_history_is_read(tmp_path: Path) -> None:
    async with Sandbox(tmp_path) as sandbox:
        running = RunningSandbox(sandbox.url, sandbox.api_key, sandbox.keys, tmp_path)
        await asyncio.to_thread(upsert, running, modelName="p", name="r")
        history.write(sandbox.db, 1, 0, [f'{{"_step": {i}, "x": {i / 2}}}' for i in range(100_000)])
        specs = [json.dumps({"keys": ["x"], "samples": 3})]
        field = "sampledHistory(specs: $s)"
        scan = asyncio.create_task(asyncio.to_thread(ask, running, "p", field, s=specs))
        while not sandbox.counters["graphql Query.project"]:  # noqa: ASYNC110 - a counter has no event
            await asyncio.sleep(0)
        await asyncio.to_thread(running.graphql, "{ viewer { id } }")
        assert not scan.done()
        assert [row["x"] for row in (await scan)[0]][::2] == [0, 49_999.5]


@pytest.mark.slow
def test_a_window_of_a_million_rows_is_read_without_the_rest(tmp_path: Path) -> None:
    """In time and memory of the process that serves it."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.sandbox.serve", str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        url, key = server.stdout.readline().split()
        sandbox = RunningSandbox(url, key, {"rehearsal": key}, tmp_path)
        upsert(sandbox, modelName="p", name="r")
        for offset in range(0, 1_000_000, 50_000):
            lines = [f'{{"_step": {step}, "x": {step / 2}}}' for step in range(offset, offset + 50_000)]
            body = {"files": {"wandb-history.jsonl": {"offset": offset, "content": lines}}}
            assert sandbox.call("POST", "/files/rehearsal/p/r/file_stream", body)[0] == 200
        started = time.monotonic()
        window = ask(sandbox, "p", "history(samples: 1000, minStep: 700000, maxStep: 701000)")
        sample = ask(sandbox, "p", "history(samples: 1000)")
        keys = ask(sandbox, "p", "historyKeys")
        took_s = time.monotonic() - started
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{server.pid}/status").read_text())
    finally:
        server.terminate()
        server.wait(timeout=10)
        if server.stdout is not None:
            server.stdout.close()
    assert steps(window) == list(range(700_000, 701_000))
    assert len(sample) == 1000
    assert keys["keys"]["x"]["typeCounts"] == [{"type": "number", "count": 1_000_000}]
    assert took_s < 2
    assert peak is not None
    assert int(peak[1]) < 400 * 1024
