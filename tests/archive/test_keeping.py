"""An archive forgets nothing, and gives out nothing that is damaged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.archive import ArchiveDestination, ArchiveSource
from engine.archive.names import portable
from engine.errors import ConfigError, IntegrityError, Unsupported
from engine.records import Namespace, Run
from engine.transfer.context import Context
from engine.transfer.engine import Engine
from engine.transfer.options import Options
from tests.archive.reading import told_of
from tests.memory import MemoryRun, MemorySource

pytestmark = pytest.mark.anyio

HELD = MemoryRun(
    Run(id="r", namespace=Namespace("", "p"), name="first"),
    history=[("loss", 0, 0, 1.0)],
    files={"log.txt": b"hello"},
    artifacts={"data": {"a": b"12345"}},
)


async def archived(held: MemoryRun, root: Path, options: Options | None = None) -> None:
    source, destination = MemorySource({"p": [held]}), ArchiveDestination(str(root))
    async with Engine(source, destination, options or Options()) as engine:
        assert (await engine.run()).failure_count == 0


@pytest.fixture
async def root(tmp_path: Path) -> Path:
    await archived(HELD, tmp_path / "archive")
    return tmp_path / "archive"


async def told_of_run(root: Path) -> dict[str, Any]:
    found = await told_of(ArchiveSource(str(root)), Context(spool=root))
    return next(run for name, run in found.items() if name.endswith(" r"))


async def test_a_run_that_changed_has_another_generation_and_the_earlier_one_stays(root: Path):
    (history,) = root.glob("projects/*/points/*.parquet")
    before = history.read_bytes()
    await archived(replace(HELD, run=replace(HELD.run, name="second"), history=[("loss", 0, 0, 2.0)]), root)
    found = await told_of_run(root)
    assert found["run"].name == "second"
    assert found["points"][0][-1] == ("float", "2.0")
    (record,) = root.glob("projects/*/runs/*.json")
    assert json.loads(record.read_bytes())["generation"] == 2
    kept = [path for path in (root / "earlier").rglob("*") if path.is_file()]
    assert before in [path.read_bytes() for path in kept]
    assert len(kept) == 2


async def test_a_record_is_the_same_whichever_part_came_first(tmp_path: Path):
    """History and files arrive at the same time; a record is to be the same byte for byte."""
    records = []
    for name, first in (("files", Options(history=False)), ("history", Options(files=False))):
        await archived(HELD, tmp_path / name, first)
        await archived(HELD, tmp_path / name)
        records += [path.read_bytes() for path in (tmp_path / name).glob("projects/*/runs/*.json")]
    assert len(records) == 2
    assert records[0] == records[1]


async def test_a_second_server_in_one_archive_is_told(root: Path):
    """What is restored from it can be told to come from one of them only."""
    other = MemorySource({"p": [HELD]})
    other.uri = "memory:elsewhere"
    async with Engine(other, ArchiveDestination(str(root))) as engine:
        assert (await engine.run()).losses["origins_mixed"] == 1
    async with Engine(other, ArchiveDestination(str(root / "own"))) as engine:
        assert "origins_mixed" not in (await engine.run()).losses


async def test_killed_between_the_history_and_its_record_the_earlier_run_is_read(root: Path):
    (record,) = root.glob("projects/*/runs/*.json")
    before = record.read_bytes(), await told_of_run(root)
    await archived(replace(HELD, history=[("loss", 0, 0, 2.0)]), root)
    record.write_bytes(before[0])
    assert await told_of_run(root) == before[1]


@pytest.mark.parametrize("pattern", ["projects/*/points/*.parquet", "blobs/*/*", "projects/*/artifacts/*/*"])
async def test_what_is_damaged_is_an_error(root: Path, pattern: str):
    for path in root.glob(pattern):
        path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(IntegrityError, match=r"damaged|missing"):
        await told_of_run(root)


async def test_a_record_that_is_damaged_is_a_run_that_cannot_be_read(root: Path, tmp_path: Path):
    (record,) = root.glob("projects/*/runs/*.json")
    record.write_text("{}")
    async with Engine(ArchiveSource(str(root)), ArchiveDestination(str(tmp_path / "copy"))) as engine:
        result = await engine.run()
    assert [failure.item for failure in result.failures] == ["run"]


async def test_a_record_that_points_out_of_the_archive_is_refused(root: Path):
    (record,) = root.glob("projects/*/runs/*.json")
    told = json.loads(record.read_bytes())
    told["artifacts"] = {"../../../../../etc/passwd": "0" * 64}
    record.write_text(json.dumps(told))
    with pytest.raises(IntegrityError, match="no name of an artifact"):
        await told_of_run(root)


async def test_a_layout_that_is_not_known_is_refused(root: Path):
    (root / "archive.json").write_text('{"format": "transfer-engine archive", "version": 3}')
    with pytest.raises(Unsupported, match="layout 3"):
        await told_of_run(root)


async def test_a_directory_without_an_archive_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="no archive here"):
        await told_of_run(tmp_path / "nothing")


def test_names_are_harmless_and_different():
    names = [
        "",
        ".",
        "..",
        "../x",
        "CON",
        "con",
        "con.txt",
        "a/b",
        "a\\b",
        "x" * 500,
        "é",
        "\ud800",
        "a.",
        "a ",
    ]
    made = [portable(name) for name in names]
    assert len(set(made)) == len(names)
    for name in made:
        assert len(name) <= 61
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-"), name
        assert not name.startswith("-")
