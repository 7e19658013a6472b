"""What the ledger of W&B's own importer spares a transfer, and what it does not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import ConfigError
from engine.records import Artifact, Namespace, Run, RunState
from engine.transfer.engine import Engine
from engine.transfer.ledger.old_ledgers import ARTIFACTS, RUNS, OldLedger
from engine.transfer.options import Options, Result
from tests.memory import MemoryDestination, MemoryRun, MemorySource

pytestmark = pytest.mark.anyio

SOURCE = Namespace("", "vision")


def held(name: str, **facts: object) -> MemoryRun:
    return MemoryRun(Run(id=name, namespace=SOURCE, **facts), artifacts={f"of-{name}": {"a": b"1"}})  # type: ignore[arg-type]


class Asked(MemoryDestination):
    """Can be asked which runs it has."""

    there: frozenset[str] = frozenset({"proven", "no-artifact", "live", "unproven"})

    async def holds_run(self, run: Run, namespace: Namespace) -> bool:
        return run.id in self.there


async def place_of(source: MemorySource) -> Namespace:
    """Where the destination in memory puts the project."""
    async with Engine(source, MemoryDestination(), Options()) as engine:
        await engine.run()
    [*_, last] = engine._pipeline._targets.values()
    return last


def row(place: Namespace, **told: object) -> str:
    route = {
        "src_entity": SOURCE.entity,
        "src_project": SOURCE.project,
        "dst_entity": place.entity,
        "dst_project": place.project,
    }
    return json.dumps({**route, **told}) + "\n"


@pytest.fixture
def source() -> MemorySource:
    runs = [held("proven"), held("no-artifact"), held("gone"), held("unproven")]
    return MemorySource({"vision": [*runs, held("live", state=RunState.RUNNING)]})


async def transfer(source: MemorySource, directory: Path, **options: object) -> tuple[Result, set[str]]:
    target = Asked()
    async with Engine(source, target, Options(old_ledger=directory, **options)) as engine:  # type: ignore[arg-type]
        result = await engine.run()
    return result, set(target.written)


async def written(source: MemorySource, directory: Path) -> Path:
    place = await place_of(source)
    runs = ["proven", "no-artifact", "gone", "live"]
    (directory / RUNS).write_text("".join(row(place, run_id=run) for run in runs))
    artifacts = [
        row(place, name=f"of-{run}", version=0, type="dataset") for run in runs if run != "no-artifact"
    ]
    (directory / ARTIFACTS).write_text("".join(artifacts))
    return directory


async def test_what_is_proven_and_there_is_left_out_and_told(source, tmp_path):
    result, arrived = await transfer(source, await written(source, tmp_path))

    assert arrived == {"no-artifact", "gone", "unproven", "live"}
    assert (result.runs_skipped, result.runs_inherited, result.old_runs_missing) == (1, 1, 1)
    assert result.runs_done == 4


async def test_without_artifacts_the_proof_of_the_run_is_enough(source, tmp_path):
    result, arrived = await transfer(source, await written(source, tmp_path), artifacts=False)
    assert arrived == {"gone", "unproven", "live"}
    assert result.runs_inherited == 2


async def test_proof_for_one_place_is_none_for_another(source, tmp_path):
    await written(source, tmp_path)
    moved = (tmp_path / RUNS).read_text().replace('"dst_project": "', '"dst_project": "x')
    (tmp_path / RUNS).write_text(moved)
    result, _ = await transfer(source, tmp_path)
    assert (result.runs_inherited, result.runs_done) == (0, 5)


async def test_lines_that_say_nothing_are_counted_and_passed_over(source, tmp_path):
    directory = await written(source, tmp_path)
    whole = (directory / RUNS).read_bytes()
    broken = [b"\xff\xfe\x00", b'{"run_id": "r1"}', b"[1, 2]", b"null", b'{"src_entity": 3}', b"", b"  "]
    (directory / RUNS).write_bytes(b"\n".join([*broken, whole, whole[:40]]))
    (directory / ARTIFACTS).write_bytes((directory / ARTIFACTS).read_bytes() + b'{"name": "torn')

    result, _ = await transfer(source, directory)

    assert (result.runs_inherited, result.old_lines_unreadable) == (1, 7)


def test_a_version_is_proven_by_name_number_and_type(tmp_path: Path):
    place = Namespace("me", "p")
    (tmp_path / RUNS).touch()
    (tmp_path / ARTIFACTS).write_text(row(place, name="a", version=2, type="model"))
    ledger = OldLedger.read(tmp_path)
    version = Artifact(namespace=SOURCE, name="a", type="model", version=2)
    assert ledger.proves_artifact(version, place)
    for other in ({"version": 1}, {"type": "dataset"}, {"name": "b"}, {"namespace": Namespace("", "x")}):
        assert not ledger.proves_artifact(replace(version, **other), place)


def test_a_directory_without_such_a_ledger_is_told(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"no run_successes.jsonl in .*--old-ledger"):
        OldLedger.read(tmp_path)


async def test_a_destination_that_cannot_be_asked_is_told(source, tmp_path):
    engine = Engine(source, MemoryDestination(), Options(old_ledger=await written(source, tmp_path)))
    with pytest.raises(ConfigError, match="cannot be asked which runs it has"):
        async with engine:
            pytest.fail("must not begin")
